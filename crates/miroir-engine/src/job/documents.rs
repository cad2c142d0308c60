//! All documents of an index, one after the other in insertion order, in bounded memory.
//!
//! Each shard is read in pages from one of its replicas in sync, in the order of the hidden
//! sequence; the shards are merged by it. So a dump holds the documents in the order in which one
//! Meilisearch would hold them, and an index made of it breaks ties alike.

use super::patience::Patience;
use crate::document::shard_filtered;
use crate::error::EngineError;
use crate::port::NodeRead;
use crate::scatter::Scatter;
use crate::state::{IndexEntry, Shared};
use bytes::Bytes;
use miroir_core::cover::CoverPart;
use miroir_core::hash::document_hash;
use miroir_core::id::ShardId;
use miroir_core::merge::{strip_document, without_empty_vectors};
use miroir_core::reserved::SEQ_RULE;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

/// Memory for the pages of all shards together, as the nodes wrote them.
const PAGES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// But a page is worth a request.
const PAGE_BYTES_MIN: usize = 16 * 1024;
/// And it is not larger than this, however few shards there are.
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Documents of the first page, whose size nobody knows yet.
const FIRST_PAGE: usize = 16;
/// Documents of a page at most.
const PAGE_MAX: usize = 2000;
/// Reads an index from its first document to its last.
pub(super) struct DocumentStream<'a> {
    shared: &'a Shared,
    entry: Arc<IndexEntry>,
    filter: Option<Value>,
    shards: Vec<Shard>,
    /// The sequence text of the first document of each shard that has one.
    heads: BinaryHeap<Reverse<(String, usize)>>,
    is_begun: bool,
    page_bytes: usize,
    matched: u64,
}

/// How far one shard is read.
struct Shard {
    id: ShardId,
    offset: usize,
    limit: usize,
    page: VecDeque<(String, Box<RawValue>)>,
    is_drained: bool,
}

#[derive(Deserialize)]
struct Page {
    results: Vec<Box<RawValue>>,
    total: u64,
}

#[derive(Deserialize)]
struct SeqOf<'d> {
    #[serde(borrow, default, rename = "_miroir_seq")]
    seq: Option<Cow<'d, str>>,
}

impl<'a> DocumentStream<'a> {
    /// A stream of the documents of `entry` that match.
    pub(super) fn new(shared: &'a Shared, entry: Arc<IndexEntry>, filter: Option<Value>) -> Self {
        let shard_count = entry.record.shard_count.max(1);
        let shards = (0..shard_count).map(|shard| Shard {
            id: ShardId(shard),
            offset: 0,
            limit: FIRST_PAGE,
            page: VecDeque::new(),
            is_drained: false,
        });
        let share = PAGES_BYTES_MAX / shard_count as usize;
        Self {
            shared,
            filter,
            shards: shards.collect(),
            entry,
            heads: BinaryHeap::new(),
            is_begun: false,
            page_bytes: share.clamp(PAGE_BYTES_MIN, PAGE_BYTES_MAX),
            matched: 0,
        }
    }

    /// How many documents match, as far as is known: all of them once the first was given.
    pub(super) fn matched(&self) -> u64 {
        self.matched
    }

    /// The next document as JSON text, without reserved fields; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, EngineError> {
        if !self.is_begun {
            self.is_begun = true;
            for at in 0..self.shards.len() {
                self.advance(at).await?;
            }
        }
        let Some(Reverse((_, at))) = self.heads.pop() else {
            return Ok(None);
        };
        let Some((_, document)) = self.shards[at].page.pop_front() else {
            return Ok(None);
        };
        self.advance(at).await?;
        // A document without vectors has no `_vectors` in a dump either.
        strip_document(document.get().as_bytes())
            .and_then(|document| without_empty_vectors(&document))
            .map(Some)
            .map_err(|error| EngineError::Answer(error.to_string()))
    }

    /// Makes the first document of a shard known, if there is one left.
    async fn advance(&mut self, at: usize) -> Result<(), EngineError> {
        if self.shards[at].page.is_empty() && !self.shards[at].is_drained {
            self.fill(at).await?;
        }
        if let Some((seq, _)) = self.shards[at].page.front() {
            self.heads.push(Reverse((seq.clone(), at)));
        }
        Ok(())
    }

    async fn fill(&mut self, at: usize) -> Result<(), EngineError> {
        let (id, offset, limit) = {
            let shard = &self.shards[at];
            (shard.id, shard.offset, shard.limit)
        };
        let body = self.fetch(id, offset, limit).await?;
        let page: Page = serde_json::from_slice(&body)
            .map_err(|error| EngineError::Answer(error.to_string()))?;
        let count = page.results.len();
        if offset == 0 {
            self.matched += page.total;
        }
        let shard = &mut self.shards[at];
        for document in page.results {
            let SeqOf { seq } = serde_json::from_str(document.get())
                .map_err(|error| EngineError::Answer(error.to_string()))?;
            let seq = seq.map(Cow::into_owned).unwrap_or_default();
            shard.page.push_back((seq, document));
        }
        shard.offset += count;
        shard.is_drained = count == 0 || shard.offset as u64 >= page.total;
        if let Some(each) = body.len().checked_div(count) {
            shard.limit = (self.page_bytes / each.max(1)).clamp(1, PAGE_MAX);
        }
        Ok(())
    }

    /// One page of one shard, from whichever replica answers.
    async fn fetch(&self, id: ShardId, offset: usize, limit: usize) -> Result<Bytes, EngineError> {
        let shared = self.shared;
        let entry = &self.entry;
        let patience = Patience::new(shared);
        loop {
            let snapshot = shared.snapshot.load_full();
            let shards = [id];
            let scatter = Scatter {
                shared,
                snapshot: &snapshot,
                entry,
                shards: Some(&shards),
                affinity: document_hash(&id.0.to_string()),
                kind: crate::reads::ReadKind::List,
                request: |part: &CoverPart| {
                    let mut body = json!({
                        "offset": offset,
                        "limit": limit,
                        "sort": [SEQ_RULE],
                        "retrieveVectors": true,
                    });
                    if let Some(filter) = shard_filtered(self.filter.as_ref(), part) {
                        body["filter"] = filter;
                    }
                    NodeRead::Documents {
                        index: entry.record.physical.clone(),
                        body: Bytes::from(body.to_string()),
                    }
                },
            };
            match scatter.gather().await {
                Ok(answers) => {
                    let answer = answers.into_iter().next();
                    let answer = answer.ok_or_else(|| EngineError::Answer("no answer".into()))?;
                    return Ok(answer.body);
                }
                Err(error) => patience.wait(error).await?,
            }
        }
    }
}
