//! What several proxies share besides the log: the lease, jobs, moves, sessions, idempotency keys,
//! aliases, API keys, features, webhooks. Records and the traits that keep them.
//!
//! Time is always an argument (`now`, `expires_at`): the store has no clock. Something *expires at*
//! a moment when it no longer counts at that very moment.

use crate::port::{NewEntry, StoreError, Timestamp};
use async_trait::async_trait;
use miroir_core::id::{IndexUid, TaskUid};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

// ---------------------------------------------------------------------------------------------
// Lease

/// The fencing number of one term of the lease: greater for each new term, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseEpoch(pub u64);

/// The right to dispatch, move and repair: held by one proxy at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Who holds it (unique to a process, not to a machine), or `None` once it was released.
    pub holder: Option<String>,
    /// The number of the term.
    pub epoch: LeaseEpoch,
    /// From this moment on anybody may take it.
    pub expires_at: Timestamp,
}

impl Lease {
    /// Somebody holds it at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.holder.is_some() && now < self.expires_at
    }
}

/// What became of an attempt to take the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// It is ours.
    Held(Lease),
    /// Somebody else has it.
    Taken(Lease),
}

/// The one lease of the cluster.
#[async_trait]
pub trait LeaderLease: Send + Sync + 'static {
    /// Takes the lease if it is free or expired, under the next epoch. The live holder keeps its
    /// epoch and gets the new expiry. A holder whose term expired begins a new one, so whatever it
    /// still has in flight is fenced off as a stranger's would be.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn acquire_lease(
        &self,
        holder: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<LeaseOutcome, StoreError>;
    /// Extends the term `epoch` of `holder`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if this term is not the live one at `now`.
    async fn renew_lease(
        &self,
        holder: &str,
        epoch: LeaseEpoch,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Lease, StoreError>;
    /// Gives the term `epoch` of `holder` back; nothing happens if it is another's by now.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn release_lease(&self, holder: &str, epoch: LeaseEpoch) -> Result<(), StoreError>;
    /// The lease as it stands; `None` if nobody ever held it.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_lease(&self) -> Result<Option<Lease>, StoreError>;
}

// ---------------------------------------------------------------------------------------------
// Jobs

/// Where a job stands. The stored form is part of the database format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobState {
    /// Waits for somebody to claim it.
    Queued,
    /// Claimed; once the claim expired, somebody else may claim it.
    Running,
    /// Done.
    Succeeded,
    /// Given up; `error` says why.
    Failed,
    /// Withdrawn.
    Canceled,
}

impl JobState {
    /// Nothing more will happen to the job.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Canceled)
    }
}

/// Who works on a job, and until when nobody else may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobClaim {
    /// The worker.
    pub holder: String,
    /// From this moment on the job may be claimed by another.
    pub expires_at: Timestamp,
}

/// Work to be done in the background.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Its name, unique.
    pub id: String,
    /// What kind of work.
    pub kind: String,
    /// Its parameters (opaque to the store).
    pub params: Value,
}

/// A job and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    /// Its name, unique.
    pub id: String,
    /// What kind of work.
    pub kind: String,
    /// Its parameters.
    pub params: Value,
    /// Where it stands.
    pub state: JobState,
    /// Who works on it; kept after the end, to tell who did.
    pub claim: Option<JobClaim>,
    /// How far it is, as its worker wrote it (`null` at first). A later worker resumes from here.
    pub progress: Value,
    /// Why it failed.
    pub error: Option<Value>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// How a job ends.
#[derive(Debug, Clone, PartialEq)]
pub enum JobEnd {
    /// Done.
    Succeeded,
    /// Given up, with the reason.
    Failed(Value),
}

/// Background work.
#[async_trait]
pub trait Jobs: Send + Sync + 'static {
    /// Adds a job.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is one of that id.
    async fn add_job(&self, job: NewJob, now: Timestamp) -> Result<JobRecord, StoreError>;
    /// One job.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_job(&self, id: &str) -> Result<Option<JobRecord>, StoreError>;
    /// All jobs, oldest first; by id for equal moments.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_jobs(&self) -> Result<Vec<JobRecord>, StoreError>;
    /// Claims the oldest job (by id for equal moments) of these kinds that is queued, or whose claim expired.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn claim_job(
        &self,
        kinds: &[&str],
        holder: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Option<JobRecord>, StoreError>;
    /// Extends a claim and notes progress.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if `holder` has no live claim on it at `now`: it must stop.
    async fn renew_job(
        &self,
        id: &str,
        holder: &str,
        progress: Value,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<JobRecord, StoreError>;
    /// Ends a job.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if `holder` has no live claim on it at `now`.
    async fn finish_job(
        &self,
        id: &str,
        holder: &str,
        end: JobEnd,
        now: Timestamp,
    ) -> Result<JobRecord, StoreError>;
    /// Withdraws a job; its worker learns of it at the next renewal. Nothing happens to a job that
    /// has ended.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is no such job.
    async fn cancel_job(&self, id: &str, now: Timestamp) -> Result<JobRecord, StoreError>;
    /// Forgets a job that has ended; nothing happens if it is gone.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it has not ended.
    async fn remove_job(&self, id: &str) -> Result<(), StoreError>;
}

// ---------------------------------------------------------------------------------------------
// Moves

/// A move of a shard replica, as its machine wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct MoveRecord {
    /// Its name, unique.
    pub id: String,
    /// Its state (opaque to the store).
    pub state: Value,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The moves under way and done.
#[async_trait]
pub trait Moves: Send + Sync + 'static {
    /// Adds or rewrites a move.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn put_move(&self, record: MoveRecord) -> Result<(), StoreError>;
    /// All moves, by id.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_moves(&self) -> Result<Vec<MoveRecord>, StoreError>;
    /// Forgets a move; nothing happens if it is gone.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn remove_move(&self, id: &str) -> Result<(), StoreError>;
}

// ---------------------------------------------------------------------------------------------
// Sessions

/// What a client's session must see, through whichever proxy it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// The client's name for it.
    pub id: String,
    /// Reads must show everything up to this task.
    pub min_task: Option<TaskUid>,
    /// What the session's reads stick to (opaque to the store).
    pub pinned: Option<String>,
    /// From this moment on it is forgotten.
    pub expires_at: Timestamp,
}

/// Read-your-writes pins.
#[async_trait]
pub trait Sessions: Send + Sync + 'static {
    /// Adds or rewrites a session and returns what is kept. As long as the session lives its
    /// `min_task` never goes back: two proxies may write it in either order.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn put_session(
        &self,
        record: SessionRecord,
        now: Timestamp,
    ) -> Result<SessionRecord, StoreError>;
    /// A session that has not expired at `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_session(
        &self,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<SessionRecord>, StoreError>;
    /// Forgets a session; nothing happens if it is gone.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn remove_session(&self, id: &str) -> Result<(), StoreError>;
    /// Sweeps away what expired; returns how many sessions went.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn remove_expired_sessions(&self, now: Timestamp) -> Result<u64, StoreError>;
}

// ---------------------------------------------------------------------------------------------
// Idempotency

/// The claim of a request to be carried out once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The client's key.
    pub key: String,
    /// SHA-256 of the request's body: the same key with another body is a mistake of the client.
    pub body_sha256: [u8; 32],
    /// From this moment on the key is free again.
    pub expires_at: Timestamp,
}

/// What a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// The key.
    pub key: IdempotencyKey,
    /// The task that the first request became.
    pub task: TaskUid,
}

/// What became of a request with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnceOutcome {
    /// It is the first: this record was made.
    First(IdempotencyRecord),
    /// There was one before; nothing was changed. Whether its body is the same is for the caller to
    /// compare.
    Repeated(IdempotencyRecord),
}

/// Requests that are carried out once, however often they are sent.
#[async_trait]
pub trait Idempotency: Send + Sync + 'static {
    /// Appends the entry and notes its task under the key, both or none; or finds the key taken by
    /// a record that has not expired at `now`.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was changed.
    async fn append_once(
        &self,
        key: IdempotencyKey,
        entry: NewEntry,
        now: Timestamp,
    ) -> Result<OnceOutcome, StoreError>;
    /// Notes a task under a key that is free at `now`, without appending anything.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn insert_idempotency(
        &self,
        record: IdempotencyRecord,
        now: Timestamp,
    ) -> Result<OnceOutcome, StoreError>;
    /// The record of a key that has not expired at `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_idempotency(
        &self,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<IdempotencyRecord>, StoreError>;
    /// Sweeps away what expired; returns how many keys went.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn remove_expired_idempotency(&self, now: Timestamp) -> Result<u64, StoreError>;
}

// ---------------------------------------------------------------------------------------------
// Aliases

/// What an alias stands for. The stored form is part of the database format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AliasTarget {
    /// One index: reads and writes.
    Single(IndexUid),
    /// Several, in order: reads.
    Multi(Vec<IndexUid>),
}

/// One state that an alias was in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasChange {
    /// 1 for the first, one more for each later change.
    pub version: u64,
    /// What it stood for since then; `None`: it was removed.
    pub target: Option<AliasTarget>,
    /// Since when.
    pub changed_at: Timestamp,
}

/// An alias as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasRecord {
    /// Its name, which no index has.
    pub name: IndexUid,
    /// What it stands for.
    pub target: AliasTarget,
    /// Grows with each change; goes on growing when a removed alias is made anew.
    pub version: u64,
    /// Since when.
    pub updated_at: Timestamp,
}

/// How many states of one alias are remembered. Enough to go back by hand, little to read.
pub const ALIAS_HISTORY_MAX: usize = 100;

/// Other names for indexes.
#[async_trait]
pub trait Aliases: Send + Sync + 'static {
    /// All aliases, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_aliases(&self) -> Result<Vec<AliasRecord>, StoreError>;
    /// Adds or changes an alias. With `expected`, only if its version is that one (0: it is not
    /// there).
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the version is another.
    async fn put_alias(
        &self,
        name: &IndexUid,
        target: AliasTarget,
        expected: Option<u64>,
        now: Timestamp,
    ) -> Result<AliasRecord, StoreError>;
    /// Removes an alias; nothing happens if it is gone.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn remove_alias(&self, name: &IndexUid, now: Timestamp) -> Result<(), StoreError>;
    /// The last [`ALIAS_HISTORY_MAX`] states of an alias, newest first, the present one included.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_alias_history(&self, name: &IndexUid) -> Result<Vec<AliasChange>, StoreError>;
}

// ---------------------------------------------------------------------------------------------
// Keys, features, webhooks

/// An API key as the engine wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiKeyRecord {
    /// Its uid; the key's value follows from it and the master key and is not stored.
    pub uid: Uuid,
    /// The rest (opaque to the store).
    pub record: Value,
}

/// API keys.
#[async_trait]
pub trait ApiKeys: Send + Sync + 'static {
    /// Adds or rewrites a key.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn put_api_key(&self, record: ApiKeyRecord) -> Result<(), StoreError>;
    /// Adds a key.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if there is one of that uid.
    async fn add_api_key(&self, record: ApiKeyRecord) -> Result<(), StoreError>;
    /// All keys, by uid.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_api_keys(&self) -> Result<Vec<ApiKeyRecord>, StoreError>;
    /// Removes a key; `false` if there was none.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn remove_api_key(&self, uid: Uuid) -> Result<bool, StoreError>;
}

/// A webhook as the engine wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookRecord {
    /// Its uid.
    pub uuid: Uuid,
    /// The rest (opaque to the store).
    pub record: Value,
}

/// Switches and subscriptions of the whole instance.
#[async_trait]
pub trait InstanceSettings: Send + Sync + 'static {
    /// The experimental features that were ever switched, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_features(&self) -> Result<BTreeMap<String, bool>, StoreError>;
    /// Switches these features and leaves the others.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn put_features(&self, features: BTreeMap<String, bool>) -> Result<(), StoreError>;
    /// Adds or rewrites a webhook.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn put_webhook(&self, record: WebhookRecord) -> Result<(), StoreError>;
    /// All webhooks, by uid.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn load_webhooks(&self) -> Result<Vec<WebhookRecord>, StoreError>;
    /// Removes a webhook; `false` if there was none.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn remove_webhook(&self, uuid: Uuid) -> Result<bool, StoreError>;
}

/// All of it.
pub trait Coordination:
    LeaderLease + Jobs + Moves + Sessions + Idempotency + Aliases + ApiKeys + InstanceSettings
{
}
impl<T> Coordination for T where
    T: LeaderLease + Jobs + Moves + Sessions + Idempotency + Aliases + ApiKeys + InstanceSettings
{
}
