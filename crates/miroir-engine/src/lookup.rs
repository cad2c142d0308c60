//! Asks nodes for the sequence numbers of documents that may exist already: a rewritten document
//! keeps its place in the order, as on one node.

use crate::error::EngineError;
use crate::port::NodeRead;
use crate::reads::ReadKind;
use crate::scatter::Scatter;
use crate::state::{IndexEntry, Shared};
use bytes::Bytes;
use miroir_core::document::{PrimaryKey, document_id};
use miroir_core::hash::{document_hash, shard_of_hash};
use miroir_core::id::{DocumentSeq, ShardId};
use miroir_core::merge::strip_document;
use miroir_core::reserved::{SEQ_FIELD, decode_seq};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;

/// Ids in one round of questions.
pub(crate) const LOOKUP_IDS_MAX: usize = 10_000;

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Numbered {
    #[serde(rename = "_miroir_seq")]
    seq: Option<String>,
}

/// The numbers of those documents that exist, by hash of the id.
///
/// # Errors
/// As [`Scatter::gather`].
pub(crate) async fn fetch_seqs(
    shared: &Shared,
    entry: &IndexEntry,
    primary_key: &PrimaryKey,
    ids: &[String],
) -> Result<HashMap<u64, DocumentSeq>, EngineError> {
    let mut found = HashMap::new();
    let Some(shard_count) = NonZeroU32::new(entry.record.shard_count) else {
        return Ok(found);
    };
    for ids in ids.chunks(LOOKUP_IDS_MAX) {
        let mut by_shard: BTreeMap<ShardId, Vec<&str>> = BTreeMap::new();
        for id in ids {
            by_shard
                .entry(shard_of_hash(document_hash(id), shard_count))
                .or_default()
                .push(id);
        }
        let shards: Vec<ShardId> = by_shard.keys().copied().collect();
        let snapshot = shared.snapshot.load_full();
        let scatter = Scatter {
            shared,
            snapshot: &snapshot,
            entry,
            shards: Some(&shards),
            affinity: document_hash(ids.first().map_or("", String::as_str)),
            kind: ReadKind::List,
            request: |part: &miroir_core::cover::CoverPart| {
                let wanted: BTreeSet<ShardId> = part.shards.iter().copied().collect();
                let ids: Vec<&str> = by_shard
                    .iter()
                    .filter(|(shard, _)| wanted.contains(shard))
                    .flat_map(|(_, ids)| ids.iter().copied())
                    .collect();
                let body = serde_json::json!({
                    "ids": ids,
                    "fields": [primary_key.as_str(), SEQ_FIELD],
                    "limit": ids.len(),
                });
                let index = entry.record.physical.clone();
                NodeRead::Documents {
                    index,
                    body: Bytes::from(body.to_string()),
                }
            },
        };
        for answer in scatter.gather().await? {
            let page: Page<'_> = serde_json::from_slice(&answer.body)
                .map_err(|error| EngineError::Answer(error.to_string()))?;
            for document in page.results {
                let raw = document.get();
                let numbered: Numbered = serde_json::from_str(raw)
                    .map_err(|error| EngineError::Answer(error.to_string()))?;
                let plain = strip_document(raw.as_bytes())
                    .map_err(|error| EngineError::Answer(error.to_string()))?;
                let id = document_id(&plain, primary_key)
                    .map_err(|error| EngineError::Answer(error.to_string()))?;
                if let Some(seq) = numbered.seq.as_deref().and_then(decode_seq) {
                    found.insert(document_hash(&id), seq);
                }
            }
        }
    }
    Ok(found)
}
