//! The first start on a store that was put back from a backup.
//!
//! Nodes that have done what the log does not know of are ahead of it: batch numbers would be given
//! twice, so that a marker of the lost past would pass for a delivery of today, and documents would
//! stand on nodes that no log tells of. Such a start is refused, naming the nodes. One on which the
//! nodes have nothing newer goes on as any start.

use crate::engine::CLUSTER_FACT;
use crate::error::EngineError;
use crate::job::snapshot::PART_FACT;
use crate::port::{Change, NodeTask, NodeTaskQuery, RESTORED_FACT, StoreError, TaskQuery};
use crate::state::{Config, Ports};
use miroir_core::id::{BatchUid, NodeId, NodeTaskUid, TaskUid};
use miroir_core::task::{TaskFilter, TaskKind, TaskStatus};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Every node must answer within this.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Between two tries of one node.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Batches looked through, newest first, for what the log knows of each node's tasks.
const BATCHES_MAX: u64 = 10_000;
/// Node tasks on a page, ...
const PAGE: u32 = 1000;
/// ... and pages.
const PAGES_MAX: usize = 100;

/// What the log knows of one node.
#[derive(Debug, Default)]
struct Known {
    /// The newest of its tasks that a batch tells of.
    newest_task: Option<NodeTaskUid>,
    /// Batches that may have been sent without the log knowing it.
    unsure: u64,
}

/// Refuses to start on a restored log that nodes are ahead of.
///
/// # Errors
/// [`StoreError::Conflict`] with the nodes that are ahead or do not answer.
pub(crate) async fn check(ports: &Ports, config: &Config) -> Result<(), EngineError> {
    match ports.store.load_fact(RESTORED_FACT).await? {
        None | Some(Value::Null | Value::Bool(false)) => return Ok(()),
        Some(_) => {}
    }
    let Some(Value::String(cluster)) = ports.store.load_fact(CLUSTER_FACT).await? else {
        return clear(ports).await;
    };
    let last = ports.store.last_batch_uid().await?;
    let mut known = read_known(ports, last).await?;
    let mut complaints = Vec::new();
    // Those that the backup knows too: they may have come at run time.
    let (nodes, _) = crate::nodes::find(&*ports.store, config).await?;
    for node in nodes {
        ports.nodes.admit(&node.id, &node.url);
        let known = known.remove(&node.id).unwrap_or_default();
        if let Err(complaint) = check_node(ports, config, &node.id, &cluster, last, &known).await {
            complaints.push(format!("{}: {complaint}", node.id));
        }
    }
    if complaints.is_empty() {
        tracing::info!("the store was restored from a backup, and no node is ahead of it");
        return clear(ports).await;
    }
    Err(EngineError::Store(StoreError::Conflict(format!(
        "the store was restored from a backup that cannot be trusted beside these nodes: {}. \
         Restore a newer backup, or set the nodes back to the same moment; \
         docs/guide/operations.md tells what else can be done",
        complaints.join("; ")
    ))))
}

async fn clear(ports: &Ports) -> Result<(), EngineError> {
    let mut changes = vec![Change::PutFact {
        key: RESTORED_FACT.into(),
        value: Value::Bool(false),
    }];
    // A copy of the store that is part of a snapshot was taken while its task ran. It is not run
    // again: it has done what it was for, or belongs to another copy and nobody here asked for it.
    let snapshot = ports.store.load_fact(PART_FACT).await?;
    let snapshot = snapshot.as_ref().and_then(Value::as_u64).map(TaskUid);
    let query = TaskQuery {
        filter: TaskFilter {
            types: Some(vec![TaskKind::SnapshotCreation]),
            statuses: Some(vec![TaskStatus::Processing]),
            ..TaskFilter::default()
        },
        limit: 1,
        ..TaskQuery::default()
    };
    let finished_at = ports.clock.now();
    for mut task in ports.store.list_tasks(query).await?.tasks {
        if let Some(uid) = task.batch_uid {
            changes.push(Change::FinishBatch { uid, finished_at });
        }
        task.status = match snapshot == Some(task.uid) {
            true => TaskStatus::Succeeded,
            false => TaskStatus::Canceled,
        };
        task.finished_at = Some(finished_at);
        changes.push(Change::UpdateTask(Box::new(task)));
    }
    Ok(ports.store.commit(changes).await?)
}

async fn read_known(
    ports: &Ports,
    last: Option<BatchUid>,
) -> Result<BTreeMap<NodeId, Known>, EngineError> {
    let mut known: BTreeMap<NodeId, Known> = BTreeMap::new();
    let Some(last) = last else { return Ok(known) };
    let oldest = last.0.saturating_sub(BATCHES_MAX);
    for uid in (oldest..=last.0).rev() {
        let Some(batch) = ports.store.load_batch(BatchUid(uid)).await? else {
            continue;
        };
        for (node, delivery) in batch.deliveries {
            let known = known.entry(node).or_default();
            known.unsure += u64::from(!delivery.is_sent && !delivery.is_applied);
            let real = delivery.node_tasks.iter().filter(|task| task.0 != u64::MAX);
            known.newest_task = known.newest_task.max(real.max().copied());
        }
    }
    Ok(known)
}

async fn check_node(
    ports: &Ports,
    config: &Config,
    node: &NodeId,
    cluster: &str,
    last: Option<BatchUid>,
    known: &Known,
) -> Result<(), String> {
    let prefix = format!("miroir/{cluster}/");
    let mut from = None;
    let mut unmarked = 0;
    for _ in 0..PAGES_MAX {
        let tasks = fetch(ports, config, node, from).await?;
        let is_last_page = tasks.len() < PAGE as usize;
        for task in tasks {
            if known.newest_task.is_some_and(|newest| task.uid <= newest) {
                return Ok(());
            }
            from = task.uid.0.checked_sub(1).map(NodeTaskUid);
            let batch = task
                .marker
                .as_deref()
                .and_then(|marker| marker.strip_prefix(&prefix))
                .and_then(|rest| rest.split('/').next()?.parse::<u64>().ok());
            match batch {
                Some(batch) if last.is_none_or(|last| batch > last.0) => {
                    let last = last.map_or_else(|| "none".to_owned(), |last| last.to_string());
                    return Err(format!(
                        "it has done batch {batch}, and the last one of the backup is {last}"
                    ));
                }
                Some(_) => {}
                // Making an index or setting it leaves no marker.
                None if task.index.is_some() => unmarked += 1,
                None => {}
            }
            if unmarked > known.unsure * TASKS_OF_A_BATCH {
                return Err(format!(
                    "it has done tasks up to {} that the backup does not know of",
                    task.uid
                ));
            }
        }
        if is_last_page || from.is_none() {
            return Ok(());
        }
    }
    Err("its newest tasks that the backup knows of cannot be found".into())
}

/// A batch that makes an index has at most so many tasks without marker: making it, its first
/// settings, and those of the client.
const TASKS_OF_A_BATCH: u64 = 3;

async fn fetch(
    ports: &Ports,
    config: &Config,
    node: &NodeId,
    from: Option<NodeTaskUid>,
) -> Result<Vec<NodeTask>, String> {
    let started = ports.clock.monotonic();
    loop {
        let query = NodeTaskQuery {
            uids: Vec::new(),
            from,
            limit: PAGE,
        };
        match ports
            .nodes
            .fetch_tasks(node, query, config.node_timeout)
            .await
        {
            Ok(tasks) => return Ok(tasks),
            Err(error) if ports.clock.monotonic().saturating_sub(started) > ANSWER_MAX => {
                return Err(format!("it cannot be asked ({error})"));
            }
            Err(_) => ports.clock.sleep(RETRY_DELAY).await,
        }
    }
}
