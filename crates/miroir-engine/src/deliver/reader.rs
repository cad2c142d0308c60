//! Reads payloads and cuts by windows, so that memory does not depend on their size.

use super::corrupt;
use crate::error::EngineError;
use crate::plan::{Cut, PlannedEntry, Source};
use crate::port::{PayloadRef, PayloadStore};
use crate::state::LiveBatch;
use bytes::{Bytes, BytesMut};
use miroir_core::batch::CutRecord;
use miroir_core::hash::shard_of_hash;
use std::num::NonZeroU32;

/// Payload files are read in windows of this size.
const WINDOW_BYTES: usize = 1024 * 1024;
/// Cut files are read this many records at a time.
const WINDOW_RECORDS: usize = 16 * 1024;

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
pub(super) struct Cursor {
    payload: PayloadReader,
    cut: CutReader,
    /// The shards told are those among so many, by the hashes in a file.
    twin: Option<NonZeroU32>,
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
    pub(super) fn new(batch: &LiveBatch, entry: &PlannedEntry) -> Result<Self, EngineError> {
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
            twin: None,
        })
    }

    /// The same, cut for the twin.
    pub(super) fn of_twin(
        batch: &LiveBatch,
        entry: &PlannedEntry,
        shard_count: u32,
    ) -> Result<Self, EngineError> {
        let mut cursor = Self::new(batch, entry)?;
        match &mut cursor.cut {
            CutReader::Inline { records, .. } => {
                if records.len() != entry.twin_cut.len() {
                    return Err(corrupt("cut", &"that of the twin is of another length"));
                }
                for (record, shard) in records.iter_mut().zip(&entry.twin_cut) {
                    record.shard = *shard;
                }
            }
            CutReader::File { .. } => cursor.twin = NonZeroU32::new(shard_count),
        }
        Ok(cursor)
    }

    pub(super) async fn peek(
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
                        let mut record = CutRecord::decode(fixed);
                        if let Some(shard_count) = self.twin {
                            record.shard = shard_of_hash(record.hash, shard_count).0;
                        }
                        records.push(record);
                    }
                }
                Ok(records.get(*at).copied())
            }
        }
    }

    pub(super) fn skip(&mut self) {
        match &mut self.cut {
            CutReader::Inline { at, .. } | CutReader::File { at, .. } => *at += 1,
        }
    }

    pub(super) async fn document(
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

    /// The same from an offset on, at which a line begins.
    pub(crate) fn over_from(payload: PayloadReader, offset: u64) -> Self {
        Self {
            next_offset: offset,
            consumed: offset,
            ..Self::over(payload)
        }
    }

    /// Where the line that is next begins.
    pub(crate) fn position(&self) -> u64 {
        self.consumed
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
