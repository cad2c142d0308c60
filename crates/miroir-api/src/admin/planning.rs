//! Changes of the topology: staged, planned, explained.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Body of `POST /_miroir/topology/staged`: one change, not carried out yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "change",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum TopologyChange {
    /// A node comes.
    AddNode {
        /// Its name.
        name: String,
        /// Its address.
        url: String,
        /// Its failure domain.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
        /// Its share of the documents relative to the others; 1 if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weight: Option<f64>,
    },
    /// A node's shards move away; it stays, empty.
    DrainNode {
        /// Its name.
        name: String,
    },
    /// A drained node takes shards again.
    ActivateNode {
        /// Its name.
        name: String,
    },
    /// A node's shards move away, then it leaves.
    RemoveNode {
        /// Its name.
        name: String,
    },
    /// A newcomer takes a node's place.
    ReplaceNode {
        /// Who leaves.
        name: String,
        /// The newcomer's name.
        by: String,
        /// The newcomer's address.
        url: String,
        /// Its failure domain; that of the other if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
        /// Its weight; that of the other if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weight: Option<f64>,
    },
    /// A node's zone, weight or address changes.
    SetNode {
        /// Its name.
        name: String,
        /// Its failure domain; the empty text takes it away.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
        /// Its share of the documents relative to the others.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weight: Option<f64>,
        /// Its address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
    },
    /// The copies of each shard of one index, or of all there are.
    SetReplicationFactor {
        /// The index; all if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        index_uid: Option<String>,
        /// Copies.
        replication_factor: u32,
    },
    /// A node is gone for good with all it held.
    DeclareLost {
        /// Its name.
        name: String,
        /// Shards that were only there begin anew, empty.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        accept_data_loss: bool,
    },
    /// Nothing but evening out.
    Rebalance {},
}

/// Answer of `GET`, `POST` and `DELETE /_miroir/topology/staged`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StagedTopology {
    /// The epoch of the topology in force.
    pub epoch: u64,
    /// The epoch that the staged changes get when they are applied; absent while nothing is staged.
    /// Each further change gives it a new number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staged_epoch: Option<u64>,
    /// The changes, in the order in which they were staged.
    pub changes: Vec<TopologyChange>,
    /// Each of them in words.
    pub descriptions: Vec<String>,
    /// What is being carried out, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub underway: Option<String>,
    /// What the configuration declares and is not staged, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objections: Vec<String>,
}

/// Body of `POST /_miroir/topology/plan`: what would come of these changes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PlanRequest {
    /// On top of what is staged.
    pub changes: Vec<TopologyChange>,
    /// Bytes that may still be written to nodes, by name, where the operator knows.
    pub free_bytes: BTreeMap<String, u64>,
}

/// Body of `POST /_miroir/topology/apply`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyRequest {
    /// The staged epoch, as the plan showed it.
    pub epoch: u64,
}

/// Answer of `GET` and `POST /_miroir/topology/plan`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopologyPlan {
    /// The epoch of the topology in force.
    pub epoch: u64,
    /// The epoch to apply; absent while nothing is staged, or for changes that are only asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staged_epoch: Option<u64>,
    /// The changes planned, in words.
    pub changes: Vec<String>,
    /// Why it cannot be carried out; empty if it can.
    pub refusals: Vec<String>,
    /// What should be known of it.
    pub warnings: Vec<String>,
    /// What is lost by it, in words, by index; empty if nothing is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<String>,
    /// Shards that move.
    pub move_count: u64,
    /// Copies of shards that are made.
    pub copy_count: u64,
    /// Documents to copy.
    pub documents: u64,
    /// Bytes to copy.
    pub bytes: u64,
    /// How long that takes at the rate that copies are bounded to, at least.
    pub seconds: Option<u64>,
    /// What a byte of a document takes of a node's disk, as seen on the nodes.
    pub disk_factor: Option<f64>,
    /// The greatest of load over share before; 1 is even.
    pub imbalance_before: f64,
    /// The same after.
    pub imbalance_after: f64,
    /// Readable copies of the worst-off shard: before, at the worst moment, after.
    pub least_replicas: LeastReplicas,
    /// Every node that is there before or after.
    pub nodes: Vec<PlannedNode>,
    /// The first moves, in the order in which they are made.
    pub moves: Vec<PlannedMove>,
}

/// Readable copies of the worst-off shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeastReplicas {
    /// Now.
    pub before: u32,
    /// At the worst moment between.
    pub during: u32,
    /// In the end.
    pub after: u32,
}

/// A node before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedNode {
    /// Its name.
    pub name: String,
    /// Its failure domain.
    pub zone: Option<String>,
    /// Its weight.
    pub weight: f64,
    /// `active`, `draining`, `leaving`, `lost` or `new`.
    pub role: String,
    /// Its share of all bytes.
    pub share_bytes: u64,
    /// What it holds.
    pub bytes_before: u64,
    /// What it will hold.
    pub bytes_after: u64,
    /// What it holds at most on the way.
    pub bytes_peak: u64,
    /// What it holds beside its shards of indexes that are kept twice while they are re-sharded.
    #[serde(default)]
    pub bytes_twins: u64,
    /// Replicas of shards it holds.
    pub replicas_before: u64,
    /// Replicas it will hold.
    pub replicas_after: u64,
    /// What of its disk is taken by what it receives.
    pub bytes_received: u64,
}

/// One move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedMove {
    /// The index, by its name on the nodes.
    pub index: String,
    /// The shard.
    pub shard: u32,
    /// The replica set there is.
    pub from: Vec<String>,
    /// The replica set there will be.
    pub to: Vec<String>,
    /// Documents to copy.
    pub documents: u64,
    /// Bytes to copy.
    pub bytes: u64,
    /// The least number of readable copies that any shard has while it is made.
    pub least_replicas: u32,
}

/// Answer of `GET` and `POST /_miroir/movement…`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Movement {
    /// Its number; absent if there was none yet.
    pub id: Option<u64>,
    /// `none`, `running`, `paused`, `cancelling`, `done` or `cancelled`.
    pub state: String,
    /// Moves done or taken back.
    pub moves_done: u64,
    /// All moves.
    pub moves_total: u64,
    /// Documents copied.
    pub documents: u64,
    /// Bytes copied.
    pub bytes: u64,
    /// Bytes copied in a second.
    pub bytes_per_second: Option<u64>,
    /// How long it will take at the pace so far.
    pub remaining_seconds: Option<u64>,
    /// What it waits for, in words.
    pub waits_for: Option<String>,
    /// Moves by state.
    pub states: BTreeMap<String, u64>,
    /// The moves under way.
    pub moving: Vec<MovingShard>,
}

/// A move under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MovingShard {
    /// The index, by its name on the nodes.
    pub index: String,
    /// The shard.
    pub shard: u32,
    /// From where.
    pub from: Vec<String>,
    /// To where.
    pub to: Vec<String>,
    /// How far it is.
    pub state: String,
    /// Documents copied.
    pub documents: u64,
}

/// Answer of `GET /_miroir/advice`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopologyAdvice {
    /// What should be changed, in words; empty if nothing.
    pub advice: Vec<String>,
    /// The shards that the rule gives a new index on the nodes there are.
    pub shards_of_a_new_index: u32,
}

/// Answer of `GET /_miroir/indexes/{uid}/shards/{shard}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardExplanation {
    /// The client's name of the index.
    pub index_uid: String,
    /// Its name on the nodes.
    pub physical: String,
    /// The shard.
    pub shard: u32,
    /// The shards of the index.
    pub shard_count: u32,
    /// The copies it should have.
    pub replication_factor: u32,
    /// Its documents, about.
    pub documents: u64,
    /// Their size, about.
    pub bytes: u64,
    /// Its replica set, in order.
    pub replicas: Vec<String>,
    /// Every node, those that hold it first, then by rank.
    pub nodes: Vec<ShardNode>,
    /// What keeps it from moving now; empty if nothing.
    pub blocked_by: Vec<String>,
}

/// A node, as a shard sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardNode {
    /// Its name.
    pub name: String,
    /// Its failure domain.
    pub zone: Option<String>,
    /// Its place among the nodes by the hash of shard and node, over its weight: the first are
    /// wanted first. From 1.
    pub rank: u64,
    /// It holds the shard.
    pub holds: bool,
    /// What it holds over its share; 1 is just right.
    pub fill: f64,
    /// Why it holds the shard, or why it does not.
    pub reason: String,
}

/// Answer of `POST /_miroir/indexes/{uid}/explain`: how a search would be carried out now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryExplanation {
    /// The client's name of the index.
    pub index_uid: String,
    /// Its name on the nodes.
    pub physical: String,
    /// Shards of the index.
    pub shard_count: u32,
    /// Shards that the search needs.
    pub shards_needed: u32,
    /// Why not fewer, or why so few.
    pub narrowing: String,
    /// An answer is at hand; no node would be asked.
    pub cached: bool,
    /// Who would be asked for what.
    pub parts: Vec<QueryPart>,
    /// Shards that nobody could answer for.
    pub missing_shards: Vec<u32>,
    /// Nodes that would not be asked, and why.
    pub spared: BTreeMap<String, String>,
}

/// One node's part of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryPart {
    /// The node.
    pub node: String,
    /// Its failure domain.
    pub zone: Option<String>,
    /// The shards it would answer for.
    pub shards: Vec<u32>,
    /// The filter that keeps its other shards out; absent if it has no others.
    pub shard_filter: Option<String>,
    /// Hits it is asked for at first.
    pub limit: u64,
    /// The request it would get.
    pub request: Value,
    /// The running mean of the time to its answers to searches, in milliseconds.
    pub latency_ms: Option<f64>,
}
