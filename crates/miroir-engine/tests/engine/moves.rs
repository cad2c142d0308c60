//! Shards move between nodes while writers and readers run, and whatever dies meanwhile: nobody ever
//! sees a document missing, twice or as it was, and in the end every node holds what is placed on it
//! and nothing else.

use crate::world::{
    World, add, add_by, delete_ids, drop_index, edit, ended, pass, register, rename, settings,
    succeed, uid, until, write,
};
use miroir_core::hash::shard_of;
use miroir_core::id::{NodeId, PhysicalIndex, ShardId};
use miroir_core::rebalance::ShardMove;
use miroir_core::rebalance::movement::{MoveState, MovementState};
use miroir_core::search::{Paging, SearchRequest};
use miroir_core::task::{AdditionMethod, Operation, TaskStatus};
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

fn doc(id: u64, n: u64) -> Value {
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
struct Model {
    /// Whole contents, oldest first; all but perhaps the last were reported.
    versions: RefCell<Vec<BTreeMap<String, Value>>>,
    reported: Cell<usize>,
    is_over: Cell<bool>,
    reads: Cell<usize>,
}

impl Model {
    fn now(&self) -> BTreeMap<String, Value> {
        self.versions.borrow().last().cloned().unwrap_or_default()
    }

    /// Carries out a write on the model and on the engine.
    async fn write(
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

    async fn one_of_every_kind(&self, engine: &Engine, round: u64) {
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
    async fn keep_reading(&self, engine: &Engine) {
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

async fn search(engine: &Engine) -> Result<BTreeMap<String, Value>, EngineError> {
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

async fn list(engine: &Engine) -> Result<BTreeMap<String, Value>, EngineError> {
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

fn world(names: &[&str], shard_count: u32, copies: u32) -> World {
    let mut world = World::new(names, shard_count, copies);
    world.copy = slow();
    world
}

async fn populate(engine: &Engine, model: &Model) {
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

#[test]
fn a_cluster_grows_from_one_node_to_three_while_it_is_written_and_read() {
    let world = world(&["a", "b", "c"], 6, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        start(&world, &engine, |_| nodes(&["a"])).await;
        assert_eq!(busy(&world, &engine, &model, 0).await, MovementState::Done);
        assert_placed(&world, "m", &model.now()).await;
        for (from_round, names) in [(100, &["a", "b"][..]), (200, &["a", "b", "c"])] {
            start(&world, &engine, spread(names, 1)).await;
            assert_eq!(
                busy(&world, &engine, &model, from_round).await,
                MovementState::Done
            );
            world.settled().await;
            assert_placed(&world, "m", &model.now()).await;
            let status = engine.movement().unwrap();
            assert_eq!(status.moves_done, status.moves_total);
            assert!(
                status.documents > 0 && status.waits_for.is_none(),
                "{status:?}"
            );
        }
        assert!(model.reads.get() > 50, "{} reads", model.reads.get());
        assert_eq!(world.payload_count().await, 0, "nothing is left over");
    });
}

#[test]
fn a_node_is_drained_and_a_dead_one_replaced() {
    for is_dead in [false, true] {
        let world = world(&["a", "b", "c", "d"], 4, 2);
        world.run(async |engine| {
            let model = Model::default();
            populate(&engine, &model).await;
            start(&world, &engine, spread(&["a", "b", "c"], 2)).await;
            assert_eq!(over(&engine).await, MovementState::Done);
            world
                .fleet
                .set("b", |faults| faults.is_unreachable = is_dead);
            let (_, sets) = placed(&world, "m").await;
            let without_b = |shard: u32| -> Vec<NodeId> {
                let set = sets[shard as usize].iter().cloned();
                set.map(|node| match node.as_str() {
                    "b" => NodeId::new("d"),
                    _ => node,
                })
                .collect()
            };
            start(&world, &engine, without_b).await;
            assert_eq!(busy(&world, &engine, &model, 10).await, MovementState::Done);
            let retired = engine.retire_nodes(nodes(&["b"])).await;
            retired.expect("nothing of it is needed");
            world.settled().await;
            // What a dead node still holds is its own affair.
            world.fleet.on("b", |node| node.indexes.clear());
            for _ in 0..400 {
                pass(Duration::from_millis(10)).await;
            }
            assert_placed(&world, "m", &model.now()).await;
        });
    }
}

#[test]
fn the_number_of_copies_goes_up_and_down() {
    let world = world(&["a", "b", "c"], 4, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        for (round, copies) in [(0, 2), (100, 3), (200, 1), (300, 2)] {
            let wanted = spread(&["a", "b", "c"], copies);
            start(&world, &engine, wanted).await;
            assert_eq!(
                busy(&world, &engine, &model, round).await,
                MovementState::Done
            );
            world.settled().await;
            assert_placed(&world, "m", &model.now()).await;
            let record = world.index("m").await.unwrap();
            assert_eq!(record.replication_factor as usize, copies);
        }
    });
}

#[test]
fn a_crash_at_any_step_of_a_move_loses_nothing() {
    for step in STEPS {
        for nth in [0, 1, 4] {
            let world = world(&["a", "b", "c"], 4, 1);
            let model = Model::default();
            world.run(async |engine| {
                populate(&engine, &model).await;
                start(&world, &engine, |_| nodes(&["a"])).await;
                over(&engine).await;
            });
            world.run_until_step(step, nth, async |engine| {
                start(&world, &engine, spread(&["b", "c"], 1)).await;
                over(&engine).await;
            });
            world.run(async |engine| {
                let (_, sets) = placed(&world, "m").await;
                let is_begun = engine.movement().is_some_and(|m| m.id == 2);
                if !is_begun && sets.iter().flatten().all(|node| node.as_str() == "a") {
                    start(&world, &engine, spread(&["b", "c"], 1)).await;
                }
                let state = busy(&world, &engine, &model, 3).await;
                assert_eq!(state, MovementState::Done, "crash at {step} {nth}");
                world.settled().await;
                pass(Duration::from_secs(3)).await;
                assert_placed(&world, "m", &model.now()).await;
                assert_eq!(world.payload_count().await, 0, "crash at {step} {nth}");
            });
        }
    }
}

#[test]
fn a_movement_cancelled_at_any_step_leaves_a_whole_index_and_nothing_else() {
    for step in STEPS {
        for nth in [0, 2] {
            let world = world(&["a", "b", "c"], 4, 1);
            let model = Model::default();
            world.run(async |engine| {
                populate(&engine, &model).await;
                start(&world, &engine, |_| nodes(&["a"])).await;
                over(&engine).await;
            });
            world.run_until_step(step, nth, async |engine| {
                start(&world, &engine, spread(&["b", "c"], 1)).await;
                over(&engine).await;
            });
            world.run(async |engine| {
                let is_open = engine.movement().is_some_and(|m| !m.state.is_final());
                if is_open {
                    engine.cancel_movement().await.unwrap();
                    busy(&world, &engine, &model, 3).await;
                    let status = engine.movement().unwrap();
                    assert!(
                        status.moves.iter().all(|one| one.state.is_final()),
                        "{status:#?}"
                    );
                }
                world.settled().await;
                pass(Duration::from_secs(3)).await;
                assert_placed(&world, "m", &model.now()).await;
                assert_eq!(world.payload_count().await, 0, "cancelled at {step} {nth}");
            });
        }
    }
}

#[test]
fn a_movement_stands_still_while_paused_and_goes_on_when_resumed() {
    let world = world(&["a", "b"], 4, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        start(&world, &engine, |_| nodes(&["a"])).await;
        over(&engine).await;
        start(&world, &engine, |_| nodes(&["b"])).await;
        pass(Duration::from_millis(150)).await;
        engine.pause_movement().await.unwrap();
        pass(Duration::from_secs(2)).await;
        let before = engine.movement().unwrap();
        assert_eq!(before.state, MovementState::Paused);
        model.one_of_every_kind(&engine, 1).await;
        pass(Duration::from_secs(5)).await;
        assert_eq!(engine.movement().unwrap().documents, before.documents);
        engine.resume_movement().await.unwrap();
        assert_eq!(busy(&world, &engine, &model, 2).await, MovementState::Done);
        assert_placed(&world, "m", &model.now()).await;
        assert!(
            engine.resume_movement().await.is_err(),
            "nothing stands still"
        );
        assert!(
            engine.cancel_movement().await.is_err(),
            "nothing is under way"
        );
    });
}

#[test]
fn a_target_that_dies_or_loses_its_data_is_filled_again_from_the_beginning() {
    for (step, nth) in [
        ("move.announced", 0),
        ("move.joined", 0),
        ("copy.committed", 3),
        ("move.verified", 0),
        ("move.switched", 0),
    ] {
        for is_wiped in [false, true] {
            println!("{step}, wiped: {is_wiped}");
            // With two copies, so that what a wiped node held is had elsewhere.
            let world = world(&["a", "b", "c"], 4, 2);
            let model = Model::default();
            world.run(async |engine| {
                populate(&engine, &model).await;
                start(&world, &engine, |_| nodes(&["a", "b"])).await;
                over(&engine).await;
            });
            let strike = move |fleet: &crate::node::Fleet| {
                fleet.set("c", |faults| faults.is_unreachable = true);
                if is_wiped {
                    fleet.on("c", |node| node.wipe());
                }
            };
            world.run_with_step(step, nth, strike, async |engine| {
                start(&world, &engine, |_| nodes(&["a", "c"])).await;
                for round in 0..3 {
                    model.one_of_every_kind(&engine, round).await;
                    pass(Duration::from_secs(2)).await;
                }
                world.fleet.set("c", |faults| faults.is_unreachable = false);
                let state = busy(&world, &engine, &model, 10).await;
                assert_eq!(state, MovementState::Done, "{step}, wiped: {is_wiped}");
                for node in ["a", "b", "c"] {
                    world.in_sync_is(node, true).await;
                }
                world.settled().await;
                pass(Duration::from_secs(3)).await;
                assert_placed(&world, "m", &model.now()).await;
            });
        }
    }
}

#[test]
fn a_source_that_dies_is_replaced_by_another_replica() {
    let world = world(&["a", "b", "c"], 4, 2);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        start(&world, &engine, |_| nodes(&["a", "b"])).await;
        over(&engine).await;
        start(&world, &engine, |_| nodes(&["c", "b"])).await;
        pass(Duration::from_millis(200)).await;
        world.fleet.set("a", |faults| faults.is_unreachable = true);
        assert_eq!(busy(&world, &engine, &model, 0).await, MovementState::Done);
        world.fleet.set("a", |faults| faults.is_unreachable = false);
        world.in_sync_is("a", true).await;
        world.settled().await;
        pass(Duration::from_secs(3)).await;
        assert_placed(&world, "m", &model.now()).await;
    });
}

#[test]
fn a_replica_that_was_away_is_level_after_its_shards_moved() {
    let world = world(&["a", "b", "c"], 4, 2);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        start(&world, &engine, |_| nodes(&["a", "b"])).await;
        over(&engine).await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        for round in 0..4 {
            model.one_of_every_kind(&engine, round).await;
        }
        // Half of what it is owed is no longer its own when it is back.
        let wanted = |shard: u32| match shard % 2 {
            0 => nodes(&["a", "c"]),
            _ => nodes(&["a", "b"]),
        };
        start(&world, &engine, wanted).await;
        assert_eq!(busy(&world, &engine, &model, 10).await, MovementState::Done);
        world.fleet.set("b", |faults| faults.is_unreachable = false);
        world.in_sync_is("b", true).await;
        world.settled().await;
        pass(Duration::from_secs(3)).await;
        assert_placed(&world, "m", &model.now()).await;
    });
}

#[test]
fn a_write_that_only_a_joining_replica_fails_fails_for_nobody() {
    let world = world(&["a", "b"], 4, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        // Half of the shards are read from b, the others join it.
        start(&world, &engine, spread(&["a", "b"], 1)).await;
        over(&engine).await;
        let (_, sets) = placed(&world, "m").await;
        let shard_count = NonZeroU32::new(4).unwrap();
        let id = (0..60u64)
            .find(|id| sets[shard_of(&id.to_string(), shard_count).0 as usize] == nodes(&["a"]))
            .expect("a document on a alone");
        let other = (0..60u64)
            .find(|id| sets[shard_of(&id.to_string(), shard_count).0 as usize] == nodes(&["b"]))
            .expect("a document on b alone");
        start(&world, &engine, |_| nodes(&["b"])).await;
        let is_copying = || {
            let movement = engine.movement().unwrap();
            movement
                .moves
                .iter()
                .any(|one| one.state == MoveState::Copying)
        };
        until("it joins", is_copying).await;
        world.fleet.set("b", |faults| {
            faults.allergies.insert(id.to_string());
        });
        let both = [doc(id, 7), doc(other, 7)];
        model
            .write(&engine, add("m", &both), |all| {
                all.insert(id.to_string(), doc(id, 7));
                all.insert(other.to_string(), doc(other, 7));
            })
            .await;
        assert!(world.node("b").await.is_in_sync, "it did what it has to do");
        world.fleet.set("b", |faults| faults.allergies.clear());
        assert_eq!(busy(&world, &engine, &model, 0).await, MovementState::Done);
        world.settled().await;
        assert_placed(&world, "m", &model.now()).await;
    });
}

#[test]
fn what_a_deletion_counts_is_what_one_node_would_count() {
    let world = world(&["a", "b"], 4, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        start(&world, &engine, spread(&["a", "b"], 1)).await;
        over(&engine).await;
        start(&world, &engine, |_| nodes(&["b"])).await;
        pass(Duration::from_millis(200)).await;
        let filter = json!("kind = 1");
        let by_filter = succeed(&engine, write("m", Operation::DeleteByFilter { filter })).await;
        assert_eq!(by_filter.details["deletedDocuments"], 20);
        let by_id = succeed(&engine, delete_ids("m", &["0", "2", "3", "5"])).await;
        assert_eq!(by_id.details["deletedDocuments"], 4);
        let edited = succeed(&engine, edit("m", "n += 1", None)).await;
        assert_eq!(edited.details["editedDocuments"], 36);
        let all = succeed(&engine, write("m", Operation::DeleteAllDocuments)).await;
        assert_eq!(all.details["deletedDocuments"], 36);
        assert!(
            !engine.movement().unwrap().state.is_final(),
            "it was under way"
        );
        over(&engine).await;
        world.settled().await;
        assert_placed(&world, "m", &BTreeMap::new()).await;
    });
}

#[test]
fn an_index_removed_renamed_or_made_anew_while_it_moves_is_as_it_should_be() {
    for what in ["drop", "rename", "anew"] {
        let world = world(&["a", "b"], 4, 1);
        world.run(async |engine| {
            let model = Model::default();
            populate(&engine, &model).await;
            start(&world, &engine, |_| nodes(&["a"])).await;
            over(&engine).await;
            start(&world, &engine, |_| nodes(&["b"])).await;
            pass(Duration::from_millis(200)).await;
            match what {
                "rename" => drop(succeed(&engine, rename("m", "renamed")).await),
                _ => drop(succeed(&engine, drop_index("m")).await),
            }
            if what == "anew" {
                succeed(&engine, add("m", &[doc(1, 1)])).await;
            }
            over(&engine).await;
            world.settled().await;
            pass(Duration::from_secs(3)).await;
            let names = |node: &str| {
                world.fleet.on(node, |node| {
                    node.indexes.keys().cloned().collect::<Vec<_>>()
                })
            };
            match what {
                "drop" => assert_eq!([names("a"), names("b")].concat(), Vec::<String>::new()),
                "rename" => {
                    // Its documents bear the old name on the nodes.
                    let (_, sets) = placed(&world, "renamed").await;
                    assert!(sets.iter().all(|set| *set == nodes(&["b"])));
                    assert_eq!(world.fleet.documents("b", "m"), model.now());
                    assert!(names("a").is_empty());
                }
                _ => {
                    let one = BTreeMap::from([("1".to_owned(), doc(1, 1))]);
                    assert_placed(&world, "m", &one).await;
                }
            }
            assert_eq!(world.payload_count().await, 0);
        });
    }
}

#[test]
fn a_movement_is_refused_by_name_where_it_cannot_be() {
    let world = world(&["a", "b"], 4, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        start(&world, &engine, |_| nodes(&["a"])).await;
        over(&engine).await;
        let right = moves(&world, "m", |_| nodes(&["b"])).await;
        let refusal = async |change: &dyn Fn(&mut Vec<ShardMove>)| {
            let mut moves = right.clone();
            change(&mut moves);
            engine.start_movement(moves).await.unwrap_err().to_string()
        };
        let text = refusal(&|moves| moves[2].from = nodes(&["b"])).await;
        assert!(
            text.contains("shard 2 of m__0 is no longer where"),
            "{text}"
        );
        let text = refusal(&|moves| moves[1].to = nodes(&["x"])).await;
        assert!(text.contains("x, which is no node"), "{text}");
        let text = refusal(&|moves| moves[1].to.clear()).await;
        assert!(text.contains("shard 1 of m__0 would be nowhere"), "{text}");
        let text = refusal(&|moves| {
            let again = moves[0].clone();
            moves.push(again);
        })
        .await;
        assert!(text.contains("shard 0 of m__0 is named twice"), "{text}");
        engine.start_movement(right.clone()).await.unwrap();
        let text = engine.start_movement(right).await.unwrap_err().to_string();
        assert!(text.contains("movement 2 is under way"), "{text}");
        over(&engine).await;
    });
}

#[test]
fn a_movement_tells_what_it_waits_for() {
    let world = world(&["a", "b"], 4, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        start(&world, &engine, |_| nodes(&["a"])).await;
        over(&engine).await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        pass(Duration::from_secs(3)).await;
        start(&world, &engine, |_| nodes(&["b"])).await;
        pass(Duration::from_secs(2)).await;
        let wait = engine.movement().unwrap().waits_for.expect("a reason");
        assert_eq!(wait.what, "node b");
        // Clients notice nothing of it.
        model.one_of_every_kind(&engine, 1).await;
        world.fleet.set("b", |faults| faults.is_unreachable = false);
        assert_eq!(busy(&world, &engine, &model, 2).await, MovementState::Done);
    });
}

/// A read that is planned when a node holds two shards, and reaches the node when it holds more, or
/// fewer, shows what it would have shown before.
#[test]
fn reads_that_take_long_see_nothing_of_a_move() {
    let mut world = world(&["a", "b"], 4, 1);
    world.copy = CopyConfig::default();
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        start(&world, &engine, spread(&["a", "b"], 1)).await;
        over(&engine).await;
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| {
                faults.read_delay = Duration::from_millis(300)
            });
        }
        start(&world, &engine, spread(&["b", "a"], 1)).await;
        let reader = async |number: u64| {
            pass(Duration::from_millis(number * 37)).await;
            while !engine.movement().unwrap().state.is_final() {
                let seen = search(&engine).await.expect("an answer");
                assert_eq!(seen, model.now());
                let seen = list(&engine).await.expect("an answer");
                assert_eq!(seen, model.now());
            }
        };
        futures::future::join_all((0..8).map(reader)).await;
        for node in ["a", "b"] {
            world
                .fleet
                .set(node, |faults| faults.read_delay = Duration::ZERO);
        }
        world.settled().await;
        assert_placed(&world, "m", &model.now()).await;
    });
}

#[test]
fn a_write_in_flight_is_not_lost_when_a_move_begins_behind_it() {
    let world = world(&["a", "b"], 4, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        start(&world, &engine, |_| nodes(&["a"])).await;
        over(&engine).await;
        world.fleet.set("a", |faults| faults.is_holding = true);
        let task = register(&engine, add("m", &[doc(500, 1)])).await;
        start(&world, &engine, |_| nodes(&["b"])).await;
        pass(Duration::from_secs(4)).await;
        world.fleet.set("a", |faults| faults.is_holding = false);
        assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
        over(&engine).await;
        let mut expected = model.now();
        expected.insert("500".into(), doc(500, 1));
        world.settled().await;
        assert_placed(&world, "m", &expected).await;
    });
}
