//! One seed: a cluster, its clients and its misfortunes, from the first entry to the last check.

use crate::check::{check, check_node};
use crate::cutter;
use crate::dice::Dice;
use crate::disk::{Disk, SimPayloads};
use crate::history::{Document, Documents, History, Read, Seen, Target};
use crate::ills;
use crate::mover;
use crate::nemesis;
use crate::network::Network;
use crate::node::{Backup, Fleet};
use crate::sabotage::{Liar, Sabotage};
use crate::time::{CrashPoint, SimClock, SimTime};
use crate::workload::{Ask, INDEXES, Op, Pred};
use crate::world::{World, runtime, uid};
use futures::future::join_all;
use miroir_core::id::{NodeId, TaskUid};
use miroir_core::search::{Paging, SearchRequest};
use miroir_engine::engine::DocumentsQuery;
use miroir_engine::port::{Change, NodeClient, PayloadStore, TaskLog};
use miroir_engine::state::{Config, Ports, StepHook};
use miroir_engine::{Engine, EngineError};
use miroir_store::MemoryStore;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The longest that all may take once nothing is broken any more, in virtual time.
const SETTLE_MAX: Duration = Duration::from_secs(300);
/// A proxy has seen by then what its nodes are.
const NOTICE: Duration = Duration::from_secs(5);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Whole answers have fewer hits.
const HITS_MAX: usize = 1000;

/// How a seed is played.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What is broken on purpose.
    pub sabotage: Option<Sabotage>,
    /// Disks of nodes are lost, and old backups take their place.
    pub has_disk_loss: bool,
    /// Requests arrive after their sender has given them up.
    pub has_late_requests: bool,
    /// Shards are moved about.
    pub has_moves: bool,
    /// Indexes are cut into other numbers of shards.
    pub has_reshards: bool,
    /// Nodes answer and are not well.
    pub has_ills: bool,
    /// The trace is kept.
    pub is_traced: bool,
}

impl Default for Options {
    /// Everything that is promised to be survived.
    fn default() -> Self {
        Self {
            sabotage: None,
            has_disk_loss: true,
            has_late_requests: true,
            has_moves: false,
            has_reshards: false,
            has_ills: false,
            is_traced: false,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// What is wrong; nothing if all is well.
    pub wrong: Vec<String>,
    /// Entries of the log.
    pub writes: usize,
    /// Reads by clients that were answered.
    pub reads: usize,
    /// Reads by clients that failed.
    pub errors: usize,
    /// Looks at replicas.
    pub looks: usize,
    /// Placements that were changed.
    pub epochs: usize,
    /// Lives of the proxy that ended by a crash.
    pub crashes: usize,
    /// Virtual time.
    pub took: Duration,
    /// What happened, if it was asked for.
    pub trace: Vec<String>,
}

/// Everything of one seed.
pub(crate) struct Sim {
    pub(crate) world: World,
    pub(crate) time: Arc<SimTime>,
    pub(crate) history: Arc<History>,
    pub(crate) network: Arc<Network>,
    pub(crate) disk: Arc<Disk>,
    crash: Arc<CrashPoint>,
    nodes: Arc<dyn NodeClient>,
    /// Data folders as they once were, by node.
    pub(crate) backups: Mutex<BTreeMap<String, Backup>>,
    /// Nodes that are down until then.
    pub(crate) absent: Mutex<BTreeMap<String, Duration>>,
    pub(crate) replication_factor: u32,
    pub(crate) options: Options,
    stamp: AtomicU64,
    seed: u64,
}

/// Plays one seed. The same seed and options give the same course of things, to the last call.
#[must_use]
pub fn play(seed: u64, options: Options) -> Outcome {
    let mut dice = Dice::of(&[seed, 1]);
    let sim = Sim::new(seed, options, &mut dice);
    let mut crashes = 0;
    for life in 0..2 + dice.below(3) {
        crashes += usize::from(sim.live(life, &mut dice));
    }
    let mut wrong = sim.end();
    let events = std::mem::take(&mut *sim.history.events.lock());
    let (model, more) = check(&events);
    // The first cause comes first.
    wrong.splice(0..0, more);
    let held = sim.held();
    for (node, held) in &held {
        let judged = check_node(node, held, &events.placements, &model);
        wrong.extend(judged.err());
    }
    let by_clients = || {
        events
            .reads
            .iter()
            .filter(|read| matches!(read.target, Target::Name(_)))
    };
    let errors = by_clients()
        .filter(|read| matches!(read.seen, Seen::Error(_)))
        .count();
    Outcome {
        wrong,
        writes: events.log.len(),
        reads: by_clients().count() - errors,
        errors,
        looks: events.reads.len() - by_clients().count(),
        crashes,
        epochs: events.epochs,
        took: sim.time.now(),
        trace: events.trace,
    }
}

impl Sim {
    fn new(seed: u64, options: Options, dice: &mut Dice) -> Self {
        let all = ["a", "b", "c", "d", "e"];
        let names = &all[..3 + dice.position(3)];
        let shard_count = dice.pick(&[1, 2, 4, 8]);
        let replication_factor = dice.pick(&[1, 2, 2, 3]);
        let world = World::new(names, shard_count, replication_factor);
        world.apart(async |world| {
            let fact = Change::PutFact {
                key: "clusterUid".into(),
                value: json!("sim"),
            };
            world
                .store
                .commit(vec![fact])
                .await
                .expect("the store is well");
        });
        for name in names {
            let pace = dice.millis(1, 40);
            world.fleet.on(name, |node| node.pace = Some(pace));
        }
        let time: Arc<SimTime> = Arc::default();
        let crash: Arc<CrashPoint> = Arc::default();
        let history = Arc::new(History {
            is_traced: options.is_traced,
            ..History::default()
        });
        history.note(Duration::ZERO, || {
            format!(
                "{} nodes, {shard_count} shards, {replication_factor} copies",
                names.len()
            )
        });
        let fleet: Arc<Fleet> = world.fleet.clone();
        let network = Arc::new(Network::new(
            fleet.clone(),
            time.clone(),
            crash.clone(),
            history.clone(),
            Dice::of(&[seed, 2]),
        ));
        let disk = Arc::new(Disk::new(
            time.clone(),
            crash.clone(),
            history.clone(),
            fleet.clone(),
            options.sabotage,
            Dice::of(&[seed, 3]),
        ));
        world.store.set_door(Some(disk.clone()));
        let nodes: Arc<dyn NodeClient> = match options.sabotage {
            Some(sabotage) => Arc::new(Liar::new(
                sabotage,
                network.clone(),
                fleet,
                Dice::of(&[seed, 4]),
                world.store.clone(),
            )),
            None => network.clone(),
        };
        Self {
            world,
            time,
            history,
            network,
            disk,
            crash,
            nodes,
            backups: Mutex::default(),
            absent: Mutex::default(),
            replication_factor,
            options,
            stamp: AtomicU64::new(0),
            seed,
        }
    }

    async fn start(&self) -> Result<Engine, EngineError> {
        let crash = self.crash.clone();
        let hook: StepHook = Arc::new(move |_| {
            let crash = crash.clone();
            Box::pin(async move { crash.cross().await })
        });
        let ports = Ports {
            nodes: self.nodes.clone(),
            payloads: Arc::new(SimPayloads {
                inner: self.world.payloads.clone(),
                disk: self.disk.clone(),
            }),
            api_keys: Arc::new(MemoryStore::new()),
            clock: Arc::new(SimClock(self.time.clone())),
            ..self.world.ports()
        };
        let config = Config {
            declares_topology: false,
            discovery: None,
            lost_after: None,
            step_hook: Some(hook.clone()),
            ..self.world.config(Some(hook))
        };
        Engine::start(ports, config).await
    }

    /// One life of the proxy, in trouble. Returns whether it was ended by a crash.
    fn live(&self, life: u64, dice: &mut Dice) -> bool {
        let crossings = match dice.below(5) {
            0 => u64::MAX,
            _ => {
                let scale = 4 + dice.below(9);
                dice.below(1 << scale)
            }
        };
        self.crash.set(crossings);
        self.history.note(self.time.now(), || {
            format!("life {life}, {crossings} crossings")
        });
        let has_crashed = runtime().block_on(async {
            self.time.begin();
            let has_crashed = tokio::select! {
                biased;
                () = self.crash.reached() => true,
                () = self.work(life) => false,
            };
            self.time.end();
            has_crashed
        });
        self.network.abandon();
        self.history.note(self.time.now(), || {
            format!("life {life} is over, by a crash: {has_crashed}")
        });
        has_crashed
    }

    async fn work(&self, life: u64) {
        let engine = match self.start().await {
            Ok(engine) => engine,
            Err(error) => {
                self.history
                    .note(self.time.now(), || format!("no start: {error}"));
                return;
            }
        };
        let dice = |who: u64| Dice::of(&[self.seed, 5, life, who]);
        let mut ends = dice(0);
        let writers = join_all((1..=2).map(|who| self.write(&engine, dice(who), 4, 12)));
        let readers = join_all((3..=4).map(|who| self.read(&engine, dice(who), 25)));
        let clients = async {
            futures::join!(writers, readers);
        };
        let moves = async {
            match self.options.has_moves {
                true => mover::run(self, &engine, dice(6)).await,
                false => std::future::pending().await,
            }
        };
        let cuts = async {
            match self.options.has_reshards {
                true => cutter::run(self, &engine, dice(7)).await,
                false => std::future::pending().await,
            }
        };
        let ills = async {
            match self.options.has_ills {
                true => ills::run(self, dice(8)).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = clients => {}
            () = nemesis::run(self, dice(5)) => {}
            () = ills => {}
            () = moves => {}
            () = cuts => {}
        }
        if ends.chance(30) {
            engine.shutdown().await;
        }
    }

    /// A client that writes.
    async fn write(&self, engine: &Engine, mut dice: Dice, min: u64, max: u64) {
        for _ in 0..min + dice.below(max - min) {
            let stamp = self.stamp.fetch_add(1, Ordering::Relaxed);
            let op = Op::roll(&mut dice, stamp);
            let number = self.history.plan(op.clone());
            let Ok(mut write) = op.to_write(engine).await else {
                self.history.told(number, None);
                continue;
            };
            write.custom_metadata = Some(number.to_string());
            let result = engine.register(write).await;
            let task = result.as_ref().ok().map(|task| task.uid);
            self.history.told(number, task);
            self.history.note(self.time.now(), || {
                format!("write {number} is task {task:?}: {op:?}")
            });
            match (dice.below(4), task) {
                (0, Some(task)) => self.wait(engine, task).await,
                (1, _) => tokio::time::sleep(dice.millis(0, 1500)).await,
                _ => tokio::time::sleep(dice.millis(0, 60)).await,
            }
        }
    }

    /// A client that waits for its task, for some time.
    async fn wait(&self, engine: &Engine, task: TaskUid) {
        for _ in 0..40 {
            if engine
                .task(task)
                .await
                .is_ok_and(|task| task.status.is_final())
            {
                return;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// A client that reads.
    async fn read(&self, engine: &Engine, mut dice: Dice, count: u64) {
        for _ in 0..count {
            tokio::time::sleep(dice.millis(1, 250)).await;
            let index = dice.pick(&INDEXES);
            let ask = Ask::roll(&mut dice);
            self.ask(engine, index, &ask, false).await;
        }
    }

    async fn ask(&self, engine: &Engine, index: &'static str, ask: &Ask, is_calm: bool) {
        let (ended, _) = self.history.position();
        let result = match ask {
            Ask::Search(pred) => self.search(engine, index, pred.as_ref(), 0, HITS_MAX).await,
            Ask::Page(offset, limit) => self.search(engine, index, None, *offset, *limit).await,
            Ask::List(pred) => self.list(engine, index, pred.as_ref()).await,
            Ask::Get(id) => get(engine, index, *id).await,
        };
        let seen = result.unwrap_or_else(|error| match &error {
            EngineError::IndexNotFound(_) => Seen::NoIndex,
            EngineError::Refused { body, .. } if body["code"] == "index_not_found" => Seen::NoIndex,
            error => Seen::Error(error.to_string()),
        });
        let at = self.time.now();
        self.history.note(at, || {
            format!("read of {index} since {ended} ends: {ask:?} {seen:?}")
        });
        let appended = self.history.position().1;
        self.history.events.lock().reads.push(Read {
            at,
            target: Target::Name(index.into()),
            ended,
            appended,
            seen,
            is_calm,
        });
    }

    async fn search(
        &self,
        engine: &Engine,
        index: &str,
        pred: Option<&Pred>,
        offset: usize,
        limit: usize,
    ) -> Result<Seen, EngineError> {
        let request = SearchRequest {
            paging: Paging::Offset { offset, limit },
            filter: pred.map(|pred| json!(pred.text())),
            ..SearchRequest::default()
        };
        let answer = engine.search(&uid(index), request).await?;
        let body = parse(&answer.body);
        let documents = self.documents(index, &body["hits"]);
        if !answer.missing_shards.is_empty() {
            // It says that it lacks something: what it shows is judged, what it lacks is not.
            return Ok(Seen::Page(documents));
        }
        if limit < HITS_MAX {
            return Ok(Seen::Page(documents));
        }
        if body["estimatedTotalHits"] != json!(documents.len()) {
            self.history
                .violate(format!("{index}: the total is wrong in {body}"));
        }
        Ok(Seen::Whole(pred.cloned(), documents))
    }

    async fn list(
        &self,
        engine: &Engine,
        index: &str,
        pred: Option<&Pred>,
    ) -> Result<Seen, EngineError> {
        let query = DocumentsQuery {
            offset: 0,
            limit: HITS_MAX,
            fields: None,
            ids: None,
            filter: pred.map(|pred| json!(pred.text())),
            sort: None,
            retrieve_vectors: false,
        };
        let body = parse(&engine.documents(&uid(index), query).await?);
        Ok(Seen::Whole(
            pred.cloned(),
            self.documents(index, &body["results"]),
        ))
    }

    /// The documents of an answer, each of them once.
    fn documents(&self, index: &str, list: &Value) -> Documents {
        let mut documents = Documents::new();
        for value in list.as_array().map_or(&[][..], Vec::as_slice) {
            let document: Document = value.as_object().cloned().unwrap_or_default();
            if document.keys().any(|field| field.starts_with("_miroir_")) {
                self.history
                    .violate(format!("{index}: a reserved field is shown: {value}"));
            }
            if documents
                .insert(value["id"].to_string(), document)
                .is_some()
            {
                self.history
                    .violate(format!("{index}: document {} is shown twice", value["id"]));
            }
        }
        documents
    }

    /// The last life, in which nothing is broken: everything ends. Returns what does not.
    fn end(&self) -> Vec<String> {
        nemesis::heal_all(self);
        self.crash.set(u64::MAX);
        self.history.note(self.time.now(), || "all is well".into());
        runtime().block_on(async {
            self.time.begin();
            let mut wrong = Vec::new();
            match self.start().await {
                Ok(engine) => self.settle(&engine, &mut wrong).await,
                Err(error) => wrong.push(format!("no start although all is well: {error}")),
            }
            self.time.end();
            wrong
        })
    }

    async fn settle(&self, engine: &Engine, wrong: &mut Vec<String>) {
        // What came back changed is to be noticed first.
        tokio::time::sleep(NOTICE).await;
        let deadline = self.time.now() + SETTLE_MAX;
        let left = loop {
            let mut left = self.left().await;
            left.extend(mover::left(self, engine).await);
            left.extend(cutter::left(engine).await);
            if left.is_empty() || self.time.now() > deadline {
                break left;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        };
        wrong.extend(left);
        for index in INDEXES {
            for ask in [Ask::Search(None), Ask::List(None)] {
                self.ask(engine, index, &ask, nemesis::is_calm(self)).await;
            }
        }
        if tokio::time::timeout(SETTLE_MAX, engine.shutdown())
            .await
            .is_err()
        {
            wrong.push("the engine does not end".into());
        }
    }

    /// What is still to be done.
    async fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        {
            let events = self.history.events.lock();
            let ended: BTreeSet<u64> = events.ended.iter().map(|ended| ended.uid).collect();
            let open: Vec<u64> = (0..events.log.len() as u64)
                .filter(|uid| !ended.contains(uid))
                .collect();
            if !open.is_empty() {
                left.push(format!("tasks {open:?} never end"));
            }
            for (node, is_in_sync) in &events.in_sync {
                if !is_in_sync {
                    left.push(format!("node {node} never comes back"));
                }
            }
        }
        let open = self
            .world
            .store
            .inner()
            .load_open_batches()
            .await
            .unwrap_or_default();
        if !open.is_empty() {
            let uids: Vec<u64> = open.iter().map(|batch| batch.uid.0).collect();
            left.push(format!("batches {uids:?} are never done"));
        }
        left.extend(self.litter());
        let files = self.world.payloads.list().await.unwrap_or_default();
        if !files.is_empty() {
            left.push(format!("payload files are left: {files:?}"));
        }
        left
    }

    /// Indexes on nodes where nothing of them is placed: old copies bring them back, and they are
    /// removed soon after.
    fn litter(&self) -> Vec<String> {
        let events = self.history.events.lock();
        let mut litter = Vec::new();
        for name in self.world.fleet.names() {
            let held = self.world.fleet.on(&name, |node| {
                let names = node.indexes.keys();
                names.cloned().collect::<Vec<_>>()
            });
            let node = NodeId::new(&name);
            litter.extend(held.into_iter().filter_map(|index| {
                let sets = events.placements.get(&index);
                let is_here = sets.is_some_and(|sets| sets.iter().flatten().any(|n| *n == node));
                (!is_here).then(|| format!("{name} holds {index}, which is placed elsewhere"))
            }));
        }
        litter
    }

    /// What every node holds, and its stop word, by physical index.
    fn held(&self) -> BTreeMap<NodeId, BTreeMap<String, (Documents, Option<String>)>> {
        let of_node = |name: String| {
            let indexes = self.world.fleet.on(&name, |node| node.indexes.clone());
            let held = indexes.into_iter().map(|(physical, index)| {
                let mut documents = index.documents;
                for document in documents.values_mut() {
                    document.retain(|field, _| !field.starts_with("_miroir_"));
                }
                let word = index
                    .settings
                    .get("stopWords")
                    .and_then(|words| words[0].as_str());
                (physical, (documents, word.map(str::to_owned)))
            });
            (NodeId::new(name), held.collect())
        };
        self.world.fleet.names().into_iter().map(of_node).collect()
    }
}

async fn get(engine: &Engine, index: &str, id: u64) -> Result<Seen, EngineError> {
    let id = id.to_string();
    let document = match engine.document(&uid(index), &id, None, false).await {
        Ok(body) => parse(&body).as_object().cloned(),
        Err(EngineError::DocumentNotFound(_)) => None,
        Err(error) => return Err(error),
    };
    Ok(Seen::One(id, document))
}

fn parse(body: &[u8]) -> Value {
    serde_json::from_slice(body).expect("an answer is JSON")
}
