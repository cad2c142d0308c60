//! Two replicas compared at one position of the log.

use super::{Answer, Piece, Served};
use crate::copy::read::{Replica, Shown};
use crate::dispatcher::Dispatcher;
use crate::error::EngineError;
use crate::state::NodeView;
use miroir_core::hash::shard_of;
use miroir_core::id::{NodeId, PhysicalIndex, ShardId};
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// How a replica's document differs from the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unlike {
    /// It lacks it.
    Missing,
    /// It has it, and the reference has not.
    Extra,
    /// Its content is another.
    Changed,
}

/// Two replicas being compared.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) reference: &'a NodeId,
    pub(super) node: &'a NodeId,
    pub(super) is_even: bool,
    pub(super) is_repairing: bool,
}

pub(crate) fn unlike(expected: Option<&Shown>, held: Option<&Shown>) -> Option<Unlike> {
    match (expected, held) {
        (None, None) => None,
        (Some(_), None) => Some(Unlike::Missing),
        (None, Some(_)) => Some(Unlike::Extra),
        (Some(a), Some(b)) if a.digest == b.digest => None,
        (Some(_), Some(_)) => Some(Unlike::Changed),
    }
}

impl Dispatcher {
    pub(super) async fn compare(
        &mut self,
        index: &PhysicalIndex,
        shard: ShardId,
        ids: &[String],
        pair: Pair<'_>,
    ) -> Served {
        let shared = self.shared.clone();
        let Some(entry) = self.rested_entry(index) else {
            return Ok(Some(Answer::Gone));
        };
        if shared.is_indexing(index) {
            return Ok(None);
        }
        let is_readable = {
            let snapshot = shared.snapshot.load();
            let view = snapshot.nodes.get(pair.reference);
            entry.placement.is_on(shard, pair.reference) && view.is_some_and(NodeView::is_readable)
        };
        if !is_readable || !entry.placement.is_written(shard, pair.node) {
            let cause = format!("{} cannot be read now", pair.reference);
            return Ok(Some(Answer::Failed(cause)));
        }
        // What is in sync has applied all; what is not may lag behind.
        match shared.copy.owed(&shared, pair.node, index).await {
            Some(0) => {}
            Some(_) => return Ok(None),
            None => return Err(EngineError::ShuttingDown),
        }
        // Of whoever listed them by an older placement: they are another shard's matter.
        let shard_count = NonZeroU32::new(entry.record.shard_count).unwrap_or(NonZeroU32::MIN);
        let is_of_shard = |id: &&String| shard_of(id, shard_count) == shard;
        let ids: Vec<String> = ids.iter().filter(is_of_shard).cloned().collect();
        let ids = ids.as_slice();
        let read = async |node: &NodeId| {
            let replica = Replica {
                shared: &shared,
                node,
                entry: &entry,
            };
            replica.documents(ids).await
        };
        let (expected, held) = match (read(pair.reference).await, read(pair.node).await) {
            (Ok(expected), Ok(held)) => (expected, held),
            (Err(error), _) | (_, Err(error)) => {
                return Ok(Some(Answer::Failed(error.to_string())));
            }
        };
        let mut found = Vec::new();
        for id in ids {
            let Some(how) = unlike(expected.get(id), held.get(id)) else {
                continue;
            };
            found.push(match how {
                Unlike::Extra if pair.is_even => {
                    (pair.reference.clone(), id.clone(), Unlike::Missing)
                }
                how => (pair.node.clone(), id.clone(), how),
            });
        }
        if pair.is_repairing {
            for (target, shown) in [(pair.node, &expected), (pair.reference, &held)] {
                let of_target = found.iter().filter(|(node, ..)| node == target);
                let ids: Vec<String> = of_target.map(|(_, id, _)| id.clone()).collect();
                if ids.is_empty() {
                    continue;
                }
                let shown: BTreeMap<String, Shown> = ids
                    .iter()
                    .filter_map(|id| Some((id.clone(), shown.get(id)?.clone())))
                    .collect();
                let work = self.copy_work(&ids, &shown).await?;
                let piece = Piece::new(target, vec![shard], work);
                self.open_copies(&entry, vec![piece], Vec::new()).await?;
            }
        }
        Ok(Some(Answer::Compared(found)))
    }
}
