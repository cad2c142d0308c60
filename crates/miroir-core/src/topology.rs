//! The nodes of a cluster: where they are, how much each can take, whether it may take shards.
//!
//! A [`Topology`] is checked when built, so whoever holds one need not check again. It knows what
//! the operator said, never whether a node answers: that is [`crate::health`].

use crate::id::NodeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The weight of an ordinary node, in thousandths.
pub const WEIGHT_MILLI_DEFAULT: u32 = 1000;
/// The greatest weight, in thousandths: a node a thousand times an ordinary one is surely a slip.
pub const WEIGHT_MILLI_MAX: u32 = 1_000_000;

/// What the operator wants of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NodeRole {
    /// Holds shards and takes new ones.
    Active,
    /// Serves what it holds while its shards move away; takes no new ones.
    Draining,
}

/// One Meilisearch process, as the operator declared it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// The operator's name of it, stable over restarts and moves to another address.
    pub id: NodeId,
    /// Its base URL.
    pub url: String,
    /// The failure domain. A node without one is a domain of its own.
    #[serde(default)]
    pub zone: Option<String>,
    /// Its share of the documents relative to the others, in thousandths of an ordinary node.
    #[serde(default = "weight_milli_default")]
    pub weight_milli: u32,
    /// What the operator wants of it.
    #[serde(default = "role_default")]
    pub role: NodeRole,
}

fn weight_milli_default() -> u32 {
    WEIGHT_MILLI_DEFAULT
}

fn role_default() -> NodeRole {
    NodeRole::Active
}

impl Node {
    /// An active node of ordinary weight without a zone.
    pub fn new(id: NodeId, url: impl Into<String>) -> Self {
        let url = url.into();
        Self {
            id,
            url,
            zone: None,
            weight_milli: WEIGHT_MILLI_DEFAULT,
            role: NodeRole::Active,
        }
    }
}

/// The nodes of a cluster, sorted by id, none twice, each weight sensible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    nodes: Vec<Node>,
}

/// Why a list of nodes is no topology.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// No node at all.
    #[error("a topology needs at least one node")]
    NoNode,
    /// A node without a name.
    #[error("the node at {url} has an empty name")]
    EmptyName {
        /// The node's address.
        url: String,
    },
    /// Two nodes have one name.
    #[error("the node name `{0}` is used twice")]
    DuplicateNode(NodeId),
    /// Two nodes have one address: one process would count as two replicas.
    #[error("the nodes `{first}` and `{second}` have the same address")]
    DuplicateUrl {
        /// The node whose id sorts first.
        first: NodeId,
        /// The other.
        second: NodeId,
    },
    /// A weight of zero or beyond [`WEIGHT_MILLI_MAX`].
    #[error(
        "the weight of node `{id}` is {weight_milli} thousandths, it must be from 1 to {WEIGHT_MILLI_MAX}"
    )]
    WeightOutOfRange {
        /// The node.
        id: NodeId,
        /// What was asked.
        weight_milli: u32,
    },
    /// More replicas wanted than active nodes.
    #[error(
        "a replication factor of {replication_factor} needs as many active nodes, there are {active_count}"
    )]
    TooFewNodes {
        /// The replicas wanted of each shard.
        replication_factor: u32,
        /// The nodes that may take shards.
        active_count: usize,
    },
    /// A replication factor of zero.
    #[error("a replication factor of 0 keeps no document")]
    NoReplica,
}

impl Topology {
    /// Checks and sorts the nodes of a cluster.
    ///
    /// # Errors
    /// [`TopologyError`] for the first fault found.
    pub fn new(mut nodes: Vec<Node>) -> Result<Self, TopologyError> {
        if nodes.is_empty() {
            return Err(TopologyError::NoNode);
        }
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        for node in &nodes {
            if node.id.as_str().is_empty() {
                return Err(TopologyError::EmptyName {
                    url: node.url.clone(),
                });
            }
            if node.weight_milli == 0 || node.weight_milli > WEIGHT_MILLI_MAX {
                let (id, weight_milli) = (node.id.clone(), node.weight_milli);
                return Err(TopologyError::WeightOutOfRange { id, weight_milli });
            }
        }
        if let Some(pair) = nodes.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(TopologyError::DuplicateNode(pair[0].id.clone()));
        }
        let mut by_url: Vec<(&str, &NodeId)> = nodes
            .iter()
            .map(|n| (n.url.trim_end_matches('/'), &n.id))
            .collect();
        by_url.sort_unstable();
        if let Some(pair) = by_url.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let (first, second) = (pair[0].1.clone(), pair[1].1.clone());
            return Err(TopologyError::DuplicateUrl { first, second });
        }
        Ok(Self { nodes })
    }

    /// Checks that each shard can have `replication_factor` replicas on different nodes.
    ///
    /// # Errors
    /// [`TopologyError::NoReplica`] or [`TopologyError::TooFewNodes`].
    pub fn check_replication_factor(&self, replication_factor: u32) -> Result<(), TopologyError> {
        if replication_factor == 0 {
            return Err(TopologyError::NoReplica);
        }
        let active_count = self.active_nodes().count();
        if active_count < replication_factor as usize {
            return Err(TopologyError::TooFewNodes {
                replication_factor,
                active_count,
            });
        }
        Ok(())
    }

    /// All nodes, sorted by id.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes that may take shards, sorted by id.
    pub fn active_nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes
            .iter()
            .filter(|node| node.role == NodeRole::Active)
    }

    /// The node of that name.
    #[must_use]
    pub fn get_node(&self, id: &NodeId) -> Option<&Node> {
        let node_idx = self.nodes.binary_search_by(|node| node.id.cmp(id)).ok()?;
        Some(&self.nodes[node_idx])
    }

    /// The zone of the node of that name, if it has one.
    #[must_use]
    pub fn zone_of(&self, id: &NodeId) -> Option<&str> {
        self.get_node(id)?.zone.as_deref()
    }

    /// The zones that are named, sorted.
    #[must_use]
    pub fn zones(&self) -> BTreeSet<&str> {
        self.nodes
            .iter()
            .filter_map(|node| node.zone.as_deref())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Node {
        Node::new(NodeId::new(name), format!("http://{name}"))
    }

    #[test]
    fn the_order_in_which_nodes_are_given_does_not_matter() {
        let topology = Topology::new(vec![node("b"), node("a")]).unwrap();
        assert_eq!(Topology::new(vec![node("a"), node("b")]).unwrap(), topology);
        assert_eq!(
            topology.get_node(&NodeId::new("b")).unwrap().url,
            "http://b"
        );
        assert_eq!(topology.get_node(&NodeId::new("c")), None);
    }

    #[test]
    fn a_faulty_list_is_no_topology() {
        assert_eq!(Topology::new(vec![]), Err(TopologyError::NoNode));
        let twice = Topology::new(vec![node("a"), node("a")]);
        assert_eq!(twice, Err(TopologyError::DuplicateNode(NodeId::new("a"))));
        let same_address = Topology::new(vec![node("a"), Node::new(NodeId::new("b"), "http://a/")]);
        assert!(matches!(
            same_address,
            Err(TopologyError::DuplicateUrl { .. })
        ));
        assert!(matches!(
            Topology::new(vec![node("")]),
            Err(TopologyError::EmptyName { .. })
        ));
        for weight_milli in [0, WEIGHT_MILLI_MAX + 1] {
            let heavy = Topology::new(vec![Node {
                weight_milli,
                ..node("a")
            }]);
            assert!(matches!(heavy, Err(TopologyError::WeightOutOfRange { .. })));
        }
    }

    #[test]
    fn replicas_need_as_many_active_nodes() {
        let draining = Node {
            role: NodeRole::Draining,
            ..node("c")
        };
        let topology = Topology::new(vec![node("a"), node("b"), draining]).unwrap();
        assert_eq!(
            topology.check_replication_factor(0),
            Err(TopologyError::NoReplica)
        );
        assert_eq!(topology.check_replication_factor(2), Ok(()));
        let (replication_factor, active_count) = (3, 2);
        let too_few = TopologyError::TooFewNodes {
            replication_factor,
            active_count,
        };
        assert_eq!(topology.check_replication_factor(3), Err(too_few));
    }
}
