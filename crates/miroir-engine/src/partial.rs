//! Answers that lack shards, and how they say so.

use crate::port::NodeError;
use crate::state::IndexEntry;
use bytes::Bytes;
use miroir_core::id::ShardId;
use serde_json::json;

/// An answer to a read, ready to be sent.
#[derive(Debug, Clone)]
pub struct ReadAnswer {
    /// The whole JSON body.
    pub body: Bytes,
    /// Shards that no replica answered for; empty for a whole answer.
    pub missing_shards: Vec<ShardId>,
}

impl ReadAnswer {
    /// A body, which names in itself what it lacks.
    pub(crate) fn new(mut body: Vec<u8>, entry: &IndexEntry, missing: Vec<ShardId>) -> Self {
        add_coverage(&mut body, entry, &missing);
        Self {
            body: body.into(),
            missing_shards: missing,
        }
    }
}

/// Adds the member `_miroir` to a JSON object that is never empty; a whole answer stays as it is.
pub(crate) fn add_coverage(body: &mut Vec<u8>, entry: &IndexEntry, missing: &[ShardId]) {
    if missing.is_empty() || body.pop_if(|last| *last == b'}').is_none() {
        return;
    }
    let total = entry.record.shard_count.max(1);
    let lacking = u32::try_from(missing.len()).unwrap_or(total).min(total);
    let shards: Vec<u32> = missing.iter().map(|shard| shard.0).collect();
    let coverage = json!({
        "degraded": true,
        "missingShards": shards,
        "coverage": f64::from(total - lacking) / f64::from(total),
    });
    body.extend_from_slice(format!(",\"_miroir\":{coverage}}}").as_bytes());
}

/// Why a node's answer does not count, if it is cut off: nodes answer reads by JSON objects.
pub(crate) fn whole(node: &miroir_core::id::NodeId, body: Bytes) -> Result<Bytes, NodeError> {
    let text = body.trim_ascii();
    if text.starts_with(b"{") && text.ends_with(b"}") {
        return Ok(body);
    }
    Err(NodeError::Failed {
        node: node.clone(),
        status: 200,
        cause: "its answer is cut off".to_owned(),
    })
}
