//! Whether a node is still the one it was.
//!
//! A node shows no identity, but its task list is one: uids only grow, and a task keeps the moment
//! at which it was accepted. The newest task of ours that a node is known to have ended is kept as
//! the witness, in the commit that notes its end. A node whose task list lacks it and does not reach
//! so far came back empty or from an old copy; one that has another task of that uid holds another
//! instance's data.

use crate::error::EngineError;
use crate::port::{Change, NodeError, NodeTaskQuery, Store};
use crate::state::Shared;
use miroir_core::id::{NodeId, NodeTaskUid};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// A task that a node had. The stored form is part of the database format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Witness {
    /// Its uid on the node.
    pub(crate) uid: NodeTaskUid,
    /// When the node accepted it, as the node wrote it.
    pub(crate) enqueued_at: String,
}

fn key(node: &NodeId) -> String {
    format!("witness/{node}")
}

pub(crate) fn change(node: &NodeId, witness: Option<&Witness>) -> Change {
    Change::PutFact {
        key: key(node),
        value: serde_json::to_value(witness).unwrap_or(Value::Null),
    }
}

pub(super) async fn load(store: &dyn Store, node: &NodeId) -> Result<Option<Witness>, EngineError> {
    let value = store.load_fact(&key(node)).await?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}

/// What a node's task list tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// It is what it was, or nothing tells otherwise.
    Own,
    /// It lost its data or holds another instance's, with what tells.
    Changed(String),
    /// It is another node of this cluster: its address leads there.
    Another(NodeId),
}

/// Nodes whose witness is looked for on a node that lacks its own.
const OTHERS_MAX: usize = 100;

/// Who answers as this node, as far as its task list tells.
///
/// # Errors
/// The node did not answer.
pub(crate) async fn examine(
    node: &NodeId,
    shared: &Shared,
    timeout: Duration,
) -> Result<Identity, NodeError> {
    let changed = match shared.copy.witness(node) {
        Some(witness) => match compare(node, shared, &witness, timeout).await? {
            None => return Ok(Identity::Own),
            changed => changed,
        },
        None => None,
    };
    if let Some(other) = other_of(node, shared, timeout).await? {
        return Ok(Identity::Another(other));
    }
    Ok(changed.map_or(Identity::Own, Identity::Changed))
}

/// The node whose witness this one has.
async fn other_of(
    node: &NodeId,
    shared: &Shared,
    timeout: Duration,
) -> Result<Option<NodeId>, NodeError> {
    let others = shared.copy.witnesses_but(node, OTHERS_MAX);
    if others.is_empty() {
        return Ok(None);
    }
    let query = NodeTaskQuery {
        uids: others.iter().map(|(_, witness)| witness.uid).collect(),
        from: None,
        limit: u32::try_from(others.len()).unwrap_or(u32::MAX),
    };
    let found = shared.ports.nodes.fetch_tasks(node, query, timeout).await?;
    let has = |witness: &Witness| {
        let mut tasks = found.iter();
        tasks.any(|task| task.uid == witness.uid && task.enqueued_at == witness.enqueued_at)
    };
    let other = others.into_iter().find(|(_, witness)| has(witness));
    Ok(other.map(|(node, _)| node))
}

/// What is wrong with the node's data, by its witness; `None` if nothing is.
async fn compare(
    node: &NodeId,
    shared: &Shared,
    witness: &Witness,
    timeout: Duration,
) -> Result<Option<String>, NodeError> {
    let nodes = &shared.ports.nodes;
    let query = NodeTaskQuery {
        uids: vec![witness.uid],
        from: None,
        limit: 1,
    };
    let found = nodes.fetch_tasks(node, query, timeout).await?;
    if let Some(task) = found.into_iter().find(|task| task.uid == witness.uid) {
        return Ok((task.enqueued_at != witness.enqueued_at).then(|| {
            format!(
                "its task {} is not the one Miroir knows: it holds another instance's data, or an \
                 old copy that lived on",
                witness.uid
            )
        }));
    }
    let query = NodeTaskQuery {
        uids: Vec::new(),
        from: None,
        limit: 1,
    };
    let newest = nodes.fetch_tasks(node, query, timeout).await?;
    Ok(match newest.first() {
        // Nodes forget old tasks, and anybody may delete them; the count goes on.
        Some(task) if task.uid > witness.uid => None,
        Some(task) => Some(format!(
            "its tasks end at {}, and {} was seen: it was restored from an old copy or made anew",
            task.uid, witness.uid
        )),
        None => Some("it came back empty".to_owned()),
    })
}
