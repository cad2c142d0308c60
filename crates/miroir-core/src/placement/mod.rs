//! Which nodes hold each shard: (index, shard, node) → ordered replica set.
//!
//! [`place`](fn@place) computes the ideal by weighted rendezvous hashing with bounded load, distinct
//! zones first. A [`Placement`] is the table, computed or stored: during a move reality differs
//! from the ideal, so the stored one rules.
//!
//! Laws, each a property test: the same input gives the same table whatever the order of the nodes;
//! replicas of a shard are on different nodes, and in different zones while there are any; no node
//! holds more than its fair share by more than [`LOAD_SLACK`] and a rounding; adding or removing a
//! node moves little more than that node's share.

mod compute;
mod transit;

pub(crate) use compute::fair_shares;
pub use compute::{LOAD_SLACK, place, rank};
pub use transit::Transit;

use crate::id::{NodeId, ShardId};
use std::collections::BTreeMap;

/// The replica set of every shard of one index. Cheap to read: nodes are kept once, sets by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Sorted by id.
    nodes: Vec<NodeId>,
    /// All replica sets one after the other.
    replicas: Vec<u32>,
    /// Where each shard's set ends in `replicas`.
    ends: Vec<u32>,
    /// The shards of each node, ascending.
    shards_by_node: Vec<Vec<ShardId>>,
    /// What lies on nodes beside that.
    transit: Transit,
}

/// A replica that one placement has and another has not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlacementChange {
    /// Replicas to be made, by shard.
    pub added: Vec<(ShardId, NodeId)>,
    /// Replicas to be dropped, by shard.
    pub removed: Vec<(ShardId, NodeId)>,
}

impl Placement {
    /// The table with these replica sets, one for each shard from 0 on. Repeated nodes within one
    /// set count once.
    #[must_use]
    pub fn from_replica_sets(replica_sets: &[Vec<NodeId>]) -> Self {
        let mut nodes: Vec<NodeId> = replica_sets.iter().flatten().cloned().collect();
        nodes.sort_unstable();
        nodes.dedup();
        let node_idxs: BTreeMap<&NodeId, u32> = nodes.iter().zip(0..).collect();
        let sets = replica_sets.iter().map(|set| {
            let mut idxs: Vec<u32> = Vec::with_capacity(set.len());
            for node_idx in set.iter().filter_map(|node| node_idxs.get(node)) {
                if !idxs.contains(node_idx) {
                    idxs.push(*node_idx);
                }
            }
            idxs
        });
        let sets: Vec<Vec<u32>> = sets.collect();
        drop(node_idxs);
        Self::from_indexes(nodes, &sets)
    }

    /// The table with these sets of positions in `nodes`, which is sorted and without repeats.
    fn from_indexes(nodes: Vec<NodeId>, sets: &[Vec<u32>]) -> Self {
        let mut shards_by_node = vec![Vec::new(); nodes.len()];
        let mut replicas = Vec::with_capacity(sets.iter().map(Vec::len).sum());
        let mut ends = Vec::with_capacity(sets.len());
        for (shard, set) in (0..).map(ShardId).zip(sets) {
            for node_idx in set {
                shards_by_node[*node_idx as usize].push(shard);
            }
            replicas.extend_from_slice(set);
            ends.push(u32::try_from(replicas.len()).expect("fewer than 2^32 replicas"));
        }
        Self {
            nodes,
            replicas,
            ends,
            shards_by_node,
            transit: Transit::default(),
        }
    }

    /// The same replica sets, with what lies on nodes beside them.
    #[must_use]
    pub fn with_transit(self, transit: Transit) -> Self {
        Self { transit, ..self }
    }

    /// What lies on nodes beside the replica sets.
    #[must_use]
    pub fn transit(&self) -> &Transit {
        &self.transit
    }

    /// The number of shards.
    #[must_use]
    pub fn shard_count(&self) -> u32 {
        u32::try_from(self.ends.len()).expect("shards are numbered with 32 bits")
    }

    /// Every shard, ascending.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shard_count()).map(ShardId)
    }

    /// The nodes that hold anything, sorted by id.
    #[must_use]
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    /// The nodes that hold `shard`, in order of preference; none for an unknown shard.
    pub fn replica_set(&self, shard: ShardId) -> impl Iterator<Item = &NodeId> {
        self.replica_idxs(shard)
            .iter()
            .map(|node_idx| &self.nodes[*node_idx as usize])
    }

    /// The replica sets of all shards, as [`Self::from_replica_sets`] takes them.
    #[must_use]
    pub fn to_replica_sets(&self) -> Vec<Vec<NodeId>> {
        self.shards()
            .map(|shard| self.replica_set(shard).cloned().collect())
            .collect()
    }

    /// The shards that `node` holds, ascending.
    #[must_use]
    pub fn shards_of(&self, node: &NodeId) -> &[ShardId] {
        match self.nodes.binary_search(node) {
            Ok(node_idx) => &self.shards_by_node[node_idx],
            Err(_) => &[],
        }
    }

    /// Whether `node` holds `shard`.
    #[must_use]
    pub fn is_on(&self, shard: ShardId, node: &NodeId) -> bool {
        self.replica_set(shard).any(|holder| holder == node)
    }

    /// Whatever `node` may hold documents of, ascending: the shards it is asked for, those that are
    /// joining and those that lie beside. A filter for some of its shards is made against these.
    #[must_use]
    pub fn held_by(&self, node: &NodeId) -> Vec<ShardId> {
        let mut held = self.shards_of(node).to_vec();
        if self.transit.is_at(node) {
            held.extend(self.transit.held_at(node));
            held.sort_unstable();
            held.dedup();
        }
        held
    }

    /// Whether writes to `shard` go to `node`: it is in the replica set, or joins.
    #[must_use]
    pub fn is_written(&self, shard: ShardId, node: &NodeId) -> bool {
        self.is_on(shard, node) || self.transit.is_joining(shard, node)
    }

    /// What must be copied and dropped to come from here to `target`, by ascending shard.
    #[must_use]
    pub fn change_to(&self, target: &Self) -> PlacementChange {
        let mut change = PlacementChange::default();
        for shard in (0..self.shard_count().max(target.shard_count())).map(ShardId) {
            let missing_from = |here: &Self, there: &Self| -> Vec<(ShardId, NodeId)> {
                let news = there
                    .replica_set(shard)
                    .filter(|node| !here.is_on(shard, node));
                news.map(|node| (shard, node.clone())).collect()
            };
            change.added.extend(missing_from(self, target));
            change.removed.extend(missing_from(target, self));
        }
        change
    }

    /// Positions in [`Self::nodes`] of the holders of `shard`.
    pub(crate) fn replica_idxs(&self, shard: ShardId) -> &[u32] {
        let shard_idx = shard.0 as usize;
        let Some(end) = self.ends.get(shard_idx) else {
            return &[];
        };
        let start = shard_idx
            .checked_sub(1)
            .map_or(0, |before| self.ends[before]);
        &self.replicas[start as usize..*end as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(sets: &[&[&str]]) -> Vec<Vec<NodeId>> {
        sets.iter()
            .map(|set| set.iter().copied().map(NodeId::new).collect())
            .collect()
    }

    #[test]
    fn a_table_gives_back_its_replica_sets() {
        let given = sets(&[&["b", "a"], &["c", "b"], &[]]);
        let placement = Placement::from_replica_sets(&given);
        assert_eq!(placement.to_replica_sets(), given);
        assert_eq!(placement.shard_count(), 3);
        assert_eq!(
            placement.shards_of(&NodeId::new("b")),
            [ShardId(0), ShardId(1)]
        );
        assert_eq!(placement.shards_of(&NodeId::new("x")), []);
        assert_eq!(placement.replica_set(ShardId(9)).count(), 0);
    }

    #[test]
    fn a_node_counts_once_in_a_replica_set() {
        let placement = Placement::from_replica_sets(&sets(&[&["a", "a"]]));
        assert_eq!(placement.to_replica_sets(), sets(&[&["a"]]));
    }

    #[test]
    fn a_change_names_what_is_made_and_what_is_dropped() {
        let from = Placement::from_replica_sets(&sets(&[&["a", "b"], &["b"]]));
        let to = Placement::from_replica_sets(&sets(&[&["b", "c"], &["b"]]));
        let change = from.change_to(&to);
        assert_eq!(change.added, [(ShardId(0), NodeId::new("c"))]);
        assert_eq!(change.removed, [(ShardId(0), NodeId::new("a"))]);
        assert_eq!(from.change_to(&from), PlacementChange::default());
    }
}
