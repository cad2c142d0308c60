//! Shards move between nodes while writers and readers run, and whatever dies meanwhile: nobody ever
//! sees a document missing, twice or as it was, and in the end every node holds what is placed on it
//! and nothing else.

mod beside;
pub(crate) mod ceaseless;
mod course;
mod faults;
mod pace;

use crate::world::{World, add, add_by, delete_ids, edit, pass, settings, succeed, uid, write};
use miroir_core::hash::shard_of;
use miroir_core::id::{NodeId, PhysicalIndex, ShardId};
use miroir_core::rebalance::ShardMove;
use miroir_core::rebalance::movement::MovementState;
use miroir_core::search::{Paging, SearchRequest};
use miroir_core::task::{AdditionMethod, Operation};
use miroir_engine::copy::CopyConfig;
use miroir_engine::engine::DocumentsQuery;
use miroir_engine::port::Catalog;
use miroir_engine::{Engine, EngineError};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

/// Steps of the proxy at which it may die.
const STEPS: [&str; 15] = [
    "move.started",
    "move.announced",
    "move.joined",
    "move.noted",
    "refill.listed",
    "copy.read",
    "copy.committed",
    "move.verified",
    "move.switched",
    "move.dropped",
    "move.ended",
    "node.sent",
    "node.applied",
    "delivery.noted",
    "tasks.completed",
];

fn nodes(names: &[&str]) -> Vec<NodeId> {
    names.iter().map(|name| NodeId::new(*name)).collect()
}

pub(crate) fn doc(id: u64, n: u64) -> Value {
    json!({"id": id, "n": n, "kind": id % 3})
}

async fn placed(world: &World, index: &str) -> (PhysicalIndex, Vec<Vec<NodeId>>) {
    let physical = world.index(index).await.expect("an index").physical;
    let placement = world.store.load_placement(&physical).await.unwrap();
    (physical, placement.expect("a placement").1)
}

/// The moves that bring shards to where `wanted` says.
async fn moves(world: &World, index: &str, wanted: impl Fn(u32) -> Vec<NodeId>) -> Vec<ShardMove> {
    let (physical, sets) = placed(world, index).await;
    let all = (0..).zip(sets).map(|(shard, from)| ShardMove {
        index: physical.clone(),
        shard: ShardId(shard),
        from,
        to: wanted(shard),
    });
    all.filter(|one| one.from != one.to).collect()
}

/// Every shard on one of these nodes, one after the other, with so many copies.
fn spread<'a>(names: &'a [&'a str], copies: usize) -> impl Fn(u32) -> Vec<NodeId> + 'a {
    move |shard| {
        let first = shard as usize;
        let set = (first..first + copies).map(|at| names[at % names.len()]);
        nodes(&set.collect::<Vec<_>>())
    }
}

async fn start(world: &World, engine: &Engine, wanted: impl Fn(u32) -> Vec<NodeId>) -> u64 {
    let moves = moves(world, "m", wanted).await;
    engine.start_movement(moves).await.expect("a movement")
}

async fn over(engine: &Engine) -> MovementState {
    let state = || engine.movement().map(|movement| movement.state);
    for _ in 0..20_000 {
        if let Some(state) = state().filter(|state| state.is_final()) {
            return state;
        }
        pass(Duration::from_millis(5)).await;
    }
    panic!("it never ends: {:#?}", engine.movement());
}

/// Every node holds the documents of its own shards, whole, and nothing else.
async fn assert_placed(world: &World, index: &str, expected: &BTreeMap<String, Value>) {
    let (physical, sets) = placed(world, index).await;
    let shard_count = NonZeroU32::new(u32::try_from(sets.len()).unwrap()).unwrap();
    for node in world.fleet.names() {
        let is_here =
            |id: &&String| sets[shard_of(id, shard_count).0 as usize].contains(&NodeId::new(&node));
        let right: BTreeMap<String, Value> = expected
            .keys()
            .filter(is_here)
            .map(|id| (id.clone(), expected[id].clone()))
            .collect();
        assert_eq!(world.fleet.documents(&node, index), right, "on {node}");
        let holds_any = sets.iter().flatten().any(|other| other.as_str() == node);
        let has_index = world
            .fleet
            .on(&node, |node| node.indexes.contains_key(physical.as_str()));
        assert_eq!(has_index, holds_any, "{node} has {physical}");
    }
    let fact = world.store.load_fact(&format!("placing/{physical}")).await;
    let fact = fact.unwrap().unwrap_or(Value::Null);
    assert_eq!(fact.get("transit"), None, "nothing is on its way: {fact}");
}

/// What documents were and are, for a single writer that waits for each of its tasks.
#[derive(Default)]
pub(crate) struct Model {
    /// Whole contents, oldest first; all but perhaps the last were reported.
    versions: RefCell<Vec<BTreeMap<String, Value>>>,
    reported: Cell<usize>,
    pub(crate) is_over: Cell<bool>,
    pub(crate) reads: Cell<usize>,
}

impl Model {
    pub(crate) fn now(&self) -> BTreeMap<String, Value> {
        self.versions.borrow().last().cloned().unwrap_or_default()
    }

    /// Carries out a write on the model and on the engine.
    pub(crate) async fn write(
        &self,
        engine: &Engine,
        write: miroir_engine::engine::Write,
        change: impl FnOnce(&mut BTreeMap<String, Value>),
    ) {
        let mut next = self.now();
        change(&mut next);
        self.versions.borrow_mut().push(next);
        succeed(engine, write).await;
        self.reported.set(self.versions.borrow().len());
    }

    pub(crate) async fn one_of_every_kind(&self, engine: &Engine, round: u64) {
        let stamp = 1000 + round;
        let id = round % 40;
        self.write(
            engine,
            add("m", &[doc(id, stamp), doc(200 + id, stamp)]),
            |all| {
                all.insert(id.to_string(), doc(id, stamp));
                all.insert((200 + id).to_string(), doc(200 + id, stamp));
            },
        )
        .await;
        let other = (round * 7) % 60;
        let partial = [json!({"id": other, "p": stamp})];
        let update = add_by(AdditionMethod::Update, "m", &partial);
        self.write(engine, update, |all| {
            let known = all
                .entry(other.to_string())
                .or_insert_with(|| json!({"id": other}));
            known["p"] = json!(stamp);
        })
        .await;
        let gone = ((round * 5) % 60).to_string();
        self.write(engine, delete_ids("m", &[&gone]), |all| {
            all.remove(&gone);
        })
        .await;
        if round.is_multiple_of(3) {
            let filter = json!(format!("n = {}", 1000 + round.saturating_sub(2)));
            let kept = 1000 + round.saturating_sub(2);
            let by_filter = write("m", Operation::DeleteByFilter { filter });
            self.write(engine, by_filter, |all| {
                all.retain(|_, document| document["n"] != json!(kept));
            })
            .await;
        }
        if round.is_multiple_of(4) {
            let choice = round % 3;
            let function = edit("m", "n += 1", Some(&format!("kind = {choice}")));
            self.write(engine, function, |all| {
                for document in all.values_mut() {
                    if document["kind"] == json!(choice) {
                        let n = document["n"].as_u64().unwrap_or(0);
                        document["n"] = json!(n + 1);
                    }
                }
            })
            .await;
        }
        if round.is_multiple_of(5) {
            let words = settings("m", json!({"stopWords": [stamp.to_string()]}));
            self.write(engine, words, |_| {}).await;
        }
    }

    /// Reads until all is over, and compares.
    pub(crate) async fn keep_reading(&self, engine: &Engine) {
        while !self.is_over.get() {
            for is_search in [true, false] {
                let from = self.reported.get().saturating_sub(1);
                let seen = match is_search {
                    true => search(engine).await,
                    false => list(engine).await,
                };
                if let Ok(seen) = seen {
                    self.judge(from, &seen);
                    self.reads.set(self.reads.get() + 1);
                }
            }
            pass(Duration::from_millis(29)).await;
        }
    }

    fn judge(&self, from: usize, seen: &BTreeMap<String, Value>) {
        let versions = self.versions.borrow();
        let ids: BTreeSet<&String> = versions[from..]
            .iter()
            .flat_map(BTreeMap::keys)
            .chain(seen.keys())
            .collect();
        for id in ids {
            let may_be = versions[from..].iter().map(|all| all.get(id));
            let may_be: Vec<Option<&Value>> = may_be.collect();
            assert!(
                may_be.contains(&seen.get(id)),
                "document {id} is {:?} and may be {may_be:?}",
                seen.get(id)
            );
        }
    }
}

fn by_id(list: &Value) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for document in list.as_array().expect("a list") {
        let before = all.insert(document["id"].to_string(), document.clone());
        assert!(
            before.is_none(),
            "document {} is shown twice",
            document["id"]
        );
    }
    all
}

pub(crate) async fn search(engine: &Engine) -> Result<BTreeMap<String, Value>, EngineError> {
    let request = SearchRequest {
        paging: Paging::Offset {
            offset: 0,
            limit: 1000,
        },
        ..SearchRequest::default()
    };
    let answer = engine.search(&uid("m"), request).await?;
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let seen = by_id(&body["hits"]);
    assert_eq!(body["estimatedTotalHits"], json!(seen.len()), "the total");
    Ok(seen)
}

pub(crate) async fn list(engine: &Engine) -> Result<BTreeMap<String, Value>, EngineError> {
    let query = DocumentsQuery {
        offset: 0,
        limit: 1000,
        fields: None,
        ids: None,
        filter: None,
        sort: None,
        retrieve_vectors: false,
    };
    let body = engine.documents(&uid("m"), query).await?;
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let seen = by_id(&body["results"]);
    assert_eq!(body["total"], json!(seen.len()), "the total");
    Ok(seen)
}

/// A small copy rate, so that much happens during a move.
fn slow() -> CopyConfig {
    CopyConfig {
        documents_per_second: 200,
        ..CopyConfig::default()
    }
}

pub(crate) fn world(names: &[&str], shard_count: u32, copies: u32) -> World {
    let mut world = World::new(names, shard_count, copies);
    world.copy = slow();
    world
}

pub(crate) async fn populate(engine: &Engine, model: &Model) {
    let all: Vec<Value> = (0..60).map(|id| doc(id, id)).collect();
    model
        .write(engine, settings("m", json!({"stopWords": ["the"]})), |_| {})
        .await;
    model
        .write(engine, add("m", &all), |known| {
            known.extend(all.iter().map(|d| (d["id"].to_string(), d.clone())));
        })
        .await;
}

/// Writes and reads go on until the movement is over, and a little longer.
async fn busy(world: &World, engine: &Engine, model: &Model, from_round: u64) -> MovementState {
    model.is_over.set(false);
    let writer = async {
        let mut round = from_round;
        let mut state = None;
        while state.is_none() {
            model.one_of_every_kind(engine, round).await;
            round += 1;
            let movement = engine.movement().expect("a movement");
            state = movement.state.is_final().then_some(movement.state);
            if round > from_round + 600 {
                let open = world.open_batches().await;
                let topology = engine.topology().await.unwrap();
                panic!("it never ends: {movement:?} {open:?} {topology:#?}");
            }
            pass(Duration::from_millis(60)).await;
        }
        model.one_of_every_kind(engine, round).await;
        model.is_over.set(true);
        state.expect("it is over")
    };
    let (state, ()) = futures::join!(writer, model.keep_reading(engine));
    state
}
