//! Miroir's own admin API, shared by the server, the command line and the tests.

use serde::{Deserialize, Serialize};

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
    /// Shard replicas placed on it, over all indexes.
    pub shard_count: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
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
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
