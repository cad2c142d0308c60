//! `miroir status`: nodes, indexes and tasks of a running proxy.

use super::connection::Connection;
use super::standing;
use crate::client::{HttpClient, Refused};
use crate::screen;
use anyhow::Context;
use miroir_api::admin::{IndexShards, Ready, Topology};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

/// Indexes whose placement is asked for, one request each. Beyond it only their names are shown.
const INDEXES_MAX: usize = 200;
/// The statuses of tasks, in the order of a task's life.
const TASK_STATUSES: [&str; 5] = ["enqueued", "processing", "succeeded", "failed", "canceled"];

/// Show the nodes, indexes and tasks of a running proxy.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 ready and every node up, in sync and well, 2 otherwise, 1 no answer."
)]
pub(super) struct Args {
    #[command(flatten)]
    proxy: Connection,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What a proxy says of itself.
#[derive(Debug)]
struct Status {
    url: String,
    ready: Ready,
    topology: Topology,
    indexes: Vec<IndexStatus>,
    /// Tasks by status; statuses without tasks are absent.
    tasks: BTreeMap<&'static str, u64>,
}

/// One index. Its placement is absent when it has none yet.
#[derive(Debug)]
struct IndexStatus {
    uid: String,
    document_count: u64,
    is_indexing: bool,
    placement: Option<IndexShards>,
}

/// Asks, prints, ends.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.proxy.client(Duration::from_secs(30))?;
    let status = fetch_status(&client)
        .await
        .with_context(|| format!("no status from {}", args.proxy.url))?;
    screen::say(if args.json {
        serde_json::to_string_pretty(&status.to_json())?
    } else {
        status.to_text()
    });
    Ok(if status.is_well() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

async fn fetch_status(client: &HttpClient) -> anyhow::Result<Status> {
    let ready = fetch_ready(client).await?;
    let topology = client.get("/_miroir/topology").await?;
    let topology = serde_json::from_value(topology).context("the topology is not understood")?;
    let stats = client.get("/stats").await?;
    let empty = serde_json::Map::new();
    let mut indexes = Vec::new();
    for (uid, stats) in stats["indexes"].as_object().unwrap_or(&empty) {
        let placement = match indexes.len() < INDEXES_MAX {
            true => fetch_placement(client, uid).await?,
            false => None,
        };
        indexes.push(IndexStatus {
            uid: uid.clone(),
            document_count: stats["numberOfDocuments"].as_u64().unwrap_or(0),
            is_indexing: stats["isIndexing"].as_bool().unwrap_or(false),
            placement,
        });
    }
    indexes.sort_by(|a, b| a.uid.cmp(&b.uid));
    let mut tasks = BTreeMap::new();
    for status in TASK_STATUSES {
        let page = client
            .get(&format!("/tasks?statuses={status}&limit=1"))
            .await?;
        if let Some(total) = page["total"].as_u64().filter(|total| *total > 0) {
            tasks.insert(status, total);
        }
    }
    Ok(Status {
        url: client.url().to_owned(),
        ready,
        topology,
        indexes,
        tasks,
    })
}

/// A proxy that is not ready answers with an error status; that is an answer too.
async fn fetch_ready(client: &HttpClient) -> anyhow::Result<Ready> {
    match client.get("/_miroir/ready").await {
        Ok(value) => serde_json::from_value(value).context("the readiness is not understood"),
        Err(error) => match error.downcast_ref::<Refused>() {
            Some(refused) if refused.status.as_u16() == 503 => Ok(Ready {
                ready: false,
                reason: refused.body["reason"].as_str().map(str::to_owned),
            }),
            _ => Err(error),
        },
    }
}

async fn fetch_placement(client: &HttpClient, uid: &str) -> anyhow::Result<Option<IndexShards>> {
    match client.get(&format!("/_miroir/indexes/{uid}/shards")).await {
        Ok(value) => Ok(Some(
            serde_json::from_value(value).context("a placement is not understood")?,
        )),
        // Deleted since the list was read.
        Err(error) => match error.downcast_ref::<Refused>() {
            Some(refused) if refused.status.as_u16() == 404 => Ok(None),
            _ => Err(error),
        },
    }
}

impl Status {
    fn is_well(&self) -> bool {
        self.ready.ready
            && self.topology.store_fault.is_none()
            && self.topology.nodes.iter().all(standing::is_well)
    }

    fn to_json(&self) -> Value {
        let indexes: Vec<Value> = self
            .indexes
            .iter()
            .map(|index| {
                json!({
                    "uid": index.uid,
                    "documents": index.document_count,
                    "isIndexing": index.is_indexing,
                    "shards": index.placement.as_ref().map(|placement| placement.shards.len()),
                    "replicationFactor":
                        index.placement.as_ref().map(|placement| placement.replication_factor),
                    "epoch": index.placement.as_ref().map(|placement| placement.epoch),
                    "shardsBelowFactor": index.placement.as_ref().map(missing_replicas),
                })
            })
            .collect();
        json!({
            "url": self.url,
            "ready": self.ready,
            "topology": self.topology,
            "indexes": indexes,
            "tasks": self.tasks,
        })
    }

    fn to_text(&self) -> String {
        let topology = &self.topology;
        let mut text = format!("{}   miroir {}   ", self.url, topology.version);
        text.push_str(&match (&self.ready.ready, &self.ready.reason) {
            (true, None) => "ready".to_owned(),
            (true, Some(reason)) => format!("ready, but {reason}"),
            (false, Some(reason)) => format!("NOT READY: {reason}"),
            (false, None) => "NOT READY".to_owned(),
        });
        text.push_str(&format!(
            "\nnew indexes: {} shards, {} replicas of each\n\n",
            topology.shard_count, topology.replication_factor
        ));
        let nodes: Vec<Vec<String>> = topology.nodes.iter().map(node_row).collect();
        let headers = [
            "node", "state", "in sync", "lag", "shards", "reads", "version", "zone", "url",
        ];
        text.push_str(&screen::table(&headers, &nodes));
        for node in &topology.nodes {
            text.push_str(&standing::lines(node));
        }
        text.push_str("\n\n");
        text.push_str(&match self.indexes.is_empty() {
            true => "  no index yet".to_owned(),
            false => {
                let rows: Vec<Vec<String>> = self.indexes.iter().map(index_row).collect();
                screen::table(
                    &["index", "documents", "shards", "replicas", "below", ""],
                    &rows,
                )
            }
        });
        let tasks: Vec<String> = TASK_STATUSES
            .iter()
            .filter_map(|status| self.tasks.get(status).map(|count| (status, count)))
            .map(|(status, count)| format!("{} {status}", screen::grouped(*count)))
            .collect();
        let tasks = if tasks.is_empty() {
            "none yet".to_owned()
        } else {
            tasks.join(", ")
        };
        text.push_str(&format!("\n\n  tasks: {tasks}"));
        text
    }
}

fn node_row(node: &miroir_api::admin::Node) -> Vec<String> {
    let optional = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        node.name.clone(),
        node.state.clone(),
        if node.in_sync { "yes" } else { "NO" }.to_owned(),
        screen::grouped(node.lag_batches),
        shards_text(node),
        reads_text(&node.reads),
        optional(&node.version),
        optional(&node.zone),
        node.url.clone(),
    ]
}

/// The shards placed on it, and how many of them it may be read for if that is not all.
fn shards_text(node: &miroir_api::admin::Node) -> String {
    let placed = screen::grouped(node.shard_count);
    match node.in_sync_shards == node.shard_count {
        true => placed,
        false => format!("{} of {placed}", screen::grouped(node.in_sync_shards)),
    }
}

/// The mean time of its searches, and its breaker if that is not closed.
fn reads_text(reads: &miroir_api::admin::NodeReads) -> String {
    let mut text = match reads.latency_ms.get("search") {
        Some(millis) => format!("{millis:.1} ms"),
        None => "-".to_owned(),
    };
    if !matches!(reads.breaker.as_str(), "" | "closed") {
        text.push_str(&format!(", {}", reads.breaker));
    }
    text
}

fn index_row(index: &IndexStatus) -> Vec<String> {
    let of = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), screen::grouped);
    let placement = index.placement.as_ref();
    vec![
        index.uid.clone(),
        screen::grouped(index.document_count),
        of(placement.map(|placement| placement.shards.len() as u64)),
        of(placement.map(|placement| u64::from(placement.replication_factor))),
        of(placement.map(|placement| missing_replicas(placement) as u64)),
        if index.is_indexing { "indexing" } else { "" }.to_owned(),
    ]
}

/// How many shards have fewer replicas in sync than the factor asks for.
fn missing_replicas(placement: &IndexShards) -> usize {
    let in_sync = |shard: &miroir_api::admin::Shard| {
        shard
            .replicas
            .iter()
            .filter(|replica| replica.in_sync)
            .count()
    };
    let factor = placement.replication_factor as usize;
    placement
        .shards
        .iter()
        .filter(|shard| in_sync(shard) < factor)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use miroir_api::admin::{Node, NodeReads, Replica, Shard};

    fn node(name: &str, in_sync: bool) -> Node {
        Node {
            name: name.to_owned(),
            url: format!("http://{name}:7700"),
            zone: None,
            weight: 1.0,
            state: if in_sync { "up" } else { "down" }.to_owned(),
            in_sync,
            out_of_sync_reason: (!in_sync).then(|| "does not answer".to_owned()),
            version: Some("1.50.0".to_owned()),
            lag_batches: u64::from(!in_sync) * 1234,
            lag_entries: u64::from(!in_sync) * 2000,
            lag_bytes: u64::from(!in_sync) * 3_000_000,
            lag_seconds: if in_sync { 0.0 } else { 12.4 },
            slows_writes: false,
            drained: false,
            shard_count: 32,
            in_sync_shards: u64::from(in_sync) * 32,
            waits_for: (!in_sync).then(|| "the node to answer".to_owned()),
            conditions: Vec::new(),
            last_error: None,
            refill: (!in_sync).then(|| miroir_api::admin::Refill {
                state: "copying".to_owned(),
                reason: "lost".to_owned(),
                index: None,
                shards_total: 32,
                shards_done: 5,
                documents: 1_200,
                bytes: 9,
            }),
            reads: NodeReads {
                latency_ms: BTreeMap::from([("search".to_owned(), 4.25)]),
                breaker: if in_sync { "closed" } else { "open" }.to_owned(),
                ..NodeReads::default()
            },
        }
    }

    fn status() -> Status {
        let replica = |node: &str, in_sync| Replica {
            node: node.to_owned(),
            in_sync,
        };
        let shard = |shard| Shard {
            shard,
            replicas: vec![replica("a", true), replica("b", false)],
        };
        Status {
            url: "http://127.0.0.1:7700".to_owned(),
            ready: Ready {
                ready: true,
                reason: None,
            },
            topology: Topology {
                version: "0.1.0".to_owned(),
                replication_factor: 2,
                shard_count: 32,
                nodes: vec![node("a", true), node("b", false)],
                unfinished_tasks: 1,
                store_fault: None,
            },
            indexes: vec![IndexStatus {
                uid: "cities".to_owned(),
                document_count: 34_006,
                is_indexing: true,
                placement: Some(IndexShards {
                    index_uid: "cities".to_owned(),
                    physical: "cities__0".to_owned(),
                    epoch: 1,
                    replication_factor: 2,
                    shards: vec![shard(0), shard(1)],
                }),
            }],
            tasks: BTreeMap::from([("enqueued", 1), ("succeeded", 1200)]),
        }
    }

    #[test]
    fn the_screen_shows_what_is_wrong() {
        let status = status();
        assert!(!status.is_well());
        assert_eq!(
            status.to_text(),
            "http://127.0.0.1:7700   miroir 0.1.0   ready\n\
             new indexes: 32 shards, 2 replicas of each\n\n  \
             node   state   in sync     lag   shards    reads          version   zone   url\n  \
             a      up      yes           0   32        4.2 ms         1.50.0    -      http://a:7700\n  \
             b      down    NO        1,234   0 of 32   4.2 ms, open   1.50.0    -      http://b:7700\n  \
             b: does not answer\n  \
             b: 5 of 32 shards copied, 1,200 documents so far\n  \
             b: behind by 1,234 batches (2,000 entries, 3,000,000 bytes of payloads), 12 s\n  \
             b: waits for the node to answer\n\n  \
             index    documents   shards   replicas   below\n  \
             cities      34,006        2          2       2   indexing\n\n  \
             tasks: 1 enqueued, 1,200 succeeded"
        );
    }

    #[test]
    fn the_json_has_the_same_facts() {
        let value = status().to_json();
        assert_eq!(value["ready"]["ready"], true);
        assert_eq!(value["topology"]["nodes"][1]["lagBatches"], 1234);
        assert_eq!(value["indexes"][0]["shardsBelowFactor"], 2);
        assert_eq!(value["tasks"]["succeeded"], 1200);
    }
}
