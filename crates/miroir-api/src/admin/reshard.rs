//! Indexes being cut into another number of shards.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Body of `POST /_miroir/indexes/{uid}/reshard` and of `POST /_miroir/indexes/{uid}/reshard/plan`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReshardRequest {
    /// How many shards it shall have.
    pub shards: u32,
    /// For how long the index as it was is kept up to date after readers were switched; a day if
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_way_back_seconds: Option<u64>,
    /// Bytes that may still be written to nodes, by name, where the operator knows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub free_bytes: BTreeMap<String, u64>,
}

/// One re-shard, as `GET /_miroir/reshards` lists them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reshard {
    /// Its number.
    pub id: u64,
    /// The index.
    pub index_uid: String,
    /// The shards it had when it began.
    pub from_shards: u32,
    /// The shards it shall have.
    pub to_shards: u32,
    /// The shards by which it is read.
    pub shards: u32,
    /// `waiting`, `copying`, `verifying`, `paused`, `wayBackKept`, `removing`, `done`, `cancelled` or
    /// `wayBackLost`.
    pub state: String,
    /// Documents copied.
    pub documents: u64,
    /// Documents that there were when it began.
    pub documents_total: u64,
    /// Bytes copied.
    pub bytes: u64,
    /// How fast.
    pub bytes_per_second: Option<u64>,
    /// How long the copy will take at that rate.
    pub remaining_seconds: Option<u64>,
    /// What keeps it from going on.
    pub waits_for: Option<String>,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// When readers were switched last.
    pub switched_at: Option<String>,
    /// Until when the way back is kept.
    pub way_back_until: Option<String>,
}

/// Answer of `GET /_miroir/reshards`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reshards {
    /// Those under way, those whose way back is kept, and the last that ended; oldest first.
    pub results: Vec<Reshard>,
}

/// Answer of `POST /_miroir/indexes/{uid}/reshard/plan`: what would come of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReshardPlan {
    /// The index.
    pub index_uid: String,
    /// Its shards now.
    pub from_shards: u32,
    /// Its shards then.
    pub to_shards: u32,
    /// Copies of each, now and then.
    pub replication_factor: u32,
    /// Its documents, each counted once.
    pub documents: u64,
    /// Their size.
    pub bytes: u64,
    /// How long the copy takes at least, at the rate it is bounded to.
    pub seconds: Option<u64>,
    /// What each node would hold of it.
    pub nodes: Vec<ReshardNode>,
    /// Why it cannot begin; empty if it can.
    pub refusals: Vec<String>,
    /// What should be known of it.
    pub warnings: Vec<String>,
}

/// What a node would hold of an index cut anew, beside what it holds of it now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReshardNode {
    /// Its name.
    pub node: String,
    /// The shards it has of the index now.
    pub shards_now: u64,
    /// Those it would have.
    pub shards: u64,
    /// Documents it would get.
    pub documents: u64,
    /// Their size.
    pub bytes: u64,
    /// Disk that they take, until the index as it was is dropped.
    pub disk_bytes: u64,
}
