//! How many nodes and shards a quantity of documents needs, and when to change them.
//!
//! The formulas are explained, with where their constants come from, in
//! `docs/reference/capacity.md`. Fan-out and growth are not formulas: they are what the placement,
//! the cover and the planner really do at that size.

use crate::cover::{CoverPolicy, choose_cover};
use crate::id::{IndexUid, NodeId, PhysicalIndex};
use crate::placement::place;
use crate::rebalance::observed::{IndexState, Observed};
use crate::rebalance::plan::plan;
use crate::rebalance::stage::{StagedChange, desire};
use crate::reserved::SHARD_COUNT_MAX;
use crate::topology::{Node, Topology, TopologyError};
use std::num::NonZeroU32;

/// Replicas of shards of an index that each node should hold, at least: then one more or less is
/// five percent of its load.
pub const REPLICAS_PER_NODE_MIN: u32 = 20;
/// The fewest shards that an index gets by itself: an index outgrows the cluster it was made on, and
/// an unused shard costs next to nothing.
pub const SHARDS_MIN: u32 = 32;
/// The documents that one Meilisearch index can number.
pub const NODE_DOCUMENTS_MAX: u64 = u32::MAX as u64;
/// What a Meilisearch with default settings leaves of its machine's memory for reading while it
/// indexes: it takes up to two thirds to index.
pub const MEMORY_FOR_READS: f64 = 1.0 / 3.0;
/// Up to so many nodes fan-out and growth are worked out on a placement; the sizes above are told
/// without them.
pub const NODES_WORKED_OUT_MAX: u64 = 2000;
/// A shard larger than this takes long to copy, and a node takes or gives at least as much at once.
pub const SHARD_BYTES_LARGE: u64 = 16 << 30;
/// Below this an index is small: how it lies does not matter.
pub const INDEX_BYTES_SMALL: u64 = 1 << 30;

/// The shards of a new index, where the operator does not say: the least power of two, from
/// [`SHARDS_MIN`] to the most there can be, that gives each node [`REPLICAS_PER_NODE_MIN`] replicas.
///
/// ```
/// use miroir_core::capacity::shards_for;
/// assert_eq!((shards_for(3, 2), shards_for(10, 2), shards_for(100, 3)), (32, 128, 1024));
/// ```
#[must_use]
pub fn shards_for(node_count: u64, replication_factor: u32) -> u32 {
    let replicas = node_count.saturating_mul(u64::from(REPLICAS_PER_NODE_MIN));
    let shards = replicas.div_ceil(u64::from(replication_factor.max(1)));
    let power = shards.checked_next_power_of_two().unwrap_or(u64::MAX);
    let bounded = power.clamp(u64::from(SHARDS_MIN), u64::from(SHARD_COUNT_MAX));
    u32::try_from(bounded).unwrap_or(SHARD_COUNT_MAX)
}

/// What is to be held, and on what.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Documents, each counted once.
    pub documents: u64,
    /// A document as JSON, on average.
    pub document_bytes: u64,
    /// What a byte of JSON takes of a node's disk, indexed.
    pub disk_factor: f64,
    /// Copies of each shard.
    pub replication_factor: u32,
    /// A node's memory.
    pub node_memory_bytes: u64,
    /// A node's disk, if it bounds anything.
    pub node_disk_bytes: Option<u64>,
    /// The part of the indexed data that searches touch again and again, which should stay in
    /// memory: 0 to 1.
    pub hot: f64,
    /// The part of its disk that a node should fill at most: 0 to 1.
    pub disk_fill_max: f64,
    /// The nodes there are or shall be, if that is not asked.
    pub nodes: Option<u64>,
    /// The shards, if that is not asked.
    pub shards: Option<u32>,
}

/// What bounds the number of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The hot part must fit in memory.
    Memory,
    /// All must fit on disk.
    Disk,
    /// An index of a node numbers its documents with 32 bits.
    Documents,
    /// Each copy of a shard needs its own node.
    Copies,
    /// The operator says how many.
    Given,
}

/// What a workload needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Capacity {
    /// One copy of everything, indexed.
    pub index_bytes: u64,
    /// All copies.
    pub total_bytes: u64,
    /// Nodes that memory asks for.
    pub nodes_for_memory: u64,
    /// Nodes that disks ask for, if they bound anything.
    pub nodes_for_disk: Option<u64>,
    /// Nodes.
    pub nodes: u64,
    /// Why not fewer.
    pub bound: Bound,
    /// Shards.
    pub shards: u32,
    /// Replicas of shards that a node holds, on average.
    pub replicas_per_node: f64,
    /// Documents on a node, on average.
    pub node_documents: u64,
    /// Data on a node, on average.
    pub node_bytes: u64,
    /// The same with one node lost and its shards copied to the others.
    pub node_bytes_after_loss: u64,
    /// Documents of one shard.
    pub shard_documents: u64,
    /// Data of one shard.
    pub shard_bytes: u64,
    /// Nodes that a search asks, if that was worked out.
    pub fan_out: Option<u64>,
    /// The fullest node over the average one, if that was worked out.
    pub imbalance: Option<f64>,
    /// What moves when one node is added, if that was worked out.
    pub growth_bytes: Option<u64>,
    /// What is not good about it.
    pub notes: Vec<Note>,
}

/// What is not good about a capacity.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Note {
    /// The nodes given are too few.
    #[error("{given} nodes are too few: {needed} are needed")]
    TooFewNodes {
        /// Those given.
        given: u64,
        /// Those needed.
        needed: u64,
    },
    /// No spare for the loss of a node.
    #[error(
        "one node lost, the others are over their bound until it is replaced: one node more would \
         carry it"
    )]
    NoSpare,
    /// One copy.
    #[error("with one copy of each shard, a node that is away takes its documents away with it")]
    OneCopy,
    /// Fewer replicas than nodes should have.
    #[error(
        "{shards} shards give a node {replicas:.1} replicas, and fewer than {REPLICAS_PER_NODE_MIN} do \
         not come out even: the fullest node holds noticeably more than the average one"
    )]
    FewReplicas {
        /// Shards.
        shards: u32,
        /// Replicas of a node.
        replicas: f64,
    },
    /// Large shards.
    #[error("a shard of {0} bytes takes long to copy: use more shards")]
    LargeShards(u64),
}

/// What is wrong with a workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// A figure that must be above zero is not.
    #[error("{0} must be above 0")]
    Zero(&'static str),
    /// A part of a whole that is none.
    #[error("{0} must be above 0 and at most 1")]
    NoPart(&'static str),
    /// Too many shards.
    #[error("there can be at most {SHARD_COUNT_MAX} shards")]
    TooManyShards,
    /// Nodes and copies do not go together.
    #[error(transparent)]
    Topology(#[from] TopologyError),
}

/// Works out what a workload needs.
///
/// # Errors
/// [`WorkloadError`] for figures that make no sense.
pub fn capacity(workload: &Workload) -> Result<Capacity, WorkloadError> {
    check(workload)?;
    let copies = u64::from(workload.replication_factor);
    let index_bytes = scaled(
        workload.documents.saturating_mul(workload.document_bytes),
        workload.disk_factor,
    );
    let total_bytes = index_bytes.saturating_mul(copies);
    let memory = scaled(workload.node_memory_bytes, MEMORY_FOR_READS).max(1);
    let disk = workload
        .node_disk_bytes
        .map(|bytes| scaled(bytes, workload.disk_fill_max).max(1));
    let nodes_for_memory = scaled(total_bytes, workload.hot).div_ceil(memory);
    let nodes_for_disk = disk.map(|disk| total_bytes.div_ceil(disk));
    let all_documents = workload.documents.saturating_mul(copies);
    let bounds = [
        (nodes_for_memory, Bound::Memory),
        (nodes_for_disk.unwrap_or(0), Bound::Disk),
        (all_documents.div_ceil(NODE_DOCUMENTS_MAX), Bound::Documents),
        (copies, Bound::Copies),
    ];
    // The last of equals is the harder bound.
    let (needed, bound) = bounds
        .into_iter()
        .max_by_key(|(nodes, _)| *nodes)
        .unwrap_or((copies, Bound::Copies));
    let nodes = workload.nodes.unwrap_or(needed);
    let shards = workload
        .shards
        .unwrap_or_else(|| shards_for(nodes, workload.replication_factor));
    let replicas = u64::from(shards) * copies;
    let mut capacity = Capacity {
        index_bytes,
        total_bytes,
        nodes_for_memory,
        nodes_for_disk,
        nodes,
        bound: workload.nodes.map_or(bound, |_| Bound::Given),
        shards,
        replicas_per_node: as_f64(replicas) / as_f64(nodes),
        node_documents: all_documents.div_ceil(nodes),
        node_bytes: total_bytes.div_ceil(nodes),
        node_bytes_after_loss: total_bytes.div_ceil(nodes.saturating_sub(1).max(1)),
        shard_documents: workload.documents.div_ceil(u64::from(shards)),
        shard_bytes: index_bytes.div_ceil(u64::from(shards)),
        fan_out: None,
        imbalance: None,
        growth_bytes: None,
        notes: Vec::new(),
    };
    if nodes <= NODES_WORKED_OUT_MAX {
        work_out(workload, &mut capacity)?;
    }
    let is_spare =
        nodes.saturating_sub(1) >= needed.min(nodes_for_memory.max(nodes_for_disk.unwrap_or(0)));
    let notes = [
        (nodes < needed).then_some(Note::TooFewNodes {
            given: nodes,
            needed,
        }),
        (copies == 1).then_some(Note::OneCopy),
        (nodes >= needed && copies > 1 && !is_spare).then_some(Note::NoSpare),
        (capacity.replicas_per_node < f64::from(REPLICAS_PER_NODE_MIN)).then_some(
            Note::FewReplicas {
                shards,
                replicas: capacity.replicas_per_node,
            },
        ),
        (capacity.shard_bytes > SHARD_BYTES_LARGE && shards < SHARD_COUNT_MAX)
            .then_some(Note::LargeShards(capacity.shard_bytes)),
    ];
    capacity.notes = notes.into_iter().flatten().collect();
    Ok(capacity)
}

fn check(workload: &Workload) -> Result<(), WorkloadError> {
    let counts = [
        ("the number of documents", workload.documents),
        ("the size of a document", workload.document_bytes),
        ("the memory of a node", workload.node_memory_bytes),
        ("the disk of a node", workload.node_disk_bytes.unwrap_or(1)),
        ("the number of nodes", workload.nodes.unwrap_or(1)),
        (
            "the number of shards",
            u64::from(workload.shards.unwrap_or(1)),
        ),
        (
            "the number of copies",
            u64::from(workload.replication_factor),
        ),
    ];
    if let Some((what, _)) = counts.iter().find(|(_, count)| *count == 0) {
        return Err(WorkloadError::Zero(what));
    }
    if !(workload.disk_factor.is_finite() && workload.disk_factor > 0.0) {
        return Err(WorkloadError::Zero(
            "the bytes on disk for a byte of a document",
        ));
    }
    let parts = [
        ("the hot part", workload.hot),
        (
            "the part of a disk that may be filled",
            workload.disk_fill_max,
        ),
    ];
    if let Some((what, _)) = parts
        .iter()
        .find(|(_, part)| !(*part > 0.0 && *part <= 1.0))
    {
        return Err(WorkloadError::NoPart(what));
    }
    if workload
        .shards
        .is_some_and(|shards| shards > SHARD_COUNT_MAX)
    {
        return Err(WorkloadError::TooManyShards);
    }
    Ok(())
}

/// Places an index of that size, covers it, and adds a node.
fn work_out(workload: &Workload, capacity: &mut Capacity) -> Result<(), WorkloadError> {
    let node = |n: u64| {
        Node::new(
            NodeId::new(format!("node-{n:05}")),
            format!("http://node-{n}"),
        )
    };
    let topology = Topology::new((0..capacity.nodes).map(node).collect())?;
    let shards = NonZeroU32::new(capacity.shards).unwrap_or(NonZeroU32::MIN);
    let placement = place("index", shards, workload.replication_factor, &topology)?;
    let uid = IndexUid::new("index").expect("the name is a valid one");
    let placed = Observed {
        indexes: vec![IndexState {
            index: PhysicalIndex::from_stored("index"),
            uid: uid.clone(),
            replication_factor: workload.replication_factor,
            replica_sets: placement.to_replica_sets(),
            documents: workload.documents,
            bytes: capacity.index_bytes,
        }],
        ..Observed::default()
    };
    let step = |topology: &Topology, observed: &Observed, change: StagedChange| {
        let desired = desire(topology, std::slice::from_ref(&uid), &[change]).ok()?;
        let made = plan(observed, &desired, None);
        let after = made.applied_to(observed, &desired);
        Some((made, after))
    };
    let Some((evened, observed)) = step(&topology, &placed, StagedChange::Rebalance) else {
        return Ok(());
    };
    capacity.imbalance = Some(evened.imbalance_after);
    let sets = observed
        .indexes
        .first()
        .map(|state| state.replica_sets.as_slice());
    let placement = crate::placement::Placement::from_replica_sets(sets.unwrap_or_default());
    let cover = choose_cover(&placement, &CoverPolicy::new(&|_| true, 0));
    capacity.fan_out = cover.ok().map(|cover| cover.parts.len() as u64);
    let add = StagedChange::AddNode {
        node: node(capacity.nodes),
    };
    capacity.growth_bytes = step(&topology, &observed, add).map(|(made, _)| made.bytes);
    Ok(())
}

/// What should be changed about an index or the nodes.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Advice {
    /// More shards would come out more even.
    #[error(
        "index `{index}` has {shards} shards, {replicas:.1} replicas for each node: {better} shards would \
         come out even (`miroir index reshard {index} --shards {better}`)"
    )]
    Reshard {
        /// The index.
        index: String,
        /// Its shards.
        shards: u32,
        /// Replicas that a node holds of it, on average.
        replicas: f64,
        /// The shards it should have.
        better: u32,
    },
    /// Its shards are large.
    #[error(
        "a shard of index `{index}` has {bytes} bytes: {better} shards would be moved faster (`miroir \
         index reshard {index} --shards {better}`)"
    )]
    SmallerShards {
        /// The index.
        index: String,
        /// Of one shard.
        bytes: u64,
        /// The shards it should have.
        better: u32,
    },
    /// An index with one copy although there are nodes for two.
    #[error(
        "index `{0}` has one copy of each shard: a node that is away takes its documents away with \
         it, and there are nodes for a second copy: `miroir topology copies 2 --index {0}`"
    )]
    SecondCopy(String),
    /// The nodes are not evenly full.
    #[error(
        "the fullest node holds {percent} % of its share: `miroir topology rebalance` evens out"
    )]
    Rebalance {
        /// How much.
        percent: u64,
    },
}

/// When to re-shard, to add copies, or to even out: by what lies where.
#[must_use]
pub fn advise(observed: &Observed, topology: &Topology) -> Vec<Advice> {
    let node_count = topology.active_nodes().count() as u64;
    let mut advice = Vec::new();
    for state in &observed.indexes {
        let shards = u32::try_from(state.replica_sets.len()).unwrap_or(u32::MAX);
        let index = state.uid.to_string();
        if state.replication_factor == 1 && node_count > 1 && state.documents > 0 {
            advice.push(Advice::SecondCopy(index.clone()));
        }
        if state.bytes < INDEX_BYTES_SMALL {
            continue;
        }
        let better = shards_for(node_count, state.replication_factor);
        let replicas =
            f64::from(shards) * f64::from(state.replication_factor) / as_f64(node_count.max(1));
        if replicas < f64::from(REPLICAS_PER_NODE_MIN) && better > shards {
            advice.push(Advice::Reshard {
                index,
                shards,
                replicas,
                better,
            });
        } else if state.shard_bytes() > SHARD_BYTES_LARGE && shards < SHARD_COUNT_MAX {
            let wanted = state.bytes.div_ceil(SHARD_BYTES_LARGE).next_power_of_two();
            let better = u32::try_from(wanted)
                .unwrap_or(u32::MAX)
                .min(SHARD_COUNT_MAX);
            advice.push(Advice::SmallerShards {
                index,
                bytes: state.shard_bytes(),
                better,
            });
        }
    }
    let unchanged = desire(topology, &[], &[StagedChange::Rebalance]);
    if let Ok(desired) = unchanged {
        let made = plan(observed, &desired, None);
        // Evening out that moves nothing would help nobody.
        if made.imbalance_before > 1.25 && made.imbalance_after < made.imbalance_before {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a factor of loads; the cast saturates"
            )]
            let percent = (made.imbalance_before * 100.0).round() as u64;
            advice.push(Advice::Rebalance { percent });
        }
    }
    advice
}

#[expect(
    clippy::cast_precision_loss,
    reason = "estimates need no more than 53 bits"
)]
fn as_f64(number: u64) -> f64 {
    number as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "factors are positive; the cast saturates"
)]
fn scaled(number: u64, factor: f64) -> u64 {
    (as_f64(number) * factor).ceil() as u64
}

#[cfg(test)]
mod tests;
