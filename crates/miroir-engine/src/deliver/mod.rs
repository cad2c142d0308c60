//! Turns a batch into the requests of one node, one at a time and in bounded memory.
//!
//! Law: the sequence of requests is a function of the plan and of the node's shards alone; request
//! *r* is the same whenever it is built (see [`crate::plan`]).
//!
//! **Sections.** Where shards are joining at a node or lie beside, what concerns its own shards comes
//! first and in requests of its own, and what concerns the joining ones behind: those documents are
//! not all there yet, so what becomes of them says nothing of the write, and must not spoil what
//! does.
//!
//! Behind both comes the **twin**: the same work, cut for the other physical index of an index that is
//! being cut anew (see [`crate::reshard`]). It has no say either.

mod reader;

pub(crate) use reader::{LineReader, PayloadReader};

use crate::error::EngineError;
use crate::plan::{BatchPlan, PlannedEntry, Work};
use crate::port::{NodeWrite, PayloadStore, StoreError};
use crate::state::{LiveBatch, shards_of};
use bytes::{Bytes, BytesMut};
use miroir_core::document::inject_reserved;
use miroir_core::edit;
use miroir_core::hash::shard_of;
use miroir_core::id::{DocumentSeq, NodeId, PhysicalIndex, ShardId, TaskUid};
use miroir_core::mark::{self, Origin};
use miroir_core::reserved::{shard_filter, shard_tag, shards_filter};
use miroir_core::task::AdditionMethod;
use reader::Cursor;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;

/// Bodies are handed on in pieces of about this size.
const PIECE_BYTES: usize = 256 * 1024;

/// One request to a node.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// What to send.
    pub write: NodeWrite,
    /// Its marker; unmarked kinds carry `None` and may be sent twice without harm.
    pub marker: Option<String>,
    /// It is for shards that are not read from the node: what comes of it has no say.
    pub is_joining: bool,
    /// The same, and it is for the twin.
    pub is_twin: bool,
}

/// Which of a node's shards requests are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// Its own, then those that are joining, then those of the twin.
    All,
    /// Those it is read for.
    Full,
    /// Those that are joining.
    Joining,
    /// Those of the twin.
    Twin,
}

/// The requests of one batch for one node, in order.
pub(crate) struct Requests<'a> {
    payloads: &'a dyn PayloadStore,
    cluster: &'a str,
    batch: &'a Arc<LiveBatch>,
    /// Those of the section at hand.
    shards: BTreeSet<ShardId>,
    full: BTreeSet<ShardId>,
    joining: BTreeSet<ShardId>,
    twin: BTreeSet<ShardId>,
    /// All that the node may hold documents of.
    held: Vec<ShardId>,
    section: Section,
    is_joining: bool,
    is_twin: bool,
    tags: HashMap<u32, String>,
    only: Option<TaskUid>,
    stage: Stage,
    request_idx: usize,
}

enum Stage {
    Create,
    Settings,
    /// What keeps a node from carrying out the settings before and behind it as one, which would
    /// fail together.
    Apart,
    Work,
    Documents {
        entry_idx: usize,
        cursor: Option<Cursor>,
    },
    Ids {
        entry_idx: usize,
        reader: Option<LineReader>,
    },
    /// A copy: the index is gone, now it is to be made with these settings.
    Recreated,
    /// A copy: the documents that are to be gone are, now the others.
    Copies(LineReader),
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
        section: Section,
    ) -> Self {
        let full: BTreeSet<ShardId> = shards_of(&batch.replica_sets, node).into_iter().collect();
        let joining: BTreeSet<ShardId> = batch.transit.joining_at(node).collect();
        let mut held: BTreeSet<ShardId> = batch.transit.held_at(node).collect();
        held.extend(&full);
        let twin: BTreeSet<ShardId> = batch.twin.joining_at(node).collect();
        let is_joining = section == Section::Joining;
        // A node with nothing but the twin, or a batch of an index that was cut anew since. A removal
        // removes both, whatever is known of where they lie.
        let is_of_twin =
            batch.plan.twin.is_some() && held.is_empty() && batch.plan.work != Work::DeleteIndex;
        let stage = if is_of_twin || section == Section::Twin {
            Stage::Done
        } else if batch.plan.creation.is_some() && !is_joining {
            Stage::Create
        } else {
            Stage::Work
        };
        Self {
            payloads,
            cluster,
            batch,
            shards: if is_joining {
                joining.clone()
            } else {
                full.clone()
            },
            full,
            joining,
            twin,
            held: held.into_iter().collect(),
            section,
            is_joining,
            is_twin: false,
            tags: HashMap::new(),
            only,
            stage,
            request_idx: 0,
        }
    }

    fn plan(&self) -> &'a BatchPlan {
        &self.batch.plan
    }

    /// The index at hand and its shard count.
    fn index(&self) -> (PhysicalIndex, u32) {
        let plan = self.plan();
        match plan.twin.as_ref().filter(|_| self.is_twin) {
            Some(twin) => (twin.physical.clone(), twin.shard_count),
            None => (plan.physical.clone(), plan.shard_count),
        }
    }

    /// The key of the next request, and the mark that it carries.
    fn mark(&self) -> (String, String) {
        let mut key = mark::key(self.cluster, self.batch.uid, self.request_idx, self.only);
        if self.only.is_some() && self.section == Section::Joining {
            key.push_str("/joining");
        }
        if self.only.is_some() && self.section == Section::Twin {
            key.push_str("/twin");
        }
        let plan = self.plan();
        // The twin is nobody's index: what is told there must not pass for what clients wrote last.
        let origin = match plan.entries.last().filter(|_| !self.is_twin) {
            Some(entry) => Origin::Task(entry.task),
            None => Origin::Copy,
        };
        let mark = format!("{key}{}", mark::note(origin, &plan.index_uid));
        (key, mark)
    }

    /// Something at the node is not read from there.
    fn is_divided(&self) -> bool {
        !self.is_twin && self.held.len() > self.full.len()
    }

    /// Turns to the twin, if the node has some of it and this work is for it.
    fn turn_to_twin(&mut self) -> bool {
        let is_asked = matches!(self.section, Section::All | Section::Twin);
        let plan = self.plan();
        let is_there = !self.twin.is_empty() || plan.work == Work::DeleteIndex;
        if self.is_twin || !is_asked || plan.twin.is_none() || !is_there || !plan.work.has_twin() {
            return false;
        }
        self.is_twin = true;
        self.is_joining = true;
        self.shards.clone_from(&self.twin);
        self.tags.clear();
        self.stage = Stage::Work;
        true
    }

    /// Turns to the joining shards, if this work is for them in requests of their own.
    fn turn_to_joining(&mut self) -> bool {
        if self.is_joining || self.section != Section::All || !self.is_divided() {
            return false;
        }
        let is_for_them = match self.plan().work {
            Work::AddDocuments { .. }
            | Work::DeleteDocuments
            | Work::DeleteByFilter { .. }
            | Work::EditDocuments { .. } => !self.joining.is_empty(),
            Work::DeleteAllDocuments => true,
            _ => false,
        };
        if is_for_them {
            self.is_joining = true;
            self.shards.clone_from(&self.joining);
            self.stage = Stage::Work;
        }
        is_for_them
    }

    /// The filter that keeps the shards of the section; `None` if the node holds no others.
    fn section_filter(&self) -> Option<String> {
        if !self.is_divided() {
            return None;
        }
        let shards: Vec<ShardId> = self.shards.iter().copied().collect();
        shard_filter(&shards, &self.held, self.plan().shard_count)
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
                    let settings = match &plan.work {
                        Work::RecreateIndex { settings } => {
                            self.stage = Stage::Done;
                            Some(settings)
                        }
                        work => {
                            let is_risky = work.may_fail_late();
                            self.stage = if is_risky { Stage::Apart } else { Stage::Work };
                            plan.creation.as_ref().map(|c| &c.settings)
                        }
                    };
                    let body = serde_json::to_vec(&settings).unwrap_or_default();
                    let index = plan.physical.clone();
                    Some(unmarked(NodeWrite::UpdateSettings {
                        index,
                        body: body.into(),
                    }))
                }
                Stage::Apart => {
                    self.stage = Stage::Work;
                    // The index is there, and that it is harms nobody.
                    let index = plan.physical.clone();
                    let primary_key = None;
                    Some(unmarked(NodeWrite::CreateIndex { index, primary_key }))
                }
                Stage::Work => self.begin_work(),
                Stage::Documents { .. } => self.next_documents().await?,
                Stage::Ids { .. } => self.next_ids().await?,
                Stage::Recreated => {
                    self.stage = Stage::Settings;
                    let index = plan.physical.clone();
                    let primary_key = plan.primary_key.clone();
                    Some(unmarked(NodeWrite::CreateIndex { index, primary_key }))
                }
                Stage::Copies(_) => self.next_copies().await?,
                Stage::Done => {
                    if !self.turn_to_joining() && !self.turn_to_twin() {
                        return Ok(None);
                    }
                    None
                }
            };
            if let Some(request) = request {
                self.request_idx += 1;
                return Ok(Some(Request {
                    is_joining: self.is_joining,
                    is_twin: self.is_twin,
                    ..request
                }));
            }
        }
    }

    fn begin_work(&mut self) -> Option<Request> {
        let plan = self.plan();
        let (index, _) = self.index();
        let (marker, mark) = self.mark();
        self.stage = Stage::Done;
        let marked = |write, marker| {
            Some(Request {
                write,
                marker: Some(marker),
                is_joining: false,
                is_twin: false,
            })
        };
        let own = self.section_filter();
        // Nothing of its own is here: the work is for others.
        let is_for_others = self.is_divided() && self.shards.is_empty();
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
            Work::DeleteByFilter { .. } | Work::EditDocuments { .. } if is_for_others => None,
            Work::DeleteByFilter { filter } => {
                let filter = both(Some(filter), own);
                let body = serde_json::json!({ "filter": filter }).to_string().into();
                let write = NodeWrite::DeleteByFilter {
                    index,
                    body,
                    marker: marker.clone(),
                };
                marked(write, marker)
            }
            Work::DeleteAllDocuments if self.is_divided() && !self.is_joining => {
                // Those of its own are counted apart.
                let filter = both(None, own).filter(|_| !is_for_others)?;
                let body = serde_json::json!({ "filter": filter }).to_string().into();
                let write = NodeWrite::DeleteByFilter {
                    index,
                    body,
                    marker: mark,
                };
                marked(write, marker)
            }
            Work::DeleteAllDocuments => marked(
                NodeWrite::DeleteAllDocuments {
                    index,
                    marker: mark,
                },
                marker,
            ),
            Work::EditDocuments {
                filter,
                context,
                function,
            } => {
                let mut body = serde_json::json!({ "function": edit::wrap(function) });
                // Said only when it is meant: `null` is no context on a node.
                if let Some(filter) = both(filter.as_ref(), own) {
                    body["filter"] = filter;
                }
                if let Some(context) = context {
                    body["context"] = context.clone().into();
                }
                let write = NodeWrite::EditDocuments {
                    index,
                    body: body.to_string().into(),
                    marker: mark,
                };
                marked(write, marker)
            }
            Work::CompactIndex => Some(unmarked(NodeWrite::CompactIndex { index })),
            Work::UpdateSettings { patch } => {
                let body = serde_json::to_vec(patch).unwrap_or_default().into();
                Some(unmarked(NodeWrite::UpdateSettings { index, body }))
            }
            Work::UpdatePrimaryKey { primary_key } => {
                let primary_key = primary_key.clone();
                Some(unmarked(NodeWrite::UpdateIndex { index, primary_key }))
            }
            Work::DeleteIndex | Work::DropIndex => Some(unmarked(NodeWrite::DeleteIndex { index })),
            Work::DropShards { dropped } => {
                let filter = shards_filter(dropped, plan.shard_count);
                let body = serde_json::json!({ "filter": filter }).to_string().into();
                let write = NodeWrite::DeleteByFilter {
                    index,
                    body,
                    marker: marker.clone(),
                };
                marked(write, marker)
            }
            Work::CreateIndex | Work::Nothing => None,
            Work::RecreateIndex { .. } => {
                self.stage = Stage::Recreated;
                Some(unmarked(NodeWrite::DeleteIndex { index }))
            }
            Work::CopyDocuments { documents, absent } => {
                if let Some(file) = documents {
                    let payload = PayloadReader::of_file(file.clone());
                    self.stage = Stage::Copies(LineReader::over(payload));
                }
                if absent.is_empty() {
                    return None;
                }
                let body = serde_json::to_vec(absent).unwrap_or_default().into();
                let write = NodeWrite::DeleteDocuments {
                    index,
                    body,
                    marker: mark,
                };
                marked(write, marker)
            }
        }
    }

    async fn next_copies(&mut self) -> Result<Option<Request>, EngineError> {
        let plan = self.plan();
        let Stage::Copies(mut lines) = std::mem::replace(&mut self.stage, Stage::Done) else {
            return Ok(None);
        };
        let mut pieces = Vec::new();
        let mut body_bytes = 0;
        while let Some(line) = lines.next(self.payloads).await? {
            body_bytes += line.len() as u64 + 1;
            pieces.push(line);
            pieces.push(Bytes::from_static(b"\n"));
            if body_bytes >= plan.request_bytes_max {
                self.stage = Stage::Copies(lines);
                break;
            }
        }
        if pieces.is_empty() {
            return Ok(None);
        }
        let (marker, mark) = self.mark();
        Ok(Some(Request {
            write: NodeWrite::AddDocuments {
                index: plan.physical.clone(),
                method: AdditionMethod::Replace,
                primary_key: plan.primary_key.clone().unwrap_or_default(),
                skip_creation: false,
                body: pieces,
                marker: mark,
            },
            marker: Some(marker),
            is_joining: false,
            is_twin: false,
        }))
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
        let (index, shard_count) = self.index();
        let twin = plan.twin.as_ref().filter(|_| self.is_twin);
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
                cursor = Some(match twin {
                    Some(twin) => Cursor::of_twin(self.batch, entry, twin.shard_count)?,
                    None => Cursor::new(self.batch, entry)?,
                });
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
                    .or_insert_with(|| shard_tag(ShardId(record.shard), shard_count));
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
        let (marker, mark) = self.mark();
        let primary_key = plan.primary_key.clone().unwrap_or_default();
        Ok(Some(Request {
            write: NodeWrite::AddDocuments {
                index,
                method,
                primary_key,
                skip_creation,
                body: pieces,
                marker: mark,
            },
            marker: Some(marker),
            is_joining: false,
            is_twin: false,
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
        let (index, shard_count) = self.index();
        let Some(shard_count) = NonZeroU32::new(shard_count) else {
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
        let (marker, mark) = self.mark();
        Ok(Some(Request {
            write: NodeWrite::DeleteDocuments {
                index,
                body: body.into(),
                marker: mark,
            },
            marker: Some(marker),
            is_joining: false,
            is_twin: false,
        }))
    }
}

fn unmarked(write: NodeWrite) -> Request {
    Request {
        write,
        marker: None,
        is_joining: false,
        is_twin: false,
    }
}

/// What a client chose, and of it what the second filter keeps.
fn both(chosen: Option<&Value>, kept: Option<String>) -> Option<Value> {
    match (chosen, kept) {
        (None, kept) => kept.map(Value::from),
        (Some(chosen), None) => Some(chosen.clone()),
        (Some(Value::Array(all)), Some(kept)) => {
            let mut all = all.clone();
            all.push(kept.into());
            Some(Value::Array(all))
        }
        (Some(chosen), Some(kept)) => Some(serde_json::json!([chosen, kept])),
    }
}

fn corrupt(what: &'static str, cause: &dyn std::fmt::Display) -> EngineError {
    EngineError::Store(StoreError::Corrupt {
        what,
        cause: cause.to_string(),
    })
}
