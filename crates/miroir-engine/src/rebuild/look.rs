//! Reads everything of every node that tells of the cluster: indexes, settings, every document once,
//! the task list. Memory is bounded by shards and indexes, not by documents or tasks.

use super::RebuildError;
use crate::port::{Clock, NodeClient, NodeError, NodeRead, NodeTaskQuery};
use bytes::Bytes;
use miroir_core::digest::document_digest;
use miroir_core::document::{PrimaryKey, document_id};
use miroir_core::id::{NodeId, NodeTaskUid, PhysicalIndex};
use miroir_core::merge::strip_document;
use miroir_core::recover::{NodeSeen, ReplicaSeen, form_of};
use miroir_core::reserved::SHARD_FIELD;
use miroir_core::settings::Settings;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// One answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// A node may work on what it has for so long ...
const REST_MAX: Duration = Duration::from_mins(10);
/// ... and is asked this often.
const REST_LOOK: Duration = Duration::from_millis(500);
/// Indexes on a page, ...
const INDEXES_PAGE: usize = 100;
/// ... and pages: more indexes than a node can open.
const INDEX_PAGES_MAX: usize = 10_000;
/// Tasks on a page, ...
const TASKS_PAGE: u32 = 1000;
/// ... and pages: a node keeps a million tasks.
const TASK_PAGES_MAX: usize = 2_000;
/// The first page of documents; the others are fitted to [`PAGE_BYTES`].
const DOCUMENTS_FIRST: usize = 256;
/// At most this many.
const DOCUMENTS_MAX: u64 = 5_000;
/// The size that a page is fitted to.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;

/// Told what is being read: the node, the index, documents so far.
pub type Progress<'a> = &'a (dyn Fn(&NodeId, Option<&PhysicalIndex>, u64) + Send + Sync);

/// What one node shows, once it has come to rest.
///
/// # Errors
/// It does not answer, is not understood, does not come to rest, or is written to meanwhile.
pub async fn look(
    nodes: &Arc<dyn NodeClient>,
    clock: &Arc<dyn Clock>,
    node: &NodeId,
    progress: Progress<'_>,
) -> Result<NodeSeen, RebuildError> {
    let look = Look { nodes, clock, node };
    look.rest().await?;
    let before = look.newest_task().await?;
    let mut seen = NodeSeen::default();
    progress(node, None, 0);
    seen.features = look.features().await?;
    look.indexes(&mut seen).await?;
    let names: Vec<PhysicalIndex> = seen.indexes.keys().cloned().collect();
    for name in names {
        let Some(mut replica) = seen.indexes.remove(&name) else {
            continue;
        };
        replica.settings = look.settings(&name).await?;
        if !is_ours(&replica.settings) {
            seen.foreign.push(name.to_string());
            continue;
        }
        look.documents(&name, &mut replica, progress).await?;
        seen.indexes.insert(name, replica);
    }
    look.tasks(&mut seen).await?;
    if look.newest_task().await? != before {
        return Err(RebuildError::Disturbed(node.clone()));
    }
    Ok(seen)
}

/// An index that Miroir made has a rule for the shard tag, whatever the client sets.
fn is_ours(settings: &Settings) -> bool {
    let rules = settings
        .get("filterableAttributes")
        .and_then(Value::as_array);
    rules.into_iter().flatten().any(|rule| {
        let patterns = rule.get("attributePatterns").and_then(Value::as_array);
        let mut patterns = patterns.into_iter().flatten();
        rule == SHARD_FIELD || patterns.any(|pattern| pattern == SHARD_FIELD)
    })
}

struct Look<'a> {
    nodes: &'a Arc<dyn NodeClient>,
    clock: &'a Arc<dyn Clock>,
    node: &'a NodeId,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireIndex {
    uid: String,
    primary_key: Option<String>,
    created_at: Option<String>,
    updated_at: Option<String>,
}

#[derive(Deserialize)]
struct Hidden {
    #[serde(rename = "_miroir_shard")]
    tag: Option<String>,
    #[serde(rename = "_miroir_seq")]
    seq: Option<String>,
}

impl Look<'_> {
    fn failed(&self, cause: NodeError) -> RebuildError {
        RebuildError::Node {
            node: self.node.clone(),
            cause,
        }
    }

    fn odd(&self, cause: &dyn std::fmt::Display) -> RebuildError {
        RebuildError::Answer {
            node: self.node.clone(),
            cause: cause.to_string(),
        }
    }

    async fn read(&self, read: NodeRead) -> Result<Bytes, RebuildError> {
        let answer = self.nodes.read(self.node, read, ANSWER_MAX).await;
        answer.map_err(|cause| self.failed(cause))
    }

    async fn get(&self, path: String) -> Result<Value, RebuildError> {
        let answer = self.read(NodeRead::Raw { path, body: None }).await?;
        serde_json::from_slice(&answer).map_err(|error| self.odd(&error))
    }

    /// Waits until the node has carried out what it was sent.
    async fn rest(&self) -> Result<(), RebuildError> {
        let started = self.clock.monotonic();
        loop {
            let path = "/tasks?statuses=enqueued,processing&limit=1".to_owned();
            let waiting = self.get(path).await?["total"].as_u64().unwrap_or(0);
            if waiting == 0 {
                return Ok(());
            }
            if self.clock.monotonic().saturating_sub(started) > REST_MAX {
                let node = self.node.clone();
                return Err(RebuildError::Busy { node, waiting });
            }
            self.clock.sleep(REST_LOOK).await;
        }
    }

    async fn newest_task(&self) -> Result<Option<NodeTaskUid>, RebuildError> {
        let query = NodeTaskQuery {
            limit: 1,
            ..NodeTaskQuery::default()
        };
        let tasks = self.nodes.fetch_tasks(self.node, query, ANSWER_MAX).await;
        let tasks = tasks.map_err(|cause| self.failed(cause))?;
        Ok(tasks.first().map(|task| task.uid))
    }

    async fn features(&self) -> Result<BTreeSet<String>, RebuildError> {
        let features = self.get("/experimental-features".to_owned()).await?;
        let features = features.as_object().into_iter().flatten();
        let on = features.filter(|(_, is_on)| **is_on == Value::Bool(true));
        Ok(on.map(|(name, _)| name.clone()).collect())
    }

    async fn indexes(&self, seen: &mut NodeSeen) -> Result<(), RebuildError> {
        for page in 0..INDEX_PAGES_MAX {
            let offset = page * INDEXES_PAGE;
            let path = format!("/indexes?limit={INDEXES_PAGE}&offset={offset}");
            let answer = self.read(NodeRead::Raw { path, body: None }).await?;
            let page: Page<'_> =
                serde_json::from_slice(&answer).map_err(|error| self.odd(&error))?;
            let is_last = page.results.len() < INDEXES_PAGE;
            for raw in page.results {
                let index: WireIndex =
                    serde_json::from_str(raw.get()).map_err(|error| self.odd(&error))?;
                let physical = PhysicalIndex::from_stored(index.uid);
                if form_of(&physical).is_none() {
                    seen.foreign.push(physical.to_string());
                    continue;
                }
                let date = |text: Option<String>| {
                    text.and_then(|text| OffsetDateTime::parse(&text, &Rfc3339).ok())
                };
                let replica = ReplicaSeen {
                    primary_key: index.primary_key,
                    created_at: date(index.created_at),
                    updated_at: date(index.updated_at),
                    ..ReplicaSeen::default()
                };
                seen.indexes.insert(physical, replica);
            }
            if is_last {
                return Ok(());
            }
        }
        Err(self.odd(&"its list of indexes does not end"))
    }

    async fn settings(&self, index: &PhysicalIndex) -> Result<Settings, RebuildError> {
        let index = index.clone();
        let answer = self.read(NodeRead::Settings { index }).await?;
        serde_json::from_slice(&answer).map_err(|error| self.odd(&error))
    }

    async fn documents(
        &self,
        index: &PhysicalIndex,
        replica: &mut ReplicaSeen,
        progress: Progress<'_>,
    ) -> Result<(), RebuildError> {
        // Without a primary key there was never a document.
        let Some(primary_key) = replica.primary_key.clone().map(PrimaryKey::new) else {
            return Ok(());
        };
        let (mut offset, mut limit) = (0, DOCUMENTS_FIRST);
        loop {
            let body = json!({"offset": offset, "limit": limit}).to_string();
            let read = NodeRead::Documents {
                index: index.clone(),
                body: Bytes::from(body),
            };
            let answer = self.read(read).await?;
            let page: Page<'_> =
                serde_json::from_slice(&answer).map_err(|error| self.odd(&error))?;
            let count = page.results.len();
            for raw in page.results {
                let raw = raw.get().as_bytes();
                let digest =
                    document_digest(raw, &BTreeSet::new()).map_err(|error| self.odd(&error))?;
                let hidden: Hidden =
                    serde_json::from_slice(raw).map_err(|error| self.odd(&error))?;
                let plain = strip_document(raw).map_err(|error| self.odd(&error))?;
                let id = document_id(&plain, &primary_key).map_err(|error| self.odd(&error))?;
                let (tag, seq) = (hidden.tag.as_deref(), hidden.seq.as_deref());
                replica.note_document(&id, digest, tag, seq);
            }
            offset += count;
            progress(self.node, Some(index), offset as u64);
            if count < limit {
                return Ok(());
            }
            let mean = (answer.len() as u64 / (count as u64).max(1)).max(1);
            let fitted = (PAGE_BYTES / mean).clamp(1, DOCUMENTS_MAX);
            limit = usize::try_from(fitted).unwrap_or(DOCUMENTS_FIRST);
        }
    }

    async fn tasks(&self, seen: &mut NodeSeen) -> Result<(), RebuildError> {
        let mut from = None;
        for _ in 0..TASK_PAGES_MAX {
            let query = NodeTaskQuery {
                uids: Vec::new(),
                from,
                limit: TASKS_PAGE,
            };
            let tasks = self.nodes.fetch_tasks(self.node, query, ANSWER_MAX).await;
            let tasks = tasks.map_err(|cause| self.failed(cause))?;
            for task in &tasks {
                seen.note_task(
                    task.uid,
                    task.kind,
                    task.status,
                    task.index.as_ref(),
                    task.marker.as_deref(),
                    &task.enqueued_at,
                );
            }
            from = tasks
                .last()
                .and_then(|task| task.uid.0.checked_sub(1))
                .map(NodeTaskUid);
            if tasks.len() < TASKS_PAGE as usize || from.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }
}
