//! The epochs of a placement: the next one, how it is stored, and how it becomes what holds.

use super::{Group, group_change};
use crate::completer::Event;
use crate::dispatcher::Dispatcher;
use crate::error::EngineError;
use crate::placing::Placing;
use crate::port::{Change, IndexRecord};
use crate::state::IndexEntry;
use miroir_core::id::{Epoch, NodeId, PhysicalIndex, ShardId};
use miroir_core::placement::Transit;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A placement about to replace the one there is, and what goes with it.
pub(crate) struct Replacement {
    index: PhysicalIndex,
    pub(super) placing: Placing,
    pub(super) record: IndexRecord,
    group: Option<(u64, Group)>,
}

impl Replacement {
    /// What stores it.
    pub(crate) fn changes(&self) -> Vec<Change> {
        let mut changes = self.placing.changes(&self.index).to_vec();
        changes.push(Change::PutIndex(Box::new(self.record.clone())));
        let group = self.group.as_ref();
        changes.extend(group.map(|(number, group)| group_change(*number, group)));
        changes
    }
}

impl Dispatcher {
    /// The oldest epoch of an index of which a batch is owed to any node.
    pub(crate) async fn oldest_epoch(
        &self,
        index: &PhysicalIndex,
    ) -> Result<Option<Epoch>, EngineError> {
        let (reply, answer) = oneshot::channel();
        let _ = self.events.send(Event::OldestEpoch {
            index: index.clone(),
            reply,
        });
        tokio::select! {
            biased;
            () = self.shared.shutdown.cancelled() => Err(EngineError::ShuttingDown),
            oldest = answer => oldest.map_err(|_| EngineError::ShuttingDown),
        }
    }

    /// The next epoch of an index; `None` if the index is gone.
    pub(super) async fn replace(
        &mut self,
        index: &PhysicalIndex,
        changed: &BTreeMap<ShardId, Vec<NodeId>>,
        transit: Transit,
        group: Option<(u64, Group)>,
    ) -> Result<Option<Replacement>, EngineError> {
        let oldest = self.oldest_epoch(index).await?;
        let Some(planned) = self.planned(index) else {
            return Ok(None);
        };
        // With no batch open, all that was before is forgotten.
        let oldest = oldest.unwrap_or(Epoch(planned.placing.epoch.0 + 1));
        let placing = planned.placing.next(changed, transit, oldest);
        let mut record = planned.record.clone();
        record.epoch = placing.epoch;
        let mut sizes = placing.replica_sets.iter().map(Vec::len);
        let first = sizes.next().unwrap_or(0);
        if !changed.is_empty() && sizes.all(|size| size == first) {
            record.replication_factor = u32::try_from(first).unwrap_or(u32::MAX);
        }
        Ok(Some(Replacement {
            index: index.clone(),
            placing,
            record,
            group,
        }))
    }

    /// What was stored holds from the next batch on, and for every read that begins now.
    pub(crate) fn adopt(&mut self, replacement: Replacement) {
        let Replacement {
            index,
            placing,
            record,
            group,
        } = replacement;
        let mut indexes = self.preparer.indexes.values_mut();
        if let Some(planned) = indexes.find(|planned| planned.record.physical == index) {
            planned.placing = placing.clone();
            planned.record.epoch = record.epoch;
            planned.record.replication_factor = record.replication_factor;
        }
        let shared = &self.shared;
        let mut readers = None;
        shared.update(|snapshot| {
            let mut indexes = snapshot.indexes.values_mut();
            if let Some(entry) = indexes.find(|entry| entry.record.physical == index) {
                readers = Some(entry.readers());
                let shown = IndexRecord {
                    epoch: record.epoch,
                    replication_factor: record.replication_factor,
                    ..entry.record.clone()
                };
                let sets = placing.replica_sets.clone();
                let twin = entry.twin.clone();
                *entry = Arc::new(IndexEntry::new(shown, sets, &placing.transit).with_twin(twin));
            }
        });
        if let Some(readers) = readers {
            let now = shared.ports.clock.monotonic();
            shared.movement.note_readers(now, readers);
        }
        if let Some((number, group)) = group {
            shared.movement.put(number, group);
        }
    }

    pub(super) fn transit(&self, index: &PhysicalIndex) -> Transit {
        let planned = self.planned(index);
        planned.map_or_else(Transit::default, |planned| {
            (*planned.placing.transit).clone()
        })
    }
}
