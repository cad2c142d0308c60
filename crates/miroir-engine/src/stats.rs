//! Counts and sizes over the fleet.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::port::{NodeError, NodeRead};
use crate::reads::ReadKind;
use crate::scatter::Scatter;
use crate::state::{IndexEntry, Shared};
use bytes::Bytes;
use futures::future::join_all;
use miroir_core::cover::CoverPart;
use miroir_core::id::{IndexUid, NodeId, PhysicalIndex};
use miroir_core::merge::strip_field_distribution;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use time::format_description::well_known::Rfc3339;

/// The documents of an index, exactly: each counted on one replica.
///
/// # Errors
/// As [`Engine::search`].
pub(crate) async fn count_documents(
    shared: &Shared,
    entry: &IndexEntry,
) -> Result<u64, EngineError> {
    let snapshot = shared.snapshot.load_full();
    let scatter = Scatter {
        shared,
        snapshot: &snapshot,
        entry,
        shards: None,
        affinity: 0,
        kind: ReadKind::List,
        request: |part: &CoverPart| {
            let mut body = json!({"limit": 0});
            if let Some(filter) = &part.filter {
                body["filter"] = json!(filter);
            }
            let index = entry.record.physical.clone();
            NodeRead::Documents {
                index,
                body: Bytes::from(body.to_string()),
            }
        },
    };
    let mut count = 0;
    for answer in scatter.gather().await? {
        let page: Value = serde_json::from_slice(&answer.body)
            .map_err(|error| EngineError::Answer(error.to_string()))?;
        count += page.get("total").and_then(Value::as_u64).unwrap_or(0);
    }
    Ok(count)
}

/// The member with the sizes of the databases inside an index.
const DATABASES: &str = "internalDatabaseSizes";

/// One node's statistics of an index. A node that does not know the sizes of its databases is asked
/// for the rest.
async fn read_stats(
    shared: &Shared,
    node: &NodeId,
    index: PhysicalIndex,
    shows_databases: bool,
    timeout: Duration,
) -> Result<Bytes, NodeError> {
    let nodes = &shared.ports.nodes;
    if shows_databases {
        let path = format!(
            "/indexes/{}/stats?showInternalDatabaseSizes=true",
            index.as_str()
        );
        let read = NodeRead::Raw { path, body: None };
        match nodes.read(node, read, timeout).await {
            Err(NodeError::Refused { .. }) => {}
            answer => return answer,
        }
    }
    nodes
        .read(node, NodeRead::IndexStats { index }, timeout)
        .await
}

/// The largest first, as a node shows them.
fn by_size(databases: BTreeMap<String, u64>) -> Map<String, Value> {
    let mut sizes: Vec<(String, u64)> = databases.into_iter().collect();
    sizes.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let sizes = sizes.into_iter();
    sizes.map(|(name, bytes)| (name, json!(bytes))).collect()
}

impl Engine {
    /// The `IndexStats` object of one index.
    ///
    /// The number of documents is exact. What nodes only know of all they hold (sizes, fields) is
    /// summed over the nodes and divided by the copies: exact while all nodes are in sync, the
    /// nearest estimate otherwise.
    ///
    /// # Errors
    /// [`EngineError::IndexNotFound`]; as [`Engine::search`].
    pub async fn index_stats(&self, uid: &IndexUid) -> Result<Map<String, Value>, EngineError> {
        self.index_stats_with(uid, false).await
    }

    /// The same; with `shows_databases` also `internalDatabaseSizes`, the bytes of each database
    /// inside the index, those of all nodes together, largest first. Left out where no node tells
    /// any, as by nodes older than Meilisearch 1.44.
    ///
    /// # Errors
    /// As [`Engine::index_stats`].
    pub async fn index_stats_with(
        &self,
        uid: &IndexUid,
        shows_databases: bool,
    ) -> Result<Map<String, Value>, EngineError> {
        let read = || self.index_stats_once(uid, shows_databases);
        self.read_named(std::iter::once(uid), read).await
    }

    async fn index_stats_once(
        &self,
        uid: &IndexUid,
        shows_databases: bool,
    ) -> Result<Map<String, Value>, EngineError> {
        let shared = self.shared();
        let snapshot = shared.snapshot.load_full();
        let entry = snapshot.index(uid)?;
        let nodes: Vec<&NodeId> = entry
            .placement
            .nodes()
            .iter()
            .filter(|node| {
                snapshot
                    .nodes
                    .get(*node)
                    .is_some_and(crate::state::NodeView::is_readable)
            })
            .collect();
        let timeout = shared.config.search_timeout;
        let reads = nodes.iter().map(|node| {
            let index = entry.record.physical.clone();
            read_stats(shared, node, index, shows_databases, timeout)
        });
        let (count, answers) = tokio::join!(count_documents(shared, entry), join_all(reads));
        let count = count?;
        let mut covered = 0;
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        let mut fields: BTreeMap<String, u64> = BTreeMap::new();
        let mut databases: BTreeMap<String, u64> = BTreeMap::new();
        for (node, answer) in nodes.iter().zip(answers) {
            let Ok(body) = answer else { continue };
            let Ok(Value::Object(mut stats)) = serde_json::from_slice::<Value>(&body) else {
                continue;
            };
            covered += entry.placement.held_by(node).len() as u64;
            for name in [
                "rawDocumentDbSize",
                "numberOfEmbeddings",
                "numberOfEmbeddedDocuments",
            ] {
                *sums.entry(name).or_default() +=
                    stats.get(name).and_then(Value::as_u64).unwrap_or(0);
            }
            let sizes = stats
                .get("internalDatabaseSizes")
                .and_then(Value::as_object);
            for (database, bytes) in sizes.into_iter().flatten() {
                *databases.entry(database.clone()).or_default() += bytes.as_u64().unwrap_or(0);
            }
            if let Some(Value::Object(distribution)) = stats.get_mut("fieldDistribution") {
                strip_field_distribution(distribution);
                for (field, documents) in distribution.iter() {
                    *fields.entry(field.clone()).or_default() += documents.as_u64().unwrap_or(0);
                }
            }
        }
        let shard_count = u64::from(entry.record.shard_count);
        let logical = |sum: u64| miroir_core::rollup::logical_count(sum, shard_count, covered);
        let raw_bytes = logical(sums.get("rawDocumentDbSize").copied().unwrap_or(0));
        let fields: Map<String, Value> = fields
            .into_iter()
            .map(|(field, sum)| (field, json!(logical(sum).min(count))))
            .filter(|(_, documents)| documents != &json!(0))
            .collect();
        let mut stats = Map::new();
        stats.insert("numberOfDocuments".into(), json!(count));
        stats.insert("rawDocumentDbSize".into(), json!(raw_bytes));
        stats.insert(
            "avgDocumentSize".into(),
            json!(raw_bytes.checked_div(count).unwrap_or(0)),
        );
        stats.insert(
            "isIndexing".into(),
            json!(shared.is_indexing(&entry.record.physical)),
        );
        if !databases.is_empty() {
            stats.insert(DATABASES.into(), Value::Object(by_size(databases)));
        }
        for name in ["numberOfEmbeddings", "numberOfEmbeddedDocuments"] {
            stats.insert(
                name.into(),
                json!(logical(sums.get(name).copied().unwrap_or(0))),
            );
        }
        stats.insert("fieldDistribution".into(), Value::Object(fields));
        Ok(stats)
    }

    /// The whole answer of `GET /stats`. Sizes are those of all nodes together, copies included:
    /// what the cluster takes of its disks.
    ///
    /// # Errors
    /// As [`Engine::index_stats`].
    pub async fn stats(&self) -> Result<Map<String, Value>, EngineError> {
        self.stats_with(false).await
    }

    /// The same, each index as [`Engine::index_stats_with`] shows it.
    ///
    /// # Errors
    /// As [`Engine::index_stats`].
    pub async fn stats_with(
        &self,
        shows_databases: bool,
    ) -> Result<Map<String, Value>, EngineError> {
        let shared = self.shared();
        let snapshot = shared.snapshot.load_full();
        let timeout = shared.config.search_timeout;
        let up: Vec<&NodeId> = snapshot
            .nodes
            .iter()
            .filter(|(_, n)| n.is_readable())
            .map(|(id, _)| id)
            .collect();
        let reads = up
            .iter()
            .map(|node| shared.ports.nodes.read(node, NodeRead::Stats, timeout));
        let (mut database_bytes, mut used_bytes) = (0, 0);
        for answer in join_all(reads).await {
            let Ok(body) = answer else { continue };
            let Ok(stats) = serde_json::from_slice::<Value>(&body) else {
                continue;
            };
            let get = |name: &str| stats.get(name).and_then(Value::as_u64).unwrap_or(0);
            database_bytes += get("databaseSize");
            used_bytes += get("usedDatabaseSize");
        }
        let mut indexes = Map::new();
        let mut last_update = None;
        for (uid, entry) in &snapshot.indexes {
            match self.index_stats_with(uid, shows_databases).await {
                Ok(stats) => {
                    indexes.insert(uid.as_str().to_owned(), Value::Object(stats));
                    last_update = last_update.max(Some(entry.record.updated_at));
                }
                Err(EngineError::IndexNotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let last_update = last_update.and_then(|at| at.format(&Rfc3339).ok());
        let mut stats = Map::new();
        stats.insert("databaseSize".into(), json!(database_bytes));
        stats.insert("usedDatabaseSize".into(), json!(used_bytes));
        stats.insert("lastUpdate".into(), json!(last_update));
        stats.insert("indexes".into(), Value::Object(indexes));
        Ok(stats)
    }
}
