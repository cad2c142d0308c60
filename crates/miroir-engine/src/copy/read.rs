//! Reads documents from one replica: ids by pages, documents by ids, digests of a whole shard.

use crate::error::EngineError;
use crate::port::{NodeError, NodeRead};
use crate::state::{IndexEntry, Shared};
use bytes::Bytes;
use miroir_core::digest::document_digest;
use miroir_core::document::{PrimaryKey, document_id};
use miroir_core::hash::shard_of;
use miroir_core::id::{NodeId, ShardId};
use miroir_core::merge::{retagged, strip_document, without_empty_vectors};
use miroir_core::reserved::{shard_filter, shard_tag};
use miroir_core::settings::exact_embedders;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

/// Ids on one page of a list: some hundred kilobytes.
pub(super) const IDS_PAGE: usize = 20_000;
/// A page of documents for a digest begins with so many and is then fitted to [`PAGE_BYTES`].
const DOCUMENTS_PAGE_FIRST: usize = 256;
/// At most this many.
const DOCUMENTS_PAGE_MAX: usize = 5_000;
/// The size that a page of documents is fitted to.
pub(super) const PAGE_BYTES: u64 = 4 * 1024 * 1024;

/// Why a read did not succeed.
#[derive(Debug)]
pub(crate) enum ReadFailure {
    /// The node did not answer, or refused.
    Node(NodeError),
    /// It answered what cannot be understood.
    Engine(EngineError),
}

impl From<NodeError> for ReadFailure {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

impl From<EngineError> for ReadFailure {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl std::fmt::Display for ReadFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(error) => error.fmt(f),
            Self::Engine(error) => error.fmt(f),
        }
    }
}

fn odd(error: &dyn std::fmt::Display) -> ReadFailure {
    ReadFailure::Engine(EngineError::Answer(error.to_string()))
}

/// One document as a replica shows it, reserved fields included.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) raw: Vec<u8>,
    pub(crate) digest: u64,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

/// A replica of an index, to be read.
#[derive(Clone, Copy)]
pub(crate) struct Replica<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) node: &'a NodeId,
    pub(crate) entry: &'a IndexEntry,
}

impl Replica<'_> {
    fn primary_key(&self) -> Option<PrimaryKey> {
        self.entry.record.primary_key.clone().map(PrimaryKey::new)
    }

    /// The filter for these shards; `None` if the node holds no other.
    fn filter(&self, shards: &[ShardId]) -> Option<String> {
        let held = self.entry.placement.held_by(self.node);
        shard_filter(shards, &held, self.entry.record.shard_count)
    }

    /// How many documents of these shards the node shows.
    pub(crate) async fn count(&self, shards: &[ShardId]) -> Result<u64, ReadFailure> {
        let held = self.entry.placement.held_by(self.node);
        let mut body = json!({"limit": 0});
        if let Some(filter) = shard_filter(shards, &held, self.entry.record.shard_count) {
            body["filter"] = json!(filter);
        }
        let answer = self.read(&body).await?;
        let page: Value = serde_json::from_slice(&answer).map_err(|e| odd(&e))?;
        let total = page.get("total").and_then(Value::as_u64);
        total.ok_or_else(|| odd(&"a page of documents tells no total"))
    }

    async fn read(&self, body: &Value) -> Result<Bytes, ReadFailure> {
        let read = NodeRead::Documents {
            index: self.entry.record.physical.clone(),
            body: Bytes::from(body.to_string()),
        };
        let timeout = self.shared.config.node_timeout;
        let nodes = &self.shared.ports.nodes;
        let result = nodes.read(self.node, read, timeout).await;
        self.shared.observe_read(self.node, &result);
        Ok(result?)
    }

    /// The settings of the index on the node.
    pub(crate) async fn settings(&self) -> Result<Map<String, Value>, ReadFailure> {
        let read = NodeRead::Settings {
            index: self.entry.record.physical.clone(),
        };
        let timeout = self.shared.config.node_timeout;
        let nodes = &self.shared.ports.nodes;
        let result = nodes.read(self.node, read, timeout).await;
        self.shared.observe_read(self.node, &result);
        serde_json::from_slice(&result?).map_err(|e| odd(&e))
    }

    /// Ids of shards from `offset` on, in the node's order, at most [`IDS_PAGE`].
    pub(super) async fn ids(
        &self,
        shards: &[ShardId],
        offset: usize,
    ) -> Result<Vec<String>, ReadFailure> {
        let Some(primary_key) = self.primary_key() else {
            return Ok(Vec::new());
        };
        let mut body = json!({
            "fields": [primary_key.as_str()],
            "offset": offset,
            "limit": IDS_PAGE,
        });
        if let Some(filter) = self.filter(shards) {
            body["filter"] = json!(filter);
        }
        let answer = self.read(&body).await?;
        let page: Page<'_> = serde_json::from_slice(&answer).map_err(|e| odd(&e))?;
        page.results
            .iter()
            .map(|raw| id_of(raw.get().as_bytes(), &primary_key))
            .collect()
    }

    /// Those of these documents that exist, by id, with their vectors.
    pub(crate) async fn documents(
        &self,
        ids: &[String],
    ) -> Result<BTreeMap<String, Shown>, ReadFailure> {
        let Some(primary_key) = self.primary_key() else {
            return Ok(BTreeMap::new());
        };
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let body = json!({"ids": ids, "limit": ids.len(), "retrieveVectors": true});
        let answer = self.read(&body).await?;
        let page: Page<'_> = serde_json::from_slice(&answer).map_err(|e| odd(&e))?;
        let embedders = exact_embedders(&self.entry.record.settings);
        let mut shown = BTreeMap::new();
        for raw in page.results {
            let raw = raw.get().as_bytes();
            let id = id_of(raw, &primary_key)?;
            let digest = document_digest(raw, &embedders).map_err(|e| odd(&e))?;
            let raw = without_empty_vectors(raw).map_err(|e| odd(&e))?;
            shown.insert(id, Shown { raw, digest });
        }
        Ok(shown)
    }
}

fn id_of(raw: &[u8], primary_key: &PrimaryKey) -> Result<String, ReadFailure> {
    let plain = strip_document(raw).map_err(|e| odd(&e))?;
    let id = document_id(&plain, primary_key).map_err(|e| odd(&e))?;
    Ok(id.into_owned())
}

/// Walks the documents of shards on one replica by pages, as id and digest.
///
/// The pages are not of one moment: what is written meanwhile may be seen twice or missed. Whoever
/// walks takes what differs for a suspicion.
pub(crate) struct Walk<'a> {
    replica: Replica<'a>,
    shards: Vec<ShardId>,
    offset: usize,
    limit: usize,
    is_at_end: bool,
    /// Whose vectors count.
    embedders: BTreeSet<String>,
    /// Digests are those of the documents as they are cut into so many shards.
    cut: Option<NonZeroU32>,
}

/// A page of a [`Walk`].
pub(crate) struct WalkPage {
    pub(crate) documents: Vec<(String, u64)>,
    pub(crate) bytes: u64,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(replica: Replica<'a>, shards: Vec<ShardId>) -> Self {
        Self {
            embedders: exact_embedders(&replica.entry.record.settings),
            cut: None,
            replica,
            shards,
            offset: 0,
            limit: DOCUMENTS_PAGE_FIRST,
            is_at_end: false,
        }
    }

    /// The same, with digests as a twin with so many shards holds the documents.
    pub(crate) fn cut_into(self, shard_count: u32) -> Self {
        Self {
            cut: NonZeroU32::new(shard_count),
            ..self
        }
    }

    /// The next page; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<WalkPage>, ReadFailure> {
        let Some(primary_key) = self.replica.primary_key() else {
            return Ok(None);
        };
        if self.is_at_end {
            return Ok(None);
        }
        let mut body = json!({"offset": self.offset, "limit": self.limit});
        if !self.embedders.is_empty() {
            body["retrieveVectors"] = json!(true);
        }
        if let Some(filter) = self.replica.filter(&self.shards) {
            body["filter"] = json!(filter);
        }
        let answer = self.replica.read(&body).await?;
        let page: Page<'_> = serde_json::from_slice(&answer).map_err(|e| odd(&e))?;
        let mut documents = Vec::with_capacity(page.results.len());
        for raw in page.results {
            let raw = raw.get().as_bytes();
            let id = id_of(raw, &primary_key)?;
            let digest = match self.cut {
                Some(shard_count) => {
                    let tag = shard_tag(shard_of(&id, shard_count), shard_count.get());
                    let cut = retagged(raw, &tag).map_err(|e| odd(&e))?;
                    document_digest(&cut, &self.embedders)
                }
                None => document_digest(raw, &self.embedders),
            };
            documents.push((id, digest.map_err(|e| odd(&e))?));
        }
        self.is_at_end = documents.len() < self.limit;
        self.offset += documents.len();
        let bytes = answer.len() as u64;
        self.limit = fitted(documents.len() as u64, bytes, DOCUMENTS_PAGE_MAX);
        Ok(Some(WalkPage { documents, bytes }))
    }
}

/// How many documents make up [`PAGE_BYTES`], as those seen last tell.
pub(super) fn fitted(documents: u64, bytes: u64, most: usize) -> usize {
    let mean = (bytes / documents.max(1)).max(1);
    usize::try_from(PAGE_BYTES / mean)
        .unwrap_or(most)
        .clamp(1, most)
}
