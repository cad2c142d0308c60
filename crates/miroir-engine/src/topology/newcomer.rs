//! Whether a process may become a node: it answers, takes Miroir's key, is not too old, holds nothing,
//! and is not one of the nodes under another address.

use super::wrong;
use crate::error::EngineError;
use crate::port::{NodeError, NodeRead, NodeTaskQuery};
use crate::state::Shared;
use futures::future::join_all;
use miroir_core::id::NodeId;
use miroir_core::rebalance::stage::StagedChange;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// A person waits for it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Names of indexes told, at most.
const NAMES_MAX: usize = 3;

/// Looks at the address that a change brings, if it brings one.
///
/// # Errors
/// [`EngineError::Client`] that says what is wrong and what to do.
pub(super) async fn check_change(
    shared: &Shared,
    change: &StagedChange,
) -> Result<(), EngineError> {
    let found = match change {
        StagedChange::AddNode { node } | StagedChange::ReplaceNode { new: node, .. } => {
            check_newcomer(shared, &node.url).await.map_err(|cause| {
                format!(
                    "`{}` at {} cannot become a node: {cause}.",
                    node.id, node.url
                )
            })
        }
        StagedChange::SetNode {
            node,
            url: Some(url),
            ..
        } => check_moved(shared, node, url)
            .await
            .map_err(|cause| format!("{url} cannot be the address of node `{node}`: {cause}.")),
        _ => Ok(()),
    };
    found.map_err(wrong)
}

/// What keeps a process from becoming a node.
async fn check_newcomer(shared: &Shared, url: &str) -> Result<(), String> {
    let stats = greet(shared, url).await?;
    if let Some(node) = find_twin(shared, url).await {
        return Err(format!(
            "it is node `{node}` under another address; each node needs a process of its own"
        ));
    }
    let empty = serde_json::Map::new();
    let indexes = stats
        .get("indexes")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    if indexes.is_empty() {
        return Ok(());
    }
    let ours = physical_names(shared);
    let names: Vec<&str> = indexes.keys().map(String::as_str).collect();
    let told = names.iter().take(NAMES_MAX).map(|name| format!("`{name}`"));
    let told = told.collect::<Vec<String>>().join(", ");
    if names.iter().any(|name| ours.contains(*name)) {
        return Err(format!(
            "it holds indexes of this cluster ({told}): it is a copy of a node, or one that was \
             removed; empty its data folder and start it again"
        ));
    }
    Err(format!(
        "it holds {} indexes of its own ({told}), and what a node holds is Miroir's: export them \
         first if they are needed, then empty its data folder and start it again",
        names.len()
    ))
}

/// What keeps a process from being a known node at its new address.
async fn check_moved(shared: &Shared, node: &NodeId, url: &str) -> Result<(), String> {
    let stats = greet(shared, url).await?;
    let held = stats.get("indexes").and_then(Value::as_object);
    let snapshot = shared.snapshot.load_full();
    let missing = snapshot.indexes.values().find(|entry| {
        let is_there = |held: &serde_json::Map<String, Value>| {
            held.contains_key(entry.record.physical.as_str())
        };
        !entry.placement.shards_of(node).is_empty() && !held.is_some_and(is_there)
    });
    match missing {
        Some(entry) => Err(format!(
            "it lacks index `{}` that the node holds: for an empty process use `miroir node \
             replace`",
            entry.record.uid
        )),
        None => Ok(()),
    }
}

/// Whether it answers, takes the key, and is new enough; its statistics.
async fn greet(shared: &Shared, url: &str) -> Result<Value, String> {
    let read = |read: NodeRead| shared.ports.nodes.read_stranger(url, read, TIMEOUT);
    read(NodeRead::Health).await.map_err(|error| {
        format!(
            "{}; see that it runs and that the address is right",
            cause(&error)
        )
    })?;
    let version = read(NodeRead::Version)
        .await
        .map_err(|error| match &error {
            NodeError::Failed {
                status: 401 | 403, ..
            }
            | NodeError::Refused {
                status: 401 | 403, ..
            } => "it refuses the key of the other nodes: start it with the same master key"
                .to_owned(),
            _ => cause(&error),
        })?;
    let version: Value = serde_json::from_slice(&version)
        .map_err(|_| "what answers there is not a Meilisearch".to_owned())?;
    let Some(version) = version.get("pkgVersion").and_then(Value::as_str) else {
        return Err("what answers there is not a Meilisearch".to_owned());
    };
    let snapshot = shared.snapshot.load_full();
    let known = snapshot
        .nodes
        .values()
        .filter_map(|view| view.version.as_deref());
    if let Some(oldest) = known.min_by_key(|version| parts(version))
        && parts(version) < parts(oldest)
    {
        return Err(format!(
            "it runs Meilisearch {version}, older than every other node (the oldest runs {oldest}): \
             start a version that is at least as new"
        ));
    }
    let stats = read(NodeRead::Stats).await.map_err(|error| cause(&error))?;
    serde_json::from_slice(&stats).map_err(|_| "its statistics cannot be understood".to_owned())
}

/// The node whose newest task is that of the process: uid and moment are the same.
async fn find_twin(shared: &Shared, url: &str) -> Option<NodeId> {
    let read = NodeRead::Raw {
        path: "/tasks?limit=1".into(),
        body: None,
    };
    let body = shared
        .ports
        .nodes
        .read_stranger(url, read, TIMEOUT)
        .await
        .ok()?;
    let page: Value = serde_json::from_slice(&body).ok()?;
    let newest = page.get("results")?.get(0)?;
    let uid = newest.get("uid")?.as_u64()?;
    let enqueued_at = newest.get("enqueuedAt")?.as_str()?;
    let snapshot = shared.snapshot.load_full();
    let asked = snapshot.nodes.keys().map(|node| async move {
        let query = NodeTaskQuery {
            uids: vec![miroir_core::id::NodeTaskUid(uid)],
            from: None,
            limit: 1,
        };
        let tasks = shared
            .ports
            .nodes
            .fetch_tasks(node, query, TIMEOUT)
            .await
            .ok()?;
        let is_same = tasks.iter().any(|task| task.enqueued_at == enqueued_at);
        is_same.then(|| node.clone())
    });
    join_all(asked).await.into_iter().flatten().next()
}

fn physical_names(shared: &Shared) -> BTreeSet<String> {
    let snapshot = shared.snapshot.load_full();
    let entries = snapshot.indexes.values();
    entries
        .map(|entry| entry.record.physical.to_string())
        .collect()
}

/// The cause alone: who is meant has been said.
fn cause(error: &NodeError) -> String {
    match error {
        NodeError::Unreachable { cause, .. } => format!("it cannot be reached ({cause})"),
        NodeError::UnknownOutcome { cause, .. } => format!("it does not answer ({cause})"),
        NodeError::Busy { .. } => "it is too busy to answer".to_owned(),
        NodeError::Refused { message, .. } => format!("it refuses ({message})"),
        NodeError::Failed { status, .. } => format!("it answers with status {status}"),
    }
}

fn parts(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
