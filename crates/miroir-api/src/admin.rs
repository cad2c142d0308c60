//! Miroir's own admin API, shared by the server, the command line and the tests.

mod declaring;
mod orphans;
mod planning;
mod reshard;

pub use declaring::*;
pub use orphans::*;
pub use planning::*;
pub use reshard::*;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Answer of `GET /_miroir/topology`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Topology {
    /// The version of this proxy.
    pub version: String,
    /// The replication factor new indexes get.
    pub replication_factor: u32,
    /// The shard count new indexes get.
    pub shard_count: u32,
    /// Nodes, by name.
    pub nodes: Vec<Node>,
    /// Tasks that are not final.
    pub unfinished_tasks: u64,
    /// Why writes are refused, while they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_fault: Option<StoreFault>,
}

/// What is wrong with the proxy's store: reads go on, writes are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreFault {
    /// What the disk or the database said.
    pub cause: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// Body of `POST /_miroir/backup`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupRequest {
    /// A folder of the proxy's machine, named whole, that is empty or is made.
    pub to: String,
}

/// Answer of `POST /_miroir/backup`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// Where it is.
    pub folder: String,
    /// The size of its database.
    pub database_bytes: u64,
    /// Its payload files.
    pub payload_files: u64,
    /// Their size.
    pub payload_bytes: u64,
    /// The last task of its log.
    pub last_task: Option<u64>,
    /// The last batch it knows of.
    pub last_batch: Option<u64>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its address.
    pub url: String,
    /// Its failure domain.
    pub zone: Option<String>,
    /// Its relative share of the shards.
    pub weight: f64,
    /// `up`, `suspect`, `down` or `unknown`.
    pub state: String,
    /// It has applied every task that was reported succeeded.
    pub in_sync: bool,
    /// Why it is not in sync.
    pub out_of_sync_reason: Option<String>,
    /// The version it reports.
    pub version: Option<String>,
    /// Batches it has not applied yet.
    pub lag_batches: u64,
    /// Entries of the log in them.
    #[serde(default)]
    pub lag_entries: u64,
    /// The size of their payloads.
    #[serde(default)]
    pub lag_bytes: u64,
    /// The age of the oldest of them.
    #[serde(default)]
    pub lag_seconds: f64,
    /// It takes no shards: it was drained, or leaves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drained: bool,
    /// New writes to its indexes are slowed, so that it gets level.
    #[serde(default)]
    pub slows_writes: bool,
    /// Shard replicas placed on it, over all indexes.
    pub shard_count: u64,
    /// Those of them that hold all that was reported done.
    #[serde(default)]
    pub in_sync_shards: u64,
    /// What it waits for before it is read (again), or before it is level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// What is wrong with it, the most urgent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<NodeCondition>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// The copy of its shards from the other replicas, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refill: Option<Refill>,
    /// How it answers reads, as this proxy has seen it.
    #[serde(default)]
    pub reads: NodeReads,
}

/// Something that is wrong with a node, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeCondition {
    /// Its name: `unreachable`, `brokenAnswers`, `keyRefused`, `wrongData`, `anotherNode`, `full`,
    /// `failingBatches`, `standingStill`, `wrongVersion` or `wrongClock`.
    pub condition: String,
    /// What is seen.
    pub symptom: String,
    /// What it costs.
    pub impact: String,
    /// Why it is so.
    pub cause: String,
    /// What to do.
    pub remedy: String,
    /// What the node said, or how it showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Since when, RFC 3339, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// Body of `POST /_miroir/rewind`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RewindRequest {
    /// The index, by the name it had at that task.
    pub index_uid: String,
    /// The last task whose effect is wanted.
    pub to_task: u64,
    /// The name of the index to build, which is free.
    #[serde(rename = "as")]
    pub new_uid: String,
    /// A dump of this instance to begin with, as a path on the proxy's machine. Without it the log is
    /// taken, or the newest dump of the dump folder that serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_dump: Option<String>,
}

/// Answer of `POST /_miroir/rewind/plan`: what a rewind would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RewindPlan {
    /// The index, by the name it had at that task.
    pub index_uid: String,
    /// The last task whose effect is wanted.
    pub to_task: u64,
    /// The name of the index to build.
    #[serde(rename = "as")]
    pub new_uid: String,
    /// The task that made the index; or the one that wrote the dump, all before which it holds.
    pub from_task: u64,
    /// The uid of the dump that it begins with, if it does.
    pub from_dump: Option<String>,
    /// Tasks to carry out again.
    pub tasks_total: u64,
    /// The size of their payloads.
    pub payload_bytes: u64,
}

/// Answer of `GET /_miroir/rewinds`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rewinds {
    /// Those under way, and the last that ended; oldest first.
    pub results: Vec<Rewind>,
}

/// Answer of `POST /_miroir/rewind` and `GET /_miroir/rewind/{job}`: an index being built as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rewind {
    /// Its number.
    pub job: u64,
    /// `running`, `removing` (what was built is taken away again), `succeeded`, `failed` or `cancelled`.
    pub state: String,
    /// The index, by the name it had at that task.
    pub index_uid: String,
    /// The last task whose effect is wanted.
    pub to_task: u64,
    /// The name of the index to build. It appears under it when it is whole.
    #[serde(rename = "as")]
    pub new_uid: String,
    /// The task that made the index; or the one that wrote the dump, all before which it holds.
    pub from_task: u64,
    /// The uid of the dump that it begins with, if it does.
    #[serde(default)]
    pub from_dump: Option<String>,
    /// Tasks to carry out again.
    pub tasks_total: u64,
    /// Tasks carried out.
    pub tasks_done: u64,
    /// Documents taken from the dump.
    #[serde(default)]
    pub documents: u64,
    /// Why it stands still for now.
    #[serde(default)]
    pub waits_for: Option<String>,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A node's shards are being copied anew from their other replicas.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refill {
    /// `waiting` for the node, or `copying`.
    pub state: String,
    /// Why.
    pub reason: String,
    /// The index being copied, by its name on the nodes.
    pub index: Option<String>,
    /// Shards to copy.
    pub shards_total: u64,
    /// Shards copied.
    pub shards_done: u64,
    /// Documents copied.
    pub documents: u64,
    /// Bytes copied.
    pub bytes: u64,
}

/// Body of `POST /_miroir/verify`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct VerifyRequest {
    /// One index; all if absent.
    pub index_uid: Option<String>,
    /// Copy what differs.
    pub repair: bool,
}

/// Answer of `POST /_miroir/verify` and `GET /_miroir/verify/{job}`: a comparison of all replicas.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Its number.
    pub job: u64,
    /// `running`, `succeeded` or `incomplete`.
    pub state: String,
    /// The index compared; all if absent.
    pub index_uid: Option<String>,
    /// What differs is copied.
    pub repair: bool,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
    /// Shards to compare.
    pub shards_total: u64,
    /// Shards compared.
    pub shards_done: u64,
    /// Documents compared, each counted once.
    pub documents: u64,
    /// Documents in which a replica differs.
    pub difference_count: u64,
    /// Those of them that were copied again.
    pub repaired_count: u64,
    /// The first of them.
    pub differences: Vec<Difference>,
    /// What could not be compared, and why.
    pub skipped: Vec<String>,
}

/// A document in which a replica differs from the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The client's name of the index.
    pub index_uid: String,
    /// The shard.
    pub shard: u32,
    /// The node with the replica.
    pub node: String,
    /// The document.
    pub id: String,
    /// What the replica has done with it: `missing`, `extra` or `changed`.
    pub kind: String,
}

/// How a node answers reads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeReads {
    /// The running mean of the time to its answers, in milliseconds, by kind of read: `search`,
    /// `list`, `get`, `other`. Kinds it has not answered yet are absent.
    pub latency_ms: BTreeMap<String, f64>,
    /// Requests under way.
    pub in_flight: u64,
    /// The share of its last requests that failed, from 0 to 1.
    pub error_rate: f64,
    /// `closed` (it is asked), `open` (it failed repeatedly and is spared), `half-open` (it is being
    /// tried again) or `busy` (it said that it has too much to do, and is spared for a moment).
    pub breaker: String,
    /// Requests to it that were asked of other nodes too, because it was silent.
    pub hedges: u64,
    /// Those of them that another node answered first.
    pub hedges_won: u64,
}

/// Answer of `GET /_miroir/indexes/{uid}/shards`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexShards {
    /// The client's name.
    pub index_uid: String,
    /// The name on the nodes.
    pub physical: String,
    /// The epoch of the placement.
    pub epoch: u64,
    /// Copies of each shard.
    pub replication_factor: u32,
    /// By number.
    pub shards: Vec<Shard>,
}

/// One shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shard {
    /// Its number.
    pub shard: u32,
    /// Its replica set, in order.
    pub replicas: Vec<Replica>,
}

/// One replica of a shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replica {
    /// The node's name.
    pub node: String,
    /// It may serve reads.
    pub in_sync: bool,
}

/// Answer of `GET /_miroir/ready`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// Traffic may be sent here.
    pub ready: bool,
    /// Why not, or what does not work although traffic may be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
