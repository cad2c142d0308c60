//! The handle the edges call; cheap to clone.

use crate::chat::ChatKeeper;
use crate::completer::{Completer, Event};
use crate::dispatcher::Dispatcher;
use crate::error::EngineError;
use crate::gate::BoundedWriter;
use crate::keys::KeyKeeper;
use crate::litter::Unnamed;
use crate::port::{
    BatchPage, BatchQuery, Change, NewEntry, Payload, PayloadRef, PayloadWriter, StoreError,
    TaskPage, TaskQuery, TaskRecord, Timestamp,
};
use crate::prepare::{PlannedIndex, Preparer};
use crate::state::{Config, LiveBatch, Ports, Shared};
pub use crate::steps::SearchSteps;
use crate::webhooks::HookKeeper;
use crate::{courier, gate, kept, recover, restored};
use bytes::Bytes;
use miroir_core::health::NodeHealth;
use miroir_core::id::{BatchUid, IndexUid, NodeId, ShardId, TaskUid};
use miroir_core::task::{Operation, TaskStatus};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// A write as a client asked it, decoded and checked in form.
#[derive(Debug, Clone)]
pub struct Write {
    /// The index, if one is concerned.
    pub index_uid: Option<IndexUid>,
    /// What is asked.
    pub operation: Operation,
    /// Its payload: NDJSON documents, or ids as one JSON value a line.
    pub payload: Option<Payload>,
    /// The client's `customMetadata`.
    pub custom_metadata: Option<String>,
}

/// An index as `GET /indexes/{uid}` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexInfo {
    /// Its name.
    pub uid: IndexUid,
    /// Its primary key, once known.
    pub primary_key: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A listing of documents.
#[derive(Debug, Clone)]
pub struct DocumentsQuery {
    /// Documents to skip.
    pub offset: usize,
    /// Documents to show at most.
    pub limit: usize,
    /// The fields to show; `None` is all.
    pub fields: Option<Vec<String>>,
    /// Only these ids (already in text form).
    pub ids: Option<Vec<String>>,
    /// Only what matches.
    pub filter: Option<Value>,
    /// `field:asc|desc`, in order.
    pub sort: Option<Vec<String>>,
    /// Adds `_vectors`.
    pub retrieve_vectors: bool,
}

/// The answer to a search, ready to be sent.
#[derive(Debug, Clone)]
pub struct SearchAnswer {
    /// The whole JSON body.
    pub body: Bytes,
    /// Shards that no replica answered for; empty for a whole answer.
    pub missing_shards: Vec<ShardId>,
    /// Nodes asked.
    pub node_count: usize,
    /// Where in the body members stand that only some answers have: behind the request's uid.
    pub extras_at: usize,
    /// What took how long.
    pub steps: SearchSteps,
}

/// The engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    keeper: Arc<KeyKeeper>,
    hook_keeper: Arc<HookKeeper>,
    chat_keeper: Arc<ChatKeeper>,
    tasks: TaskTracker,
}

/// The fact that names this cluster in the markers of node tasks.
pub(crate) const CLUSTER_FACT: &str = "clusterUid";
/// Payload files of pending entries are gathered by this many entries at a time.
const PENDING_PAGE: usize = 4096;
/// The dispatcher waits this long for the nodes' versions, which decide what settings they get.
const VERSION_WAIT: Duration = Duration::from_secs(10);

impl Engine {
    /// Recovers what an earlier process left, and starts all loops.
    ///
    /// # Errors
    /// The store cannot be read, or contradicts the configuration.
    pub async fn start(ports: Ports, config: Config) -> Result<Self, EngineError> {
        restored::check(&ports, &config).await?;
        let found = recover::load(&ports, &config).await?;
        let keeper = Arc::new(KeyKeeper::load(ports.api_keys.clone()).await?);
        let hook_keeper = HookKeeper::load(ports.instance.clone(), config.webhook.clone()).await?;
        let hook_keeper = Arc::new(hook_keeper);
        let chat_keeper = Arc::new(ChatKeeper::load(&*ports.store).await?);
        let cluster = match ports.store.load_fact(CLUSTER_FACT).await? {
            Some(Value::String(uid)) => uid,
            _ => {
                let uid = uuid::Uuid::new_v4().simple().to_string();
                let fact = Change::PutFact {
                    key: CLUSTER_FACT.into(),
                    value: json!(uid),
                };
                ports.store.commit(vec![fact]).await?;
                uid
            }
        };
        let next_batch = ports
            .store
            .last_batch_uid()
            .await?
            .map_or(0, |uid| uid.0 + 1);
        let features = ports.instance.load_features().await?;
        for view in found.snapshot.nodes.values() {
            ports.nodes.admit(&view.record.id, &view.record.url);
        }
        let closed = crate::nodes::load_closed(&*ports.store).await?;
        let shared = Shared::new(ports, config, cluster, found.snapshot);
        *shared.closed.lock() = closed;
        let rules = crate::rules::load(&*shared.ports.store).await?;
        shared.rules.store(Arc::new(rules));
        if !features.is_empty() {
            shared.features.replace(features);
        }
        let node_ids: Vec<NodeId> = shared.snapshot.load().nodes.keys().cloned().collect();
        shared
            .copy
            .load(&*shared.ports.store, node_ids.iter())
            .await?;
        shared.movement.load(&*shared.ports.store).await?;
        shared.reshards.load(&*shared.ports.store).await?;
        shared.topology.load(&*shared.ports.store).await?;
        shared.rewinds.load(&*shared.ports.store).await?;
        let engine = Self {
            shared: shared.clone(),
            keeper,
            hook_keeper: hook_keeper.clone(),
            chat_keeper,
            tasks: TaskTracker::new(),
        };
        let (events, event_receiver) = mpsc::unbounded_channel();

        let mut named: BTreeSet<PayloadRef> = shared.copy.files().into_iter().collect();
        named.extend(shared.movement.files());
        named.extend(shared.reshards.files());
        let mut strangers: BTreeSet<NodeId> = BTreeSet::new();
        let mut backlog: BTreeMap<NodeId, Vec<BatchUid>> = BTreeMap::new();
        for record in &found.open {
            let mut batch = Arc::new(recover::revive(&shared, record).await?);
            named.extend(batch.files());
            if record.is_done {
                batch = Arc::new(batch.without_payloads());
            }
            for (node, delivery) in &record.deliveries {
                if !delivery.is_applied {
                    backlog.entry(node.clone()).or_default().push(record.uid);
                    if !node_ids.contains(node) {
                        strangers.insert(node.clone());
                    }
                }
            }
            if !record.is_done {
                shared.in_flight.lock().insert(record.uid);
                shared.live.lock().insert(record.uid, batch.clone());
            }
            let deliveries = record.deliveries.clone();
            let _ = events.send(Event::Revived {
                batch,
                deliveries,
                is_done: record.is_done,
            });
        }
        shared.copy.connect(events.clone());
        for node in strangers {
            // It was retired, and the process ended before that was noted everywhere.
            let _ = events.send(Event::Retired { node });
        }
        engine.sweep(named).await?;

        let indexes = found
            .planned
            .into_iter()
            .map(|found| {
                let recover::FoundIndex {
                    record,
                    placing,
                    patches,
                    twin,
                } = found;
                let uid = record.uid.clone();
                let planned = PlannedIndex {
                    patches,
                    twin,
                    ..PlannedIndex::new(record, placing)
                };
                (uid, planned)
            })
            .collect();
        let preparer = Preparer {
            shared: shared.clone(),
            indexes,
        };
        for node in node_ids {
            let backlog = backlog.remove(&node).unwrap_or_default();
            engine.attend(&node, backlog);
        }
        engine
            .tasks
            .spawn(crate::movement::worker::run(shared.clone()));
        engine
            .tasks
            .spawn(crate::reshard::worker::run(shared.clone()));
        engine.tasks.spawn(crate::copy::run_audits(shared.clone()));
        engine
            .tasks
            .spawn(crate::topology::carry::run(engine.clone()));
        engine
            .tasks
            .spawn(crate::topology::declare::run(engine.clone()));
        if let Some(limit) = engine.shared.config.lost_after {
            let lost = crate::topology::lost::run(engine.clone(), limit);
            engine.tasks.spawn(lost);
        }
        engine
            .tasks
            .spawn(Completer::new(shared.clone(), event_receiver).run());
        engine.tasks.spawn(courier::run(
            shared.clone(),
            hook_keeper,
            engine.tasks.clone(),
        ));
        let dispatcher = Dispatcher::new(shared.clone(), preparer, events, BatchUid(next_batch));
        engine.tasks.spawn(async move {
            wait_for_versions(&shared).await;
            dispatcher.run().await;
        });
        engine.tasks.spawn(gate::watch(engine.shared.clone()));
        engine.tasks.spawn(kept::run(engine.shared.clone()));
        engine.resume_rewinds();
        engine
            .tasks
            .spawn(crate::litter::run(engine.shared.clone()));
        engine.tasks.close();
        Ok(engine)
    }

    /// Removes payload files that nothing names.
    async fn sweep(&self, mut named: BTreeSet<PayloadRef>) -> Result<(), EngineError> {
        let mut after = None;
        loop {
            let page = self
                .shared
                .ports
                .store
                .load_pending(after, PENDING_PAGE)
                .await?;
            let Some(last) = page.last() else { break };
            after = Some(last.uid);
            named.extend(page.into_iter().filter_map(|task| task.payload));
        }
        named.extend(kept::files(&*self.shared.ports.store).await?);
        let orphan_count = recover::sweep_payloads(&self.shared.ports, &named).await?;
        if orphan_count > 0 {
            tracing::info!(orphan_count, "removed payload files that no entry names");
        }
        Ok(())
    }

    /// Ends all loops and waits for them. What is in flight goes on at the next start.
    pub async fn shutdown(&self) {
        self.shared.shutdown.cancel();
        self.tasks.wait().await;
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn hook_keeper(&self) -> &HookKeeper {
        &self.hook_keeper
    }

    pub(crate) fn chat_keeper(&self) -> &ChatKeeper {
        &self.chat_keeper
    }

    pub(crate) fn shared_arc(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Work in the background that a shutdown waits for.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    pub(crate) fn keeper(&self) -> &KeyKeeper {
        &self.keeper
    }

    // -----------------------------------------------------------------------------------------
    // Writes

    /// Begins a payload file for a write whose payload is larger than
    /// [`crate::port::INLINE_PAYLOAD_BYTES_MAX`].
    ///
    /// # Errors
    /// The payload store failed.
    pub async fn create_payload(&self) -> Result<Box<dyn PayloadWriter>, EngineError> {
        Ok(Box::new(BoundedWriter::create(self.shared.clone()).await?))
    }

    /// Appends a write to the log; when this returns, it is durable. The payload is taken: a file of a
    /// write that is refused is removed.
    ///
    /// # Errors
    /// The store failed; then nothing was accepted.
    pub async fn register(&self, write: Write) -> Result<TaskRecord, EngineError> {
        let file = write.payload.as_ref().and_then(Payload::file).cloned();
        self.append(write, Unnamed::new(&self.shared, file)).await
    }

    /// Appends a write whose payload, until the log may name it, is another's to keep or to discard.
    pub(crate) async fn append(
        &self,
        write: Write,
        payload_owner: Unnamed<'_>,
    ) -> Result<TaskRecord, EngineError> {
        let shared = &self.shared;
        if shared.shutdown.is_cancelled() {
            return Err(EngineError::ShuttingDown);
        }
        shared.gate.pass()?;
        let is_control = matches!(
            write.operation,
            Operation::CancelTasks { .. } | Operation::DeleteTasks { .. }
        );
        // Those that make room are taken always, as one Meilisearch takes them.
        let _place = match is_control {
            true => None,
            false => Some(shared.admit_task().await?),
        };
        if matches!(write.payload, Some(Payload::Stored(_))) {
            shared.step("payload.synced").await;
        }
        let enqueued_at = shared.ports.clock.now();
        let payload = write.payload.as_ref().and_then(Payload::file).cloned();
        let payload_bytes = match &write.payload {
            Some(Payload::Stored(PayloadRef::File { bytes, .. })) => *bytes,
            Some(Payload::Inline(bytes)) => bytes.len() as u64,
            None => 0,
        };
        let entry = NewEntry {
            index_uid: write.index_uid.clone(),
            operation: write.operation.clone(),
            payload: write.payload,
            custom_metadata: write.custom_metadata.clone(),
            enqueued_at,
        };
        shared.step("entry.appending").await;
        // Also if nobody waits for the answer, or if the disk fails: the next start knows what became of
        // it. Where there was no room nothing was written, and room is what is wanted.
        let file = payload_owner.keep();
        let appended = shared.noted(shared.ports.store.append(vec![entry]).await);
        if let Err(StoreError::NoSpace(_)) = &appended {
            shared.litter.note(file);
        }
        let uids = appended?;
        let Some(uid) = uids.first().copied() else {
            return Err(EngineError::Answer("the store appended nothing".into()));
        };
        shared.metrics.note_payload(payload_bytes);
        shared.step("entry.appended").await;
        if is_control {
            shared.control_waits.store(true, Ordering::Release);
        }
        shared.log_grew.notify_one();
        Ok(TaskRecord {
            uid,
            batch_uid: None,
            details: write.operation.initial_details(write.index_uid.as_ref()),
            index_uid: write.index_uid,
            status: TaskStatus::Enqueued,
            operation: write.operation,
            inline_payload: None,
            payload,
            canceled_by: None,
            error: None,
            custom_metadata: write.custom_metadata,
            enqueued_at,
            started_at: None,
            finished_at: None,
        })
    }

    // -----------------------------------------------------------------------------------------
    // Tasks and indexes

    /// One task.
    ///
    /// # Errors
    /// [`EngineError::TaskNotFound`].
    pub async fn task(&self, uid: TaskUid) -> Result<TaskRecord, EngineError> {
        let task = self.shared.ports.store.load_task(uid).await?;
        task.ok_or(EngineError::TaskNotFound(uid))
    }

    /// A page of tasks.
    ///
    /// # Errors
    /// The store failed.
    pub async fn tasks(&self, query: TaskQuery) -> Result<TaskPage, EngineError> {
        Ok(self.shared.ports.store.list_tasks(query).await?)
    }

    /// A page of batches.
    ///
    /// # Errors
    /// The store failed.
    pub async fn batches(&self, query: BatchQuery) -> Result<BatchPage, EngineError> {
        Ok(self.shared.ports.store.list_batches(query).await?)
    }

    /// One index.
    ///
    /// # Errors
    /// [`EngineError::IndexNotFound`].
    pub fn index(&self, uid: &IndexUid) -> Result<IndexInfo, EngineError> {
        let snapshot = self.shared.snapshot.load();
        Ok(info(&snapshot.index(uid)?.record))
    }

    /// All indexes, by uid.
    #[must_use]
    pub fn indexes(&self) -> Vec<IndexInfo> {
        let snapshot = self.shared.snapshot.load();
        snapshot
            .indexes
            .values()
            .map(|entry| info(&entry.record))
            .collect()
    }
}

fn info(record: &crate::port::IndexRecord) -> IndexInfo {
    IndexInfo {
        uid: record.uid.clone(),
        primary_key: record.primary_key.clone(),
        created_at: record.created_at,
        updated_at: record.updated_at,
    }
}

/// Returns once every node has told its version or is known to be away.
async fn wait_for_versions(shared: &Shared) {
    let mut changed = shared.nodes_changed.listen();
    let started = shared.ports.clock.monotonic();
    loop {
        let is_known = shared
            .snapshot
            .load()
            .nodes
            .values()
            .all(|view| view.version.is_some() || view.health == NodeHealth::Down);
        if is_known || shared.ports.clock.monotonic().saturating_sub(started) > VERSION_WAIT {
            return;
        }
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            () = changed.changed() => {}
            () = shared.ports.clock.sleep(Duration::from_millis(50)) => {}
        }
    }
}

impl LiveBatch {
    /// The same as far as it matters once its tasks are final: so that batches that wait for an
    /// absent node take little memory, however many.
    pub(crate) fn without_payloads(&self) -> Self {
        let strip = |entry: &crate::plan::PlannedEntry| {
            let cut = match &entry.cut {
                crate::plan::Cut::Inline(_) => crate::plan::Cut::None,
                other => other.clone(),
            };
            crate::plan::PlannedEntry {
                cut,
                twin_cut: Vec::new(),
                ..entry.clone()
            }
        };
        Self {
            uid: self.uid,
            plan: crate::plan::BatchPlan {
                entries: self.plan.entries.iter().map(strip).collect(),
                ..self.plan.clone()
            },
            tasks: self.tasks.clone(),
            inline: BTreeMap::new(),
            replica_sets: self.replica_sets.clone(),
            transit: self.transit.clone(),
            twin: self.twin.clone(),
            nodes: self.nodes.clone(),
            effect: crate::state::Effect::None,
            payload_bytes: self.payload_bytes,
            window: parking_lot::Mutex::new(None),
        }
    }

    /// The payload files it names.
    pub(crate) fn files(&self) -> Vec<PayloadRef> {
        let mut files: Vec<PayloadRef> = Vec::new();
        files.extend(crate::copy::barrier::file_of(&self.plan.work).cloned());
        for entry in &self.plan.entries {
            if let crate::plan::Source::File(file) = &entry.source {
                files.push(file.clone());
            }
            if let crate::plan::Cut::File(file) = &entry.cut {
                files.push(file.clone());
            }
        }
        files
    }
}
