//! From what lies where, and what is wanted, to the moves between.
//!
//! What may stay stays: the plan starts from the replica sets there are. First every replica that
//! must go is replaced (its node leaves, drains or is lost; two replicas share a zone without need;
//! a replication factor changes), each newcomer on the node that is emptiest by its share. Then
//! nodes that are too full give to nodes that are too empty, until each is near its share, where the
//! change is one that evens out at all. A node's share is by weight, within what zones and "one
//! replica a node" allow; loads are bytes, not shards.
//!
//! Laws, each a property test: the same input gives the same plan; a plan applied and planned again
//! is empty; [`super::check`] finds nothing wrong with it.

mod board;
mod even;
mod report;

use crate::id::{NodeId, ShardId};
use crate::rebalance::ShardMove;
use crate::rebalance::observed::Observed;
use crate::rebalance::stage::Desired;
use board::Board;
use std::fmt;

/// A node further above its share than this gives shards away: a factor.
pub const FILL_MAX: f64 = 1.04;
/// A node further below its share than this takes shards until it has its share: a factor.
pub const FILL_MIN: f64 = 0.95;

/// One move with what it costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedMove {
    /// The move.
    pub shard_move: ShardMove,
    /// Documents to copy, over all targets.
    pub documents: u64,
    /// Bytes to copy, over all targets.
    pub bytes: u64,
    /// The least number of readable copies that any shard of the cluster has while it is made.
    pub least_replicas: u32,
}

/// One node before and after.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeLoad {
    /// The node.
    pub node: NodeId,
    /// What it may take of the whole, in bytes; 0 for one that takes no shards.
    pub share_bytes: u64,
    /// What it holds.
    pub bytes_before: u64,
    /// What it will hold.
    pub bytes_after: u64,
    /// What it holds at most on the way: what is dropped is dropped last.
    pub bytes_peak: u64,
    /// What it holds beside that of indexes that are kept twice while they are re-sharded, once all of
    /// it is copied. Part of the peak.
    pub bytes_twins: u64,
    /// Replicas it holds.
    pub replicas_before: u64,
    /// Replicas it will hold.
    pub replicas_after: u64,
    /// What of its disk is taken by what is copied to it.
    pub bytes_received: u64,
}

/// Copies that the worst-off shard has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeastReplicas {
    /// Now.
    pub before: u32,
    /// At the worst moment between.
    pub during: u32,
    /// In the end.
    pub after: u32,
}

/// Why a plan cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More copies are wanted than there are nodes for them.
    #[error(
        "index `{index}` wants {replication_factor} copies of each shard and {active_count} nodes \
         take shards: add nodes, or lower its replication factor"
    )]
    TooFewNodes {
        /// The index.
        index: String,
        /// The copies wanted.
        replication_factor: u32,
        /// The nodes that take shards.
        active_count: usize,
    },
    /// Nobody holds these shards any more.
    #[error(
        "{count} shards of index `{index}` (the first is {first}) were only on nodes that are \
         declared lost: bring one of them back, delete the index and fill it anew, or accept the loss \
         (`miroir node lost NAME --accept-data-loss`)"
    )]
    ShardLost {
        /// The index.
        index: String,
        /// How many.
        count: u64,
        /// The first.
        first: u32,
    },
    /// A node has not the room.
    #[error(
        "node `{node}` needs {bytes} bytes of disk for what it receives and has {free_bytes} free{}: \
         give it more disk, a lower weight, or add nodes",
        promised(*promised_bytes)
    )]
    TooLittleSpace {
        /// The node.
        node: NodeId,
        /// What it would get.
        bytes: u64,
        /// What it has.
        free_bytes: u64,
        /// What of that an index being re-sharded still takes.
        promised_bytes: u64,
    },
}

fn promised(bytes: u64) -> String {
    match bytes {
        0 => String::new(),
        bytes => format!(", of which {bytes} are for an index that is being re-sharded"),
    }
}

/// What an operator should know of a plan that can be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Fewer zones than copies.
    #[error(
        "index `{index}` has {replication_factor} copies and there are {zone_count} zones: some \
         zone holds two copies of a shard, and its loss takes both"
    )]
    ZonesShared {
        /// The index.
        index: String,
        /// Its copies.
        replication_factor: u32,
        /// Failure domains with a node that takes shards.
        zone_count: usize,
    },
    /// Zones force a node to hold more than its weight says.
    #[error(
        "node `{node}` holds {percent} % of what its weight alone would give it, because each zone \
         needs its copies: give its zone more nodes"
    )]
    ZoneTooSmall {
        /// The node.
        node: NodeId,
        /// How much.
        percent: u64,
    },
    /// Nodes without a shard.
    #[error(
        "index `{index}` has {replica_count} replicas of shards for {active_count} nodes: some hold \
         none of it (more shards: re-shard it)"
    )]
    FewShards {
        /// The index.
        index: String,
        /// All its replicas.
        replica_count: usize,
        /// The nodes that take shards.
        active_count: usize,
    },
    /// Shards that can only be copied once a node is back.
    #[error(
        "{count} shards that must be copied have no readable copy now: their moves wait until one \
         of their nodes is back in sync"
    )]
    NoSource {
        /// How many.
        count: u64,
    },
    /// One copy while it lasts, or after.
    #[error(
        "{count} shards have a single readable copy while this is carried out: a node that fails \
         then takes them away until it is back"
    )]
    SingleCopy {
        /// How many.
        count: u64,
    },
    /// It does not come out even.
    #[error(
        "the fullest node, `{node}`, will hold {percent} % of its share: its shards are too large, \
         or its zone too full, to be evened out"
    )]
    Uneven {
        /// The node.
        node: NodeId,
        /// How much.
        percent: u64,
    },
    /// Free space is not known.
    #[error(
        "the free disk space of {} is not known to Miroir: see that there is room for what is \
         received, or tell it (miroir topology plan --free {example}=200GiB)",
        receivers(example, *count)
    )]
    UnknownSpace {
        /// How many.
        count: u64,
        /// One of them.
        example: NodeId,
    },
}

/// So many nodes, of which this is one.
fn receivers(example: &NodeId, count: u64) -> String {
    match count {
        0 | 1 => format!("node {example}, which receives shards,"),
        count => format!("{count} nodes that receive shards"),
    }
}

/// Shards of an index that begin anew, empty, since nobody holds them any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// The client's name of the index.
    pub index: String,
    /// Which.
    pub shards: Vec<ShardId>,
    /// Shards of the index.
    pub shard_count: u64,
    /// The documents that are lost with them, about; `None` if no other shard tells.
    pub documents: Option<u64>,
}

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.shards.len();
        let names: Vec<String> = self
            .shards
            .iter()
            .take(SHARDS_NAMED_MAX)
            .map(ToString::to_string)
            .collect();
        let more = if count > SHARDS_NAMED_MAX {
            ", ..."
        } else {
            ""
        };
        write!(
            f,
            "{count} of {} shards of index `{}` ({}{more}) begin anew, empty: ",
            self.shard_count,
            self.index,
            names.join(", "),
        )?;
        match self.documents {
            _ if count as u64 == self.shard_count => write!(f, "all its documents are lost"),
            Some(documents) => write!(f, "about {documents} documents are lost"),
            None => write!(f, "their documents are lost, how many is not known"),
        }
    }
}

/// Shards told by number, at most.
const SHARDS_NAMED_MAX: usize = 20;

/// What would be done, and what would come of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// In the order in which they are to be made: the shards with the fewest copies first.
    pub moves: Vec<PlannedMove>,
    /// Every node that is there before or after, sorted by id.
    pub nodes: Vec<NodeLoad>,
    /// The greatest of load over share, of the nodes that take shards: 1 is even. Before, measured
    /// by the shares that are wanted.
    pub imbalance_before: f64,
    /// The same, after.
    pub imbalance_after: f64,
    /// Documents to copy.
    pub documents: u64,
    /// Bytes to copy.
    pub bytes: u64,
    /// How long that takes, at the rate given.
    pub seconds: Option<u64>,
    /// Copies of the worst-off shard.
    pub least_replicas: LeastReplicas,
    /// What is lost by it, by index; empty if nothing is.
    pub given_up: Vec<GivenUp>,
    /// Why it cannot be carried out; empty if it can.
    pub refusals: Vec<Refusal>,
    /// What should be known of it.
    pub warnings: Vec<Warning>,
}

impl Plan {
    /// The indexes as they lie once every move is made.
    #[must_use]
    pub fn applied_to(&self, observed: &Observed, desired: &Desired) -> Observed {
        let mut after = observed.clone();
        let by_index: std::collections::BTreeMap<_, _> = after
            .indexes
            .iter()
            .enumerate()
            .map(|(position, state)| (state.index.clone(), position))
            .collect();
        for planned in &self.moves {
            let ShardMove {
                index, shard, to, ..
            } = &planned.shard_move;
            let Some(position) = by_index.get(index) else {
                continue;
            };
            let sets = &mut after.indexes[*position].replica_sets;
            if let Some(set) = sets.get_mut(shard.0 as usize) {
                set.clone_from(to);
            }
        }
        for state in &mut after.indexes {
            let wanted = desired.replication_factor(&state.uid, state.replication_factor);
            state.replication_factor = wanted;
        }
        after
    }
}

/// What leads from `observed` to `desired`, with the rate of copying, in bytes a second, if known.
///
/// Refused plans have no moves but all the reasons.
#[must_use]
pub fn plan(observed: &Observed, desired: &Desired, bytes_per_second: Option<u64>) -> Plan {
    let mut refusals = report::impossible(observed, desired);
    let mut board = Board::new(observed, desired);
    if refusals.is_empty() {
        board.place_what_must();
        if desired.evens_out {
            board.even_out();
        }
        refusals = board.space_refusals();
    }
    report::report(&board, observed, desired, bytes_per_second, refusals)
}

#[cfg(test)]
mod tests;
