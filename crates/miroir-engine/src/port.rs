//! The only doors out of the engine: nodes, the store, payloads, the clock.
//!
//! Each is a trait in the engine's own words; adapters (HTTP, SQLite, the simulator) implement it.
//! One long file, because it is read as one list: what the engine asks of the world.

use async_trait::async_trait;
use bytes::Bytes;
use miroir_core::id::{
    BatchUid, DocumentSeq, Epoch, IndexUid, NodeId, NodeTaskUid, PhysicalIndex, TaskUid,
};
use miroir_core::summary::BatchSummary;
use miroir_core::task::{AdditionMethod, Operation, TaskFilter, TaskKind, TaskStatus};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use time::OffsetDateTime;

/// A point in time, UTC.
pub type Timestamp = OffsetDateTime;

// ---------------------------------------------------------------------------------------------
// Clock

/// Time, as an argument.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The wall clock, for what people read.
    fn now(&self) -> Timestamp;
    /// A clock that never goes back, for deadlines and latencies.
    fn monotonic(&self) -> Duration;
    /// Returns after `duration`.
    async fn sleep(&self, duration: Duration);
}

// ---------------------------------------------------------------------------------------------
// Nodes

/// Reads one node.
#[derive(Debug, Clone)]
pub enum NodeRead {
    /// `GET /health`.
    Health,
    /// `GET /version`.
    Version,
    /// `GET /stats`.
    Stats,
    /// `GET /indexes/{index}/stats`.
    IndexStats { index: PhysicalIndex },
    /// `GET /indexes/{index}`.
    Index { index: PhysicalIndex },
    /// `GET /indexes/{index}/settings`.
    Settings { index: PhysicalIndex },
    /// `POST /indexes/{index}/search` with a JSON body.
    Search { index: PhysicalIndex, body: Bytes },
    /// `POST /indexes/{index}/documents/fetch` with a JSON body.
    Documents { index: PhysicalIndex, body: Bytes },
    /// `GET /indexes/{index}/documents/{id}` with a ready query string (without `?`).
    Document {
        index: PhysicalIndex,
        id: String,
        query: String,
    },
    /// `PATCH /experimental-features` with a JSON body. Makes no task, and comes to the same however
    /// often it is sent.
    SetFeatures { body: Bytes },
    /// `PATCH /indexes/{index}/settings` with a JSON body that is sure to be refused: what for tells
    /// what the node thinks of the rest. Makes no task.
    CheckSettings { index: PhysicalIndex, body: Bytes },
    /// Anything else: a `GET` or `POST` (when there is a body) of a path that begins with `/`.
    Raw { path: String, body: Option<Bytes> },
}

/// Changes one node. Each becomes one task on the node.
#[derive(Debug, Clone)]
pub enum NodeWrite {
    /// `POST /indexes`.
    CreateIndex {
        index: PhysicalIndex,
        primary_key: Option<String>,
    },
    /// `PATCH /indexes/{index}`.
    UpdateIndex {
        index: PhysicalIndex,
        primary_key: String,
    },
    /// `DELETE /indexes/{index}`.
    DeleteIndex { index: PhysicalIndex },
    /// `PATCH /indexes/{index}/settings` with a JSON body.
    UpdateSettings { index: PhysicalIndex, body: Bytes },
    /// `POST` or `PUT /indexes/{index}/documents` with NDJSON.
    AddDocuments {
        index: PhysicalIndex,
        method: AdditionMethod,
        primary_key: String,
        skip_creation: bool,
        /// NDJSON in pieces, sent one after the other.
        body: Vec<Bytes>,
        marker: String,
    },
    /// `POST /indexes/{index}/documents/delete-batch` with a JSON array of ids.
    DeleteDocuments {
        index: PhysicalIndex,
        body: Bytes,
        marker: String,
    },
    /// `POST /indexes/{index}/documents/delete` with `{"filter": ...}`.
    DeleteByFilter {
        index: PhysicalIndex,
        body: Bytes,
        marker: String,
    },
    /// `DELETE /indexes/{index}/documents`.
    DeleteAllDocuments {
        index: PhysicalIndex,
        marker: String,
    },
    /// `POST /indexes/{index}/documents/edit` with `{"function": ...}`. Not the same when sent twice.
    EditDocuments {
        index: PhysicalIndex,
        body: Bytes,
        marker: String,
    },
    /// `POST /indexes/{index}/compact`.
    CompactIndex { index: PhysicalIndex },
}

impl NodeWrite {
    /// The mark it carries, where its route takes one.
    #[must_use]
    pub fn marker(&self) -> Option<&str> {
        match self {
            Self::AddDocuments { marker, .. }
            | Self::DeleteDocuments { marker, .. }
            | Self::DeleteByFilter { marker, .. }
            | Self::DeleteAllDocuments { marker, .. }
            | Self::EditDocuments { marker, .. } => Some(marker),
            Self::CreateIndex { .. }
            | Self::UpdateIndex { .. }
            | Self::DeleteIndex { .. }
            | Self::UpdateSettings { .. }
            | Self::CompactIndex { .. } => None,
        }
    }
}

/// Which of its tasks a node is asked for; newest first.
#[derive(Debug, Clone, Default)]
pub struct NodeTaskQuery {
    /// These uids only; empty means any.
    pub uids: Vec<NodeTaskUid>,
    /// No uid above this.
    pub from: Option<NodeTaskUid>,
    /// At most this many.
    pub limit: u32,
}

/// One task as a node tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeTask {
    /// Its uid on that node.
    pub uid: NodeTaskUid,
    /// The physical index, if it concerns one.
    pub index: Option<PhysicalIndex>,
    /// Its kind; `None` for one we do not know.
    pub kind: Option<TaskKind>,
    /// Its status.
    pub status: TaskStatus,
    /// The error object of a failed task.
    pub error: Option<Value>,
    /// Its details.
    pub details: Option<Value>,
    /// The marker we gave it (`customMetadata`).
    pub marker: Option<String>,
    /// When the node accepted it, RFC 3339 as the node wrote it.
    pub enqueued_at: String,
}

/// A call to a node went wrong.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NodeError {
    /// Nothing reached the node: connecting failed.
    #[error("node {node} cannot be reached: {cause}")]
    Unreachable { node: NodeId, cause: String },
    /// The request may have reached the node; its answer did not come.
    #[error("node {node} did not answer: {cause}")]
    UnknownOutcome { node: NodeId, cause: String },
    /// The node refuses for now (503, 408, 429). Nothing was done.
    #[error("node {node} is busy")]
    Busy { node: NodeId },
    /// The node says the request is wrong (4xx with a Meilisearch error object).
    #[error("node {node} refused: {code}: {message}")]
    Refused {
        node: NodeId,
        status: u16,
        code: String,
        message: String,
        body: Value,
    },
    /// The node failed (5xx), or answered what cannot be understood.
    #[error("node {node} failed with status {status}: {cause}")]
    Failed {
        node: NodeId,
        status: u16,
        cause: String,
    },
}

impl NodeError {
    /// The node that was asked.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        match self {
            Self::Unreachable { node, .. }
            | Self::UnknownOutcome { node, .. }
            | Self::Busy { node }
            | Self::Refused { node, .. }
            | Self::Failed { node, .. } => node,
        }
    }

    /// Asking another replica, or the same again, may help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }

    /// It is not known whether the node did what was asked.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::UnknownOutcome { .. } | Self::Failed { .. })
    }
}

/// Talks to nodes.
#[async_trait]
pub trait NodeClient: Send + Sync + 'static {
    /// The body of a successful answer.
    ///
    /// # Errors
    /// [`NodeError`]; [`NodeError::UnknownOutcome`] when `timeout` passed.
    async fn read(
        &self,
        node: &NodeId,
        read: NodeRead,
        timeout: Duration,
    ) -> Result<Bytes, NodeError>;

    /// The uid of the node task made.
    ///
    /// # Errors
    /// [`NodeError`]; after [`NodeError::is_outcome_unknown`] the node may hold the task.
    async fn submit(
        &self,
        node: &NodeId,
        write: NodeWrite,
        timeout: Duration,
    ) -> Result<NodeTaskUid, NodeError>;

    /// The body of a successful answer of a process that is not one of the nodes, by its address. It
    /// is shown the key that all nodes are shown, if they share one.
    ///
    /// # Errors
    /// [`NodeError`], with the address in the place of the node's name.
    async fn read_stranger(
        &self,
        url: &str,
        read: NodeRead,
        timeout: Duration,
    ) -> Result<Bytes, NodeError> {
        let _ = (read, timeout);
        Err(NodeError::Unreachable {
            node: NodeId::new(url),
            cause: "this client reaches known nodes only".to_owned(),
        })
    }

    /// Tasks of the node, newest first.
    ///
    /// # Errors
    /// [`NodeError`].
    async fn fetch_tasks(
        &self,
        node: &NodeId,
        query: NodeTaskQuery,
        timeout: Duration,
    ) -> Result<Vec<NodeTask>, NodeError>;

    /// From now on the node of that name is at this address. Whoever knows its nodes otherwise need
    /// not care.
    fn admit(&self, node: &NodeId, url: &str) {
        let _ = (node, url);
    }

    /// The node is no longer asked anything.
    fn retire(&self, node: &NodeId) {
        let _ = node;
    }
}

// ---------------------------------------------------------------------------------------------
// Webhooks

/// Finished tasks on their way to a webhook.
#[derive(Clone)]
pub struct HookRequest {
    /// Where to.
    pub url: String,
    /// What the hook's owner sends along.
    pub headers: BTreeMap<String, String>,
    /// NDJSON, not compressed yet.
    pub body: Bytes,
    /// The operator of this proxy named the address: it may be any.
    pub is_trusted: bool,
}

/// A webhook was not called, or gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HookError {
    /// It will never be: the address is none, or one that may not be called.
    #[error("{0}")]
    Refused(String),
    /// It may be the next time.
    #[error("{0}")]
    Unreachable(String),
}

/// Calls webhooks.
#[async_trait]
pub trait HookClient: Send + Sync + 'static {
    /// Posts, compressed, and returns the status of the answer.
    ///
    /// # Errors
    /// [`HookError`].
    async fn post(&self, request: HookRequest, timeout: Duration) -> Result<u16, HookError>;
}

// ---------------------------------------------------------------------------------------------
// Payloads

/// Where a payload lies. The stored form is part of the database format.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PayloadRef {
    /// A file of the payload folder.
    File {
        /// Its name, without folder.
        name: String,
        /// Its length.
        bytes: u64,
    },
}

/// The payload of a new entry. Small ones travel in the log itself: one sync instead of three.
#[derive(Debug, Clone)]
pub enum Payload {
    /// In the log, at most [`INLINE_PAYLOAD_BYTES_MAX`].
    Inline(Bytes),
    /// In a file, already durable.
    Stored(PayloadRef),
}

impl Payload {
    /// Its file, if it is in one.
    #[must_use]
    pub fn file(&self) -> Option<&PayloadRef> {
        match self {
            Self::Inline(_) => None,
            Self::Stored(file) => Some(file),
        }
    }
}

/// Payloads up to this size are kept in the log's own row. SQLite handles rows of this size faster
/// than files (one page chain instead of a file, a folder entry and two more syncs).
pub const INLINE_PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// Writes one payload file.
#[async_trait]
pub trait PayloadWriter: Send {
    /// Appends.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn append(&mut self, bytes: Bytes) -> Result<(), StoreError>;
    /// Makes the file durable (contents and name) and returns where it lies.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn finish(self: Box<Self>) -> Result<PayloadRef, StoreError>;
    // A writer dropped without `finish` leaves nothing behind.
}

/// Files beside the log: clients' payloads and the cut records made of them.
#[async_trait]
pub trait PayloadStore: Send + Sync + 'static {
    /// Begins a new file.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn create(&self) -> Result<Box<dyn PayloadWriter>, StoreError>;
    /// Up to `len` bytes from `offset`; shorter only at the end of the file.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn read_at(
        &self,
        payload: &PayloadRef,
        offset: u64,
        len: usize,
    ) -> Result<Bytes, StoreError>;
    /// Removes files; those already gone are no error.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn remove(&self, payloads: &[PayloadRef]) -> Result<(), StoreError>;
    /// Names of all files, for the sweep of orphans at start.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list(&self) -> Result<Vec<PayloadRef>, StoreError>;
    /// Reads a whole file and compares it with what was written, as far as that is known.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is damaged or gone.
    async fn verify(&self, payload: &PayloadRef) -> Result<(), StoreError> {
        let _ = payload;
        Ok(())
    }
    /// Writes and syncs something that nobody reads: whether files can be written.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

// ---------------------------------------------------------------------------------------------
// Store: records

/// A new log entry.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// The client's index, if one is concerned.
    pub index_uid: Option<IndexUid>,
    /// What is asked.
    pub operation: Operation,
    /// Its payload, if any.
    pub payload: Option<Payload>,
    /// The client's `customMetadata`.
    pub custom_metadata: Option<String>,
    /// When it was accepted.
    pub enqueued_at: Timestamp,
}

/// A task: an entry of the log and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRecord {
    /// Its place in the log.
    pub uid: TaskUid,
    /// The batch it was put in.
    pub batch_uid: Option<BatchUid>,
    /// The client's index.
    pub index_uid: Option<IndexUid>,
    /// Where it stands.
    pub status: TaskStatus,
    /// What was asked.
    pub operation: Operation,
    /// A payload kept in the log (not filled by [`TaskLog::list_tasks`]).
    pub inline_payload: Option<Bytes>,
    /// A payload kept in a file.
    pub payload: Option<PayloadRef>,
    /// The cancelation that ended it.
    pub canceled_by: Option<TaskUid>,
    /// As clients see them.
    pub details: Value,
    /// The error object of a failed task.
    pub error: Option<Value>,
    /// The client's `customMetadata`.
    pub custom_metadata: Option<String>,
    /// When it was accepted.
    pub enqueued_at: Timestamp,
    /// When its batch was made.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// The payload of a task that is final.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptPayload {
    /// The task.
    pub task: TaskUid,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Its size.
    pub bytes: u64,
    /// Where it lies, if not in the log itself.
    pub file: Option<PayloadRef>,
}

/// Which tasks to list.
#[derive(Debug, Clone, Default)]
pub struct TaskQuery {
    /// Which.
    pub filter: TaskFilter,
    /// The first uid to show (inclusive), newest first unless `is_reversed`.
    pub from: Option<TaskUid>,
    /// At most this many.
    pub limit: usize,
    /// Oldest first.
    pub is_reversed: bool,
}

/// A page of tasks.
#[derive(Debug, Clone, Default)]
pub struct TaskPage {
    /// At most `limit` of them.
    pub tasks: Vec<TaskRecord>,
    /// All that match the filter, whatever the page.
    pub total: u64,
    /// The first not shown.
    pub next: Option<TaskUid>,
}

/// How far one node is with one batch. The stored form is part of the database format.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Delivery {
    /// The node tasks made so far, one for each request of the batch to this node, in order.
    pub node_tasks: Vec<NodeTaskUid>,
    /// Every request was made and accepted.
    pub is_sent: bool,
    /// The node reported an end for all of them.
    pub is_applied: bool,
    /// The error object the node gave, if it failed.
    pub error: Option<Value>,
    /// `deletedDocuments` summed over its node tasks.
    pub deleted_documents: u64,
    /// `editedDocuments` summed over its node tasks.
    #[serde(skip_serializing_if = "is_zero")]
    pub edited_documents: u64,
    /// The details of its last node task, where they are shown as one node's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// By reference, as serde asks it.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A run of adjacent entries delivered as one.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchRecord {
    /// Its number; batches are delivered in this order.
    pub uid: BatchUid,
    /// Its tasks, in log order; at least one.
    pub tasks: Vec<TaskUid>,
    /// The plan, as the engine's dispatcher wrote it (opaque to the store).
    pub plan: Value,
    /// By node, for every node the batch concerns.
    pub deliveries: BTreeMap<NodeId, Delivery>,
    /// All its tasks are final.
    pub is_done: bool,
    /// When it was made.
    pub started_at: Timestamp,
    /// When all its tasks were final.
    pub finished_at: Option<Timestamp>,
}

/// Which batches to list. A batch matches when, for each thing the filter speaks of, one of its
/// tasks that the asker may see does; moments of start and end are the batch's own.
#[derive(Debug, Clone, Default)]
pub struct BatchQuery {
    /// Which.
    pub filter: TaskFilter,
    /// The first uid to show (inclusive), newest first unless `is_reversed`.
    pub from: Option<BatchUid>,
    /// At most this many.
    pub limit: usize,
    /// Oldest first.
    pub is_reversed: bool,
}

/// A batch as it is listed.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchInfo {
    /// Its number.
    pub uid: BatchUid,
    /// When it was made.
    pub started_at: Timestamp,
    /// When all its tasks were final.
    pub finished_at: Option<Timestamp>,
    /// The nodes it goes to.
    pub node_count: u64,
    /// Those that have applied it.
    pub applied_count: u64,
    /// Its tasks that the asker may see.
    pub summary: BatchSummary,
}

/// A page of batches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatchPage {
    /// At most `limit` of them.
    pub batches: Vec<BatchInfo>,
    /// All that match the filter, whatever the page.
    pub total: u64,
    /// The first not shown.
    pub next: Option<BatchUid>,
}

/// An index as clients know it.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexRecord {
    /// The client's name.
    pub uid: IndexUid,
    /// The name on the nodes.
    pub physical: PhysicalIndex,
    /// Its primary key, once known.
    pub primary_key: Option<String>,
    /// Its number of shards.
    pub shard_count: u32,
    /// Copies of each shard.
    pub replication_factor: u32,
    /// The epoch of its placement.
    pub epoch: Epoch,
    /// The logical settings: what clients set, merged, without defaults.
    pub settings: Map<String, Value>,
    /// The task that changed the settings last.
    pub settings_version: Option<TaskUid>,
    /// The number the next new document gets.
    pub next_seq: DocumentSeq,
    /// The last batch that changed its documents or settings.
    pub changed_by: Option<BatchUid>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// One node as the cluster remembers it.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeRecord {
    /// Its name.
    pub id: NodeId,
    /// Its address.
    pub url: String,
    /// Its failure domain.
    pub zone: Option<String>,
    /// Its share of the shards, relative to the others, in thousandths.
    pub weight_milli: u32,
    /// It has applied every entry whose task was reported succeeded.
    pub is_in_sync: bool,
    /// Why it is not.
    pub out_of_sync_reason: Option<String>,
    /// Every batch up to this one was applied by it (or did not concern it).
    pub applied_batch: Option<BatchUid>,
}

/// The settings version that one node has applied for one index.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSettingsVersion {
    /// The physical index.
    pub index: PhysicalIndex,
    /// The node.
    pub node: NodeId,
    /// The task whose settings it has.
    pub version: TaskUid,
    /// When.
    pub updated_at: Timestamp,
}

/// One atomic change of the store. A list of them is applied whole or not at all.
#[derive(Debug, Clone)]
pub enum Change {
    /// Writes `status`, `batch_uid`, `details`, `error`, `canceled_by`, `started_at`,
    /// `finished_at` and `index_uid` of an existing task.
    UpdateTask(Box<TaskRecord>),
    /// Adds a task that ended elsewhere, under its own uid; the log goes on above it. Its batch uid
    /// is dropped: batches do not come with it.
    AddPastTask(Box<TaskRecord>),
    /// Drops the task's payload columns.
    ForgetPayload(TaskUid),
    /// Removes a final task.
    RemoveTask(TaskUid),
    /// Adds or rewrites a batch.
    PutBatch(Box<BatchRecord>),
    /// Writes one delivery of an existing batch.
    PutDelivery {
        batch: BatchUid,
        node: NodeId,
        delivery: Delivery,
    },
    /// Marks an existing batch done without rewriting its plan.
    FinishBatch {
        uid: BatchUid,
        finished_at: Timestamp,
    },
    /// Removes batches that are done and whose tasks are gone.
    RemoveBatch(BatchUid),
    /// Removes those of these batches that are done, applied by every node, and whose tasks are all
    /// gone; leaves the others.
    SweepBatches(Vec<BatchUid>),
    /// Adds or rewrites an index (by client's name).
    PutIndex(Box<IndexRecord>),
    /// Removes an index, its placement and its node settings versions.
    RemoveIndex(IndexUid),
    /// Gives an index another, free name; what hangs on its physical name stays. The tasks keep
    /// the names they have (see [`Change::ExchangeTaskNames`]).
    RenameIndex { from: IndexUid, to: IndexUid },
    /// In all tasks before this one, the first name takes the place of the second and the other way
    /// round: as `index_uid`, and in the details of index swaps.
    ExchangeTaskNames {
        before: TaskUid,
        names: (IndexUid, IndexUid),
    },
    /// Writes the replica sets of a physical index, by shard, replacing those there.
    PutPlacement {
        index: PhysicalIndex,
        epoch: Epoch,
        replica_sets: Vec<Vec<NodeId>>,
    },
    /// Removes the placement and the node settings versions of a physical index that no index is.
    RemovePlacement(PhysicalIndex),
    /// Adds or rewrites a node.
    PutNode(Box<NodeRecord>),
    /// Removes a node.
    RemoveNode(NodeId),
    /// Notes which settings a node has.
    PutNodeSettingsVersion(NodeSettingsVersion),
    /// Writes one key of the cluster's own facts (instance uid, settings of the store).
    PutFact { key: String, value: Value },
}

/// The fact that tells that a store was put back from a backup, until the nodes were asked whether
/// they have done what it does not know of.
pub const RESTORED_FACT: &str = "restored";

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupReport {
    /// Where it is.
    pub folder: PathBuf,
    /// The size of its database.
    pub database_bytes: u64,
    /// Its payload files.
    pub payload_files: u64,
    /// Their size.
    pub payload_bytes: u64,
    /// The last task of its log.
    pub last_task: Option<u64>,
    /// The last batch it knows of.
    pub last_batch: Option<u64>,
}

/// The store failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The disk is full.
    #[error("no space left for the store: {0}")]
    NoSpace(String),
    /// The database was written by a newer Miroir.
    #[error("the database has schema version {found}, this binary knows {known}")]
    NewerSchema { found: i64, known: i64 },
    /// Another process holds the database.
    #[error("the store is in use by another process: {0}")]
    Locked(String),
    /// A stored value cannot be read.
    #[error("stored {what} is corrupt: {cause}")]
    Corrupt { what: &'static str, cause: String },
    /// The change contradicts what is stored.
    #[error("{0}")]
    Conflict(String),
    /// The database or a file failed.
    #[error("the store failed: {0}")]
    Io(String),
}

// ---------------------------------------------------------------------------------------------
// Store: traits

/// The ordered log and its tasks.
#[async_trait]
pub trait TaskLog: Send + Sync + 'static {
    /// Appends entries in order and returns their uids once they are durable. Concurrent callers
    /// share one sync (group commit).
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was appended.
    async fn append(&self, entries: Vec<NewEntry>) -> Result<Vec<TaskUid>, StoreError>;
    /// One task, with its inline payload.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_task(&self, uid: TaskUid) -> Result<Option<TaskRecord>, StoreError>;
    /// Tasks that are enqueued and in no batch, oldest first, with inline payloads, from `after`
    /// (exclusive) on, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_pending(
        &self,
        after: Option<TaskUid>,
        limit: usize,
    ) -> Result<Vec<TaskRecord>, StoreError>;
    /// The payloads of final tasks, oldest first, from `after` (exclusive) on, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_kept(
        &self,
        after: Option<TaskUid>,
        limit: usize,
    ) -> Result<Vec<KeptPayload>, StoreError>;
    /// A page of tasks, without inline payloads.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list_tasks(&self, query: TaskQuery) -> Result<TaskPage, StoreError>;
    /// Applies changes, all or none, durably. Concurrent callers share one sync.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was changed.
    async fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError>;
    /// Batches that are not done, or that some node has not applied, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_open_batches(&self) -> Result<Vec<BatchRecord>, StoreError>;
    /// One batch.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_batch(&self, uid: BatchUid) -> Result<Option<BatchRecord>, StoreError>;
    /// A page of batches.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn list_batches(&self, query: BatchQuery) -> Result<BatchPage, StoreError>;
    /// The greatest batch uid ever given.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn last_batch_uid(&self) -> Result<Option<BatchUid>, StoreError>;
    /// Writes and syncs something that nobody reads: whether the log can be written.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }
    /// Copies everything that must survive, at one moment of the log, into a folder of the store's
    /// machine which is empty or is made.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the folder is not empty or the store has no files to copy.
    async fn backup(&self, to: PathBuf) -> Result<BackupReport, StoreError> {
        let text = format!("this store cannot be copied to {}", to.display());
        Err(StoreError::Conflict(text))
    }
    /// Counts of tasks by status, zero ones left out.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn count_tasks(&self) -> Result<BTreeMap<TaskStatus, u64>, StoreError>;
}

/// Indexes, placements, nodes and facts.
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// All indexes, by uid.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_indexes(&self) -> Result<Vec<IndexRecord>, StoreError>;
    /// The replica sets of a physical index, by shard; `None` if it has none.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_placement(
        &self,
        index: &PhysicalIndex,
    ) -> Result<Option<(Epoch, Vec<Vec<NodeId>>)>, StoreError>;
    /// All nodes, by id.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_nodes(&self) -> Result<Vec<NodeRecord>, StoreError>;
    /// All settings versions.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_node_settings_versions(&self) -> Result<Vec<NodeSettingsVersion>, StoreError>;
    /// One fact.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_fact(&self, key: &str) -> Result<Option<Value>, StoreError>;
}

/// Everything that must survive.
pub trait Store: TaskLog + Catalog {}
impl<T: TaskLog + Catalog> Store for T {}
