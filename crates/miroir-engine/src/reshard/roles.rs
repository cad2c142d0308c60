//! An index and its twin exchange their roles, at rest and in one commit.

use super::turn::failed;
use super::twin::joining;
use super::{Reshard, Step};
use crate::copy::barrier::{Answer, Served};
use crate::dispatcher::Dispatcher;
use crate::error::EngineError;
use crate::placing::Placing;
use crate::port::{Change, IndexRecord, NodeSettingsVersion};
use crate::prepare::PlannedTwin;
use miroir_core::id::{Epoch, NodeId, PhysicalIndex};
use miroir_core::placement::Transit;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Dispatcher {
    pub(super) async fn exchange_roles(&mut self, reshard: &Reshard) -> Served {
        let shared = self.shared.clone();
        if shared.is_indexing(reshard.main()) || shared.is_indexing(reshard.twin()) {
            return Ok(None);
        }
        let Some((_, twin)) = self.pair(reshard) else {
            return Ok(Some(Answer::Gone));
        };
        if let Some(header) = shared.movement.header()
            && !header.state.is_final()
        {
            return failed("shards are being moved");
        }
        {
            // Of each set to come a node in sync stays, whoever decides meanwhile that one leaves.
            let mut coming = shared.movement.coming.lock();
            let mut nodes = twin.placing.transit.joining().map(|(node, _)| node);
            if let Some(node) = nodes.find(|node| !self.is_fit(node)) {
                return failed(format!("node {node} is not in sync"));
            }
            coming.replacing = twin.placing.replica_sets.to_vec();
        }
        let served = self.exchange_claimed(reshard).await;
        shared.movement.coming.lock().replacing.clear();
        served
    }

    pub(super) async fn exchange_claimed(&mut self, reshard: &Reshard) -> Served {
        let shared = self.shared.clone();
        self.preparer.settle(reshard.main());
        let Some((entry, twin)) = self.pair(reshard) else {
            return Ok(Some(Answer::Gone));
        };
        let nodes: BTreeSet<NodeId> = {
            let joining = twin.placing.transit.joining();
            joining.map(|(node, _)| node.clone()).collect()
        };
        for node in &nodes {
            match shared.copy.owed(&shared, node, reshard.twin()).await {
                Some(0) => {}
                Some(_) => return Ok(None),
                None => return Err(EngineError::ShuttingDown),
            }
        }
        if !entry.placement.transit().is_empty() {
            return failed("what was moved away is not removed yet");
        }
        if let Err(cause) = super::verify::count_alike(&shared, &entry, &twin).await {
            return failed(cause);
        }
        let oldest_of_main = self.oldest_epoch(reshard.main()).await?;
        let oldest_of_twin = self.oldest_epoch(reshard.twin()).await?;
        // Whoever told what is owed has by now noted what failed of it.
        let mut all = nodes.iter();
        if all.any(|node| shared.copy.is_join_spoilt(node, reshard.twin())) {
            return Ok(Some(Answer::Busy));
        }
        let Some(planned) = self.planned(reshard.main()) else {
            return Ok(Some(Answer::Gone));
        };
        let none = BTreeMap::new();
        let old = &planned.placing;
        let beyond = |placing: &Placing| Epoch(placing.epoch.0 + 1);
        let old = old.next(
            &none,
            joining(&old.replica_sets),
            oldest_of_main.unwrap_or(beyond(old)),
        );
        let new = twin.placing.next(
            &none,
            Transit::default(),
            oldest_of_twin.unwrap_or(beyond(&twin.placing)),
        );
        let mut record = planned.record.clone();
        record.physical = reshard.twin().clone();
        record.shard_count = reshard.twin_shards();
        record.epoch = new.epoch;
        // Copies may have been added or taken away beside a way back.
        let mut sizes = new.replica_sets.iter().map(Vec::len);
        let first = sizes.next().unwrap_or(0);
        if sizes.all(|size| size == first) {
            record.replication_factor = u32::try_from(first).unwrap_or(u32::MAX);
        }
        let way_back = PlannedTwin {
            physical: planned.record.physical.clone(),
            shard_count: planned.record.shard_count,
            placing: old,
        };
        let mut next = reshard.at(Step::Kept);
        next.is_switched = !reshard.is_switched;
        next.switched_at = Some(shared.ports.clock.now().unix_timestamp());
        let mut changes = vec![Change::PutIndex(Box::new(record.clone()))];
        changes.extend(new.changes(&record.physical));
        changes.extend(way_back.placing.changes(&way_back.physical));
        changes.push(self.board().change(&next));
        if let Some(version) = record.settings_version
            && planned.patches.is_empty()
        {
            let updated_at = shared.ports.clock.now();
            changes.extend(nodes.into_iter().map(|node| {
                Change::PutNodeSettingsVersion(NodeSettingsVersion {
                    index: record.physical.clone(),
                    node,
                    version,
                    updated_at,
                })
            }));
        }
        self.commit(&changes).await?;
        shared.step("reshard.switched").await;
        self.adopt_roles(reshard.main(), record, new, way_back);
        self.board().put(next);
        Ok(Some(Answer::Done))
    }

    /// From the next batch on, and for every read that begins now, the two have exchanged their roles.
    pub(super) fn adopt_roles(
        &mut self,
        main: &PhysicalIndex,
        record: IndexRecord,
        placing: Placing,
        way_back: PlannedTwin,
    ) {
        let Some(planned) = self.planned_mut(main) else {
            return;
        };
        planned.record = record;
        planned.placing = placing;
        planned.twin = Some(way_back);
        let entry = planned.to_entry();
        let shared = &self.shared;
        let mut readers = None;
        shared.update(|snapshot| {
            let mut indexes = snapshot.indexes.values_mut();
            if let Some(shown) = indexes.find(|shown| shown.record.physical == *main) {
                readers = Some(shown.readers());
                let record = IndexRecord {
                    physical: entry.record.physical.clone(),
                    shard_count: entry.record.shard_count,
                    replication_factor: entry.record.replication_factor,
                    epoch: entry.record.epoch,
                    ..shown.record.clone()
                };
                *shown = Arc::new(entry.with_record(record));
            }
        });
        if let Some(readers) = readers {
            let now = shared.ports.clock.monotonic();
            shared.movement.note_readers(now, readers);
        }
        tracing::info!(from = %main, "an index is read as it was cut anew");
    }
}
