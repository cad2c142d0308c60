//! The twin of an index comes, is filled and compared.

use super::turn::failed;
use super::{After, Reshard, Step};
use crate::copy::barrier::{Answer, Piece, Served, Unlike, unlike};
use crate::copy::copier::nobody;
use crate::copy::read::{Replica, Shown};
use crate::dispatcher::Dispatcher;
use crate::error::EngineError;
use crate::placing::{FIRST_EPOCH, Placing};
use crate::prepare::{PlannedIndex, PlannedTwin};
use crate::state::{IndexEntry, TwinView};
use miroir_core::digest::document_digest;
use miroir_core::hash::shard_of;
use miroir_core::id::{Epoch, NodeId, PhysicalIndex, ShardId};
use miroir_core::merge::retagged;
use miroir_core::placement::Transit;
use miroir_core::reserved::shard_tag;
use miroir_core::settings::exact_embedders;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

/// The shard of an id among so many.
pub(super) fn shard_among(id: &str, shard_count: u32) -> ShardId {
    shard_of(id, NonZeroU32::new(shard_count).unwrap_or(NonZeroU32::MIN))
}

/// A document of the index that is read, as its twin holds it.
/// Its digest takes in the vectors that clients gave for these embedders.
fn as_twin(
    id: &str,
    shown: &Shown,
    shard_count: u32,
    embedders: &BTreeSet<String>,
) -> Result<Shown, EngineError> {
    let odd = |error: serde_json::Error| EngineError::Answer(error.to_string());
    let tag = shard_tag(shard_among(id, shard_count), shard_count);
    let raw = retagged(&shown.raw, &tag).map_err(odd)?;
    let digest = document_digest(&raw, embedders).map_err(odd)?;
    Ok(Shown { raw, digest })
}

/// All shards join where they lie.
pub(super) fn joining(sets: &[Vec<NodeId>]) -> Transit {
    let mut transit = Transit::default();
    for (shard, set) in (0..).map(ShardId).zip(sets) {
        for node in set {
            transit.put_joining(shard, node);
        }
    }
    transit
}

impl Dispatcher {
    pub(super) fn planned_mut(&mut self, index: &PhysicalIndex) -> Option<&mut PlannedIndex> {
        let mut indexes = self.preparer.indexes.values_mut();
        indexes.find(|planned| planned.record.physical == *index)
    }

    /// The index at rest and its twin, of a re-shard that is under way.
    pub(super) fn pair(&self, reshard: &Reshard) -> Option<(IndexEntry, PlannedTwin)> {
        let planned = self.planned(reshard.main())?;
        let twin = planned.twin.as_ref()?;
        (twin.physical == *reshard.twin()).then(|| (planned.to_entry(), twin.clone()))
    }

    /// Shows readers which twin the index has.
    pub(super) fn show_twin(&self, index: &PhysicalIndex, twin: Option<TwinView>) {
        let twin = twin.map(Arc::new);
        self.shared.update(|snapshot| {
            let mut indexes = snapshot.indexes.values_mut();
            if let Some(entry) = indexes.find(|entry| entry.record.physical == *index) {
                *entry = Arc::new(IndexEntry::clone(entry).with_twin(twin));
            }
        });
    }

    pub(super) async fn create_twin(&mut self, reshard: &Reshard) -> Served {
        let shared = self.shared.clone();
        if let Some(header) = shared.movement.header()
            && !header.state.is_final()
        {
            return failed("shards are being moved");
        }
        if shared.is_indexing(reshard.main()) {
            return Ok(None);
        }
        self.preparer.settle(reshard.main());
        let Some(planned) = self.planned(reshard.main()) else {
            let ended = reshard.at(Step::Ended {
                how: After::Cancelled,
            });
            return self.note_reshard(ended, Vec::new()).await;
        };
        let record = planned.record.clone();
        let entry = planned.to_entry();
        let sets = self.preparer.place(
            reshard.twin(),
            reshard.twin_shards(),
            record.replication_factor,
        )?;
        let transit = joining(&sets);
        let mut by_node: BTreeMap<NodeId, BTreeSet<ShardId>> = BTreeMap::new();
        for (node, shards) in transit.joining() {
            if !self.is_fit(node) {
                return failed(format!("node {node} is not in sync"));
            }
            by_node.insert(node.clone(), shards.clone());
        }
        let source = entry.placement.shards().find_map(|shard| {
            let sources = self.sources_of(&entry, shard);
            sources.into_iter().next()
        });
        let Some(source) = source else {
            return failed("no replica is in sync and answers");
        };
        let work = match self.recreation(&entry, &source).await {
            Ok(work) => work,
            Err(cause) => return failed(cause),
        };
        let count = crate::stats::count_documents(&shared, &entry).await;
        let second = Epoch(FIRST_EPOCH.0 + 1);
        let placing = Placing::new(FIRST_EPOCH, Arc::new(sets));
        let twin = PlannedTwin {
            physical: reshard.twin().clone(),
            shard_count: reshard.twin_shards(),
            placing: placing.next(&BTreeMap::new(), transit, second),
        };
        let mut next = reshard.afresh();
        next.documents_total = count.unwrap_or(0);
        let mut changes = twin.placing.changes(&twin.physical).to_vec();
        changes.push(self.board().change(&next));
        for node in by_node.keys() {
            changes.extend(shared.copy.settle_spoilt(node, &twin.physical));
        }
        let pieces = by_node.into_iter();
        let pieces = pieces.map(|(node, shards)| Piece::new(&node, shards, work.clone()));
        let pieces = pieces.collect();
        let twin_entry = twin.view().to_entry(&record);
        self.open_copies(&twin_entry, pieces, changes).await?;
        shared.step("reshard.created").await;
        let view = twin.view();
        if let Some(planned) = self.planned_mut(reshard.main()) {
            planned.twin = Some(twin);
        }
        self.show_twin(reshard.main(), Some(view));
        self.board().put(next);
        Ok(Some(Answer::Done))
    }

    /// In-sync replicas of a shard that answer.
    pub(super) fn sources_of(&self, entry: &IndexEntry, shard: ShardId) -> Vec<NodeId> {
        self.sources(entry, shard, &nobody())
    }

    pub(super) async fn copy_to_twin(&mut self, reshard: &Reshard, ids: &[String]) -> Served {
        let shared = self.shared.clone();
        let (Some((entry, twin)), [first, others @ ..]) = (self.pair(reshard), reshard.current())
        else {
            return Ok(Some(Answer::Gone));
        };
        if shared.is_indexing(reshard.main()) {
            return Ok(None);
        }
        let mut cause = "no replica is in sync and answers".to_owned();
        for source in self.sources_of(&entry, *first) {
            let mut others = others.iter();
            if !others.all(|shard| entry.placement.is_on(*shard, &source)) {
                continue;
            }
            let replica = Replica {
                shared: &shared,
                node: &source,
                entry: &entry,
            };
            let shown = match replica.documents(ids).await {
                Ok(shown) => shown,
                Err(error) => {
                    cause = error.to_string();
                    continue;
                }
            };
            let documents = shown.len() as u64;
            let bytes = shown.values().map(|one| one.raw.len() as u64).sum();
            let pieces = self.pieces(&twin, ids, &shown).await?;
            let mut next = reshard.revised();
            next.documents += documents;
            next.bytes += bytes;
            let changes = vec![self.board().change(&next)];
            let twin_entry = twin.view().to_entry(&entry.record);
            self.open_copies(&twin_entry, pieces, changes).await?;
            shared.step("reshard.copied").await;
            let now = shared.ports.clock.monotonic();
            self.board().note_copied(next.id, now, documents, bytes);
            self.board().put(next);
            return Ok(Some(Answer::Copied { documents, bytes }));
        }
        failed(cause)
    }

    /// What brings these documents to the twin as they are shown, and removes those not shown.
    pub(super) async fn pieces(
        &self,
        twin: &PlannedTwin,
        ids: &[String],
        shown: &BTreeMap<String, Shown>,
    ) -> Result<Vec<Piece>, EngineError> {
        let mut by_node: BTreeMap<NodeId, (BTreeSet<ShardId>, Vec<String>)> = BTreeMap::new();
        for id in ids {
            let shard = shard_among(id, twin.shard_count);
            for node in twin.placing.transit.joiners(shard) {
                let (shards, ids) = by_node.entry(node.clone()).or_default();
                shards.insert(shard);
                ids.push(id.clone());
            }
        }
        let mut pieces = Vec::with_capacity(by_node.len());
        for (node, (shards, ids)) in by_node {
            let mut cut = BTreeMap::new();
            for id in &ids {
                if let Some(shown) = shown.get(id) {
                    let shown = as_twin(id, shown, twin.shard_count, &BTreeSet::new())?;
                    cut.insert(id.clone(), shown);
                }
            }
            let work = self.copy_work(&ids, &cut).await?;
            pieces.push(Piece::new(&node, shards, work));
        }
        Ok(pieces)
    }

    pub(super) async fn settle_twin(&mut self, reshard: &Reshard) -> Served {
        let shared = self.shared.clone();
        let Some((_, twin)) = self.pair(reshard) else {
            return Ok(Some(Answer::Gone));
        };
        if shared.is_indexing(reshard.main()) {
            return Ok(None);
        }
        for (node, _) in twin.placing.transit.joining() {
            match shared.copy.owed(&shared, node, reshard.twin()).await {
                Some(0) => {}
                Some(_) => return Ok(None),
                None => return Err(EngineError::ShuttingDown),
            }
        }
        Ok(Some(Answer::Done))
    }

    pub(super) async fn compare_twin(&mut self, reshard: &Reshard, ids: &[String]) -> Served {
        let shared = self.shared.clone();
        let Some((entry, twin)) = self.pair(reshard) else {
            return Ok(Some(Answer::Gone));
        };
        if shared.is_indexing(reshard.main()) {
            return Ok(None);
        }
        let mut of_twin: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
        let mut of_source: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
        for id in ids {
            let shard = shard_among(id, entry.record.shard_count);
            let Some(source) = self.sources_of(&entry, shard).into_iter().next() else {
                return failed(format!("no replica of shard {shard} answers"));
            };
            of_source.entry(source).or_default().push(id.clone());
            let shard = shard_among(id, twin.shard_count);
            for node in twin.placing.transit.joiners(shard) {
                of_twin.entry(node.clone()).or_default().push(id.clone());
            }
        }
        for node in of_twin.keys() {
            match shared.copy.owed(&shared, node, reshard.twin()).await {
                Some(0) => {}
                Some(_) => return Ok(None),
                None => return Err(EngineError::ShuttingDown),
            }
        }
        let mut shown = BTreeMap::new();
        for (node, ids) in &of_source {
            let replica = Replica {
                shared: &shared,
                node,
                entry: &entry,
            };
            match replica.documents(ids).await {
                Ok(found) => shown.extend(found),
                Err(error) => return failed(error.to_string()),
            }
        }
        let twin_entry = twin.view().to_entry(&entry.record);
        let embedders = exact_embedders(&entry.record.settings);
        let mut found: Vec<(NodeId, String, Unlike)> = Vec::new();
        for (node, ids) in &of_twin {
            let replica = Replica {
                shared: &shared,
                node,
                entry: &twin_entry,
            };
            let held = match replica.documents(ids).await {
                Ok(held) => held,
                Err(error) => return failed(error.to_string()),
            };
            for id in ids {
                let expected = match shown.get(id) {
                    Some(shown) => Some(as_twin(id, shown, twin.shard_count, &embedders)?),
                    None => None,
                };
                let how = unlike(expected.as_ref(), held.get(id));
                found.extend(how.map(|how| (node.clone(), id.clone(), how)));
            }
        }
        let differing: BTreeSet<String> = found.iter().map(|(_, id, _)| id.clone()).collect();
        if !differing.is_empty() {
            let ids: Vec<String> = differing.into_iter().collect();
            let pieces = self.pieces(&twin, &ids, &shown).await?;
            self.open_copies(&twin_entry, pieces, Vec::new()).await?;
        }
        Ok(Some(Answer::Compared(found)))
    }
}
