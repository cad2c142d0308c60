//! Documents and ids: checked, numbered and cut, in bounded memory.

use super::{PlannedIndex, Prepared, Preparer, bare, error_value, index_not_found};
use crate::deliver::{LineReader, PayloadReader};
use crate::error::EngineError;
use crate::lookup::fetch_seqs;
use crate::overlay::{Known, Overlay};
use crate::plan::{Cut, PlannedEntry, Source, Work};
use crate::port::{Change, PayloadRef, PayloadWriter, StoreError, TaskRecord, Timestamp};
use crate::state::{Effect, IndexEntry};
use bytes::Bytes;
use miroir_core::batch::CutRecord;
use miroir_core::document::{
    DocumentError, PrimaryKey, check_geo, check_vectors, infer_primary_key, scan_document,
};
use miroir_core::hash::{document_hash, shard_of_hash};
use miroir_core::id::{BatchUid, DocumentSeq, IndexUid, NodeId, ShardId, TaskUid};
use miroir_core::settings;
use miroir_core::task::Operation;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;

/// Documents checked and numbered at a time.
const CHUNK_DOCUMENTS: usize = 8 * 1024;
/// Ids of one payload remembered so that one that comes twice keeps its number, and is counted
/// once. In a larger payload an id that comes again after this many others gets a new number; about
/// 40 MB.
const PAYLOAD_IDS_MAX: usize = 1_000_000;
/// Cuts up to this many documents travel in the plan; longer ones in a file.
const INLINE_CUT_MAX: usize = 2048;

/// What an entry's documents come to.
enum Checked {
    Good {
        cut: Cut,
        distinct_ids: u64,
        shards: Touched,
    },
    Bad(Value),
}

/// The shards that some documents are of.
#[derive(Debug, Default)]
struct Touched {
    shards: BTreeSet<ShardId>,
    /// Those of the twin, if there is one.
    twin: BTreeSet<ShardId>,
    /// The twin's shard of each document, where a plan has to tell it.
    twin_cut: Vec<u32>,
}

/// How many shards ids are told among.
#[derive(Debug, Clone, Copy)]
struct Among {
    own: NonZeroU32,
    twin: Option<NonZeroU32>,
}

impl Among {
    fn of(index: &PlannedIndex) -> Self {
        let count = |count: u32| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let twin = index.twin.as_ref();
        Self {
            own: count(index.record.shard_count),
            twin: twin.map(|twin| count(twin.shard_count)),
        }
    }

    fn twin_shard(self, hash: u64) -> Option<ShardId> {
        self.twin.map(|count| shard_of_hash(hash, count))
    }
}

impl Preparer {
    // -----------------------------------------------------------------------------------------
    // Deletions by id

    pub(super) async fn prepare_deletion(
        &mut self,
        batch: BatchUid,
        uid: &IndexUid,
        task: &TaskRecord,
        payloads: &BTreeMap<TaskUid, Bytes>,
    ) -> Result<Prepared, EngineError> {
        let Some(index) = self.indexes.get(uid) else {
            return Ok(self.nothing(uid, task, Some(index_not_found(uid))));
        };
        let among = Among::of(index);
        let (source, reader) = open_payload(task, payloads);
        let read = match self.verify(task).await {
            Ok(()) => self.read_ids(reader, among).await,
            Err(error) => Err(error),
        };
        let (shards, hashes) = match read {
            Ok(read) => read,
            Err(error) => {
                let error = self.lost_payload(task, error).await?;
                return Ok(self.nothing(uid, task, Some(error)));
            }
        };
        let Some(index) = self.indexes.get_mut(uid) else {
            return Ok(self.nothing(uid, task, Some(index_not_found(uid))));
        };
        if hashes.len() > Overlay::DOCUMENTS_MAX {
            index.overlay.bar(batch);
        } else {
            index
                .overlay
                .note(batch, hashes.into_iter().map(|hash| (hash, None)));
        }
        let Some(index) = self.indexes.get(uid) else {
            return Ok(self.nothing(uid, task, Some(index_not_found(uid))));
        };
        let entry = PlannedEntry {
            source,
            ..bare(task)
        };
        let mut prepared = self.broadcast(index, Work::DeleteDocuments, vec![entry]);
        prepared.nodes = nodes_of(index, &shards);
        prepared.plan.shards = Some(shards.shards);
        Ok(prepared)
    }

    /// The shards of the ids in a payload, and the ids' hashes: all, or more than an overlay keeps.
    async fn read_ids(
        &self,
        reader: PayloadReader,
        among: Among,
    ) -> Result<(Touched, Vec<u64>), EngineError> {
        let mut lines = LineReader::over(reader);
        let mut touched = Touched::default();
        let mut hashes = Vec::new();
        while let Some(line) = lines.next(&*self.shared.ports.payloads).await? {
            let Ok(id) = serde_json::from_slice::<String>(&line) else {
                continue;
            };
            let hash = document_hash(&id);
            touched.shards.insert(shard_of_hash(hash, among.own));
            touched.twin.extend(among.twin_shard(hash));
            if hashes.len() <= Overlay::DOCUMENTS_MAX {
                hashes.push(hash);
            }
        }
        Ok((touched, hashes))
    }

    // -----------------------------------------------------------------------------------------
    // Documents

    pub(super) async fn prepare_documents(
        &mut self,
        batch: BatchUid,
        uid: &IndexUid,
        tasks: &[TaskRecord],
        payloads: &BTreeMap<TaskUid, Bytes>,
        may_create: bool,
        now: Timestamp,
    ) -> Result<Prepared, EngineError> {
        let Some(first) = tasks.first() else {
            return Err(EngineError::Answer("an empty group".into()));
        };
        let Operation::AddDocuments {
            method,
            skip_creation,
            ..
        } = first.operation
        else {
            return Err(EngineError::Answer(format!(
                "task {} adds no documents",
                first.uid
            )));
        };
        let mut changes = Vec::new();
        let is_new = !self.indexes.contains_key(uid);
        if is_new {
            if !may_create {
                let mut prepared = self.nothing(uid, first, Some(index_not_found(uid)));
                prepared.plan.entries = tasks
                    .iter()
                    .map(|task| PlannedEntry {
                        error: Some(index_not_found(uid)),
                        ..bare(task)
                    })
                    .collect();
                return Ok(prepared);
            }
            changes = self.create(batch, uid, first.uid, None, now)?;
        }
        let Some(mut index) = self.indexes.remove(uid) else {
            return Err(EngineError::Answer(format!("index {uid} is not planned")));
        };
        let result = self.check_entries(batch, &mut index, tasks, payloads).await;
        let result = result.map(|(entries, shards)| {
            index.record.changed_by = Some(batch);
            index.record.updated_at = now;
            changes.push(Change::PutIndex(Box::new(index.record.clone())));
            let work = Work::AddDocuments {
                method,
                skip_creation,
            };
            let mut prepared = self.broadcast(&index, work, entries);
            if is_new {
                prepared.plan.creation = Some(self.creation(&index.record));
            } else {
                prepared.nodes = nodes_of(&index, &shards);
                prepared.plan.shards = Some(shards.shards);
            }
            prepared.effect = Effect::Put(Box::new(index.record.clone()));
            prepared.changes = changes;
            prepared
        });
        if result.is_ok() || !is_new {
            self.indexes.insert(uid.clone(), index);
        }
        result
    }

    async fn check_entries(
        &self,
        batch: BatchUid,
        index: &mut PlannedIndex,
        tasks: &[TaskRecord],
        payloads: &BTreeMap<TaskUid, Bytes>,
    ) -> Result<(Vec<PlannedEntry>, Touched), EngineError> {
        let mut entries = Vec::with_capacity(tasks.len());
        let checked = self
            .check_each(batch, index, tasks, payloads, &mut entries)
            .await;
        if checked.is_err() {
            // It is done again from the beginning, with cuts of its own.
            let cuts = entries.iter().filter_map(|entry| match &entry.cut {
                Cut::File(file) => Some(file.clone()),
                _ => None,
            });
            self.shared.discard(&cuts.collect::<Vec<_>>()).await;
        }
        Ok((entries, checked?))
    }

    async fn check_each(
        &self,
        batch: BatchUid,
        index: &mut PlannedIndex,
        tasks: &[TaskRecord],
        payloads: &BTreeMap<TaskUid, Bytes>,
        entries: &mut Vec<PlannedEntry>,
    ) -> Result<Touched, EngineError> {
        let mut touched = Touched::default();
        for task in tasks {
            // A barrier of this very batch stands behind it: what it did so far is remembered.
            if let Some(barrier) = index.overlay.barrier().filter(|barrier| *barrier != batch) {
                self.shared.wait_for_batch(barrier).await;
                if self.shared.shutdown.is_cancelled() {
                    return Err(EngineError::ShuttingDown);
                }
                let shared = &self.shared;
                index
                    .overlay
                    .settle(|batch| !shared.in_flight.lock().contains(&batch));
            }
            let (source, reader) = open_payload(task, payloads);
            let mut planned = PlannedEntry {
                source,
                ..bare(task)
            };
            let checked = match self.verify(task).await {
                Ok(()) => self.check_entry(batch, index, task, reader).await,
                Err(error) => Err(error),
            };
            let checked = match checked {
                Ok(checked) => checked,
                Err(error) => Checked::Bad(self.lost_payload(task, error).await?),
            };
            match checked {
                Checked::Good {
                    cut,
                    distinct_ids,
                    shards,
                } => {
                    planned.cut = cut;
                    planned.distinct_ids = distinct_ids;
                    planned.twin_cut = shards.twin_cut;
                    touched.shards.extend(shards.shards);
                    touched.twin.extend(shards.twin);
                }
                Checked::Bad(error) => planned.error = Some(error),
            }
            entries.push(planned);
        }
        Ok(touched)
    }

    /// Compares a payload file with what was written, before any node gets a byte of it.
    async fn verify(&self, task: &TaskRecord) -> Result<(), EngineError> {
        match &task.payload {
            Some(file) => Ok(self.shared.ports.payloads.verify(file).await?),
            None => Ok(()),
        }
    }

    /// The error object of an entry whose payload is damaged or gone, which no retry can help; any
    /// other error is returned, to be tried again.
    async fn lost_payload(
        &self,
        task: &TaskRecord,
        error: EngineError,
    ) -> Result<Value, EngineError> {
        let is_lost = match (&error, &task.payload) {
            (EngineError::Store(StoreError::Corrupt { .. }), _) => true,
            (EngineError::Store(StoreError::Io(_)), Some(PayloadRef::File { name, .. })) => {
                let files = self.shared.ports.payloads.list().await?;
                !files
                    .iter()
                    .any(|PayloadRef::File { name: other, .. }| other == name)
            }
            _ => false,
        };
        if !is_lost {
            return Err(error);
        }
        tracing::error!(task = %task.uid, %error, "the payload of a task is lost; the task fails");
        Ok(error_value(
            "internal",
            "The payload of this task is damaged or lost.",
        ))
    }

    /// Checks the documents of one entry and numbers them.
    async fn check_entry(
        &self,
        batch: BatchUid,
        index: &mut PlannedIndex,
        task: &TaskRecord,
        reader: PayloadReader,
    ) -> Result<Checked, EngineError> {
        let Operation::AddDocuments {
            primary_key: asked_key,
            document_count,
            ..
        } = &task.operation
        else {
            return Ok(Checked::Bad(Value::Null));
        };
        let payloads = &*self.shared.ports.payloads;
        let known_key = index.record.primary_key.clone();
        if let (Some(known), Some(asked)) = (&known_key, asked_key)
            && known != asked
            // As in Meilisearch, a payload without documents contradicts nothing.
            && *document_count > 0
        {
            let message = format!("Index already has a primary key: `{known}`.");
            return Ok(Checked::Bad(error_value(
                "index_primary_key_already_exists",
                message,
            )));
        }
        let mut primary_key = known_key.or_else(|| asked_key.clone()).map(PrimaryKey::new);
        let is_geo_checked = settings::is_geo_checked(&index.record.settings);
        let uid = index.record.uid.clone();
        let bad = |error: &DocumentError| {
            Checked::Bad(error_value(error.code(), error.task_message(&uid)))
        };
        let among = Among::of(index);
        let is_inline = usize::try_from(*document_count).is_ok_and(|n| n <= INLINE_CUT_MAX);
        let mut numbering = Numbering::new(index.record.next_seq);
        let mut out = CutWriter::new(is_inline);
        let mut touched = Touched::default();
        let mut lines = LineReader::over(reader);
        let mut chunk: Vec<CutRecord> = Vec::new();
        let mut ids: Vec<String> = Vec::new();
        loop {
            let line = lines.next(payloads).await?;
            if let Some(line) = &line {
                let key = match &primary_key {
                    Some(key) => key,
                    None => match infer_primary_key(line) {
                        Ok(key) => &*primary_key.insert(key),
                        Err(error) => return Ok(bad(&error)),
                    },
                };
                let id = match check_document(line, key, is_geo_checked) {
                    Ok(id) => id,
                    Err(error) => return Ok(bad(&error)),
                };
                let len = u32::try_from(line.len()).unwrap_or(u32::MAX);
                let record = CutRecord::new(lines.line_at, len, &id, among.own);
                touched.shards.insert(record.shard());
                if let Some(shard) = among.twin_shard(record.hash) {
                    touched.twin.insert(shard);
                    touched.twin_cut.extend(is_inline.then_some(shard.0));
                }
                chunk.push(record);
                ids.push(id.into_owned());
            }
            if chunk.len() >= CHUNK_DOCUMENTS || (line.is_none() && !chunk.is_empty()) {
                let Some(key) = &primary_key else { break };
                self.number(index, key, &mut numbering, &mut chunk, &mut ids)
                    .await;
                out.append(payloads, &chunk).await?;
                chunk.clear();
                ids.clear();
            }
            if line.is_none() {
                break;
            }
        }
        let cut = out.finish().await?;
        index.record.primary_key = primary_key.map(|key| key.as_str().to_owned());
        index.record.next_seq = numbering.next_seq;
        let distinct_ids = numbering.distinct_ids;
        if numbering.has_forgotten {
            index.overlay.bar(batch);
        } else {
            let states = numbering
                .seqs
                .into_iter()
                .map(|(hash, seq)| (hash, Some(seq)));
            index.overlay.note(batch, states);
        }
        Ok(Checked::Good {
            cut,
            distinct_ids,
            shards: touched,
        })
    }

    /// Gives a chunk of documents their numbers: the one they have, or the next.
    async fn number(
        &self,
        index: &PlannedIndex,
        primary_key: &PrimaryKey,
        numbering: &mut Numbering,
        chunk: &mut [CutRecord],
        ids: &mut [String],
    ) {
        let unknown: Vec<String> = chunk
            .iter()
            .zip(ids.iter_mut())
            .filter(|(record, _)| {
                !numbering.seqs.contains_key(&record.hash)
                    && index.overlay.get(record.hash) == Known::Unknown
            })
            .map(|(_, id)| std::mem::take(id))
            .collect();
        let existing = if unknown.is_empty() {
            HashMap::new()
        } else {
            let entry = self.entry(index);
            match fetch_seqs(&self.shared, &entry, primary_key, &unknown).await {
                Ok(existing) => existing,
                Err(error) => {
                    // The write must not wait for an absent shard: its documents go to the end of
                    // the order, as new ones do. Only ties can show it.
                    tracing::warn!(%error, "sequence numbers cannot be looked up; giving new ones");
                    HashMap::new()
                }
            }
        };
        for record in chunk {
            let known = match index.overlay.get(record.hash) {
                Known::Seq(seq) => Some(seq),
                Known::Absent => None,
                Known::Unknown => existing.get(&record.hash).copied(),
            };
            record.seq = numbering.number(record.hash, known).0;
        }
    }

    /// The planned index as reads see one.
    pub(super) fn entry(&self, index: &PlannedIndex) -> IndexEntry {
        index.to_entry()
    }
}

/// The numbers given within one payload.
struct Numbering {
    next_seq: DocumentSeq,
    seqs: HashMap<u64, DocumentSeq>,
    distinct_ids: u64,
    has_forgotten: bool,
}

impl Numbering {
    fn new(next_seq: DocumentSeq) -> Self {
        Self {
            next_seq,
            seqs: HashMap::new(),
            distinct_ids: 0,
            has_forgotten: false,
        }
    }

    fn number(&mut self, hash: u64, known: Option<DocumentSeq>) -> DocumentSeq {
        if let Some(seq) = self.seqs.get(&hash) {
            return *seq;
        }
        let seq = known.unwrap_or_else(|| {
            let seq = self.next_seq;
            self.next_seq = DocumentSeq(seq.0 + 1);
            seq
        });
        self.distinct_ids += 1;
        if self.seqs.len() >= PAYLOAD_IDS_MAX {
            self.seqs.clear();
            self.has_forgotten = true;
        }
        self.seqs.insert(hash, seq);
        seq
    }
}

/// Collects the cut of one entry, in the plan or in a file.
struct CutWriter {
    inline: Option<Vec<(u64, u32, u32, u64)>>,
    file: Option<Box<dyn PayloadWriter>>,
}

impl CutWriter {
    fn new(is_inline: bool) -> Self {
        Self {
            inline: is_inline.then(Vec::new),
            file: None,
        }
    }

    async fn append(
        &mut self,
        payloads: &dyn crate::port::PayloadStore,
        records: &[CutRecord],
    ) -> Result<(), EngineError> {
        if let Some(inline) = &mut self.inline {
            inline.extend(records.iter().map(|r| (r.offset, r.len, r.shard, r.seq)));
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(payloads.create().await?),
        };
        let bytes: Vec<u8> = records.iter().flat_map(CutRecord::encode).collect();
        Ok(file.append(Bytes::from(bytes)).await?)
    }

    async fn finish(self) -> Result<Cut, EngineError> {
        match (self.inline, self.file) {
            (Some(inline), _) => Ok(Cut::Inline(inline)),
            (None, Some(file)) => Ok(Cut::File(file.finish().await?)),
            (None, None) => Ok(Cut::Inline(Vec::new())),
        }
    }
}

fn open_payload(task: &TaskRecord, payloads: &BTreeMap<TaskUid, Bytes>) -> (Source, PayloadReader) {
    match (&task.payload, payloads.get(&task.uid)) {
        (Some(file), _) => (
            Source::File(file.clone()),
            PayloadReader::of_file(file.clone()),
        ),
        (None, Some(bytes)) => (Source::Inline, PayloadReader::of_bytes(bytes.clone())),
        (None, None) => (Source::None, PayloadReader::of_bytes(Bytes::new())),
    }
}

/// The nodes that get writes of these shards.
fn nodes_of(index: &PlannedIndex, touched: &Touched) -> BTreeSet<NodeId> {
    let placing = &index.placing;
    let shards = &touched.shards;
    let sets = shards
        .iter()
        .filter_map(|shard| placing.replica_sets.get(shard.0 as usize));
    let joiners = shards
        .iter()
        .flat_map(|shard| placing.transit.joiners(*shard));
    let mut nodes: BTreeSet<NodeId> = sets.flatten().chain(joiners).cloned().collect();
    if let Some(twin) = &index.twin {
        for shard in &touched.twin {
            nodes.extend(twin.placing.transit.joiners(*shard).cloned());
        }
    }
    nodes
}

/// The id of a document that may be indexed.
fn check_document<'d>(
    document: &'d [u8],
    primary_key: &PrimaryKey,
    is_geo_checked: bool,
) -> Result<std::borrow::Cow<'d, str>, DocumentError> {
    let scanned = scan_document(document, primary_key)?;
    if is_geo_checked && let Some(geo) = scanned.geo {
        check_geo(geo, &scanned.id)?;
    }
    if let Some(vectors) = scanned.vectors {
        check_vectors(vectors, &scanned.id)?;
    }
    Ok(scanned.id)
}
