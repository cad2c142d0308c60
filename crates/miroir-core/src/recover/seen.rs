//! What one node shows of the cluster it belonged to.

use super::ShardCounts;
use crate::digest::Buckets;
use crate::hash::document_hash;
use crate::id::{BatchUid, DocumentSeq, IndexUid, NodeTaskUid, PhysicalIndex, ShardId, TaskUid};
use crate::mark::{self, Origin};
use crate::reserved::{decode_seq, decode_shard_tag};
use crate::settings::Settings;
use crate::task::{TaskKind, TaskStatus};
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;

/// What a node holds of one index.
#[derive(Debug, Clone, Default)]
pub struct ReplicaSeen {
    /// Its primary key, if it has one.
    pub primary_key: Option<String>,
    /// As the node shows them.
    pub settings: Settings,
    /// When the node made it.
    pub created_at: Option<OffsetDateTime>,
    /// When the node last changed it.
    pub updated_at: Option<OffsetDateTime>,
    /// Of each shard that has documents there: how many and which, order-free.
    pub shards: BTreeMap<ShardId, Buckets>,
    /// The greatest sequence number.
    pub newest_seq: Option<DocumentSeq>,
    /// The numbers of shards that the documents allow.
    pub shard_counts: ShardCounts,
    /// Documents that carry no tag or no sequence number.
    pub foreign_documents: u64,
    /// The newest batch of clients' writes to it.
    pub newest_batch: Option<BatchUid>,
    /// The last client's write to it that told its name, and the name.
    pub named: Option<(TaskUid, IndexUid)>,
    /// It was being copied to, or was made anew from other replicas.
    pub was_copied: bool,
    /// When the node was last sent settings for it, as the node wrote it.
    pub settings_sent_at: Option<String>,
}

/// What a node shows.
#[derive(Debug, Clone, Default)]
pub struct NodeSeen {
    /// Its indexes that are Miroir's.
    pub indexes: BTreeMap<PhysicalIndex, ReplicaSeen>,
    /// Its indexes that are not.
    pub foreign: Vec<String>,
    /// The cluster of its newest mark, and that mark's batch.
    pub cluster: Option<(BatchUid, String)>,
    /// The greatest uid of a client's task that a mark tells.
    pub newest_task: Option<TaskUid>,
    /// The experimental features that are on.
    pub features: BTreeSet<String>,
    /// The newest task of its own, with the moment it was accepted, as the node wrote it.
    pub newest_node_task: Option<(NodeTaskUid, String)>,
}

impl ReplicaSeen {
    /// Takes in a document, by id, digest and the texts of its two reserved fields.
    pub fn note_document(&mut self, id: &str, digest: u64, tag: Option<&str>, seq: Option<&str>) {
        let shard = tag.and_then(decode_shard_tag);
        let seq = seq.and_then(decode_seq);
        let (Some(tag), Some(shard), Some(seq)) = (tag, shard, seq) else {
            self.foreign_documents += 1;
            return;
        };
        self.shard_counts.note(document_hash(id), tag);
        self.newest_seq = self.newest_seq.max(Some(seq));
        self.shards
            .entry(shard)
            .or_insert_with(|| Buckets::new(1))
            .add(id, digest);
    }

    /// All its documents that are Miroir's.
    #[must_use]
    pub fn document_count(&self) -> u64 {
        self.shards.values().map(Buckets::count).sum()
    }
}

impl NodeSeen {
    /// Takes in a task of the node, the newest first.
    pub fn note_task(
        &mut self,
        uid: NodeTaskUid,
        kind: Option<TaskKind>,
        status: TaskStatus,
        index: Option<&PhysicalIndex>,
        mark: Option<&str>,
        enqueued_at: &str,
    ) {
        if self
            .newest_node_task
            .as_ref()
            .is_none_or(|(known, _)| *known < uid)
        {
            self.newest_node_task = Some((uid, enqueued_at.to_owned()));
        }
        let mark = mark.and_then(mark::parse);
        if let Some(mark) = &mark {
            let newest = self.cluster.as_ref().map(|(batch, _)| *batch);
            if newest.is_none_or(|newest| newest < mark.batch) {
                self.cluster = Some((mark.batch, mark.cluster.to_owned()));
            }
            let told = match mark.origin {
                Some(Origin::Task(task)) => Some(task),
                _ => None,
            };
            self.newest_task = self.newest_task.max(told).max(mark.only);
        }
        let Some(replica) = index.and_then(|index| self.indexes.get_mut(index)) else {
            return;
        };
        if status != TaskStatus::Succeeded {
            return;
        }
        match kind {
            // An index that was removed and stands there was made anew: nobody else removes one and
            // makes another under the same name.
            Some(TaskKind::IndexDeletion) => replica.was_copied = true,
            Some(TaskKind::SettingsUpdate) => {
                // The newest comes first.
                let sent_at = &mut replica.settings_sent_at;
                sent_at.get_or_insert_with(|| enqueued_at.to_owned());
            }
            _ => {}
        }
        let Some(mark) = mark else { return };
        match mark.origin {
            Some(Origin::Copy) => replica.was_copied = true,
            _ => replica.newest_batch = replica.newest_batch.max(Some(mark.batch)),
        }
        if let (Some(Origin::Task(task)), Some(name)) = (mark.origin, mark.index) {
            let known = replica.named.as_ref().map(|(task, _)| *task);
            if known.is_none_or(|known| known < task) {
                replica.named = Some((task, name));
            }
        }
    }
}
