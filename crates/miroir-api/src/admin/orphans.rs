//! What lies on nodes and no placement puts there.

use serde::{Deserialize, Serialize};

/// Answer of `GET /_miroir/orphans`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Orphans {
    /// Names this listing: whoever removes what it shows gives it.
    pub digest: String,
    /// By node and index.
    pub orphans: Vec<Orphan>,
    /// Nodes that could not be looked at: away, apart or not in sync.
    pub nodes_not_seen: Vec<String>,
}

/// Something on a node that is not placed there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Orphan {
    /// Where it lies.
    pub node: String,
    /// The index, by its name on the node.
    pub index: String,
    /// The shards that the documents are of; absent if it is the whole index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<Vec<u32>>,
    /// How many documents.
    pub documents: u64,
}

/// Body of `POST /_miroir/orphans/sweep`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SweepRequest {
    /// That of the listing.
    pub digest: String,
}

/// Answer of `POST /_miroir/orphans/sweep`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sweep {
    /// How many are on their way out: the nodes remove them after what they were sent before.
    pub removed: u64,
    /// What was shown.
    pub orphans: Vec<Orphan>,
}
