//! What lies on nodes and no placement puts there: shown to whoever asks, and removed when asked.
//!
//! Moves leave nothing behind. But a node may have been filled by hand, restored from an old copy, or
//! have been of another cluster. What an old copy brought back is removed without being asked, as far
//! as it is sure that it is this cluster's own ([`remains`]).

pub(crate) mod remains;

use crate::copy::barrier::Answer;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::movement::turn::Turn;
use crate::port::{NodeError, NodeRead};
use crate::state::{IndexEntry, Shared};
use bytes::Bytes;
use miroir_api::admin;
use miroir_core::id::{NodeId, PhysicalIndex, ShardId};
use miroir_core::recover::form_of;
use miroir_core::reserved::shards_filter;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Something on a node that is not placed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Where it lies.
    pub node: NodeId,
    /// The index, by its name on the node.
    pub index: PhysicalIndex,
    /// The shards that the documents are of; `None` is the whole index.
    pub shards: Option<Vec<ShardId>>,
    /// How many documents.
    pub documents: u64,
}

impl Engine {
    /// All orphans on the nodes that are in sync and answer, by node and index. An index that is not
    /// Miroir's, by its name, is none.
    ///
    /// # Errors
    /// A node fails while it is asked.
    pub async fn orphans(&self) -> Result<Vec<Orphan>, EngineError> {
        let shared = self.shared();
        let snapshot = shared.snapshot.load_full();
        let mut orphans = Vec::new();
        for node in snapshot.nodes.values().filter(|view| view.is_readable()) {
            let node = &node.record.id;
            for (index, documents) in held_by(shared, node).await? {
                match place_of(shared, node, &index) {
                    Place::Busy => {}
                    Place::Nowhere => orphans.push(Orphan {
                        node: node.clone(),
                        index,
                        shards: None,
                        documents,
                    }),
                    Place::Here(entry) => {
                        let held = entry.placement.held_by(node);
                        orphans.extend(strangers(shared, node, &entry, &held).await?);
                    }
                }
            }
        }
        Ok(orphans)
    }

    /// Removes orphans that [`Engine::orphans`] showed, as far as they still are; returns how many
    /// are on their way out.
    ///
    /// # Errors
    /// [`EngineError::Client`] if one cannot be removed now, with the reason; those before it are.
    pub async fn sweep_orphans(&self, orphans: Vec<Orphan>) -> Result<usize, EngineError> {
        let mut count = 0;
        for orphan in orphans {
            let turn = Turn::DropOrphan {
                node: orphan.node,
                index: orphan.index,
                shards: orphan.shards,
            };
            let answer = self.ask_dispatcher(turn).await?;
            count += usize::from(matches!(answer, Answer::Done));
        }
        Ok(count)
    }

    /// The orphans as the admin API shows them, with the nodes that could not be looked at.
    ///
    /// # Errors
    /// As [`Engine::orphans`].
    pub async fn orphans_shown(&self) -> Result<admin::Orphans, EngineError> {
        Ok(self.listing_of(&self.orphans().await?))
    }

    /// Removes what a listing showed, and nothing if there is anything else by now.
    ///
    /// # Errors
    /// [`EngineError::Client`] if the digest is not that of what is there; otherwise as
    /// [`Engine::sweep_orphans`].
    pub async fn sweep_shown(&self, digest: &str) -> Result<admin::Sweep, EngineError> {
        let orphans = self.orphans().await?;
        let listing = self.listing_of(&orphans);
        if listing.digest != digest {
            return Err(EngineError::Client {
                code: "bad_request",
                message: format!(
                    "What lies on the nodes is not what was shown as `{digest}` (any more): look \
                     at it again with `GET /_miroir/orphans`."
                ),
            });
        }
        let removed = self.sweep_orphans(orphans).await? as u64;
        Ok(admin::Sweep {
            removed,
            orphans: listing.orphans,
        })
    }

    fn listing_of(&self, orphans: &[Orphan]) -> admin::Orphans {
        let snapshot = self.shared().snapshot.load();
        let away = snapshot.nodes.values().filter(|view| !view.is_readable());
        let shown: Vec<admin::Orphan> = orphans
            .iter()
            .map(|orphan| admin::Orphan {
                node: orphan.node.to_string(),
                index: orphan.index.to_string(),
                shards: orphan
                    .shards
                    .as_ref()
                    .map(|shards| shards.iter().map(|shard| shard.0).collect()),
                documents: orphan.documents,
            })
            .collect();
        admin::Orphans {
            digest: digest_of(&shown),
            orphans: shown,
            nodes_not_seen: away.map(|view| view.record.id.to_string()).collect(),
        }
    }
}

/// Tells one listing from another. Names hold no line breaks, so no two listings have one text.
fn digest_of(orphans: &[admin::Orphan]) -> String {
    let mut text = String::new();
    for orphan in orphans {
        let shards = orphan.shards.as_ref().map(|shards| format!("{shards:?}"));
        let shards = shards.unwrap_or_default();
        let line = [&orphan.node, &orphan.index, &shards].map(String::as_str);
        text.push_str(&line.join(" "));
        text.push_str(&format!(" {}\n", orphan.documents));
    }
    format!("{:016x}", miroir_core::hash::document_hash(&text))
}

/// How an index that lies on a node stands there.
enum Place {
    /// It is not Miroir's, or it is being made, changed or removed: nobody's business.
    Busy,
    /// No placement puts it there.
    Nowhere,
    /// Shards of it are placed there.
    Here(Arc<IndexEntry>),
}

fn place_of(shared: &Shared, node: &NodeId, index: &PhysicalIndex) -> Place {
    // In this order: what is no longer in flight is shown.
    // A twin of a re-shard that is being removed is no longer shown, and that re-shard's to remove.
    let is_busy = shared.is_indexing(index) || shared.reshards.is_void(index);
    if form_of(index).is_none() || is_busy {
        return Place::Busy;
    }
    match shared.shown(index) {
        Some(entry) if !entry.placement.held_by(node).is_empty() => Place::Here(entry),
        _ => Place::Nowhere,
    }
}

/// The indexes on a node, with their documents.
async fn held_by(
    shared: &Shared,
    node: &NodeId,
) -> Result<BTreeMap<PhysicalIndex, u64>, NodeError> {
    let timeout = shared.config.node_timeout;
    let answer = shared
        .ports
        .nodes
        .read(node, NodeRead::Stats, timeout)
        .await?;
    let stats: Value = serde_json::from_slice(&answer).unwrap_or(Value::Null);
    let indexes = stats.get("indexes").and_then(Value::as_object);
    let count = |stats: &Value| stats.get("numberOfDocuments").and_then(Value::as_u64);
    Ok(indexes
        .into_iter()
        .flatten()
        .map(|(name, stats)| {
            let index = PhysicalIndex::from_stored(name.clone());
            (index, count(stats).unwrap_or(0))
        })
        .collect())
}

/// Documents of shards that an index does not have on a node.
async fn strangers(
    shared: &Shared,
    node: &NodeId,
    entry: &IndexEntry,
    held: &[ShardId],
) -> Result<Option<Orphan>, EngineError> {
    let others: Vec<ShardId> = entry
        .placement
        .shards()
        .filter(|shard| !held.contains(shard))
        .collect();
    if others.is_empty() {
        return Ok(None);
    }
    let filter = shards_filter(&others, entry.record.shard_count);
    let body = json!({"filter": filter, "limit": 0});
    let read = NodeRead::Documents {
        index: entry.record.physical.clone(),
        body: Bytes::from(body.to_string()),
    };
    let timeout = shared.config.node_timeout;
    let answer = shared.ports.nodes.read(node, read, timeout).await?;
    let page: Value =
        serde_json::from_slice(&answer).map_err(|error| EngineError::Answer(error.to_string()))?;
    let documents = page.get("total").and_then(Value::as_u64).unwrap_or(0);
    Ok((documents > 0).then(|| Orphan {
        node: node.clone(),
        index: entry.record.physical.clone(),
        shards: Some(others),
        documents,
    }))
}
