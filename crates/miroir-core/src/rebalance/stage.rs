//! What an operator asks for, applied to a topology as a value.
//!
//! Nothing here touches a cluster: a list of changes is read against the nodes there are, and what
//! comes out is the topology that is wanted, or the reason why the list makes no sense.

use crate::id::{IndexUid, NodeId};
use crate::topology::{Node, NodeRole, Topology, TopologyError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One change of the topology, not carried out yet. The stored form is part of the database format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "change",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum StagedChange {
    /// A node comes.
    AddNode {
        /// It.
        node: Node,
    },
    /// A node's shards move away; it stays in the cluster, empty, and gets no new ones.
    DrainNode {
        /// It.
        node: NodeId,
    },
    /// A drained node takes shards again.
    ActivateNode {
        /// It.
        node: NodeId,
    },
    /// A node's shards move away, then it leaves the cluster.
    RemoveNode {
        /// It.
        node: NodeId,
    },
    /// A newcomer takes the place of a node, shard by shard; then that node leaves the cluster.
    ReplaceNode {
        /// Who leaves.
        old: NodeId,
        /// Who comes.
        new: Node,
    },
    /// A node's zone, weight or address changes.
    SetNode {
        /// It.
        node: NodeId,
        /// Its failure domain: absent leaves it, `""` takes it away.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
        /// Its share, in thousandths.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weight_milli: Option<u32>,
        /// Its address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
    },
    /// The copies of each shard of one index, or of all that there are.
    SetReplicationFactor {
        /// The index; all if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index: Option<IndexUid>,
        /// Copies of each shard.
        replication_factor: u32,
    },
    /// A node is gone for good with what it held: its shards are copied anew from the survivors.
    DeclareLost {
        /// It.
        node: NodeId,
        /// Shards that were only there begin anew, empty.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        accepts_data_loss: bool,
    },
    /// Nothing but evening out.
    Rebalance,
}

/// Why a list of changes makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// A change names a node that is not there.
    #[error("there is no node `{name}`; the nodes are {}", list(known))]
    UnknownNode {
        /// What was named.
        name: NodeId,
        /// The nodes there are then.
        known: Vec<NodeId>,
    },
    /// A change names an index that is not there.
    #[error("there is no index `{0}`")]
    UnknownIndex(IndexUid),
    /// A node would come under a name that is taken.
    #[error("there is a node `{0}` already: give the newcomer another name")]
    NodeExists(NodeId),
    /// A change of nothing.
    #[error("no change is named: give node `{0}` another zone, weight or address")]
    NothingChanges(NodeId),
    /// No node would take shards.
    #[error("no node would be left to take shards: add one first")]
    NoActiveNode,
    /// The nodes make no topology.
    #[error(transparent)]
    Topology(#[from] TopologyError),
}

fn list(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(|node| format!("`{node}`")).collect();
    names.join(", ")
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The nodes that stay or come.
    pub topology: Topology,
    /// The nodes that hold nothing in the end and then leave the cluster.
    pub leaving: BTreeSet<NodeId>,
    /// Those of them that cannot be copied from any more.
    pub lost: BTreeSet<NodeId>,
    /// Those of them whose loss is accepted: shards that were nowhere else begin anew, empty.
    pub given_up: BTreeSet<NodeId>,
    /// Who takes whose place.
    pub replacements: BTreeMap<NodeId, NodeId>,
    /// The replication factor of all indexes but those below, if it changes.
    pub replication_factor_of_all: Option<u32>,
    /// Those of single indexes.
    pub replication_factors: BTreeMap<IndexUid, u32>,
    /// Shards may also move for the sake of balance. Where only places are taken over or losses made
    /// good, nothing else moves.
    pub evens_out: bool,
}

impl Desired {
    /// Nothing changes.
    #[must_use]
    pub fn unchanged(topology: Topology) -> Self {
        Self {
            topology,
            leaving: BTreeSet::new(),
            lost: BTreeSet::new(),
            given_up: BTreeSet::new(),
            replacements: BTreeMap::new(),
            replication_factor_of_all: None,
            replication_factors: BTreeMap::new(),
            evens_out: false,
        }
    }

    /// The copies that each shard of an index shall have.
    #[must_use]
    pub fn replication_factor(&self, uid: &IndexUid, at_present: u32) -> u32 {
        self.replication_factors
            .get(uid)
            .copied()
            .or(self.replication_factor_of_all)
            .unwrap_or(at_present)
    }

    /// Nobody holds a shard of this replica set any more, and nobody will.
    #[must_use]
    pub fn is_gone(&self, replica_set: &[NodeId]) -> bool {
        replica_set.iter().all(|node| self.lost.contains(node))
    }

    /// The same, and that is accepted: the shard begins anew, empty.
    #[must_use]
    pub fn is_given_up(&self, replica_set: &[NodeId]) -> bool {
        let mut nodes = replica_set.iter();
        !replica_set.is_empty() && nodes.all(|node| self.given_up.contains(node))
    }

    /// Whether the node takes shards.
    #[must_use]
    pub fn is_active(&self, node: &NodeId) -> bool {
        self.topology
            .get_node(node)
            .is_some_and(|node| node.role == NodeRole::Active)
    }
}

/// Applies changes one after the other; a later one may take an earlier one back.
///
/// # Errors
/// [`StageError`] for the first that makes no sense. Whether each index can have its replicas is
/// for the plan to say.
///
/// ```
/// use miroir_core::{id::NodeId, rebalance::stage::{StagedChange, desire}, topology::{Node, Topology}};
/// let [a, b] = ["a", "b"].map(|n| Node::new(NodeId::new(n), format!("http://{n}")));
/// let topology = Topology::new(vec![a])?;
/// let desired = desire(&topology, &[], &[StagedChange::AddNode { node: b }]).unwrap();
/// assert_eq!(desired.topology.nodes().len(), 2);
/// # Ok::<(), miroir_core::topology::TopologyError>(())
/// ```
pub fn desire(
    topology: &Topology,
    indexes: &[IndexUid],
    changes: &[StagedChange],
) -> Result<Desired, StageError> {
    let mut desired = Desired::unchanged(topology.clone());
    let mut nodes: BTreeMap<NodeId, Node> = topology
        .nodes()
        .iter()
        .map(|node| (node.id.clone(), node.clone()))
        .collect();
    for change in changes {
        apply(&mut desired, &mut nodes, indexes, change)?;
    }
    if !nodes.values().any(|node| node.role == NodeRole::Active) {
        return Err(StageError::NoActiveNode);
    }
    desired.topology = Topology::new(nodes.into_values().collect())?;
    Ok(desired)
}

fn apply(
    desired: &mut Desired,
    nodes: &mut BTreeMap<NodeId, Node>,
    indexes: &[IndexUid],
    change: &StagedChange,
) -> Result<(), StageError> {
    match change {
        StagedChange::AddNode { node } => {
            come(desired, nodes, node)?;
            desired.evens_out = true;
        }
        StagedChange::DrainNode { node } => {
            known(nodes, node)?.role = NodeRole::Draining;
            desired.evens_out = true;
        }
        StagedChange::ActivateNode { node } => {
            known(nodes, node)?.role = NodeRole::Active;
            desired.evens_out = true;
        }
        StagedChange::RemoveNode { node } => {
            leave(desired, nodes, node)?;
            desired.evens_out = true;
        }
        StagedChange::ReplaceNode { old, new } => {
            known(nodes, old)?;
            come(desired, nodes, new)?;
            leave(desired, nodes, old)?;
            desired.replacements.insert(old.clone(), new.id.clone());
        }
        StagedChange::SetNode {
            node,
            zone,
            weight_milli,
            url,
        } => {
            let entry = known(nodes, node)?;
            if zone.is_none() && weight_milli.is_none() && url.is_none() {
                return Err(StageError::NothingChanges(node.clone()));
            }
            if let Some(zone) = zone {
                entry.zone = Some(zone.clone()).filter(|zone| !zone.is_empty());
            }
            entry.weight_milli = weight_milli.unwrap_or(entry.weight_milli);
            entry.url = url.clone().unwrap_or_else(|| entry.url.clone());
            // Another address alone moves nothing.
            desired.evens_out |= zone.is_some() || weight_milli.is_some();
        }
        StagedChange::SetReplicationFactor {
            index,
            replication_factor,
        } => {
            if *replication_factor == 0 {
                return Err(TopologyError::NoReplica.into());
            }
            match index {
                Some(uid) if !indexes.contains(uid) => {
                    return Err(StageError::UnknownIndex(uid.clone()));
                }
                Some(uid) => {
                    _ = desired
                        .replication_factors
                        .insert(uid.clone(), *replication_factor);
                }
                None => {
                    desired.replication_factors.clear();
                    desired.replication_factor_of_all = Some(*replication_factor);
                }
            }
            desired.evens_out = true;
        }
        StagedChange::DeclareLost {
            node,
            accepts_data_loss,
        } => {
            leave(desired, nodes, node)?;
            desired.lost.insert(node.clone());
            if *accepts_data_loss {
                desired.given_up.insert(node.clone());
            }
        }
        StagedChange::Rebalance => desired.evens_out = true,
    }
    Ok(())
}

fn known<'a>(
    nodes: &'a mut BTreeMap<NodeId, Node>,
    name: &NodeId,
) -> Result<&'a mut Node, StageError> {
    let unknown = StageError::UnknownNode {
        name: name.clone(),
        known: nodes.keys().cloned().collect(),
    };
    nodes.get_mut(name).ok_or(unknown)
}

fn come(
    desired: &Desired,
    nodes: &mut BTreeMap<NodeId, Node>,
    node: &Node,
) -> Result<(), StageError> {
    // Who leaves still holds its name until it is gone.
    if nodes.contains_key(&node.id) || desired.leaving.contains(&node.id) {
        return Err(StageError::NodeExists(node.id.clone()));
    }
    // Checked here, so that the change is named that is at fault.
    Topology::new(nodes.values().cloned().chain([node.clone()]).collect())?;
    nodes.insert(node.id.clone(), node.clone());
    Ok(())
}

fn leave(
    desired: &mut Desired,
    nodes: &mut BTreeMap<NodeId, Node>,
    name: &NodeId,
) -> Result<(), StageError> {
    known(nodes, name)?;
    nodes.remove(name);
    // A newcomer that was staged and is taken back was never there: it has nothing to leave.
    desired.replacements.retain(|_, new| new != name);
    if desired.topology.get_node(name).is_some() {
        desired.leaving.insert(name.clone());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> NodeId {
        NodeId::new(name)
    }

    fn node(name: &str) -> Node {
        Node::new(id(name), format!("http://{name}"))
    }

    fn three() -> Topology {
        Topology::new(vec![node("a"), node("b"), node("c")]).unwrap()
    }

    fn desired(changes: &[StagedChange]) -> Result<Desired, StageError> {
        desire(&three(), &[IndexUid::new("movies").unwrap()], changes)
    }

    #[test]
    fn changes_are_applied_in_order() {
        let drained = StagedChange::DrainNode { node: id("a") };
        let back = StagedChange::ActivateNode { node: id("a") };
        assert!(
            !desired(std::slice::from_ref(&drained))
                .unwrap()
                .is_active(&id("a"))
        );
        assert!(desired(&[drained, back]).unwrap().is_active(&id("a")));
    }

    #[test]
    fn a_replacement_is_a_coming_and_a_leaving_and_moves_nothing_else() {
        let replace = StagedChange::ReplaceNode {
            old: id("a"),
            new: node("d"),
        };
        let desired = desired(&[replace]).unwrap();
        assert_eq!(desired.replacements[&id("a")], id("d"));
        assert!(desired.leaving.contains(&id("a")) && !desired.evens_out);
        assert!(desired.is_active(&id("d")) && !desired.is_active(&id("a")));
    }

    #[test]
    fn a_newcomer_that_is_taken_back_leaves_no_trace() {
        let add = StagedChange::AddNode { node: node("d") };
        let remove = StagedChange::RemoveNode { node: id("d") };
        let desired = desired(&[add, remove]).unwrap();
        assert_eq!(desired.topology, three());
        assert!(desired.leaving.is_empty());
    }

    #[test]
    fn the_copies_of_all_indexes_replace_those_asked_of_one_before() {
        let movies = IndexUid::new("movies").unwrap();
        let of = |index, replication_factor| StagedChange::SetReplicationFactor {
            index,
            replication_factor,
        };
        let one = of(Some(movies.clone()), 3);
        let both = desired(&[one.clone(), of(None, 2)]).unwrap();
        assert_eq!(both.replication_factor(&movies, 1), 2);
        let turned = desired(&[of(None, 2), one]).unwrap();
        assert_eq!(turned.replication_factor(&movies, 1), 3);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let text = |changes: &[StagedChange]| desired(changes).unwrap_err().to_string();
        assert_eq!(
            text(&[StagedChange::DrainNode { node: id("x") }]),
            "there is no node `x`; the nodes are `a`, `b`, `c`"
        );
        assert_eq!(
            text(&[StagedChange::AddNode { node: node("a") }]),
            "there is a node `a` already: give the newcomer another name"
        );
        let same_address = Node::new(id("d"), "http://a/");
        assert!(text(&[StagedChange::AddNode { node: same_address }]).contains("same address"));
        let drains = ["a", "b", "c"].map(|name| StagedChange::DrainNode { node: id(name) });
        assert!(text(&drains).contains("no node would be left"));
        let nothing = StagedChange::SetNode {
            node: id("a"),
            zone: None,
            weight_milli: None,
            url: None,
        };
        assert!(text(&[nothing]).contains("no change is named"));
    }

    #[test]
    fn the_stored_form_of_changes_is_pinned() {
        let cases = [
            (
                StagedChange::AddNode { node: node("d") },
                r#"{"change":"addNode","node":{"id":"d","url":"http://d","zone":null,"weightMilli":1000,"role":"active"}}"#,
            ),
            (
                StagedChange::SetNode {
                    node: id("a"),
                    zone: Some("x".into()),
                    weight_milli: None,
                    url: None,
                },
                r#"{"change":"setNode","node":"a","zone":"x"}"#,
            ),
            (
                StagedChange::SetReplicationFactor {
                    index: None,
                    replication_factor: 2,
                },
                r#"{"change":"setReplicationFactor","replicationFactor":2}"#,
            ),
            (
                StagedChange::DeclareLost {
                    node: id("a"),
                    accepts_data_loss: false,
                },
                r#"{"change":"declareLost","node":"a"}"#,
            ),
            (
                StagedChange::DeclareLost {
                    node: id("a"),
                    accepts_data_loss: true,
                },
                r#"{"change":"declareLost","node":"a","acceptsDataLoss":true}"#,
            ),
            (StagedChange::Rebalance, r#"{"change":"rebalance"}"#),
        ];
        for (change, stored) in cases {
            assert_eq!(serde_json::to_string(&change).unwrap(), stored);
            assert_eq!(
                serde_json::from_str::<StagedChange>(stored).unwrap(),
                change
            );
        }
    }
}
