//! What lies on nodes and no placement puts there: shown to whoever asks, and removed when asked.
//!
//! Moves leave nothing behind. But a node may have been filled by hand, restored from an old copy, or
//! have been of another cluster.

use crate::copy::barrier::Answer;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::movement::turn::Turn;
use crate::port::{NodeError, NodeRead};
use crate::state::{IndexEntry, Shared};
use bytes::Bytes;
use miroir_core::id::{NodeId, PhysicalIndex, ShardId};
use miroir_core::reserved::shards_filter;
use serde_json::{Value, json};
use std::collections::BTreeMap;

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
        let twins: Vec<IndexEntry> = snapshot
            .indexes
            .values()
            .filter_map(|entry| Some(entry.twin.as_ref()?.to_entry(&entry.record)))
            .collect();
        let indexes = snapshot.indexes.values().map(|entry| &**entry);
        let by_name: BTreeMap<&str, &IndexEntry> = indexes
            .chain(&twins)
            .map(|entry| (entry.record.physical.as_str(), entry))
            .collect();
        let mut orphans = Vec::new();
        for node in snapshot.nodes.values().filter(|view| view.is_readable()) {
            let node = &node.record.id;
            for (name, documents) in held_by(shared, node).await? {
                let index = PhysicalIndex::from_stored(name.clone());
                // What is being made or removed is nobody's business.
                if !is_ours(&name) || shared.is_indexing(&index) || shared.reshards.is_void(&index)
                {
                    continue;
                }
                let held = by_name.get(name.as_str());
                let held = held.map(|entry| (entry, entry.placement.held_by(node)));
                match held.filter(|(_, held)| !held.is_empty()) {
                    None => orphans.push(Orphan {
                        node: node.clone(),
                        index,
                        shards: None,
                        documents,
                    }),
                    Some((entry, held)) => {
                        let found = strangers(shared, node, entry, &held).await?;
                        orphans.extend(found);
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
}

/// A physical name ends with the number of the task that made the index.
fn is_ours(name: &str) -> bool {
    name.rsplit_once("__")
        .is_some_and(|(uid, number)| !uid.is_empty() && number.parse::<u64>().is_ok())
}

/// The indexes on a node, with their documents.
async fn held_by(shared: &Shared, node: &NodeId) -> Result<BTreeMap<String, u64>, NodeError> {
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
        .map(|(name, stats)| (name.clone(), count(stats).unwrap_or(0)))
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
