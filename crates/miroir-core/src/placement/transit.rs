//! What lies on nodes beside the replica sets while shards move.
//!
//! ```text
//! target:  absent ──► beside ──► joining ──► in the replica set
//! leaver:  in the replica set ──► beside ──► absent
//! ```
//! - **In the replica set**: read and written.
//! - **Joining**: written, not read. The documents are being copied.
//! - **Beside**: neither, but documents may lie there: before the first of them comes, and until the
//!   last of them is gone.
//!
//! Law: whoever reads a node at which something is joining or beside filters by shard, always.

use crate::id::{NodeId, ShardId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

type ByNode = BTreeMap<NodeId, BTreeSet<ShardId>>;

/// The shards that nodes hold beside the replica sets. The stored form is part of the database
/// format.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Transit {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    joining: ByNode,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    beside: ByNode,
}

impl Transit {
    /// Nothing moves.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.joining.is_empty() && self.beside.is_empty()
    }

    /// The shards that are joining at a node, ascending.
    pub fn joining_at(&self, node: &NodeId) -> impl Iterator<Item = ShardId> {
        self.joining.get(node).into_iter().flatten().copied()
    }

    /// The shards that lie beside at a node, ascending.
    pub fn beside_at(&self, node: &NodeId) -> impl Iterator<Item = ShardId> {
        self.beside.get(node).into_iter().flatten().copied()
    }

    /// The shards that are joining or lie beside at a node: ascending within each kind.
    pub fn held_at(&self, node: &NodeId) -> impl Iterator<Item = ShardId> {
        self.joining_at(node).chain(self.beside_at(node))
    }

    /// Something is joining or lies beside at this node.
    #[must_use]
    pub fn is_at(&self, node: &NodeId) -> bool {
        self.joining.contains_key(node) || self.beside.contains_key(node)
    }

    /// The shard is joining at the node.
    #[must_use]
    pub fn is_joining(&self, shard: ShardId, node: &NodeId) -> bool {
        let joining = self.joining.get(node);
        joining.is_some_and(|shards| shards.contains(&shard))
    }

    /// The shard lies beside at the node.
    #[must_use]
    pub fn is_beside(&self, shard: ShardId, node: &NodeId) -> bool {
        let beside = self.beside.get(node);
        beside.is_some_and(|shards| shards.contains(&shard))
    }

    /// The nodes at which anything is joining, with the shards.
    pub fn joining(&self) -> impl Iterator<Item = (&NodeId, &BTreeSet<ShardId>)> {
        self.joining.iter()
    }

    /// The nodes at which anything lies beside, with the shards.
    pub fn beside(&self) -> impl Iterator<Item = (&NodeId, &BTreeSet<ShardId>)> {
        self.beside.iter()
    }

    /// The nodes at which `shard` is joining.
    pub fn joiners(&self, shard: ShardId) -> impl Iterator<Item = &NodeId> {
        let is_there = move |(_, shards): &(&NodeId, &BTreeSet<ShardId>)| shards.contains(&shard);
        self.joining.iter().filter(is_there).map(|(node, _)| node)
    }

    /// From now on the shard lies beside at the node.
    pub fn put_beside(&mut self, shard: ShardId, node: &NodeId) {
        take(&mut self.joining, shard, node);
        self.beside.entry(node.clone()).or_default().insert(shard);
    }

    /// From now on the shard is joining at the node.
    pub fn put_joining(&mut self, shard: ShardId, node: &NodeId) {
        take(&mut self.beside, shard, node);
        self.joining.entry(node.clone()).or_default().insert(shard);
    }

    /// From now on the shard is in the node's replica sets, or nothing of it is there.
    pub fn forget(&mut self, shard: ShardId, node: &NodeId) {
        take(&mut self.joining, shard, node);
        take(&mut self.beside, shard, node);
    }
}

fn take(of: &mut ByNode, shard: ShardId, node: &NodeId) {
    if let Some(shards) = of.get_mut(node) {
        shards.remove(&shard);
        if shards.is_empty() {
            of.remove(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_in_one_state_at_a_node() {
        let (shard, node) = (ShardId(3), NodeId::new("c"));
        let mut transit = Transit::default();
        transit.put_beside(shard, &node);
        assert!(transit.is_beside(shard, &node) && !transit.is_joining(shard, &node));
        transit.put_joining(shard, &node);
        assert!(!transit.is_beside(shard, &node) && transit.is_joining(shard, &node));
        assert!(transit.joiners(shard).eq([&node]));
        assert!(transit.held_at(&node).eq([shard]));
        transit.put_beside(shard, &node);
        assert!(transit.joining().next().is_none());
        transit.forget(shard, &node);
        assert!(transit.is_empty() && !transit.is_at(&node));
    }

    #[test]
    fn the_stored_form_is_pinned() {
        let mut transit = Transit::default();
        assert_eq!(serde_json::to_string(&transit).unwrap(), "{}");
        transit.put_joining(ShardId(1), &NodeId::new("c"));
        transit.put_beside(ShardId(2), &NodeId::new("a"));
        let text = serde_json::to_string(&transit).unwrap();
        assert_eq!(text, r#"{"joining":{"c":[1]},"beside":{"a":[2]}}"#);
        assert_eq!(serde_json::from_str::<Transit>(&text).unwrap(), transit);
        assert_eq!(
            serde_json::from_str::<Transit>("{}").unwrap(),
            Transit::default()
        );
    }
}
