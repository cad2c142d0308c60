//! What the parts of the engine share: the ports, the configuration, and one immutable snapshot
//! of the cluster that readers take whole and its owners replace whole.

use crate::bell::Bell;
use crate::cache::SearchCache;
use crate::convoy::Convoy;
use crate::coordination::{ApiKeys, InstanceSettings};
use crate::copy::{CopyConfig, Desk};
use crate::error::EngineError;
use crate::features::FeatureBoard;
use crate::gate::{Gate, Limits};
use crate::ills::IllBoard;
use crate::job::port::{DumpStore, RemoteClient, SnapshotStore};
use crate::metrics::Metrics;
use crate::movement::Board;
use crate::placing::ReplicaSets;
use crate::plan::{BatchPlan, Source};
use crate::port::{
    Clock, HookClient, IndexRecord, NodeClient, NodeError, NodeRecord, PayloadStore, Store,
    TaskRecord,
};
use crate::reads::{ReadBoard, ReadConfig};
use crate::rewind::RewindBoard;
use crate::webhooks::Webhook;
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::future::BoxFuture;
use miroir_core::health::{HealthMachine, HealthThresholds, NodeHealth, Observation};
use miroir_core::id::{BatchUid, Epoch, IndexUid, NodeId, PhysicalIndex, ShardId, TaskUid};
use miroir_core::merge::IndexView;
use miroir_core::placement::{Placement, Transit};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// The doors out.
#[derive(Clone)]
pub struct Ports {
    /// Nodes.
    pub nodes: Arc<dyn NodeClient>,
    /// The log and the catalog.
    pub store: Arc<dyn Store>,
    /// Payload files.
    pub payloads: Arc<dyn PayloadStore>,
    /// API keys.
    pub api_keys: Arc<dyn ApiKeys>,
    /// Experimental features, webhooks and switches of the whole instance.
    pub instance: Arc<dyn InstanceSettings>,
    /// Where webhooks are called.
    pub hooks: Arc<dyn HookClient>,
    /// Dumps.
    pub dumps: Arc<dyn DumpStore>,
    /// Where the snapshot is kept.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// Other instances, which exports go to.
    pub remotes: Arc<dyn RemoteClient>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Called at each named step of the write path, for tests that stop the process there.
pub type StepHook = Arc<dyn Fn(&'static str) -> BoxFuture<'static, ()> + Send + Sync>;

/// A node as the configuration names it.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSpec {
    /// Its name.
    pub id: NodeId,
    /// Its address.
    pub url: String,
    /// Its failure domain.
    pub zone: Option<String>,
    /// Its relative share, in thousandths.
    pub weight_milli: u32,
}

/// How the engine is set up.
#[derive(Clone)]
pub struct Config {
    /// The version of this proxy, as the admin API shows it.
    pub version: String,
    /// The nodes.
    pub nodes: Vec<NodeSpec>,
    /// Shards of a new index.
    pub shard_count: u32,
    /// Copies of each shard of a new index.
    pub replication_factor: u32,
    /// A whole search, all attempts together.
    pub search_timeout: Duration,
    /// One call to a node on the write path.
    pub node_timeout: Duration,
    /// Memory for answers that may be given again; 0 for none.
    pub search_cache_bytes: u64,
    /// Between two probes of a node.
    pub probe_interval: Duration,
    /// Reads under faults.
    pub reads: ReadConfig,
    /// The webhook that is told every finished task, besides those made over the API.
    pub webhook: Option<Webhook>,
    /// Copies between nodes.
    pub copy: CopyConfig,
    /// How much may wait.
    pub limits: Limits,
    /// The nodes are declared: once the store knows some, what differs is staged, not taken over.
    pub declares_topology: bool,
    /// Where further nodes of a declared topology are found.
    pub discovery: Option<crate::topology::discover::Discovery>,
    /// A node that answers nothing for so long is declared lost; `None` is never.
    pub lost_after: Option<Duration>,
    /// For tests.
    pub step_hook: Option<StepHook>,
}

/// One node in the snapshot.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// As stored.
    pub record: NodeRecord,
    /// As probed.
    pub health: NodeHealth,
    /// The version it reports, once asked.
    pub version: Option<String>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// Its data is lost or is not its own.
    pub is_apart: bool,
}

impl NodeView {
    /// Reads may go there.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.record.is_in_sync && !self.is_apart && self.health != NodeHealth::Down
    }
}

/// One index in the snapshot: as it is once every batch reported done has been applied.
#[derive(Debug, Clone)]
pub struct IndexEntry {
    /// As stored.
    pub record: IndexRecord,
    /// The replica set of each shard, by shard.
    pub replica_sets: ReplicaSets,
    /// The same, indexed both ways, and what lies on nodes beside it.
    pub placement: Arc<Placement>,
    /// The other physical index, while the index is being cut anew or the way back is kept. No client
    /// ever reads it.
    pub twin: Option<Arc<TwinView>>,
    /// What merging must know of the settings.
    pub view: Arc<IndexView>,
    /// Lives as long as anybody reads by this placement.
    readers: Arc<()>,
}

/// The other physical index of an index: written to, not read.
#[derive(Debug, Clone)]
pub struct TwinView {
    /// Its name on the nodes.
    pub physical: PhysicalIndex,
    /// Its shard count.
    pub shard_count: u32,
    /// The epoch of its placement.
    pub epoch: Epoch,
    /// Where its shards lie: all of them are joining there.
    pub transit: Arc<Transit>,
}

impl TwinView {
    /// It as an index of its own, with what its index knows.
    #[must_use]
    pub fn to_entry(&self, record: &IndexRecord) -> IndexEntry {
        let record = IndexRecord {
            physical: self.physical.clone(),
            shard_count: self.shard_count,
            epoch: self.epoch,
            ..record.clone()
        };
        let sets = vec![Vec::new(); self.shard_count as usize];
        IndexEntry::new(record, Arc::new(sets), &self.transit)
    }
}

impl IndexEntry {
    /// An index as readers see it.
    #[must_use]
    pub fn new(record: IndexRecord, replica_sets: ReplicaSets, transit: &Transit) -> Self {
        let placement = Placement::from_replica_sets(&replica_sets).with_transit(transit.clone());
        let view = Arc::new(view_of(&record));
        Self {
            record,
            replica_sets,
            placement: Arc::new(placement),
            twin: None,
            view,
            readers: Arc::default(),
        }
    }

    /// The same with another physical index beside it, or with none.
    #[must_use]
    pub fn with_twin(mut self, twin: Option<Arc<TwinView>>) -> Self {
        self.twin = twin;
        self
    }

    /// The same placement with another record.
    #[must_use]
    pub fn with_record(&self, record: IndexRecord) -> Self {
        Self {
            view: Arc::new(view_of(&record)),
            record,
            replica_sets: self.replica_sets.clone(),
            placement: self.placement.clone(),
            twin: self.twin.clone(),
            readers: self.readers.clone(),
        }
    }

    /// Dead once nobody reads by this placement any more.
    #[must_use]
    pub fn readers(&self) -> Weak<()> {
        Arc::downgrade(&self.readers)
    }
}

/// The shards whose replica set contains `node`, in order.
#[must_use]
pub fn shards_of(replica_sets: &[Vec<NodeId>], node: &NodeId) -> Vec<ShardId> {
    (0u32..)
        .zip(replica_sets)
        .filter(|(_, replica_set)| replica_set.contains(node))
        .map(|(shard, _)| ShardId(shard))
        .collect()
}

/// Exchanges two names: what is under the first is found under the second, and the other way round.
pub fn exchange_names(
    indexes: &mut BTreeMap<IndexUid, Arc<IndexEntry>>,
    names: &(IndexUid, IndexUid),
) {
    let named = |entry: Arc<IndexEntry>, uid: &IndexUid| {
        let record = IndexRecord {
            uid: uid.clone(),
            ..entry.record.clone()
        };
        Arc::new(entry.with_record(record))
    };
    let (first, second) = (indexes.remove(&names.0), indexes.remove(&names.1));
    if let Some(entry) = first {
        indexes.insert(names.1.clone(), named(entry, &names.1));
    }
    if let Some(entry) = second {
        indexes.insert(names.0.clone(), named(entry, &names.0));
    }
}

/// The cluster at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// By id.
    pub nodes: BTreeMap<NodeId, NodeView>,
    /// Those that exist for clients, by uid.
    pub indexes: BTreeMap<IndexUid, Arc<IndexEntry>>,
}

impl Snapshot {
    /// The index of that name.
    ///
    /// # Errors
    /// [`EngineError::IndexNotFound`].
    pub fn index(&self, uid: &IndexUid) -> Result<&Arc<IndexEntry>, EngineError> {
        self.indexes
            .get(uid)
            .ok_or_else(|| EngineError::IndexNotFound(uid.clone()))
    }

    /// The nodes in sync, up or not.
    #[must_use]
    pub fn in_sync(&self) -> BTreeSet<NodeId> {
        self.nodes
            .iter()
            .filter(|(_, n)| n.record.is_in_sync)
            .map(|(id, _)| id.clone())
            .collect()
    }
}

/// A batch in flight.
#[derive(Debug)]
pub struct LiveBatch {
    /// Its number.
    pub uid: BatchUid,
    /// Its plan.
    pub plan: BatchPlan,
    /// Its tasks, as they stood when it was made, without payloads.
    pub tasks: Vec<TaskRecord>,
    /// Payloads that travel in the log.
    pub inline: BTreeMap<TaskUid, Bytes>,
    /// The replica sets it was cut for.
    pub replica_sets: ReplicaSets,
    /// What lay on nodes beside them.
    pub transit: Arc<Transit>,
    /// Where the shards of its twin lay, all of them joining; without shards once it is gone.
    pub twin: Arc<Transit>,
    /// The nodes it goes to.
    pub nodes: BTreeSet<NodeId>,
    /// What the snapshot shows once it is done.
    pub effect: Effect,
    /// The size of its entries' payloads.
    pub payload_bytes: u64,
    /// Its place in the window of batches in flight; given back when it is done.
    pub window: Mutex<Option<crate::window::Place>>,
}

impl LiveBatch {
    /// The size of payloads of entries: those in files, and those given.
    pub(crate) fn payload_bytes_of(plan: &BatchPlan, inline: &BTreeMap<TaskUid, Bytes>) -> u64 {
        let file_bytes = |source: &Source| match source {
            Source::File(crate::port::PayloadRef::File { bytes, .. }) => *bytes,
            _ => 0,
        };
        let in_files: u64 = plan.entries.iter().map(|e| file_bytes(&e.source)).sum();
        in_files + inline.values().map(|bytes| bytes.len() as u64).sum::<u64>()
    }

    /// It reads payload files, so its requests may be large.
    #[must_use]
    pub fn has_files(&self) -> bool {
        crate::copy::barrier::file_of(&self.plan.work).is_some()
            || self
                .plan
                .entries
                .iter()
                .any(|entry| matches!(entry.source, Source::File(_)))
    }

    /// Payloads it keeps in memory.
    pub(crate) fn inline_bytes(&self) -> u64 {
        self.inline.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// What the node makes of it counts: it is in the replica set of a shard that the batch touches.
    /// One at which such a shard only joins, or lies beside, has no say.
    #[must_use]
    pub fn has_say(&self, node: &NodeId) -> bool {
        let is_undivided = self.transit.is_empty() && self.plan.twin.is_none();
        if is_undivided || self.replica_sets.is_empty() {
            return true;
        }
        let is_in = |shard: ShardId, set: &Vec<NodeId>| {
            set.contains(node) && !self.transit.is_joining(shard, node)
        };
        match &self.plan.shards {
            None => {
                let mut all = (0..).map(ShardId).zip(self.replica_sets.iter());
                all.any(|(shard, set)| is_in(shard, set))
            }
            Some(shards) => shards.iter().any(|shard| {
                let set = self.replica_sets.get(shard.0 as usize);
                set.is_some_and(|set| is_in(*shard, set))
            }),
        }
    }

    /// The shards it touches, with their replica sets.
    #[must_use]
    pub fn touched(&self) -> Vec<(ShardId, Vec<NodeId>)> {
        let all = (0u32..).map(ShardId).zip(self.replica_sets.iter().cloned());
        all.filter(|(shard, _)| {
            self.plan
                .shards
                .as_ref()
                .is_none_or(|set| set.contains(shard))
        })
        .collect()
    }
}

/// What a batch changes for readers when it is done.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Nothing but dates.
    None,
    /// The index is as given.
    Put(Box<IndexRecord>),
    /// The index is gone.
    Remove(IndexUid),
    /// Names of indexes trade places, in order; then an index is as given, under its new name.
    Exchange {
        /// The pairs.
        names: Vec<(IndexUid, IndexUid)>,
        /// What else changed of the index that was renamed.
        record: Option<Box<IndexRecord>>,
    },
}

/// A word to a lane.
#[derive(Debug)]
pub enum LaneMessage {
    /// Deliver this batch after those before.
    Deliver(BatchUid),
    /// The node's data is not what it was, and will be copied anew: its task list begins again.
    Renewed,
    /// Something changed: look again.
    Wake,
}

/// Shared by all parts of one engine.
pub struct Shared {
    /// The doors out.
    pub ports: Ports,
    /// The set-up.
    pub config: Config,
    /// Names this cluster in markers.
    pub cluster: String,
    /// What readers see.
    pub snapshot: ArcSwap<Snapshot>,
    /// Serializes replacement of the snapshot; never held across an await.
    snapshot_lock: Mutex<()>,
    /// Batches in flight whose content is at hand.
    pub live: Mutex<BTreeMap<BatchUid, Arc<LiveBatch>>>,
    /// Batches whose tasks are not final.
    pub in_flight: Mutex<BTreeSet<BatchUid>>,
    /// Wakes those who wait for a batch.
    pub batch_ended: Notify,
    /// Wakes the couriers of webhooks: tasks have finished.
    pub hooks_ring: Notify,
    /// Physical indexes that a batch in flight removes: older batches need not be sent.
    pub removed: Mutex<BTreeSet<PhysicalIndex>>,
    /// Physical indexes whose last change of settings failed: the stored record is to be put right.
    pub refused_settings: Mutex<BTreeSet<PhysicalIndex>>,
    /// One sender for each lane.
    pub lanes: RwLock<BTreeMap<NodeId, mpsc::UnboundedSender<LaneMessage>>>,
    /// Ends the work on a node that is retired.
    pub retirements: Mutex<BTreeMap<NodeId, CancellationToken>>,
    /// Health machines.
    pub health: Mutex<BTreeMap<NodeId, HealthMachine>>,
    /// Nodes that came back without their data, with the reason: sent nothing and shown to nobody
    /// until their replicas are copied anew.
    pub quarantine: Mutex<BTreeMap<NodeId, String>>,
    /// Nodes that get no shards of new indexes.
    pub closed: Mutex<BTreeSet<NodeId>>,
    /// Wakes the dispatcher: the log has grown.
    pub log_grew: Notify,
    /// A cancelation or deletion of tasks waits.
    pub control_waits: std::sync::atomic::AtomicBool,
    /// Counts changes of nodes' states; lanes and the completer watch it.
    pub nodes_changed: Bell,
    /// Bounds the memory of request bodies being built, in KiB.
    pub body_budget: Arc<Semaphore>,
    /// Nodes that come back, for which writes wait a little.
    pub(crate) convoy: Convoy,
    /// Copies under way.
    pub(crate) copy: Desk,
    /// The movement under way.
    pub(crate) movement: Board,
    /// Indexes being cut into another number of shards.
    pub(crate) reshards: crate::reshard::Board,
    /// Keeps out what cannot be kept.
    pub(crate) gate: Gate,
    /// Answers that may be given again.
    pub(crate) cache: SearchCache,
    /// What reads learn of the nodes.
    pub(crate) reads: ReadBoard,
    /// Experimental features.
    pub(crate) features: FeatureBoard,
    /// Indexes being built as they were.
    pub(crate) rewinds: RewindBoard,
    /// What is wrong with nodes, for operators.
    pub(crate) ills: IllBoard,
    /// Staged changes of the topology.
    pub(crate) topology: crate::topology::Desk,
    /// Payload files to be removed.
    pub(crate) litter: crate::litter::Litter,
    /// What is counted and measured.
    pub(crate) metrics: Metrics,
    /// Asks everything to end.
    pub shutdown: CancellationToken,
}

impl Shared {
    /// Ties the parts together.
    #[must_use]
    pub fn new(ports: Ports, config: Config, cluster: String, snapshot: Snapshot) -> Arc<Self> {
        let metrics = Metrics::new();
        let gate = Gate::new(config.limits);
        let cache = SearchCache::new(config.search_cache_bytes);
        let convoy = Convoy::new(config.copy.catch_up_share);
        let known = snapshot.nodes.keys();
        let health = known
            .map(|node| (node.clone(), HealthMachine::default()))
            .collect();
        Arc::new(Self {
            ports,
            config,
            cluster,
            snapshot: ArcSwap::from_pointee(snapshot),
            snapshot_lock: Mutex::new(()),
            live: Mutex::default(),
            in_flight: Mutex::default(),
            batch_ended: Notify::new(),
            hooks_ring: Notify::new(),
            removed: Mutex::default(),
            refused_settings: Mutex::default(),
            lanes: RwLock::default(),
            retirements: Mutex::default(),
            health: Mutex::new(health),
            quarantine: Mutex::default(),
            closed: Mutex::default(),
            log_grew: Notify::new(),
            control_waits: std::sync::atomic::AtomicBool::new(true),
            nodes_changed: Bell::default(),
            body_budget: Arc::new(Semaphore::new(BODY_BUDGET_KIB)),
            convoy,
            copy: Desk::default(),
            movement: Board::default(),
            reshards: crate::reshard::Board::default(),
            gate,
            cache,
            reads: ReadBoard::default(),
            features: FeatureBoard::default(),
            rewinds: RewindBoard::default(),
            ills: IllBoard::default(),
            topology: crate::topology::Desk::default(),
            litter: crate::litter::Litter::default(),
            metrics,
            shutdown: CancellationToken::new(),
        })
    }

    /// Says a word to the lane of a node, if it has one.
    pub(crate) fn tell(&self, node: &NodeId, message: LaneMessage) {
        if let Some(lane) = self.lanes.read().get(node) {
            let _ = lane.send(message);
        }
    }

    /// The node is not owed this batch (any more): it is made anew from a later one on, or what was
    /// copied to it is withdrawn.
    pub(crate) fn is_forgiven(&self, node: &NodeId, batch: &LiveBatch) -> bool {
        let work = &batch.plan.work;
        let is_copy = matches!(
            work,
            crate::plan::Work::CopyDocuments { .. } | crate::plan::Work::RecreateIndex { .. }
        );
        let is_withdrawn = || {
            let Some(shown) = self.shown(&batch.plan.physical) else {
                return false;
            };
            let mut shards = batch.plan.shards.iter().flatten();
            !shards.any(|shard| shown.placement.is_written(*shard, node))
        };
        self.copy.is_forgiven(node, batch.uid, work)
            || is_copy && self.reshards.is_void(&batch.plan.physical)
            || is_copy && !batch.has_say(node) && is_withdrawn()
    }

    /// The index of that physical name, as readers see it.
    #[must_use]
    pub fn shown(&self, index: &PhysicalIndex) -> Option<Arc<IndexEntry>> {
        let snapshot = self.snapshot.load();
        let mut indexes = snapshot.indexes.values();
        indexes.find_map(|entry| {
            if entry.record.physical == *index {
                return Some(entry.clone());
            }
            let twin = entry.twin.as_ref()?;
            (twin.physical == *index).then(|| Arc::new(twin.to_entry(&entry.record)))
        })
    }

    /// Replaces the snapshot by a changed copy.
    pub fn update(&self, change: impl FnOnce(&mut Snapshot)) {
        let _guard = self.snapshot_lock.lock();
        let mut next = Snapshot::clone(&self.snapshot.load());
        change(&mut next);
        self.snapshot.store(Arc::new(next));
    }

    /// A batch that a node is owed, from memory or else from the store; `None` if it is gone, or if
    /// the node was forgiven it: then its payloads may be gone.
    ///
    /// # Errors
    /// The store failed, or what it holds cannot be understood.
    pub async fn owed_batch(
        &self,
        uid: BatchUid,
        node: &NodeId,
    ) -> Result<Option<Arc<LiveBatch>>, EngineError> {
        if let Some(batch) = self.live.lock().get(&uid) {
            return Ok(Some(batch.clone()));
        }
        let Some(record) = self.ports.store.load_batch(uid).await? else {
            return Ok(None);
        };
        if record
            .deliveries
            .get(node)
            .is_none_or(|delivery| delivery.is_applied)
        {
            return Ok(None);
        }
        Ok(Some(Arc::new(crate::recover::revive(self, &record).await?)))
    }

    /// Returns when a batch is no longer in flight, or the engine shuts down.
    pub async fn wait_for_batch(&self, batch: BatchUid) {
        self.wait_until(|| !self.in_flight.lock().contains(&batch))
            .await;
    }

    /// Returns when no batch of this index is in flight, or the engine shuts down.
    pub async fn wait_for_index(&self, index: &PhysicalIndex) {
        self.wait_until(|| !self.is_indexing(index)).await;
    }

    async fn wait_until(&self, is_reached: impl Fn() -> bool) {
        loop {
            let ended = self.batch_ended.notified();
            if is_reached() {
                return;
            }
            tokio::select! {
                biased;
                () = ended => {}
                () = self.shutdown.cancelled() => return,
            }
        }
    }

    /// Some node is older than 1.36, whose ranking rules and defaults are other ones. The bundled
    /// node is such a one.
    #[must_use]
    pub fn has_legacy_nodes(&self) -> bool {
        let snapshot = self.snapshot.load();
        snapshot
            .nodes
            .values()
            .any(|view| view.version.as_deref().is_some_and(is_legacy))
    }

    /// Passes a named step of the write path.
    pub async fn step(&self, name: &'static str) {
        if let Some(hook) = &self.config.step_hook {
            hook(name).await;
        }
    }

    /// Takes in what a call to a node showed of its health.
    pub fn observe(&self, node: &NodeId, outcome: Result<(), &NodeError>) {
        self.ills.observe(node, outcome, self.ports.clock.now());
        let observation = match outcome {
            Ok(()) | Err(NodeError::Refused { .. }) => Observation::Answered,
            Err(NodeError::Busy { .. }) => Observation::Overloaded,
            Err(_) => Observation::Failed,
        };
        let change = {
            let mut machines = self.health.lock();
            let Some(machine) = machines.get_mut(node) else {
                return;
            };
            machine.step(observation, &HealthThresholds::default())
        };
        let Some(health) = change else { return };
        match health {
            NodeHealth::Down => tracing::warn!(%node, "node is down"),
            NodeHealth::Up => tracing::info!(%node, "node is up"),
            NodeHealth::Unknown | NodeHealth::Suspect => {}
        }
        self.update(|snapshot| {
            if let Some(view) = snapshot.nodes.get_mut(node) {
                view.health = health;
                view.last_error = outcome.err().map(ToString::to_string);
            }
        });
        self.nodes_changed.ring();
    }

    /// The node answers, as far as is known.
    #[must_use]
    pub fn is_up(&self, node: &NodeId) -> bool {
        self.health
            .lock()
            .get(node)
            .is_some_and(|machine| matches!(machine.health(), NodeHealth::Up | NodeHealth::Suspect))
            && !self.quarantine.lock().contains_key(node)
    }
}

/// What merging must know of an index.
fn view_of(record: &IndexRecord) -> IndexView {
    IndexView {
        physical: record.physical.to_string(),
        uid: record.uid.to_string(),
        primary_key: record.primary_key.clone(),
        ..miroir_core::settings::index_view(&record.settings)
    }
}

/// A node of this version is older than 1.36.
#[must_use]
pub fn is_legacy(version: &str) -> bool {
    let mut parts = version
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < (1, 36)
}

/// Request bodies being built for nodes may take this much together: four of the largest.
const BODY_BUDGET_KIB: usize = 96 * 1024;
