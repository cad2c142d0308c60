//! A snapshot of the fleet: one of each node, taken by the node itself, and then a copy of the store.
//!
//! A job is a barrier, and here it also waits until the nodes have applied all that is for them. So
//! every part is of one position of the log: the nodes' snapshots hold exactly what the copy of the
//! store says that they have applied. Put back together they go on as after any restart; what was
//! accepted behind the snapshot's task and not begun is in the copy of the store, and is done then.
//!
//! A node that cannot take one is left out and named where others hold each of its shards: put back,
//! it is filled anew from them like any node that lost its data. Else the snapshot fails.

use super::{Failure, instance_uid};
use crate::port::{Change, NodeError, NodeRead, NodeTaskQuery, TaskRecord};
use crate::prepare::error_value;
use crate::state::{NodeView, Shared, Snapshot};
use bytes::Bytes;
use futures::future::join_all;
use miroir_api::task::format_date;
use miroir_core::id::{NodeId, NodeTaskUid};
use miroir_core::task::TaskStatus;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A node that does not answer, or does not get on with what it has, is done without after this.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a node is asked.
const PAUSE: Duration = Duration::from_millis(200);
/// The form of the manifest.
const FORMAT: u32 = 1;
/// The task of the snapshot that a copy of the store is a part of: it ran when the copy was taken, and
/// that the copy is whole says that it has succeeded. Older copies do not tell.
pub(crate) const PART_FACT: &str = "partOfSnapshot";

/// Takes the snapshot; its task shows nothing, as Meilisearch's.
pub(super) async fn run(shared: &Shared, task: &TaskRecord) -> Result<Value, Failure> {
    let snapshot = shared.snapshot.load_full();
    let nodes = snapshot.nodes.values().map(|view| of_node(shared, view));
    let taken = join_all(nodes).await;
    let mut taken_by: BTreeMap<NodeId, NodeTaskUid> = BTreeMap::new();
    let mut left_out: BTreeMap<NodeId, String> = BTreeMap::new();
    for (view, result) in snapshot.nodes.values().zip(taken) {
        let id = view.record.id.clone();
        match result {
            Ok(uid) => drop(taken_by.insert(id, uid)),
            Err(why) => drop(left_out.insert(id, why)),
        }
    }
    shared.step("snapshot.nodes").await;
    let lack = match uncovered(&snapshot, &taken_by) {
        Some((index, shard)) => Some(format!(
            "No node that holds shard {shard} of index `{index}` took a snapshot"
        )),
        None => taken_by
            .is_empty()
            .then(|| "No node took a snapshot".to_owned()),
    };
    if let Some(lack) = lack {
        let whys = left_out.iter();
        let whys: Vec<String> = whys
            .map(|(node, why)| format!("node `{node}`: {why}"))
            .collect();
        let message = format!(
            "{lack}: {}. A dump (`POST /dumps`) needs no snapshot of a node.",
            whys.join("; ")
        );
        return Err(Failure::Client(error_value("internal", message)));
    }
    for (node, why) in &left_out {
        tracing::warn!(%node, why, "a node is not in the snapshot; its shards are on others");
    }
    let folder = shared.ports.snapshots.begin().await?;
    let told = Change::PutFact {
        key: PART_FACT.to_owned(),
        value: json!(task.uid),
    };
    shared.noted(shared.ports.store.commit(vec![told]).await)?;
    shared.noted(shared.ports.store.backup(folder).await)?;
    let node = |view: &NodeView| {
        let id = &view.record.id;
        json!({
            "name": id,
            "url": view.record.url,
            "version": view.version,
            "task": taken_by.get(id),
            "leftOut": left_out.get(id),
        })
    };
    let manifest = json!({
        "format": FORMAT,
        "version": shared.config.version,
        "instanceUid": instance_uid(shared).await?,
        "task": task.uid,
        "takenAt": format_date(shared.ports.clock.now()),
        "nodes": snapshot.nodes.values().map(node).collect::<Vec<_>>(),
    });
    shared.ports.snapshots.finish(&manifest).await?;
    shared.step("snapshot.finished").await;
    Ok(Value::Null)
}

/// A shard that is on none of the nodes that took a snapshot.
fn uncovered(
    snapshot: &Snapshot,
    taken_by: &BTreeMap<NodeId, NodeTaskUid>,
) -> Option<(String, u64)> {
    snapshot.indexes.values().find_map(|entry| {
        let is_there = |set: &Vec<NodeId>| set.iter().any(|node| taken_by.contains_key(node));
        let mut sets = (0u64..).zip(entry.replica_sets.iter());
        let missing = sets.find(|(_, set)| !is_there(set));
        missing.map(|(shard, _)| (entry.record.uid.to_string(), shard))
    })
}

/// The task by which a node took its snapshot, or why it is not in this one.
async fn of_node(shared: &Shared, view: &NodeView) -> Result<NodeTaskUid, String> {
    let node = &view.record.id;
    if !view.record.is_in_sync || view.is_apart {
        return Err("it is not in sync".to_owned());
    }
    all_applied(shared, node).await?;
    let uid = ask(shared, node).await?;
    taken(shared, node, uid).await?;
    Ok(uid)
}

/// Returns when the node has applied all that it was ever to get. Nothing new is made meanwhile.
async fn all_applied(shared: &Shared, node: &NodeId) -> Result<(), String> {
    let clock = &shared.ports.clock;
    let mut moved_at = clock.monotonic();
    let mut left_before = usize::MAX;
    loop {
        let open = shared.ports.store.load_open_batches().await;
        let open = open.map_err(|error| error.to_string())?;
        let is_owed = |batch: &&crate::port::BatchRecord| {
            batch
                .deliveries
                .get(node)
                .is_some_and(|delivery| !delivery.is_applied)
        };
        let left = open.iter().filter(is_owed).count();
        if left == 0 {
            return Ok(());
        }
        if left != left_before {
            (moved_at, left_before) = (clock.monotonic(), left);
        } else if clock.monotonic().saturating_sub(moved_at) > PATIENCE {
            return Err(format!("it does not get on with {left} batches"));
        }
        clock.sleep(PAUSE).await;
    }
}

/// Has a snapshot begun. Should the answer be lost, one more does no harm.
async fn ask(shared: &Shared, node: &NodeId) -> Result<NodeTaskUid, String> {
    let given_up = shared.ports.clock.monotonic() + PATIENCE;
    loop {
        let read = NodeRead::Raw {
            path: "/snapshots".to_owned(),
            body: Some(Bytes::new()),
        };
        let timeout = shared.config.node_timeout;
        match shared.ports.nodes.read(node, read, timeout).await {
            Ok(answer) => {
                let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
                let uid = answer.get("taskUid").and_then(Value::as_u64);
                let uid = uid.map(NodeTaskUid);
                return uid.ok_or_else(|| "its answer cannot be understood".to_owned());
            }
            Err(error) => pause(shared, error, given_up).await?,
        }
    }
}

/// Returns when the node's own task has succeeded, however long it takes while the node answers.
async fn taken(shared: &Shared, node: &NodeId, uid: NodeTaskUid) -> Result<(), String> {
    let mut given_up = shared.ports.clock.monotonic() + PATIENCE;
    loop {
        let query = NodeTaskQuery {
            uids: vec![uid],
            from: None,
            limit: 1,
        };
        let timeout = shared.config.node_timeout;
        let found = shared.ports.nodes.fetch_tasks(node, query, timeout).await;
        match found {
            Ok(tasks) => {
                given_up = shared.ports.clock.monotonic() + PATIENCE;
                let task = tasks.into_iter().find(|task| task.uid == uid);
                let Some(task) = task else {
                    return Err("it no longer knows the task of its snapshot".to_owned());
                };
                match task.status {
                    TaskStatus::Succeeded => return Ok(()),
                    TaskStatus::Failed | TaskStatus::Canceled => {
                        let error = task.error.unwrap_or_default();
                        let message = error.get("message").and_then(Value::as_str);
                        return Err(message.unwrap_or("its snapshot was canceled").to_owned());
                    }
                    TaskStatus::Enqueued | TaskStatus::Processing => {}
                }
                shared.ports.clock.sleep(PAUSE).await;
            }
            Err(error) => pause(shared, error, given_up).await?,
        }
    }
}

/// Before a node is asked again.
async fn pause(shared: &Shared, error: NodeError, given_up: Duration) -> Result<(), String> {
    // The answer of a program that does not know the route.
    if let NodeError::Refused { status: 404, .. } | NodeError::Failed { status: 404, .. } = error {
        return Err("it has no snapshots (the bundled development node has none)".to_owned());
    }
    if !error.is_retryable() || shared.ports.clock.monotonic() >= given_up {
        return Err(error.to_string());
    }
    shared.ports.clock.sleep(PAUSE).await;
    Ok(())
}
