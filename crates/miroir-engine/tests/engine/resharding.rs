//! Indexes are cut into another number of shards while writers and readers run, and whatever dies
//! meanwhile: nobody ever sees a document missing, twice or as it was, and in the end the nodes hold
//! one of the two and nothing of the other.

use crate::moves::ceaseless::Writer;
use crate::moves::{Model, doc, populate, world};
use crate::world::{
    World, add, add_by, delete_ids, drop_index, pass, rename, settings, succeed, swap, uid, until,
    write,
};
use miroir_api::admin::{PlanRequest, Reshard, TopologyChange};
use miroir_core::hash::shard_of;
use miroir_core::id::{NodeId, PhysicalIndex};
use miroir_core::reserved::decode_shard_tag;
use miroir_core::task::{AdditionMethod, Operation};
use miroir_engine::Engine;
use miroir_engine::port::Catalog;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

/// Steps of the proxy at which it may die.
const STEPS: [&str; 16] = [
    "reshard.started",
    "reshard.created",
    "reshard.noted",
    "refill.listed",
    "copy.read",
    "copy.committed",
    "reshard.copied",
    "reshard.verified",
    "reshard.switched",
    "reshard.detached",
    "reshard.dropped",
    "reshard.ended",
    "node.sent",
    "node.applied",
    "delivery.noted",
    "tasks.completed",
];

const DAY: Duration = Duration::from_hours(24);

fn last(engine: &Engine) -> Reshard {
    engine.reshards().pop().expect("a re-shard")
}

fn is_over(reshard: &Reshard) -> bool {
    matches!(reshard.state.as_str(), "done" | "cancelled" | "wayBackLost")
}

/// Writes and reads go on until the last re-shard stands so, and a little longer.
async fn busy(
    engine: &Engine,
    model: &Model,
    from_round: u64,
    is_so: impl Fn(&Reshard) -> bool,
) -> Reshard {
    model.is_over.set(false);
    let writer = async {
        let mut round = from_round;
        loop {
            model.one_of_every_kind(engine, round).await;
            round += 1;
            let reshard = last(engine);
            if is_so(&reshard) {
                model.one_of_every_kind(engine, round).await;
                model.is_over.set(true);
                return reshard;
            }
            assert!(round < from_round + 600, "it never ends: {reshard:#?}");
            pass(Duration::from_millis(60)).await;
        }
    };
    let (reshard, ()) = futures::join!(writer, model.keep_reading(engine));
    reshard
}

async fn stands(engine: &Engine, state: &str) {
    for _ in 0..20_000 {
        if last(engine).state == state {
            return;
        }
        pass(Duration::from_millis(5)).await;
    }
    panic!("it never is {state}: {:#?}", last(engine));
}

async fn shards(world: &World, index: &str) -> (PhysicalIndex, u32) {
    let record = world.index(index).await.expect("an index");
    (record.physical, record.shard_count)
}

/// What a node holds of a physical index, without reserved fields; each document has the tag of its
/// shard.
fn held(
    world: &World,
    node: &str,
    physical: &PhysicalIndex,
    shard_count: u32,
) -> Option<BTreeMap<String, Value>> {
    let count = NonZeroU32::new(shard_count).unwrap();
    world.fleet.on(node, |node| {
        node.work();
        let index = node.indexes.get(physical.as_str())?;
        let all = index.documents.iter().map(|(id, document)| {
            let tag = document["_miroir_shard"].as_str().expect("a tag");
            assert_eq!(decode_shard_tag(tag), Some(shard_of(id, count)), "{id}");
            assert!(document.contains_key("_miroir_seq"), "{id}");
            let mut document = document.clone();
            document.retain(|field, _| !field.starts_with("_miroir_"));
            (id.clone(), Value::Object(document))
        });
        Some(all.collect())
    })
}

/// Every node holds of this physical index what its shards are, and nothing else.
async fn assert_whole(
    world: &World,
    physical: &PhysicalIndex,
    shard_count: u32,
    expected: &BTreeMap<String, Value>,
) {
    let count = NonZeroU32::new(shard_count).unwrap();
    let placement = world.store.load_placement(physical).await.unwrap();
    let (_, sets) = placement.expect("a placement");
    assert_eq!(sets.len(), shard_count as usize);
    for name in world.fleet.names() {
        let node = NodeId::new(&name);
        let of_node = |id: &String| sets[shard_of(id, count).0 as usize].contains(&node);
        let right: BTreeMap<String, Value> = expected
            .iter()
            .filter(|(id, _)| of_node(id))
            .map(|(id, document)| (id.clone(), document.clone()))
            .collect();
        let here = held(world, &name, physical, shard_count);
        assert_eq!(here.unwrap_or_default(), right, "{physical} on {name}");
    }
}

/// The index is whole, and nothing of another is anywhere.
async fn assert_alone(world: &World, index: &str, expected: &BTreeMap<String, Value>) {
    world.settled().await;
    let (physical, shard_count) = shards(world, index).await;
    assert_whole(world, &physical, shard_count, expected).await;
    for name in world.fleet.names() {
        let strangers: Vec<String> = world.fleet.on(&name, |node| {
            node.work();
            let names = node.indexes.keys();
            names.filter(|n| *n != physical.as_str()).cloned().collect()
        });
        assert!(strangers.is_empty(), "{name} has {strangers:?}");
    }
    assert_eq!(world.payload_count().await, 0, "nothing is left over");
}

/// Carries an open re-shard to the way back, and lets that go.
async fn finish(engine: &Engine, model: &Model, from_round: u64) {
    let settled = |reshard: &Reshard| reshard.state == "wayBackKept" || is_over(reshard);
    busy(engine, model, from_round, settled).await;
    if last(engine).state == "wayBackKept" {
        engine.steer_reshard(&uid("m"), "drop").await.unwrap();
        busy(engine, model, from_round + 300, is_over).await;
    }
}

#[test]
fn an_index_is_cut_finer_and_coarser_while_it_is_written_and_read() {
    for copies in [1, 2] {
        let world = world(&["a", "b", "c"], 8, copies);
        world.run(async |engine| {
            let model = Model::default();
            populate(&engine, &model).await;
            for (round, count) in [(0, 32), (300, 8)] {
                let (before, _) = shards(&world, "m").await;
                engine.reshard(&uid("m"), count, DAY).await.unwrap();
                let kept = busy(&engine, &model, round, |r| r.state == "wayBackKept").await;
                assert_eq!(kept.shards, count);
                assert!(
                    kept.documents > 0 && kept.way_back_until.is_some(),
                    "{kept:?}"
                );
                let (physical, shard_count) = shards(&world, "m").await;
                assert_ne!(physical, before);
                assert_eq!(shard_count, count);
                // The way back holds all that was written since.
                world.settled().await;
                assert_whole(&world, &physical, count, &model.now()).await;
                assert_whole(&world, &before, 40 - count, &model.now()).await;
                assert_eq!(engine.indexes().len(), 1, "one index is listed");
                engine.steer_reshard(&uid("m"), "drop").await.unwrap();
                busy(&engine, &model, round + 150, is_over).await;
                assert_eq!(last(&engine).state, "done");
                assert_alone(&world, "m", &model.now()).await;
            }
            assert!(model.reads.get() > 50, "{} reads", model.reads.get());
            assert!(engine.orphans().await.unwrap().is_empty());
        });
    }
}

#[test]
fn a_crash_at_any_step_of_a_reshard_loses_nothing() {
    for step in STEPS {
        for nth in [0, 1, 4] {
            println!("crash at {step} {nth}");
            let world = world(&["a", "b"], 3, 1);
            let model = Model::default();
            world.run(async |engine| populate(&engine, &model).await);
            world.run_until_step(step, nth, async |engine| {
                engine.reshard(&uid("m"), 8, DAY).await.unwrap();
                stands(&engine, "wayBackKept").await;
                engine.steer_reshard(&uid("m"), "drop").await.unwrap();
                stands(&engine, "done").await;
            });
            world.run(async |engine| {
                let (_, count) = shards(&world, "m").await;
                if engine.reshards().is_empty() && count == 3 {
                    engine.reshard(&uid("m"), 8, DAY).await.unwrap();
                }
                finish(&engine, &model, 3).await;
                assert_eq!(shards(&world, "m").await.1, 8);
                assert_alone(&world, "m", &model.now()).await;
            });
        }
    }
}

#[test]
fn a_reshard_cancelled_at_any_step_leaves_the_index_as_it_was() {
    for step in STEPS {
        for nth in [0, 2] {
            println!("cancelled at {step} {nth}");
            let world = world(&["a", "b"], 3, 1);
            let model = Model::default();
            world.run(async |engine| populate(&engine, &model).await);
            world.run_until_step(step, nth, async |engine| {
                engine.reshard(&uid("m"), 8, DAY).await.unwrap();
                stands(&engine, "wayBackKept").await;
            });
            world.run(async |engine| {
                let open = engine.reshards().pop().filter(|one| !is_over(one));
                if let Some(open) = open {
                    let is_switched = open.shards == 8;
                    let cancelled = engine.steer_reshard(&uid("m"), "cancel").await;
                    assert_eq!(cancelled.is_err(), is_switched, "{open:?}");
                    if is_switched {
                        engine.steer_reshard(&uid("m"), "back").await.unwrap();
                        let returned = |one: &Reshard| one.shards == 3;
                        busy(&engine, &model, 3, returned).await;
                        engine.steer_reshard(&uid("m"), "drop").await.unwrap();
                    }
                    busy(&engine, &model, 200, is_over).await;
                }
                assert_eq!(shards(&world, "m").await.1, 3);
                assert_alone(&world, "m", &model.now()).await;
            });
        }
    }
}

#[test]
fn readers_go_back_and_forth_and_the_way_back_ends_by_itself() {
    let world = world(&["a", "b"], 4, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        let keep = Duration::from_secs(90);
        engine.reshard(&uid("m"), 6, keep).await.unwrap();
        busy(&engine, &model, 0, |one| one.state == "wayBackKept").await;
        for (round, count) in [(100, 4), (200, 6)] {
            engine.steer_reshard(&uid("m"), "back").await.unwrap();
            let is_back = |one: &Reshard| one.shards == count && one.state == "wayBackKept";
            busy(&engine, &model, round, is_back).await;
            assert_eq!(shards(&world, "m").await.1, count);
        }
        assert!(engine.reshard(&uid("m"), 9, keep).await.is_err());
        busy(&engine, &model, 300, |_| true).await;
        // The clock of the wall goes with that of the test.
        for _ in 0..200 {
            pass(Duration::from_secs(1)).await;
        }
        stands(&engine, "done").await;
        assert_eq!(shards(&world, "m").await.1, 6);
        assert_alone(&world, "m", &model.now()).await;
    });
}

#[test]
fn a_reshard_stands_still_while_paused_and_goes_on_when_resumed() {
    let world = world(&["a", "b"], 4, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        engine.reshard(&uid("m"), 6, DAY).await.unwrap();
        until("it copies", || last(&engine).documents > 0).await;
        engine.steer_reshard(&uid("m"), "pause").await.unwrap();
        pass(Duration::from_secs(1)).await;
        let before = last(&engine).documents;
        model.one_of_every_kind(&engine, 1).await;
        pass(Duration::from_secs(5)).await;
        assert_eq!(last(&engine).documents, before);
        assert_eq!(last(&engine).state, "paused");
        engine.steer_reshard(&uid("m"), "resume").await.unwrap();
        finish(&engine, &model, 2).await;
        assert_alone(&world, "m", &model.now()).await;
        for word in ["pause", "cancel", "back", "drop", "leap"] {
            assert!(
                engine.steer_reshard(&uid("m"), word).await.is_err(),
                "{word}"
            );
        }
    });
}

#[test]
fn a_node_that_dies_or_loses_its_data_harms_no_reader() {
    for (step, nth) in [
        ("reshard.created", 0),
        ("copy.committed", 1),
        ("copy.committed", 2),
        ("reshard.verified", 0),
        ("reshard.switched", 0),
    ] {
        for is_wiped in [false, true] {
            println!("{step}, wiped: {is_wiped}");
            let world = world(&["a", "b", "c"], 4, 2);
            let model = Model::default();
            world.run(async |engine| populate(&engine, &model).await);
            let strike = move |fleet: &crate::node::Fleet| {
                fleet.set("c", |faults| faults.is_unreachable = true);
                if is_wiped {
                    fleet.on("c", |node| node.wipe());
                }
            };
            world.run_with_step(step, nth, strike, async |engine| {
                engine.reshard(&uid("m"), 9, DAY).await.unwrap();
                for round in 0..3 {
                    model.one_of_every_kind(&engine, round).await;
                    pass(Duration::from_secs(2)).await;
                }
                world.fleet.set("c", |faults| faults.is_unreachable = false);
                for node in ["a", "b", "c"] {
                    world.in_sync_is(node, true).await;
                }
                finish(&engine, &model, 10).await;
                pass(Duration::from_secs(3)).await;
                assert_eq!(shards(&world, "m").await.1, 9);
                assert_alone(&world, "m", &model.now()).await;
            });
        }
    }
}

/// Nobody may wait for a moment at which a node is owed nothing: there is none.
#[test]
fn a_reshard_ends_under_writes_that_never_cease() {
    let world = world(&["a", "b"], 4, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        let more: Vec<Value> = (2000..2400).map(|id| doc(id, id)).collect();
        let write = add("m", &more);
        let many = |known: &mut BTreeMap<String, Value>| {
            known.extend(more.iter().map(|d| (d["id"].to_string(), d.clone())));
        };
        model.write(&engine, write, many).await;
        let mut writer = Writer::new(&world, &model, &[("a", 45), ("b", 100)]);
        engine.reshard(&uid("m"), 16, DAY).await.unwrap();
        let is_switched = || last(&engine).state == "wayBackKept";
        writer.until(&world, &engine, is_switched).await;
        engine.steer_reshard(&uid("m"), "drop").await.unwrap();
        writer
            .until(&world, &engine, || is_over(&last(&engine)))
            .await;
        writer.rest(&world).await;
        assert_eq!(shards(&world, "m").await.1, 16);
        assert_alone(&world, "m", &writer.expected).await;
    });
}

/// A copy of a part is not filled again from the other: what begins again is whole, and what is read
/// meanwhile is the other of the two. (Decision 14 says why.)
#[test]
fn a_lost_part_of_a_twin_begins_again_and_that_of_a_way_back_is_told() {
    for is_switched in [false, true] {
        let world = world(&["a", "b", "c"], 4, 2);
        let model = Model::default();
        world.run(async |engine| {
            populate(&engine, &model).await;
            engine.reshard(&uid("m"), 9, DAY).await.unwrap();
            match is_switched {
                true => stands(&engine, "wayBackKept").await,
                false => until("it copies", || last(&engine).documents > 0).await,
            }
            world.fleet.on("c", |node| node.wipe());
            let told = match is_switched {
                true => "wayBackLost",
                false => "removing",
            };
            busy(&engine, &model, 0, |one| one.state == told).await;
            finish(&engine, &model, 100).await;
            let end = last(&engine).state;
            assert_eq!(end, if is_switched { "wayBackLost" } else { "done" });
            world.in_sync_is("c", true).await;
            assert_eq!(shards(&world, "m").await.1, 9);
            assert_alone(&world, "m", &model.now()).await;
        });
    }
}

#[test]
fn a_write_that_only_the_twin_fails_fails_for_nobody() {
    let world = world(&["a", "b"], 1, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        let (physical, _) = shards(&world, "m").await;
        let placement = world.store.load_placement(&physical).await.unwrap();
        let own = placement.unwrap().1[0][0].clone();
        let other = if own.as_str() == "a" { "b" } else { "a" };
        engine.reshard(&uid("m"), 16, DAY).await.unwrap();
        until("it copies", || last(&engine).documents > 0).await;
        let all: Vec<Value> = (0..20).map(|id| doc(id, 7)).collect();
        world.fleet.set(other, |faults| {
            faults.allergies.extend((0..20).map(|id| id.to_string()));
        });
        model
            .write(&engine, add("m", &all), |known| {
                known.extend(all.iter().map(|d| (d["id"].to_string(), d.clone())));
            })
            .await;
        assert!(
            world.node(other).await.is_in_sync,
            "it did what it has to do"
        );
        world.fleet.set(other, |faults| faults.allergies.clear());
        finish(&engine, &model, 0).await;
        assert_alone(&world, "m", &model.now()).await;
    });
}

#[test]
fn what_a_write_counts_is_what_one_node_would_count() {
    let world = world(&["a", "b"], 4, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        engine.reshard(&uid("m"), 6, DAY).await.unwrap();
        stands(&engine, "wayBackKept").await;
        let filter = json!("kind = 1");
        let by_filter = succeed(&engine, write("m", Operation::DeleteByFilter { filter })).await;
        assert_eq!(by_filter.details["deletedDocuments"], 20);
        let by_id = succeed(&engine, delete_ids("m", &["0", "2", "3", "5"])).await;
        assert_eq!(by_id.details["deletedDocuments"], 4);
        let partial = [json!({"id": 6, "p": 1}), json!({"id": 600, "p": 1})];
        let update = add_by(AdditionMethod::Update, "m", &partial);
        assert_eq!(
            succeed(&engine, update).await.details["indexedDocuments"],
            2
        );
        let all = succeed(&engine, write("m", Operation::DeleteAllDocuments)).await;
        assert_eq!(all.details["deletedDocuments"], 37);
        engine.steer_reshard(&uid("m"), "drop").await.unwrap();
        stands(&engine, "done").await;
        assert_alone(&world, "m", &BTreeMap::new()).await;
    });
}

#[test]
fn an_index_removed_renamed_or_exchanged_while_it_is_cut_anew_is_as_it_should_be() {
    for what in ["drop", "rename", "swap"] {
        for is_late in [false, true] {
            println!("{what}, late: {is_late}");
            let world = world(&["a", "b"], 4, 1);
            world.run(async |engine| {
                let model = Model::default();
                populate(&engine, &model).await;
                if what == "swap" {
                    succeed(&engine, settings("o", json!({"stopWords": ["x"]}))).await;
                }
                engine.reshard(&uid("m"), 6, DAY).await.unwrap();
                match is_late {
                    true => stands(&engine, "wayBackKept").await,
                    false => until("it copies", || last(&engine).documents > 0).await,
                }
                match what {
                    "rename" => drop(succeed(&engine, rename("m", "o")).await),
                    "swap" => drop(succeed(&engine, swap(&[("m", "o", false)])).await),
                    _ => drop(succeed(&engine, drop_index("m")).await),
                }
                if what == "drop" {
                    stands(&engine, "cancelled").await;
                    world.settled().await;
                    for name in world.fleet.names() {
                        let held = world.fleet.on(&name, |node| {
                            node.work();
                            node.indexes.len()
                        });
                        assert_eq!(held, 0, "on {name}");
                    }
                    pass(Duration::from_secs(2)).await;
                    assert_eq!(world.payload_count().await, 0);
                    return;
                }
                stands(&engine, "wayBackKept").await;
                assert_eq!(last(&engine).index_uid, "o");
                engine.steer_reshard(&uid("o"), "drop").await.unwrap();
                stands(&engine, "done").await;
                if what == "swap" {
                    succeed(&engine, drop_index("m")).await;
                }
                assert_eq!(shards(&world, "o").await.1, 6);
                assert_alone(&world, "o", &model.now()).await;
            });
        }
    }
}

#[test]
fn moves_and_reshards_keep_out_of_each_others_way() {
    let world = world(&["a", "b", "c"], 4, 1);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        engine.reshard(&uid("m"), 6, DAY).await.unwrap();
        until("it copies", || last(&engine).documents > 0).await;
        engine.steer_reshard(&uid("m"), "pause").await.unwrap();
        let one = |sets: &[Vec<NodeId>], index: &PhysicalIndex| {
            let from = sets[0].clone();
            let to = ["a", "b"].into_iter().map(NodeId::new);
            miroir_core::rebalance::ShardMove {
                index: index.clone(),
                shard: miroir_core::id::ShardId(0),
                to: to.filter(|node| !from.contains(node)).take(1).collect(),
                from,
            }
        };
        let (physical, _) = shards(&world, "m").await;
        let (_, sets) = world
            .store
            .load_placement(&physical)
            .await
            .unwrap()
            .unwrap();
        let refused = engine.start_movement(vec![one(&sets, &physical)]).await;
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains("index `m` is being re-sharded"),
            "{refused}"
        );
        // What is planned may be applied all the same: it begins when the index is cut.
        let out = TopologyChange::DrainNode { name: "c".into() };
        let epoch = engine.stage(out).await.unwrap().staged_epoch.unwrap();
        let plan = engine.topology_plan(PlanRequest::default()).await.unwrap();
        let notes = plan.warnings.join(" ");
        assert!(
            notes.contains("begins to move when searches use"),
            "{notes}"
        );
        engine.apply(epoch).await.unwrap();
        pass(Duration::from_secs(3)).await;
        let underway = engine.staged().underway.unwrap_or_default();
        assert!(underway.contains("is being re-sharded"), "{underway}");
        engine.steer_reshard(&uid("m"), "resume").await.unwrap();
        stands(&engine, "wayBackKept").await;
        // Beside the way back shards may move.
        until("it is carried out", || engine.staged().underway.is_none()).await;
        let (physical, _) = shards(&world, "m").await;
        let (_, sets) = world
            .store
            .load_placement(&physical)
            .await
            .unwrap()
            .unwrap();
        assert!(sets.iter().flatten().all(|node| node.as_str() != "c"));
        engine.steer_reshard(&uid("m"), "drop").await.unwrap();
        stands(&engine, "done").await;
        // A re-shard that is asked for while shards move begins when they have.
        engine
            .start_movement(vec![one(&sets, &physical)])
            .await
            .unwrap();
        engine.reshard(&uid("m"), 4, DAY).await.unwrap();
        assert!(!engine.movement().unwrap().state.is_final());
        assert_eq!(last(&engine).state, "waiting");
        until("it is over", || {
            engine.movement().is_some_and(|one| one.state.is_final())
        })
        .await;
        finish(&engine, &model, 0).await;
        assert_eq!(shards(&world, "m").await.1, 4);
        assert_alone(&world, "m", &model.now()).await;
    });
}
