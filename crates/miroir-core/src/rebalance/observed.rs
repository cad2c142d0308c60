//! What lies where, as far as is known: the replica sets, and how large the indexes are.

use crate::id::{IndexUid, NodeId, PhysicalIndex};
use std::collections::{BTreeMap, BTreeSet};

/// What a shard costs a node beside its documents, in bytes: it makes nodes that hold only empty or
/// tiny indexes be balanced by the number of their shards.
pub const SHARD_COST_BYTES: u64 = 64 * 1024;

/// One index as it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexState {
    /// The client's name, for people.
    pub uid: IndexUid,
    /// The name on the nodes.
    pub index: PhysicalIndex,
    /// Copies of each shard, as they should be.
    pub replication_factor: u32,
    /// The stored replica set of each shard, by shard.
    pub replica_sets: Vec<Vec<NodeId>>,
    /// Its documents, each counted once.
    pub documents: u64,
    /// The size of its documents, one copy of each: what a copy of the index has to carry.
    pub bytes: u64,
}

impl IndexState {
    /// The documents of one shard: ids are hashed, so shards are equal but for chance.
    #[must_use]
    pub fn shard_documents(&self) -> u64 {
        self.documents.div_ceil(self.shard_count())
    }

    /// The bytes of one shard's documents.
    #[must_use]
    pub fn shard_bytes(&self) -> u64 {
        self.bytes.div_ceil(self.shard_count())
    }

    /// What one shard costs a node, for balancing.
    #[must_use]
    pub fn shard_load(&self) -> u64 {
        self.shard_bytes().saturating_add(SHARD_COST_BYTES)
    }

    fn shard_count(&self) -> u64 {
        self.replica_sets.len().max(1) as u64
    }
}

/// Documents of the second halves of indexes that are being re-sharded, on one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TwinBytes {
    /// All, once they are copied.
    pub bytes: u64,
    /// Those that are not there yet: they take free space that moves cannot have.
    pub bytes_to_come: u64,
}

/// The cluster as it is, for planning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Every index, those in the making too.
    pub indexes: Vec<IndexState>,
    /// Bytes that may still be written to a node, where that is known.
    pub free_bytes: BTreeMap<NodeId, u64>,
    /// What a byte of a document takes of a node's disk, in thousandths, if that is known.
    pub disk_factor_milli: Option<u64>,
    /// What nodes hold of indexes that are kept twice while they are re-sharded, beside the shards
    /// above.
    pub twins: BTreeMap<NodeId, TwinBytes>,
    /// Nodes that cannot be copied from at present: down, out of sync, or kept apart.
    pub unreadable: BTreeSet<NodeId>,
}
