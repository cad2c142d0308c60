//! From the placement there is to the one that is wanted.
//!
//! A **movement** is a list of shard moves, each from one replica set to another. Adding a node,
//! draining, removing, replacing, re-weighting and a change of the replication factor are all
//! movements; what differs is only how the wanted sets were computed.
//!
//! [`declare`] finds what a declared topology changes, [`stage`] applies what an operator asked for to a topology, [`plan`](mod@plan) finds the moves that
//! lead from the replica sets [`observed`] to it, [`check`] looks at a plan without trusting the
//! planner. [`duty`] says how much of its time a copy works while others search.

pub mod check;
pub mod declare;
pub mod duty;
pub mod observed;
pub mod plan;
pub mod stage;

pub mod movement;

use crate::id::{NodeId, PhysicalIndex, ShardId};
use serde::{Deserialize, Serialize};

/// One shard, from the replica set it has to the one it shall have.
///
/// Both sets are in order of preference and without repeats. `to` is never empty. A move that only
/// adds replicas has all of `from` in `to`; one that only drops some has all of `to` in `from`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardMove {
    /// The index, by its name on the nodes.
    pub index: PhysicalIndex,
    /// The shard.
    pub shard: ShardId,
    /// The replica set when the move was planned.
    pub from: Vec<NodeId>,
    /// The replica set when it is done.
    pub to: Vec<NodeId>,
}

impl ShardMove {
    /// The nodes that get a copy, in order of preference.
    pub fn targets(&self) -> impl Iterator<Item = &NodeId> {
        self.to.iter().filter(|node| !self.from.contains(node))
    }

    /// The nodes whose copy is dropped in the end.
    pub fn leavers(&self) -> impl Iterator<Item = &NodeId> {
        self.from.iter().filter(|node| !self.to.contains(node))
    }

    /// Nothing is copied or dropped; at most the order changes.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.targets().next().is_none() && self.leavers().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(names: &[&str]) -> Vec<NodeId> {
        names.iter().map(|name| NodeId::new(*name)).collect()
    }

    #[test]
    fn a_move_knows_who_comes_and_who_goes() {
        let shard_move = ShardMove {
            index: PhysicalIndex::from_stored("movies-1"),
            shard: ShardId(3),
            from: nodes(&["a", "b"]),
            to: nodes(&["c", "a"]),
        };
        assert!(shard_move.targets().eq(&nodes(&["c"])));
        assert!(shard_move.leavers().eq(&nodes(&["b"])));
        assert!(!shard_move.is_idle());
        let turned = ShardMove {
            to: nodes(&["b", "a"]),
            ..shard_move
        };
        assert!(turned.is_idle());
    }
}
