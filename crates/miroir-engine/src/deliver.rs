//! Turns a batch into the requests of one node, one at a time and in bounded memory.
//!
//! Law: the sequence of requests is a function of the plan and of the node's shards alone; request
//! *r* is the same whenever it is built (see [`crate::plan`]).

use crate::error::EngineError;
use crate::plan::{BatchPlan, Cut, PlannedEntry, Source, Work, marker};
use crate::port::{NodeWrite, PayloadRef, PayloadStore, StoreError};
use crate::state::{LiveBatch, shards_of};
use bytes::{Bytes, BytesMut};
use miroir_core::batch::CutRecord;
use miroir_core::document::inject_reserved;
use miroir_core::hash::shard_of;
use miroir_core::id::{DocumentSeq, NodeId, ShardId, TaskUid};
use miroir_core::reserved::shard_tag;
use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;

/// Payload files are read in windows of this size.
const WINDOW_BYTES: usize = 1024 * 1024;
/// Cut files are read this many records at a time.
const WINDOW_RECORDS: usize = 16 * 1024;
/// Bodies are handed on in pieces of about this size.
const PIECE_BYTES: usize = 256 * 1024;

/// One request to a node.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// What to send.
    pub write: NodeWrite,
    /// Its marker; unmarked kinds carry `None` and may be sent twice without harm.
    pub marker: Option<String>,
}

/// The requests of one batch for one node, in order.
pub(crate) struct Requests<'a> {
    payloads: &'a dyn PayloadStore,
    cluster: &'a str,
    batch: &'a Arc<LiveBatch>,
    shards: BTreeSet<ShardId>,
    tags: HashMap<u32, String>,
    only: Option<TaskUid>,
    stage: Stage,
    request_idx: usize,
}

enum Stage {
    Create,
    Settings,
    Work,
    Documents {
        entry_idx: usize,
        cursor: Option<Cursor>,
    },
    Ids {
        entry_idx: usize,
        reader: Option<LineReader>,
    },
    Done,
}

impl<'a> Requests<'a> {
    /// The requests of `batch` for `node`. With `only`, those of one entry, under markers of their
    /// own, for delivery entry by entry after a failure.
    pub(crate) fn new(
        payloads: &'a dyn PayloadStore,
        cluster: &'a str,
        batch: &'a Arc<LiveBatch>,
        node: &NodeId,
        only: Option<TaskUid>,
    ) -> Self {
        let shards: BTreeSet<ShardId> = shards_of(&batch.replica_sets, node).into_iter().collect();
        let stage = if batch.plan.creation.is_some() {
            Stage::Create
        } else {
            Stage::Work
        };
        Self {
            payloads,
            cluster,
            batch,
            shards,
            tags: HashMap::new(),
            only,
            stage,
            request_idx: 0,
        }
    }

    fn plan(&self) -> &'a BatchPlan {
        &self.batch.plan
    }

    fn marker(&self) -> String {
        match self.only {
            None => marker(self.cluster, self.batch.uid, self.request_idx),
            Some(task) => {
                format!(
                    "{}/{task}",
                    marker(self.cluster, self.batch.uid, self.request_idx)
                )
            }
        }
    }

    /// The next request; `None` when there is no more.
    ///
    /// # Errors
    /// The payload cannot be read.
    pub(crate) async fn next(&mut self) -> Result<Option<Request>, EngineError> {
        let plan = self.plan();
        loop {
            let request = match &mut self.stage {
                Stage::Create => {
                    self.stage = Stage::Settings;
                    let primary_key = plan.creation.as_ref().and_then(|c| c.primary_key.clone());
                    let index = plan.physical.clone();
                    Some(unmarked(NodeWrite::CreateIndex { index, primary_key }))
                }
                Stage::Settings => {
                    self.stage = Stage::Work;
                    let settings = plan.creation.as_ref().map(|c| &c.settings);
                    let body = serde_json::to_vec(&settings).unwrap_or_default();
                    let index = plan.physical.clone();
                    Some(unmarked(NodeWrite::UpdateSettings {
                        index,
                        body: body.into(),
                    }))
                }
                Stage::Work => self.begin_work(),
                Stage::Documents { .. } => self.next_documents().await?,
                Stage::Ids { .. } => self.next_ids().await?,
                Stage::Done => return Ok(None),
            };
            if let Some(request) = request {
                self.request_idx += 1;
                return Ok(Some(request));
            }
        }
    }

    fn begin_work(&mut self) -> Option<Request> {
        let plan = self.plan();
        let index = plan.physical.clone();
        let marker = self.marker();
        self.stage = Stage::Done;
        let marked = |write, marker| {
            Some(Request {
                write,
                marker: Some(marker),
            })
        };
        match &plan.work {
            Work::AddDocuments { .. } => {
                self.stage = Stage::Documents {
                    entry_idx: 0,
                    cursor: None,
                };
                None
            }
            Work::DeleteDocuments => {
                self.stage = Stage::Ids {
                    entry_idx: 0,
                    reader: None,
                };
                None
            }
            Work::DeleteByFilter { filter } => {
                let body = serde_json::json!({ "filter": filter }).to_string().into();
                let write = NodeWrite::DeleteByFilter {
                    index,
                    body,
                    marker: marker.clone(),
                };
                marked(write, marker)
            }
            Work::DeleteAllDocuments => marked(
                NodeWrite::DeleteAllDocuments {
                    index,
                    marker: marker.clone(),
                },
                marker,
            ),
            Work::UpdateSettings { patch } => {
                let body = serde_json::to_vec(patch).unwrap_or_default().into();
                Some(unmarked(NodeWrite::UpdateSettings { index, body }))
            }
            Work::UpdatePrimaryKey { primary_key } => {
                let primary_key = primary_key.clone();
                Some(unmarked(NodeWrite::UpdateIndex { index, primary_key }))
            }
            Work::DeleteIndex => Some(unmarked(NodeWrite::DeleteIndex { index })),
            Work::CreateIndex | Work::Nothing => None,
        }
    }

    /// The entry at or after `idx` that is to be delivered.
    fn entry_from(&self, idx: usize) -> Option<(usize, &'a PlannedEntry)> {
        let entries = self.plan().entries.iter().enumerate().skip(idx);
        entries.into_iter().find(|(_, entry)| {
            entry.error.is_none() && self.only.is_none_or(|task| task == entry.task)
        })
    }

    async fn next_documents(&mut self) -> Result<Option<Request>, EngineError> {
        let plan = self.plan();
        let Work::AddDocuments {
            method,
            skip_creation,
        } = plan.work
        else {
            self.stage = Stage::Done;
            return Ok(None);
        };
        let Stage::Documents {
            mut entry_idx,
            mut cursor,
        } = std::mem::replace(&mut self.stage, Stage::Done)
        else {
            return Ok(None);
        };
        let mut pieces = Vec::new();
        let mut piece = BytesMut::new();
        let mut scratch = Vec::new();
        let mut body_bytes = 0u64;
        let is_full = loop {
            let Some((idx, entry)) = self.entry_from(entry_idx) else {
                break false;
            };
            entry_idx = idx;
            if cursor.is_none() {
                cursor = Some(Cursor::new(self.batch, entry)?);
            }
            let Some(open) = cursor.as_mut() else {
                break false;
            };
            let mut is_full = false;
            while let Some(record) = open.peek(self.payloads).await? {
                if !self.shards.contains(&ShardId(record.shard)) {
                    open.skip();
                    continue;
                }
                let document_bytes = u64::from(record.len);
                if body_bytes > 0 && body_bytes + document_bytes > plan.request_bytes_max {
                    is_full = true;
                    break;
                }
                let document = open.document(self.payloads, &record).await?;
                open.skip();
                let tag = self
                    .tags
                    .entry(record.shard)
                    .or_insert_with(|| shard_tag(ShardId(record.shard), plan.shard_count));
                scratch.clear();
                inject_reserved(&document, tag, DocumentSeq(record.seq), &mut scratch);
                scratch.push(b'\n');
                body_bytes += document_bytes;
                piece.extend_from_slice(&scratch);
                if piece.len() >= PIECE_BYTES {
                    pieces.push(piece.split().freeze());
                }
            }
            if is_full {
                break true;
            }
            cursor = None;
            entry_idx += 1;
        };
        if !piece.is_empty() {
            pieces.push(piece.freeze());
        }
        if is_full {
            self.stage = Stage::Documents { entry_idx, cursor };
        }
        if pieces.is_empty() {
            return Ok(None);
        }
        let marker = self.marker();
        let primary_key = plan.primary_key.clone().unwrap_or_default();
        Ok(Some(Request {
            write: NodeWrite::AddDocuments {
                index: plan.physical.clone(),
                method,
                primary_key,
                skip_creation,
                body: pieces,
                marker: marker.clone(),
            },
            marker: Some(marker),
        }))
    }

    async fn next_ids(&mut self) -> Result<Option<Request>, EngineError> {
        let plan = self.plan();
        let Stage::Ids {
            mut entry_idx,
            mut reader,
        } = std::mem::replace(&mut self.stage, Stage::Done)
        else {
            return Ok(None);
        };
        let Some(shard_count) = NonZeroU32::new(plan.shard_count) else {
            return Ok(None);
        };
        let mut body = Vec::with_capacity(1024);
        let mut is_full = false;
        'entries: while let Some((idx, entry)) = self.entry_from(entry_idx) {
            entry_idx = idx;
            let mut open = match reader.take() {
                Some(open) => open,
                None => LineReader::new(self.batch, entry)?,
            };
            while let Some(line) = open.next(self.payloads).await? {
                // What is no id names no document, here as where it was prepared.
                let Ok(id) = serde_json::from_slice::<String>(&line) else {
                    continue;
                };
                if !self.shards.contains(&shard_of(&id, shard_count)) {
                    continue;
                }
                body.push(if body.is_empty() { b'[' } else { b',' });
                body.extend_from_slice(&line);
                if body.len() as u64 >= plan.request_bytes_max {
                    reader = Some(open);
                    is_full = true;
                    break 'entries;
                }
            }
            entry_idx += 1;
        }
        if is_full {
            self.stage = Stage::Ids { entry_idx, reader };
        }
        if body.is_empty() {
            return Ok(None);
        }
        body.push(b']');
        let marker = self.marker();
        Ok(Some(Request {
            write: NodeWrite::DeleteDocuments {
                index: plan.physical.clone(),
                body: body.into(),
                marker: marker.clone(),
            },
            marker: Some(marker),
        }))
    }
}

fn unmarked(write: NodeWrite) -> Request {
    Request {
        write,
        marker: None,
    }
}

fn corrupt(what: &'static str, cause: &dyn std::fmt::Display) -> EngineError {
    EngineError::Store(StoreError::Corrupt {
        what,
        cause: cause.to_string(),
    })
}

// ---------------------------------------------------------------------------------------------
// Reading payloads

/// A payload, read by windows.
pub(crate) struct PayloadReader {
    source: ReaderSource,
    window: Bytes,
    window_at: u64,
}

enum ReaderSource {
    Inline(Bytes),
    File(PayloadRef),
}

impl PayloadReader {
    pub(crate) fn new(batch: &LiveBatch, entry: &PlannedEntry) -> Result<Self, EngineError> {
        let source = match &entry.source {
            Source::File(payload) => ReaderSource::File(payload.clone()),
            Source::Inline => {
                let payload = batch.inline.get(&entry.task).cloned();
                ReaderSource::Inline(payload.ok_or_else(|| {
                    corrupt(
                        "task",
                        &format!("the payload of task {} is gone", entry.task),
                    )
                })?)
            }
            Source::None => ReaderSource::Inline(Bytes::new()),
        };
        Ok(Self {
            source,
            window: Bytes::new(),
            window_at: 0,
        })
    }

    pub(crate) fn of_file(payload: PayloadRef) -> Self {
        Self {
            source: ReaderSource::File(payload),
            window: Bytes::new(),
            window_at: 0,
        }
    }

    pub(crate) fn of_bytes(bytes: Bytes) -> Self {
        Self {
            source: ReaderSource::Inline(bytes),
            window: Bytes::new(),
            window_at: 0,
        }
    }

    /// Exactly `len` bytes from `offset`.
    async fn slice(
        &mut self,
        payloads: &dyn PayloadStore,
        offset: u64,
        len: usize,
    ) -> Result<Bytes, EngineError> {
        let file = match &self.source {
            ReaderSource::Inline(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let end = start.saturating_add(len);
                if end > bytes.len() {
                    return Err(corrupt("payload", &"it is shorter than its cut"));
                }
                return Ok(bytes.slice(start..end));
            }
            ReaderSource::File(file) => file,
        };
        let window_end = self.window_at + self.window.len() as u64;
        if offset < self.window_at || offset + len as u64 > window_end {
            self.window = payloads
                .read_at(file, offset, len.max(WINDOW_BYTES))
                .await?;
            self.window_at = offset;
        }
        let start = usize::try_from(offset - self.window_at).unwrap_or(usize::MAX);
        if start.saturating_add(len) > self.window.len() {
            return Err(corrupt("payload", &"it is shorter than its cut"));
        }
        Ok(self.window.slice(start..start + len))
    }

    /// Up to `len` bytes from `offset`; empty at the end.
    pub(crate) async fn chunk(
        &mut self,
        payloads: &dyn PayloadStore,
        offset: u64,
        len: usize,
    ) -> Result<Bytes, EngineError> {
        match &self.source {
            ReaderSource::Inline(bytes) => {
                let start = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                Ok(bytes.slice(start..start.saturating_add(len).min(bytes.len())))
            }
            ReaderSource::File(file) => Ok(payloads.read_at(file, offset, len).await?),
        }
    }
}

/// Walks the documents of one entry by its cut.
struct Cursor {
    payload: PayloadReader,
    cut: CutReader,
}

enum CutReader {
    Inline {
        records: Vec<CutRecord>,
        at: usize,
    },
    File {
        file: PayloadRef,
        records: Vec<CutRecord>,
        at: usize,
        next_offset: u64,
    },
}

impl Cursor {
    fn new(batch: &LiveBatch, entry: &PlannedEntry) -> Result<Self, EngineError> {
        let cut = match &entry.cut {
            Cut::None => CutReader::Inline {
                records: Vec::new(),
                at: 0,
            },
            Cut::Inline(records) => {
                let records = records
                    .iter()
                    .map(|&(offset, len, shard, seq)| CutRecord {
                        offset,
                        len,
                        shard,
                        hash: 0,
                        seq,
                    })
                    .collect();
                CutReader::Inline { records, at: 0 }
            }
            Cut::File(file) => CutReader::File {
                file: file.clone(),
                records: Vec::new(),
                at: 0,
                next_offset: 0,
            },
        };
        Ok(Self {
            payload: PayloadReader::new(batch, entry)?,
            cut,
        })
    }

    async fn peek(
        &mut self,
        payloads: &dyn PayloadStore,
    ) -> Result<Option<CutRecord>, EngineError> {
        match &mut self.cut {
            CutReader::Inline { records, at } => Ok(records.get(*at).copied()),
            CutReader::File {
                file,
                records,
                at,
                next_offset,
            } => {
                if *at >= records.len() {
                    let len = WINDOW_RECORDS * CutRecord::BYTES;
                    let bytes = payloads.read_at(file, *next_offset, len).await?;
                    if bytes.len() % CutRecord::BYTES != 0 {
                        return Err(corrupt("cut", &"it ends inside a record"));
                    }
                    *next_offset += bytes.len() as u64;
                    *at = 0;
                    records.clear();
                    for chunk in bytes.chunks_exact(CutRecord::BYTES) {
                        let fixed = chunk.try_into().map_err(|e| corrupt("cut", &e))?;
                        records.push(CutRecord::decode(fixed));
                    }
                }
                Ok(records.get(*at).copied())
            }
        }
    }

    fn skip(&mut self) {
        match &mut self.cut {
            CutReader::Inline { at, .. } | CutReader::File { at, .. } => *at += 1,
        }
    }

    async fn document(
        &mut self,
        payloads: &dyn PayloadStore,
        record: &CutRecord,
    ) -> Result<Bytes, EngineError> {
        self.payload
            .slice(payloads, record.offset, record.len as usize)
            .await
    }
}

/// Walks the lines of a payload.
pub(crate) struct LineReader {
    payload: PayloadReader,
    next_offset: u64,
    buffer: BytesMut,
    is_at_end: bool,
    /// Where the line returned last began.
    pub(crate) line_at: u64,
    consumed: u64,
}

impl LineReader {
    pub(crate) fn new(batch: &LiveBatch, entry: &PlannedEntry) -> Result<Self, EngineError> {
        Ok(Self::over(PayloadReader::new(batch, entry)?))
    }

    pub(crate) fn over(payload: PayloadReader) -> Self {
        Self {
            payload,
            next_offset: 0,
            buffer: BytesMut::new(),
            is_at_end: false,
            line_at: 0,
            consumed: 0,
        }
    }

    /// The next line without its end, skipping empty ones; `None` at the end.
    pub(crate) async fn next(
        &mut self,
        payloads: &dyn PayloadStore,
    ) -> Result<Option<Bytes>, EngineError> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|b| *b == b'\n') {
                let mut line = self.buffer.split_to(searched + at + 1);
                self.line_at = self.consumed;
                self.consumed += line.len() as u64;
                line.truncate(line.len() - 1);
                searched = 0;
                if line.is_empty() {
                    continue;
                }
                return Ok(Some(line.freeze()));
            }
            searched = self.buffer.len();
            if self.is_at_end {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                let line = self.buffer.split();
                self.line_at = self.consumed;
                self.consumed += line.len() as u64;
                return Ok(Some(line.freeze()));
            }
            let chunk = self
                .payload
                .chunk(payloads, self.next_offset, WINDOW_BYTES)
                .await?;
            self.next_offset += chunk.len() as u64;
            self.is_at_end = chunk.is_empty();
            self.buffer.extend_from_slice(&chunk);
        }
    }
}
