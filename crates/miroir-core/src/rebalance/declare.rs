//! From the topology there is to one that a file declares: the changes to stage.
//!
//! A declaration says what shall be, and is applied as often as one likes: where all is as declared
//! nothing is left to do. It never empties a node by leaving it out: a node leaves when it holds
//! nothing, and it is emptied by being declared to drain. So a line lost from a file loses nothing.

use super::stage::StagedChange;
use crate::id::{IndexUid, NodeId};
use crate::topology::{Node, NodeRole, Topology};
use std::collections::{BTreeMap, BTreeSet};

/// What shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// The nodes; one that drains shall hold nothing.
    pub nodes: Vec<Node>,
    /// Copies of each shard of every index but those below; `None` leaves them as they are.
    pub replication_factor: Option<u32>,
    /// Those of single indexes. An index that is not there is passed over.
    pub replication_factors: BTreeMap<IndexUid, u32>,
}

/// What is.
#[derive(Debug, Clone, Copy)]
pub struct Present<'a> {
    /// The nodes.
    pub topology: &'a Topology,
    /// Those that hold shards, or from which some still have to be removed.
    pub holders: &'a BTreeSet<NodeId>,
    /// Copies of each shard, by index.
    pub replication_factors: &'a BTreeMap<IndexUid, u32>,
}

/// Why something declared is not staged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// A node is left out that is not empty.
    #[error(
        "node `{0}` is declared no more and still holds shards: declare it with `drain = true`, and \
         leave it out when it is empty"
    )]
    StillHolds(NodeId),
    /// A node would get another name.
    #[error(
        "`{declared}` is declared at {url}, which is node `{present}`: a node keeps its name, and a \
         second node needs a process of its own"
    )]
    AddressTaken {
        /// The name that is declared.
        declared: NodeId,
        /// The name it has.
        present: NodeId,
        /// Where it is.
        url: String,
    },
    /// Nothing is declared.
    #[error("no node is declared")]
    NoNode,
}

/// What leads from what is to what shall be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// To be staged, in this order: nodes that change, that come, that drain; copies; nodes that go.
    pub changes: Vec<StagedChange>,
    /// What is not.
    pub objections: Vec<Objection>,
}

fn address(node: &Node) -> &str {
    node.url.trim_end_matches('/')
}

/// Compares. Nodes are the same if their names are.
#[must_use]
pub fn difference(present: Present<'_>, declared: &Declared) -> Difference {
    let mut found = Difference::default();
    if declared.nodes.is_empty() {
        found.objections.push(Objection::NoNode);
        return found;
    }
    let by_name: BTreeMap<&NodeId, &Node> =
        declared.nodes.iter().map(|node| (&node.id, node)).collect();
    for node in by_name.values() {
        match present.topology.get_node(&node.id) {
            Some(old) => found.changes.extend(changes_of(old, node)),
            None => come(present, &by_name, node, &mut found),
        }
    }
    for (uid, at_present) in present.replication_factors {
        let own = declared.replication_factors.get(uid).copied();
        let wanted = own.or(declared.replication_factor);
        if let Some(replication_factor) = wanted.filter(|wanted| wanted != at_present) {
            found.changes.push(StagedChange::SetReplicationFactor {
                index: Some(uid.clone()),
                replication_factor,
            });
        }
    }
    for old in present.topology.nodes() {
        if by_name.contains_key(&old.id) {
            continue;
        }
        let node = old.id.clone();
        match present.holders.contains(&old.id) {
            true => found.objections.push(Objection::StillHolds(node)),
            false => found.changes.push(StagedChange::RemoveNode { node }),
        }
    }
    found
}

/// A node that is there, as it shall be.
fn changes_of(old: &Node, new: &Node) -> Vec<StagedChange> {
    let mut changes = Vec::new();
    let zone = (old.zone != new.zone).then(|| new.zone.clone().unwrap_or_default());
    let weight_milli = (old.weight_milli != new.weight_milli).then_some(new.weight_milli);
    let url = (address(old) != address(new)).then(|| new.url.clone());
    if zone.is_some() || weight_milli.is_some() || url.is_some() {
        changes.push(StagedChange::SetNode {
            node: new.id.clone(),
            zone,
            weight_milli,
            url,
        });
    }
    let node = new.id.clone();
    match (old.role, new.role) {
        (NodeRole::Active, NodeRole::Draining) => {
            changes.push(StagedChange::DrainNode { node });
        }
        (NodeRole::Draining, NodeRole::Active) => {
            changes.push(StagedChange::ActivateNode { node });
        }
        (NodeRole::Active, NodeRole::Active) | (NodeRole::Draining, NodeRole::Draining) => {}
    }
    changes
}

fn come(
    present: Present<'_>,
    by_name: &BTreeMap<&NodeId, &Node>,
    node: &Node,
    found: &mut Difference,
) {
    // A node that moves away from the address leaves it free.
    let stays = |old: &&Node| {
        let declared = by_name.get(&old.id);
        address(old) == address(node) && declared.is_none_or(|new| address(new) == address(old))
    };
    if let Some(old) = present.topology.nodes().iter().find(stays) {
        found.objections.push(Objection::AddressTaken {
            declared: node.id.clone(),
            present: old.id.clone(),
            url: node.url.clone(),
        });
        return;
    }
    let role = NodeRole::Active;
    let newcomer = Node {
        role,
        ..node.clone()
    };
    found.changes.push(StagedChange::AddNode { node: newcomer });
    if node.role == NodeRole::Draining {
        let node = node.id.clone();
        found.changes.push(StagedChange::DrainNode { node });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rebalance::stage::desire;
    use proptest::prelude::*;

    fn node(name: &str) -> Node {
        Node::new(NodeId::new(name), format!("http://{name}:7700"))
    }

    fn compare(nodes: &[Node], holders: &[&str], declared: &Declared) -> Difference {
        let topology = Topology::new(nodes.to_vec()).unwrap();
        let holders = holders.iter().map(|name| NodeId::new(*name)).collect();
        let factors = BTreeMap::from([(IndexUid::new("movies").unwrap(), 2)]);
        let present = Present {
            topology: &topology,
            holders: &holders,
            replication_factors: &factors,
        };
        difference(present, declared)
    }

    fn declared(nodes: Vec<Node>) -> Declared {
        Declared {
            nodes,
            ..Declared::default()
        }
    }

    #[test]
    fn what_is_as_declared_leaves_nothing_to_do() {
        let slash = Node {
            url: "http://b:7700/".into(),
            ..node("b")
        };
        let same = Declared {
            replication_factor: Some(2),
            ..declared(vec![slash, node("a")])
        };
        let found = compare(&[node("a"), node("b")], &["a", "b"], &same);
        assert_eq!(found, Difference::default());
    }

    #[test]
    fn a_node_left_out_goes_only_when_it_is_empty() {
        let nodes = [node("a"), node("b")];
        let wanted = declared(vec![node("a")]);
        let full = compare(&nodes, &["a", "b"], &wanted);
        assert_eq!(full.changes, []);
        let text = full.objections[0].to_string();
        assert!(
            text.contains("`b`") && text.contains("drain = true"),
            "{text}"
        );
        let empty = compare(&nodes, &["a"], &wanted);
        let remove = StagedChange::RemoveNode {
            node: NodeId::new("b"),
        };
        assert_eq!((empty.changes, empty.objections), (vec![remove], vec![]));
    }

    #[test]
    fn a_node_keeps_its_name() {
        let renamed = Node {
            id: NodeId::new("c"),
            ..node("b")
        };
        let found = compare(
            &[node("a"), node("b")],
            &[],
            &declared(vec![node("a"), renamed]),
        );
        assert!(
            found.objections[0]
                .to_string()
                .contains("a node keeps its name")
        );
        let moved = Node {
            url: "http://elsewhere:7700".into(),
            ..node("b")
        };
        let heir = Node {
            url: "http://b:7700".into(),
            ..node("c")
        };
        let found = compare(
            &[node("a"), node("b")],
            &[],
            &declared(vec![node("a"), moved, heir]),
        );
        assert_eq!((found.changes.len(), found.objections.len()), (2, 0));
    }

    #[test]
    fn an_index_has_its_own_number_of_copies_or_that_of_all() {
        let with = |all: Option<u32>, own: Option<u32>| {
            let movies = IndexUid::new("movies").unwrap();
            let declared = Declared {
                replication_factor: all,
                replication_factors: own.map(|own| (movies, own)).into_iter().collect(),
                ..declared(vec![node("a")])
            };
            let found = compare(&[node("a")], &["a"], &declared);
            found.changes.into_iter().find_map(|change| match change {
                StagedChange::SetReplicationFactor {
                    replication_factor, ..
                } => Some(replication_factor),
                _ => None,
            })
        };
        assert_eq!(with(None, None), None);
        assert_eq!(with(Some(3), None), Some(3));
        assert_eq!(with(Some(3), Some(1)), Some(1));
        assert_eq!(with(Some(3), Some(2)), None);
    }

    fn any_nodes() -> impl Strategy<Value = Vec<Node>> {
        let any = (
            0..8_usize,
            prop::option::of(0..2_usize),
            1..4_u32,
            any::<bool>(),
        );
        prop::collection::btree_map(0..8_usize, any, 1..7).prop_map(|nodes| {
            let of = |(name, (_, zone, weight, drains)): (usize, (usize, _, u32, bool))| Node {
                zone: Option::<usize>::map(zone, |zone| format!("z{zone}")),
                weight_milli: weight * 500,
                role: match drains {
                    true => NodeRole::Draining,
                    false => NodeRole::Active,
                },
                ..node(&format!("n{name}"))
            };
            nodes.into_iter().map(of).collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_staged_leads_to_what_is_declared(
            before in any_nodes(),
            mut wanted in any_nodes(),
            held in prop::collection::btree_set(0..8_usize, 0..8),
        ) {
            // Somebody has to take shards.
            wanted[0].role = NodeRole::Active;
            let topology = Topology::new(before).unwrap();
            let holders: BTreeSet<NodeId> =
                held.iter().map(|name| NodeId::new(format!("n{name}"))).collect();
            let none = BTreeMap::new();
            let present = Present {
                topology: &topology,
                holders: &holders,
                replication_factors: &none,
            };
            let declared = declared(wanted);
            let found = difference(present, &declared);
            let desired = desire(&topology, &[], &found.changes).unwrap();
            let kept: BTreeSet<NodeId> = found
                .objections
                .iter()
                .filter_map(|objection| match objection {
                    Objection::StillHolds(node) => Some(node.clone()),
                    _ => None,
                })
                .collect();
            let reached: Vec<&Node> = desired
                .topology
                .nodes()
                .iter()
                .filter(|node| !kept.contains(&node.id))
                .collect();
            let wanted = Topology::new(declared.nodes.clone()).unwrap();
            prop_assert_eq!(reached, wanted.nodes().iter().collect::<Vec<_>>());
            let reached = Present {
                topology: &desired.topology,
                ..present
            };
            prop_assert_eq!(difference(reached, &declared).changes, []);
        }
    }
}
