//! Changes on the wire, in the core, and for people.

use super::wrong;
use crate::error::EngineError;
use miroir_api::admin::TopologyChange;
use miroir_core::id::{IndexUid, NodeId};
use miroir_core::rebalance::stage::StagedChange;
use miroir_core::topology::{Node, NodeRole, Topology, WEIGHT_MILLI_DEFAULT, WEIGHT_MILLI_MAX};

/// A change in the core's words; what a newcomer inherits is looked up among the nodes there are and
/// those staged.
pub(super) fn from_wire(
    change: TopologyChange,
    topology: &Topology,
    staged: &[StagedChange],
) -> Result<StagedChange, EngineError> {
    Ok(match change {
        TopologyChange::AddNode {
            name,
            url,
            zone,
            weight,
        } => StagedChange::AddNode {
            node: Node {
                id: node_name(&name)?,
                url: address(&url)?,
                zone: zone.filter(|zone| !zone.is_empty()),
                weight_milli: weight_milli(weight)?.unwrap_or(WEIGHT_MILLI_DEFAULT),
                role: NodeRole::Active,
            },
        },
        TopologyChange::DrainNode { name } => StagedChange::DrainNode {
            node: NodeId::new(name),
        },
        TopologyChange::ActivateNode { name } => StagedChange::ActivateNode {
            node: NodeId::new(name),
        },
        TopologyChange::RemoveNode { name } => StagedChange::RemoveNode {
            node: NodeId::new(name),
        },
        TopologyChange::ReplaceNode {
            name,
            by,
            url,
            zone,
            weight,
        } => {
            let old = NodeId::new(name);
            let before = newest(&old, topology, staged);
            let inherited = before.as_ref();
            let zone = zone.or_else(|| inherited.and_then(|node| node.zone.clone()));
            let weight = weight_milli(weight)?.or(inherited.map(|node| node.weight_milli));
            StagedChange::ReplaceNode {
                old,
                new: Node {
                    id: node_name(&by)?,
                    url: address(&url)?,
                    zone: zone.filter(|zone| !zone.is_empty()),
                    weight_milli: weight.unwrap_or(WEIGHT_MILLI_DEFAULT),
                    role: NodeRole::Active,
                },
            }
        }
        TopologyChange::SetNode {
            name,
            zone,
            weight,
            url,
        } => StagedChange::SetNode {
            node: NodeId::new(name),
            zone,
            weight_milli: weight_milli(weight)?,
            url: url.as_deref().map(address).transpose()?,
        },
        TopologyChange::SetReplicationFactor {
            index_uid,
            replication_factor,
        } => StagedChange::SetReplicationFactor {
            index: index_uid
                .map(IndexUid::new)
                .transpose()
                .map_err(|error| wrong(format!("`{}` is no index uid.", error.0)))?,
            replication_factor,
        },
        TopologyChange::DeclareLost {
            name,
            accept_data_loss,
        } => StagedChange::DeclareLost {
            node: NodeId::new(name),
            accepts_data_loss: accept_data_loss,
        },
        TopologyChange::Rebalance {} => StagedChange::Rebalance,
    })
}

/// A node as it is, or as the last staged change would have it.
fn newest(id: &NodeId, topology: &Topology, staged: &[StagedChange]) -> Option<Node> {
    let mut found = topology.get_node(id).cloned();
    for change in staged {
        match change {
            StagedChange::AddNode { node } | StagedChange::ReplaceNode { new: node, .. }
                if node.id == *id =>
            {
                found = Some(node.clone());
            }
            StagedChange::SetNode {
                node,
                zone,
                weight_milli,
                ..
            } if node == id => {
                if let Some(found) = &mut found {
                    if let Some(zone) = zone {
                        found.zone = Some(zone.clone()).filter(|zone| !zone.is_empty());
                    }
                    found.weight_milli = weight_milli.unwrap_or(found.weight_milli);
                }
            }
            _ => {}
        }
    }
    found
}

/// Names stand in tables, commands and metrics.
const NAME_BYTES_MAX: usize = 100;

pub(super) fn node_name(name: &str) -> Result<NodeId, EngineError> {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_allowed) {
        return Err(wrong(format!(
            "`{name}` cannot be a node's name: use 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` \
             and `.`."
        )));
    }
    Ok(NodeId::new(name))
}

pub(super) fn address(url: &str) -> Result<String, EngineError> {
    let rest = url.strip_prefix("http://").unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || rest.contains(['?', '#', ' ', '@']) {
        return Err(wrong(format!(
            "`{url}` is not the address of a node: write http://host:port."
        )));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

pub(super) fn weight_milli(weight: Option<f64>) -> Result<Option<u32>, EngineError> {
    let Some(weight) = weight else {
        return Ok(None);
    };
    let milli = (weight * 1000.0).round();
    if !(milli >= 1.0 && milli <= f64::from(WEIGHT_MILLI_MAX)) {
        return Err(wrong(format!(
            "The weight must be from 0.001 to {}, not {weight}.",
            WEIGHT_MILLI_MAX / 1000
        )));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded above"
    )]
    let milli = milli as u32;
    Ok(Some(milli))
}

fn weight(weight_milli: u32) -> f64 {
    f64::from(weight_milli) / 1000.0
}

/// A change on the wire.
pub(super) fn to_wire(change: &StagedChange) -> TopologyChange {
    match change {
        StagedChange::AddNode { node } => TopologyChange::AddNode {
            name: node.id.to_string(),
            url: node.url.clone(),
            zone: node.zone.clone(),
            weight: Some(weight(node.weight_milli)),
        },
        StagedChange::DrainNode { node } => TopologyChange::DrainNode {
            name: node.to_string(),
        },
        StagedChange::ActivateNode { node } => TopologyChange::ActivateNode {
            name: node.to_string(),
        },
        StagedChange::RemoveNode { node } => TopologyChange::RemoveNode {
            name: node.to_string(),
        },
        StagedChange::ReplaceNode { old, new } => TopologyChange::ReplaceNode {
            name: old.to_string(),
            by: new.id.to_string(),
            url: new.url.clone(),
            zone: new.zone.clone(),
            weight: Some(weight(new.weight_milli)),
        },
        StagedChange::SetNode {
            node,
            zone,
            weight_milli,
            url,
        } => TopologyChange::SetNode {
            name: node.to_string(),
            zone: zone.clone(),
            weight: weight_milli.map(weight),
            url: url.clone(),
        },
        StagedChange::SetReplicationFactor {
            index,
            replication_factor,
        } => TopologyChange::SetReplicationFactor {
            index_uid: index.as_ref().map(ToString::to_string),
            replication_factor: *replication_factor,
        },
        StagedChange::DeclareLost {
            node,
            accepts_data_loss,
        } => TopologyChange::DeclareLost {
            name: node.to_string(),
            accept_data_loss: *accepts_data_loss,
        },
        StagedChange::Rebalance => TopologyChange::Rebalance {},
    }
}

/// A change for people.
pub(super) fn describe(change: &StagedChange) -> String {
    let known = |node: &Node| {
        let zone = node.zone.as_ref().map(|zone| format!(", zone {zone}"));
        format!(
            "{} ({}, weight {}{})",
            node.id,
            node.url,
            weight(node.weight_milli),
            zone.unwrap_or_default()
        )
    };
    match change {
        StagedChange::AddNode { node } => format!("add node {}", known(node)),
        StagedChange::DrainNode { node } => format!("drain node {node}"),
        StagedChange::ActivateNode { node } => format!("let node {node} take shards again"),
        StagedChange::RemoveNode { node } => format!("remove node {node}"),
        StagedChange::ReplaceNode { old, new } => format!("replace node {old} by {}", known(new)),
        StagedChange::SetNode {
            node,
            zone,
            weight_milli,
            url,
        } => {
            let parts = [
                zone.as_ref().map(|zone| match zone.is_empty() {
                    true => "no zone".to_owned(),
                    false => format!("zone {zone}"),
                }),
                weight_milli.map(|milli| format!("weight {}", weight(milli))),
                url.as_ref().map(|url| format!("address {url}")),
            ];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            format!("set node {node}: {}", parts.join(", "))
        }
        StagedChange::SetReplicationFactor {
            index,
            replication_factor,
        } => {
            let of = index
                .as_ref()
                .map_or("all indexes".into(), |uid| format!("index {uid}"));
            match replication_factor {
                1 => format!("one copy of each shard of {of}"),
                copies => format!("{copies} copies of each shard of {of}"),
            }
        }
        StagedChange::DeclareLost {
            node,
            accepts_data_loss: false,
        } => format!("node {node} is lost for good"),
        StagedChange::DeclareLost { node, .. } => {
            format!("node {node} is lost for good, with the documents that only it held")
        }
        StagedChange::Rebalance => "even out the nodes".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology() -> Topology {
        let node = Node {
            zone: Some("x".into()),
            weight_milli: 2500,
            ..Node::new(NodeId::new("a"), "http://a:1")
        };
        Topology::new(vec![node]).unwrap()
    }

    fn read(json: serde_json::Value) -> Result<StagedChange, String> {
        let change = serde_json::from_value(json).map_err(|error| error.to_string())?;
        from_wire(change, &topology(), &[]).map_err(|error| error.to_string())
    }

    #[test]
    fn changes_come_back_as_they_were_sent() {
        for sent in [
            serde_json::json!({"change": "addNode", "name": "b", "url": "http://b:1", "zone": "y", "weight": 2.0}),
            serde_json::json!({"change": "drainNode", "name": "a"}),
            serde_json::json!({"change": "setNode", "name": "a", "zone": "", "weight": 0.5}),
            serde_json::json!({"change": "setReplicationFactor", "replicationFactor": 3}),
            serde_json::json!({"change": "declareLost", "name": "a"}),
            serde_json::json!({"change": "declareLost", "name": "a", "acceptDataLoss": true}),
            serde_json::json!({"change": "rebalance"}),
        ] {
            let change = read(sent.clone()).unwrap();
            assert_eq!(serde_json::to_value(to_wire(&change)).unwrap(), sent);
        }
    }

    #[test]
    fn a_newcomer_inherits_zone_and_weight_of_whom_it_replaces() {
        let sent = serde_json::json!({"change": "replaceNode", "name": "a", "by": "b", "url": "http://b:1/"});
        let change = read(sent).unwrap();
        assert_eq!(
            describe(&change),
            "replace node a by b (http://b:1, weight 2.5, zone x)"
        );
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_to_write() {
        let add = |name: &str, url: &str, weight: f64| {
            let sent = serde_json::json!({"change": "addNode", "name": name, "url": url, "weight": weight});
            read(sent).unwrap_err()
        };
        assert!(add("a b", "http://b:1", 1.0).contains("letters, digits"));
        assert!(add("b", "b:1", 1.0).contains("http://host:port"));
        assert!(add("b", "http://k@b:1", 1.0).contains("http://host:port"));
        assert!(add("b", "http://b:1", 0.0).contains("from 0.001 to 1000"));
        let unknown = serde_json::json!({"change": "addNode", "nam": "b"});
        assert!(read(unknown).unwrap_err().contains("unknown field"));
    }
}
