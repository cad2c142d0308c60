//! A batch in memory, from its making to the moment in which every node has applied it.

use crate::placing::ReplicaSets;
use crate::plan::{BatchPlan, Source};
use crate::port::{IndexRecord, TaskRecord};
use bytes::Bytes;
use miroir_core::id::{BatchUid, IndexUid, NodeId, ShardId, TaskUid};
use miroir_core::placement::Transit;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A batch in flight.
#[derive(Debug)]
pub struct LiveBatch {
    /// Its number.
    pub uid: BatchUid,
    /// Its plan.
    pub plan: BatchPlan,
    /// Its tasks, as they stood when it was made, without payloads.
    pub tasks: Vec<TaskRecord>,
    /// Payloads that travel in the log.
    pub inline: BTreeMap<TaskUid, Bytes>,
    /// The replica sets it was cut for.
    pub replica_sets: ReplicaSets,
    /// What lay on nodes beside them.
    pub transit: Arc<Transit>,
    /// Where the shards of its twin lay, all of them joining; without shards once it is gone.
    pub twin: Arc<Transit>,
    /// The nodes it goes to.
    pub nodes: BTreeSet<NodeId>,
    /// What the snapshot shows once it is done.
    pub effect: Effect,
    /// The size of its entries' payloads.
    pub payload_bytes: u64,
    /// Its place in the window of batches in flight; given back when it is done.
    pub window: Mutex<Option<crate::window::Place>>,
}

impl LiveBatch {
    /// The size of payloads of entries: those in files, and those given.
    pub(crate) fn payload_bytes_of(plan: &BatchPlan, inline: &BTreeMap<TaskUid, Bytes>) -> u64 {
        let file_bytes = |source: &Source| match source {
            Source::File(crate::port::PayloadRef::File { bytes, .. }) => *bytes,
            _ => 0,
        };
        let in_files: u64 = plan.entries.iter().map(|e| file_bytes(&e.source)).sum();
        in_files + inline.values().map(|bytes| bytes.len() as u64).sum::<u64>()
    }

    /// It reads payload files, so its requests may be large.
    #[must_use]
    pub fn has_files(&self) -> bool {
        crate::copy::barrier::file_of(&self.plan.work).is_some()
            || self
                .plan
                .entries
                .iter()
                .any(|entry| matches!(entry.source, Source::File(_)))
    }

    /// Payloads it keeps in memory.
    pub(crate) fn inline_bytes(&self) -> u64 {
        self.inline.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// What the node makes of it counts: it is in the replica set of a shard that the batch touches.
    /// One at which such a shard only joins, or lies beside, has no say.
    #[must_use]
    pub fn has_say(&self, node: &NodeId) -> bool {
        let is_undivided = self.transit.is_empty() && self.plan.twin.is_none();
        if is_undivided || self.replica_sets.is_empty() {
            return true;
        }
        let is_in = |shard: ShardId, set: &Vec<NodeId>| {
            set.contains(node) && !self.transit.is_joining(shard, node)
        };
        match &self.plan.shards {
            None => {
                let mut all = (0..).map(ShardId).zip(self.replica_sets.iter());
                all.any(|(shard, set)| is_in(shard, set))
            }
            Some(shards) => shards.iter().any(|shard| {
                let set = self.replica_sets.get(shard.0 as usize);
                set.is_some_and(|set| is_in(*shard, set))
            }),
        }
    }

    /// The shards it touches, with their replica sets.
    #[must_use]
    pub fn touched(&self) -> Vec<(ShardId, Vec<NodeId>)> {
        let all = (0u32..).map(ShardId).zip(self.replica_sets.iter().cloned());
        all.filter(|(shard, _)| {
            self.plan
                .shards
                .as_ref()
                .is_none_or(|set| set.contains(shard))
        })
        .collect()
    }
}

/// What a batch changes for readers when it is done.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Nothing but dates.
    None,
    /// The index is as given.
    Put(Box<IndexRecord>),
    /// The index is gone.
    Remove(IndexUid),
    /// Names of indexes trade places, in order; then an index is as given, under its new name.
    Exchange {
        /// The pairs.
        names: Vec<(IndexUid, IndexUid)>,
        /// What else changed of the index that was renamed.
        record: Option<Box<IndexRecord>>,
    },
}
