//! What the parts of the engine share: the ports, the configuration, and one immutable snapshot
//! of the cluster that readers take whole and its owners replace whole.

mod batch;
mod snapshot;

pub use batch::{Effect, LiveBatch};
pub use snapshot::{IndexEntry, NodeView, Snapshot, TwinView, exchange_names, shards_of};

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
use crate::port::{Clock, HookClient, NodeClient, NodeError, PayloadStore, Store};
use crate::reads::{ReadBoard, ReadConfig};
use crate::rewind::RewindBoard;
use crate::webhooks::Webhook;
use arc_swap::ArcSwap;
use futures::future::BoxFuture;
use miroir_core::health::{HealthMachine, HealthThresholds, NodeHealth, Observation};
use miroir_core::id::{BatchUid, NodeId, PhysicalIndex};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
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
    /// What copies do at the moment, to be told apart by searches.
    pub(crate) toil: Arc<crate::copy::pace::Toil>,
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
    /// Dynamic search rules.
    pub(crate) rules: ArcSwap<miroir_core::rules::RuleBook>,
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
            toil: Arc::default(),
            reads: ReadBoard::default(),
            features: FeatureBoard::default(),
            rewinds: RewindBoard::default(),
            ills: IllBoard::default(),
            topology: crate::topology::Desk::default(),
            litter: crate::litter::Litter::default(),
            rules: ArcSwap::default(),
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
