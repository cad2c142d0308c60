//! A cluster that a test can start, crash and start again on the same store: one runtime for each
//! life of the proxy, on virtual time.

use crate::hooks::Hooks;
use crate::node::Fleet;
use crate::remote::Remote;
use crate::store::FlakyStore;
use async_trait::async_trait;
use bytes::Bytes;
use miroir_core::hash::shard_of;
use miroir_core::id::{IndexUid, NodeId, TaskUid};
use miroir_core::task::{AdditionMethod, IndexSwap, Operation, TaskFilter, TaskStatus};
use miroir_engine::Engine;
use miroir_engine::copy::CopyConfig;
use miroir_engine::engine::Write;
use miroir_engine::gate::Limits;
use miroir_engine::port::{
    BatchRecord, Catalog, Clock, IndexRecord, NewEntry, NodeRecord, Payload, PayloadStore, TaskLog,
    TaskQuery, TaskRecord, Timestamp,
};
use miroir_engine::reads::ReadConfig;
use miroir_engine::state::{Config, NodeSpec, Ports, StepHook};
use miroir_engine::topology::discover::Discovery;
use miroir_store::{MemoryDumps, MemoryPayloads, MemorySnapshots, MemoryStore};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A condition is looked at this often, in virtual time, ...
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// ... and so many times before the test gives up: a hundred virtual seconds.
const LOOKS_MAX: usize = 20_000;

struct VirtualClock(Instant);

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_secs(1_750_000_000) + self.0.elapsed()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// What outlives a proxy.
pub struct World {
    pub fleet: Arc<Fleet>,
    pub store: Arc<FlakyStore>,
    pub payloads: Arc<MemoryPayloads>,
    pub instance: Arc<MemoryStore>,
    pub hooks: Arc<Hooks>,
    pub copy: CopyConfig,
    pub dumps: Arc<MemoryDumps>,
    pub snapshots: Arc<MemorySnapshots>,
    pub remote: Arc<Remote>,
    pub limits: Limits,
    /// When nodes that are away are declared lost.
    pub lost_after: Option<Duration>,
    /// The configuration declares the topology.
    pub declares_topology: bool,
    /// Where further nodes are found.
    pub discovery: Option<Discovery>,
    shard_count: u32,
    replication_factor: u32,
    pub reads: ReadConfig,
    /// Nodes that the configuration does not name.
    pub unnamed: BTreeSet<String>,
}

impl World {
    pub fn new(nodes: &[&str], shard_count: u32, replication_factor: u32) -> Self {
        Self {
            fleet: Arc::new(Fleet::new(nodes)),
            store: Arc::default(),
            payloads: Arc::default(),
            instance: Arc::default(),
            hooks: Arc::default(),
            copy: CopyConfig::default(),
            dumps: Arc::default(),
            snapshots: Arc::default(),
            remote: Arc::default(),
            limits: Limits::default(),
            declares_topology: false,
            discovery: None,
            lost_after: None,
            shard_count,
            replication_factor,
            reads: ReadConfig::default(),
            unnamed: BTreeSet::new(),
        }
    }

    /// Two nodes that both hold everything.
    pub fn mirrored() -> Self {
        Self::new(&["a", "b"], 4, 2)
    }

    /// One node.
    pub fn single() -> Self {
        Self::new(&["a"], 1, 1)
    }

    /// The set-up of its proxies.
    pub fn config(&self, step_hook: Option<StepHook>) -> Config {
        let is_named = |name: &String| !self.unnamed.contains(name);
        let names = self.fleet.names().into_iter().filter(is_named);
        Config {
            version: "0.0.0".into(),
            nodes: names.map(|name| spec(&name)).collect(),
            shard_count: self.shard_count,
            replication_factor: self.replication_factor,
            search_timeout: Duration::from_secs(2),
            node_timeout: Duration::from_secs(2),
            probe_interval: Duration::from_millis(200),
            reads: self.reads.clone(),
            search_cache_bytes: 1024 * 1024,
            webhook: None,
            copy: self.copy.clone(),
            limits: self.limits,
            declares_topology: self.declares_topology,
            discovery: self.discovery.clone(),
            lost_after: self.lost_after,
            step_hook,
        }
    }

    /// Doors that lead straight to what it holds.
    pub fn ports(&self) -> Ports {
        Ports {
            nodes: self.fleet.clone(),
            store: self.store.clone(),
            payloads: self.payloads.clone(),
            api_keys: Arc::new(MemoryStore::new()),
            instance: self.instance.clone(),
            hooks: self.hooks.clone(),
            dumps: self.dumps.clone(),
            snapshots: self.snapshots.clone(),
            remotes: self.remote.clone(),
            clock: Arc::new(VirtualClock(Instant::now())),
        }
    }

    /// One life of the proxy, ended by a crash when `body` returns: every task of the engine is
    /// dropped where it stands.
    pub fn run<T>(&self, body: impl AsyncFnOnce(Engine) -> T) -> T {
        runtime().block_on(async {
            let engine = Engine::start(self.ports(), self.config(None))
                .await
                .expect("a start");
            body(engine).await
        })
    }

    /// Why no proxy can start.
    pub fn try_start(&self) -> String {
        runtime().block_on(async {
            match Engine::start(self.ports(), self.config(None)).await {
                Ok(_) => panic!("it started"),
                Err(error) => {
                    let source = std::error::Error::source(&error);
                    source.map_or_else(|| error.to_string(), ToString::to_string)
                }
            }
        })
    }

    /// The same, ended before its time at the `nth` passing of a step (from 0). Returns whether the
    /// step was reached.
    pub fn run_until_step(
        &self,
        step: &'static str,
        nth: usize,
        body: impl AsyncFnOnce(Engine),
    ) -> bool {
        let reached = Arc::new(Notify::new());
        let passed = Arc::new(Mutex::new(0));
        let hook: StepHook = {
            let reached = reached.clone();
            Arc::new(move |name| {
                let is_here = name == step && {
                    let mut passed = passed.lock();
                    *passed += 1;
                    *passed == nth + 1
                };
                let reached = reached.clone();
                Box::pin(async move {
                    if is_here {
                        reached.notify_one();
                        std::future::pending::<()>().await;
                    }
                })
            })
        };
        runtime().block_on(async {
            let life = async {
                let engine = Engine::start(self.ports(), self.config(Some(hook))).await;
                body(engine.expect("a start")).await;
            };
            tokio::select! {
                () = life => false,
                () = reached.notified() => true,
            }
        })
    }

    /// The same, with something done at the `nth` passing of a step instead. Returns whether the step
    /// was reached.
    pub fn run_with_step(
        &self,
        step: &'static str,
        nth: usize,
        act: impl Fn(&Fleet) + Send + Sync + 'static,
        body: impl AsyncFnOnce(Engine),
    ) -> bool {
        let passed = Arc::new(Mutex::new(0));
        let hook: StepHook = {
            let (passed, fleet) = (passed.clone(), self.fleet.clone());
            Arc::new(move |name| {
                let is_here = name == step && {
                    let mut passed = passed.lock();
                    *passed += 1;
                    *passed == nth + 1
                };
                if is_here {
                    act(&fleet);
                }
                Box::pin(async {})
            })
        };
        runtime().block_on(async {
            let engine = Engine::start(self.ports(), self.config(Some(hook))).await;
            body(engine.expect("a start")).await;
        });
        *passed.lock() > nth
    }

    /// Makes the call on the world outside of any life of a proxy.
    pub fn apart<T>(&self, work: impl AsyncFnOnce(&Self) -> T) -> T {
        runtime().block_on(work(self))
    }

    /// Puts writes into the log while no proxy runs, so that one dispatch sees them all.
    pub fn enqueue(&self, writes: Vec<Write>) -> Vec<TaskUid> {
        let entry = |write: Write| NewEntry {
            index_uid: write.index_uid,
            operation: write.operation,
            payload: write.payload,
            custom_metadata: write.custom_metadata,
            enqueued_at: Timestamp::UNIX_EPOCH,
        };
        let entries = writes.into_iter().map(entry).collect();
        self.apart(async |world| {
            world
                .store
                .append(entries)
                .await
                .expect("the store is well")
        })
    }

    /// Everything a document index holds, the same on every replica.
    pub fn documents(&self, uid: &str) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        for node in self.fleet.names() {
            for (id, document) in self.fleet.documents(&node, uid) {
                let other = all.insert(id.clone(), document.clone());
                assert!(
                    other.is_none_or(|other| other == document),
                    "replicas differ in document {id} of {uid}"
                );
            }
        }
        all
    }

    /// Every replica of a mirrored world holds every document.
    pub fn assert_mirrored(&self, uid: &str) {
        let mut names = self.fleet.names().into_iter();
        let first = names.next().expect("a node");
        for other in names {
            assert_eq!(
                self.fleet.raw_documents(&first, uid),
                self.fleet.raw_documents(&other, uid),
                "{first} and {other} hold different documents of {uid}"
            );
        }
    }

    pub async fn open_batches(&self) -> Vec<BatchRecord> {
        self.store
            .load_open_batches()
            .await
            .expect("the store is well")
    }

    pub async fn node(&self, name: &str) -> NodeRecord {
        let nodes = self.store.load_nodes().await.expect("the store is well");
        nodes
            .into_iter()
            .find(|node| node.id.as_str() == name)
            .expect("a node of the store")
    }

    pub async fn index(&self, uid: &str) -> Option<IndexRecord> {
        let indexes = self.store.load_indexes().await.expect("the store is well");
        indexes.into_iter().find(|index| index.uid.as_str() == uid)
    }

    /// A document id whose replicas are these nodes.
    pub async fn id_on(&self, index: &str, nodes: [&str; 2]) -> String {
        let physical = self.index(index).await.expect("an index").physical;
        let placement = self
            .store
            .load_placement(&physical)
            .await
            .expect("the store is well");
        let (_, replica_sets) = placement.expect("a placement");
        let shard_count = NonZeroU32::new(self.shard_count).expect("some shards");
        let is_there = |id: &String| {
            let replica_set = &replica_sets[shard_of(id, shard_count).0 as usize];
            nodes
                .iter()
                .all(|node| replica_set.contains(&NodeId::new(*node)))
        };
        (0..10_000)
            .map(|n| n.to_string())
            .find(is_there)
            .expect("a shard on these nodes")
    }

    pub async fn payload_count(&self) -> usize {
        self.payloads.list().await.expect("payloads are well").len()
    }

    pub async fn all_tasks(&self) -> Vec<TaskRecord> {
        let query = TaskQuery {
            limit: 100_000,
            is_reversed: true,
            ..TaskQuery::default()
        };
        self.store
            .list_tasks(query)
            .await
            .expect("the store is well")
            .tasks
    }

    /// Nothing waits, nothing is owed to any node.
    pub async fn settled(&self) {
        for _ in 0..LOOKS_MAX {
            let has_unfinished = self.all_tasks().await.iter().any(|t| !t.status.is_final());
            if !has_unfinished && self.open_batches().await.is_empty() {
                return;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        panic!(
            "work is left: {:#?} of {:#?}",
            self.open_batches().await,
            self.all_tasks()
                .await
                .iter()
                .map(|t| (t.uid, t.status))
                .collect::<Vec<_>>()
        );
    }

    /// Waits for a change of the stored in-sync set.
    pub async fn in_sync_is(&self, node: &str, expected: bool) {
        for _ in 0..LOOKS_MAX {
            if self.node(node).await.is_in_sync == expected {
                return;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        panic!("{node} is never in sync: {expected}");
    }
}

/// A node as a configuration names it.
pub fn spec(name: &str) -> NodeSpec {
    NodeSpec {
        url: format!("http://{name}.invalid"),
        id: NodeId::new(name),
        zone: None,
        weight_milli: 1000,
    }
}

/// Virtual time on this thread.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

/// Waits in virtual time; panics if the condition is never true.
pub async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..LOOKS_MAX {
        if condition() {
            return;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    panic!("never: {what}");
}

/// Lets virtual time pass, for what must *not* happen.
pub async fn pass(duration: Duration) {
    tokio::time::sleep(duration).await;
}

pub fn uid(name: &str) -> IndexUid {
    IndexUid::new(name).expect("a valid uid")
}

pub fn write(index: &str, operation: Operation) -> Write {
    Write {
        index_uid: Some(uid(index)),
        operation,
        payload: None,
        custom_metadata: None,
    }
}

/// Values as NDJSON.
pub fn lines(values: &[Value]) -> Bytes {
    values
        .iter()
        .map(|value| format!("{value}\n"))
        .collect::<String>()
        .into()
}

/// Documents by the method given, inline.
pub fn add_by(method: AdditionMethod, index: &str, documents: &[Value]) -> Write {
    let operation = Operation::AddDocuments {
        method,
        primary_key: None,
        skip_creation: false,
        may_create_index: true,
        document_count: documents.len() as u64,
    };
    Write {
        payload: Some(Payload::Inline(lines(documents))),
        ..write(index, operation)
    }
}

pub fn add(index: &str, documents: &[Value]) -> Write {
    add_by(AdditionMethod::Replace, index, documents)
}

pub fn delete_ids(index: &str, ids: &[&str]) -> Write {
    let lines: String = ids.iter().map(|id| format!("\"{id}\"\n")).collect();
    let operation = Operation::DeleteDocuments {
        id_count: ids.len() as u64,
    };
    Write {
        payload: Some(Payload::Inline(lines.into())),
        ..write(index, operation)
    }
}

pub fn create(index: &str) -> Write {
    write(index, Operation::CreateIndex { primary_key: None })
}

pub fn drop_index(index: &str) -> Write {
    write(index, Operation::DeleteIndex)
}

pub fn rename(index: &str, new: &str) -> Write {
    write(
        index,
        Operation::UpdateIndex {
            primary_key: None,
            new_uid: Some(uid(new)),
        },
    )
}

pub fn swap(pairs: &[(&str, &str, bool)]) -> Write {
    let swaps = pairs.iter().map(|(first, second, rename)| IndexSwap {
        indexes: (uid(first), uid(second)),
        rename: *rename,
    });
    control(Operation::SwapIndexes {
        swaps: swaps.collect(),
    })
}

/// An edition in the little language of the fleet.
pub fn edit(index: &str, function: &str, filter: Option<&str>) -> Write {
    let operation = Operation::EditDocuments {
        filter: filter.map(Value::from),
        context: None,
        function: function.to_owned(),
    };
    write(index, operation)
}

pub fn settings(index: &str, patch: Value) -> Write {
    let operation = Operation::UpdateSettings {
        settings: patch,
        is_reset: false,
        may_create_index: true,
    };
    write(index, operation)
}

pub fn cancel(filter: TaskFilter) -> Write {
    control(Operation::CancelTasks {
        original_filter: "?statuses=enqueued".into(),
        filter,
    })
}

pub fn forget(filter: TaskFilter) -> Write {
    control(Operation::DeleteTasks {
        original_filter: "?statuses=succeeded".into(),
        filter,
    })
}

fn control(operation: Operation) -> Write {
    Write {
        index_uid: None,
        operation,
        payload: None,
        custom_metadata: None,
    }
}

/// Documents in a payload file, as large writes come.
pub async fn add_file(engine: &Engine, index: &str, documents: &[Value]) -> Write {
    let mut file = engine.create_payload().await.expect("payloads are well");
    file.append(lines(documents))
        .await
        .expect("payloads are well");
    let payload = Payload::Stored(file.finish().await.expect("payloads are well"));
    Write {
        payload: Some(payload),
        ..add(index, documents)
    }
}

pub async fn register(engine: &Engine, write: Write) -> TaskUid {
    engine.register(write).await.expect("the store is well").uid
}

/// The task once it is final.
pub async fn ended(engine: &Engine, task: TaskUid) -> TaskRecord {
    for _ in 0..LOOKS_MAX {
        let record = engine.task(task).await.expect("a task");
        if record.status.is_final() {
            return record;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    panic!("task {task} never ends: {:?}", engine.topology().await);
}

/// Registers a write and waits for its success.
pub async fn succeed(engine: &Engine, write: Write) -> TaskRecord {
    let task = register(engine, write).await;
    let record = ended(engine, task).await;
    assert_eq!(record.status, TaskStatus::Succeeded, "{:?}", record.error);
    record
}
