//! Nodes that come back without their data, or with other data, and are filled again from their
//! replicas while writes go on.

mod alike;
mod retention;

use crate::node::{Fleet, Node};
use crate::world::{
    World, add, add_by, add_file, create, delete_ids, drop_index, ended, pass, register, rename,
    settings, succeed, uid, until, write,
};
use miroir_core::task::{AdditionMethod, Operation, TaskStatus};
use miroir_engine::Engine;
use miroir_engine::copy::CopyConfig;
use miroir_engine::port::NodeWrite;
use serde_json::{Value, json};
use std::time::Duration;

fn doc(id: u64) -> Value {
    json!({"id": id, "n": id})
}

fn wipe(fleet: &Fleet, node: &str) {
    fleet.on(node, |node| node.wipe());
}

/// Some indexes with documents and settings.
async fn populate(engine: &Engine) {
    succeed(engine, settings("m", json!({"stopWords": ["the"]}))).await;
    let documents: Vec<Value> = (0..150).map(doc).collect();
    succeed(engine, add("m", &documents)).await;
    succeed(engine, add("other", &[doc(1)])).await;
    succeed(engine, create("empty")).await;
}

/// Writes of every kind, some of which touch documents that are not copied yet.
async fn every_kind(engine: &Engine, round: u64) {
    let n = 1000 + round;
    let partial = [
        json!({"id": round, "p": n}),
        json!({"id": 149 - round, "p": n}),
    ];
    succeed(engine, add_by(AdditionMethod::Update, "m", &partial)).await;
    succeed(engine, add("m", &[doc(500 + round)])).await;
    succeed(engine, delete_ids("m", &[&(20 + round).to_string()])).await;
    let filter = json!(format!("n = {}", 60 + round));
    succeed(engine, write("m", Operation::DeleteByFilter { filter })).await;
    // What was just deleted, made anew by an update.
    let anew = [json!({"id": 60 + round, "q": n})];
    succeed(engine, add_by(AdditionMethod::Update, "m", &anew)).await;
    succeed(engine, settings("m", json!({"stopWords": [n.to_string()]}))).await;
}

async fn is_whole(world: &World) {
    for node in world.fleet.names() {
        world.in_sync_is(&node, true).await;
    }
    world.settled().await;
}

fn assert_alike(world: &World) {
    for index in ["m", "other", "empty"] {
        world.assert_mirrored(index);
    }
    let held = |node: &str| {
        world.fleet.on(node, |node| {
            let indexes = node.indexes.iter();
            indexes
                .map(|(name, index)| {
                    let settings: std::collections::BTreeMap<_, _> =
                        index.settings.clone().into_iter().collect();
                    (name.clone(), (index.primary_key.clone(), settings))
                })
                .collect::<std::collections::BTreeMap<_, _>>()
        })
    };
    let names = world.fleet.names();
    for other in &names[1..] {
        assert_eq!(held(&names[0]), held(other), "{} and {other}", names[0]);
    }
}

/// A slow copy, so that much can happen during it.
fn slow() -> CopyConfig {
    CopyConfig {
        documents_per_second: 20,
        ..CopyConfig::default()
    }
}

#[test]
fn a_node_that_came_back_empty_is_filled_again() {
    let world = World::mirrored();
    world.run(async |engine| {
        populate(&engine).await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        pass(Duration::from_secs(5)).await;
        wipe(&world.fleet, "b");
        world.fleet.set("b", |faults| faults.is_unreachable = false);
        world.in_sync_is("b", false).await;
        let topology = engine.topology().await.unwrap();
        assert!(topology.nodes[1].out_of_sync_reason.is_some());
        succeed(&engine, add("m", &[doc(900)])).await;
        is_whole(&world).await;
        let topology = engine.topology().await.unwrap();
        assert!(topology.nodes[1].refill.is_none());
        succeed(&engine, add("m", &[doc(901)])).await;
        world.settled().await;
        assert_eq!(world.payload_count().await, 0, "nothing is left over");
    });
    assert_alike(&world);
    assert_eq!(world.documents("m").len(), 152);
}

#[test]
fn a_node_that_came_back_empty_after_it_missed_writes_is_filled_again() {
    let world = World::mirrored();
    world.run(async |engine| {
        populate(&engine).await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        let many: Vec<Value> = (600..800).map(doc).collect();
        let large = add_file(&engine, "m", &many).await;
        succeed(&engine, large).await;
        succeed(&engine, drop_index("other")).await;
        succeed(&engine, add("other", &[doc(7)])).await;
        assert!(!world.node("b").await.is_in_sync);
        wipe(&world.fleet, "b");
        world.fleet.set("b", |faults| faults.is_unreachable = false);
        is_whole(&world).await;
        assert_eq!(world.payload_count().await, 0);
    });
    assert_alike(&world);
    assert_eq!(world.documents("m").len(), 350);
}

#[test]
fn a_node_emptied_so_quickly_that_no_call_failed_is_filled_again() {
    for writes in [true, false] {
        let world = World::mirrored();
        world.run(async |engine| {
            populate(&engine).await;
            wipe(&world.fleet, "b");
            if writes {
                succeed(&engine, add("m", &[doc(2)])).await;
            }
            world.in_sync_is("b", false).await;
            is_whole(&world).await;
        });
        assert_alike(&world);
    }
}

#[test]
fn a_node_restored_from_an_old_copy_is_filled_again_also_when_the_proxy_restarts_meanwhile() {
    for restarts in [false, true] {
        let world = World::mirrored();
        let mut backup = None;
        world.run(async |engine| {
            populate(&engine).await;
            backup = Some(world.fleet.on("b", |b| b.back_up()));
            succeed(&engine, add("m", &[doc(3), doc(901)])).await;
            succeed(&engine, delete_ids("m", &["5"])).await;
            world.settled().await;
            if !restarts {
                world.fleet.on("b", |b| b.restore(backup.take().unwrap()));
                world.in_sync_is("b", false).await;
                is_whole(&world).await;
            }
        });
        if let Some(backup) = backup {
            world.fleet.on("b", |b| b.restore(backup));
            world.run(async |engine| {
                world.in_sync_is("b", false).await;
                is_whole(&world).await;
                succeed(&engine, add("m", &[doc(902)])).await;
            });
        }
        assert_alike(&world);
        assert!(!world.documents("m").contains_key("5"));
    }
}

/// The physical indexes on a node.
fn held_on(world: &World, node: &str) -> Vec<String> {
    let held = |node: &mut Node| node.indexes.keys().cloned().collect();
    world.fleet.on(node, held)
}

#[test]
fn an_index_that_an_old_copy_brought_back_is_removed_again_and_a_strangers_is_not() {
    for restarts in [false, true] {
        let world = World::mirrored();
        let mut backup = None;
        world.run(async |engine| {
            populate(&engine).await;
            succeed(&engine, add("gone", &[doc(1), doc(2)])).await;
            // No request of ours that bears a marker went into this one.
            succeed(&engine, create("bare")).await;
            world.settled().await;
            // Nobody of this cluster wrote into it, though it bears the number of a task.
            world.fleet.on("b", |b| {
                let index = miroir_core::id::PhysicalIndex::from_stored("theirs__1");
                b.accept(NodeWrite::CreateIndex {
                    index,
                    primary_key: None,
                });
            });
            pass(Duration::from_secs(1)).await;
            backup = Some(world.fleet.on("b", |b| b.back_up()));
            succeed(&engine, drop_index("gone")).await;
            succeed(&engine, drop_index("bare")).await;
            world.settled().await;
            if !restarts {
                world.fleet.on("b", |b| b.restore(backup.take().unwrap()));
                assert_eq!(held_on(&world, "b").len(), held_on(&world, "a").len() + 3);
                world.in_sync_is("b", false).await;
                is_whole(&world).await;
                pass(Duration::from_secs(5)).await;
                world.settled().await;
            }
        });
        if let Some(backup) = backup {
            world.fleet.on("b", |b| b.restore(backup));
            world.run(async |_| {
                world.in_sync_is("b", false).await;
                is_whole(&world).await;
                pass(Duration::from_secs(5)).await;
                world.settled().await;
            });
        }
        let mut expected = held_on(&world, "a");
        expected.push("theirs__1".into());
        assert_eq!(held_on(&world, "b"), expected);
    }
}

#[test]
fn a_twin_that_an_old_copy_brought_back_is_removed_again() {
    let world = World::mirrored();
    world.run(async |engine| {
        populate(&engine).await;
        let state = || engine.reshards()[0].state.clone();
        let kept = async || until("a way back", || state() == "wayBackKept").await;
        engine
            .reshard(&uid("m"), 7, Duration::from_hours(1))
            .await
            .unwrap();
        kept().await;
        world.settled().await;
        pass(Duration::from_secs(1)).await;
        let backup = world.fleet.on("b", |b| b.back_up());
        engine.steer_reshard(&uid("m"), "back").await.unwrap();
        kept().await;
        engine.steer_reshard(&uid("m"), "drop").await.unwrap();
        until("the end", || state() == "done").await;
        world.settled().await;
        assert!(!held_on(&world, "b").iter().any(|index| is_cut(index)));

        world.fleet.on("b", |b| b.restore(backup));
        assert!(held_on(&world, "b").iter().any(|index| is_cut(index)));
        world.in_sync_is("b", false).await;
        is_whole(&world).await;
        pass(Duration::from_secs(5)).await;
        world.settled().await;
        assert_eq!(held_on(&world, "b"), held_on(&world, "a"));
        assert!(engine.orphans().await.unwrap().is_empty());
    });
}

/// It was cut anew.
fn is_cut(index: &str) -> bool {
    miroir_core::id::PhysicalIndex::from_stored(index)
        .cut()
        .is_some_and(|cut| cut > 0)
}

#[test]
fn a_node_with_another_instances_data_is_filled_again() {
    let world = World::mirrored();
    world.run(async |engine| {
        populate(&engine).await;
        world.settled().await;
    });
    // As many tasks, and the same indexes.
    world.fleet.on("b", |b| {
        let indexes = b.indexes.clone();
        let count = b.task_count() + 10;
        b.wipe();
        b.live_another_life(count);
        b.indexes = indexes;
        for index in b.indexes.values_mut() {
            index.documents.clear();
        }
    });
    world.run(async |_| {
        world.in_sync_is("b", false).await;
        is_whole(&world).await;
    });
    assert_alike(&world);
    assert_eq!(world.documents("m").len(), 150);
}

#[test]
fn writes_of_every_kind_go_on_during_a_copy() {
    let mut world = World::mirrored();
    world.copy = slow();
    world.run(async |engine| {
        populate(&engine).await;
        wipe(&world.fleet, "b");
        world.in_sync_is("b", false).await;
        for round in 0..12 {
            every_kind(&engine, round).await;
            pass(Duration::from_millis(600)).await;
        }
        assert!(
            !world.node("b").await.is_in_sync,
            "the copy is still under way"
        );
        succeed(&engine, create("late")).await;
        succeed(&engine, drop_index("other")).await;
        succeed(&engine, rename("empty", "renamed")).await;
        is_whole(&world).await;
    });
    world.assert_mirrored("m");
    world.assert_mirrored("late");
    let held = |node: &str| {
        world
            .fleet
            .on(node, |n| n.indexes.keys().cloned().collect::<Vec<_>>())
    };
    assert_eq!(held("a"), held("b"));
    let documents = world.documents("m");
    assert_eq!(documents["60"], json!({"id": 60, "q": 1000}));
    assert_eq!(documents["0"]["p"], 1000);
    assert_eq!(
        documents["149"]["n"], 149,
        "an update keeps what it does not name"
    );
}

#[test]
fn a_copy_keeps_to_its_pace() {
    let mut world = World::mirrored();
    world.copy = slow();
    world.run(async |engine| {
        populate(&engine).await;
        wipe(&world.fleet, "b");
        world.in_sync_is("b", false).await;
        pass(Duration::from_secs(3)).await;
        let topology = engine.topology().await.unwrap();
        let refill = topology.nodes[1].refill.clone().expect("it is under way");
        assert_eq!(refill.state, "copying");
        assert!(refill.documents < 150, "{refill:?}");
        assert!(refill.shards_total >= 12, "{refill:?}");
        is_whole(&world).await;
    });
    assert_alike(&world);
}

#[test]
fn reads_never_use_a_node_that_is_being_filled() {
    let mut world = World::mirrored();
    world.copy = slow();
    world.run(async |engine| {
        populate(&engine).await;
        wipe(&world.fleet, "b");
        world.in_sync_is("b", false).await;
        for _ in 0..10 {
            let stats = engine.index_stats(&crate::world::uid("m")).await.unwrap();
            assert_eq!(stats["numberOfDocuments"], 150);
            pass(Duration::from_millis(300)).await;
        }
        world.fleet.set("a", |faults| faults.is_unreachable = true);
        let result = engine.index_stats(&crate::world::uid("m")).await;
        assert!(result.is_err(), "nobody else may answer");
    });
}

const STEPS: [&str; 10] = [
    "refill.started",
    "refill.running",
    "refill.noted",
    "refill.listed",
    "copy.read",
    "copy.committed",
    "refill.finished",
    "node.sent",
    "node.applied",
    "delivery.noted",
];

/// A copy with writes behind it, up to its end.
async fn copy_with_writes(world: &World, engine: &Engine) {
    for round in 0..3 {
        every_kind(engine, round).await;
        pass(Duration::from_millis(200)).await;
    }
    is_whole(world).await;
}

#[test]
fn a_crash_at_any_step_of_a_copy_loses_nothing() {
    for step in STEPS {
        for nth in [0, 1, 2, 5, 9] {
            let world = World::mirrored();
            world.run(async |engine| {
                populate(&engine).await;
                world.settled().await;
            });
            wipe(&world.fleet, "b");
            world.run_until_step(step, nth, async |engine| {
                world.in_sync_is("b", false).await;
                copy_with_writes(&world, &engine).await;
            });
            world.run(async |engine| {
                copy_with_writes(&world, &engine).await;
                assert_eq!(world.payload_count().await, 0, "crash at {step} {nth}");
            });
            assert_alike(&world);
        }
    }
}

#[test]
fn a_node_wiped_once_more_at_any_step_of_its_copy_is_filled_in_the_end() {
    for step in STEPS {
        for nth in [0, 1, 3, 7] {
            let world = World::mirrored();
            world.run(async |engine| {
                populate(&engine).await;
                world.settled().await;
            });
            wipe(&world.fleet, "b");
            let again = |fleet: &Fleet| wipe(fleet, "b");
            world.run_with_step(step, nth, again, async |engine| {
                world.in_sync_is("b", false).await;
                copy_with_writes(&world, &engine).await;
                // Wiped right at the end it may have been in sync for a moment.
                pass(Duration::from_secs(10)).await;
                is_whole(&world).await;
                assert_eq!(world.payload_count().await, 0, "wiped at {step} {nth}");
            });
            assert_alike(&world);
        }
    }
}

#[test]
fn a_copy_goes_on_from_another_replica_when_its_source_dies() {
    for step in [
        "refill.running",
        "refill.listed",
        "copy.read",
        "copy.committed",
    ] {
        let world = World::new(&["a", "b", "c"], 4, 3);
        world.run(async |engine| {
            populate(&engine).await;
            world.settled().await;
        });
        wipe(&world.fleet, "b");
        let die = |fleet: &Fleet| fleet.set("a", |faults| faults.is_unreachable = true);
        let reached = world.run_with_step(step, 1, die, async |engine| {
            world.in_sync_is("b", false).await;
            for round in 0..3 {
                every_kind(&engine, round).await;
            }
            world.in_sync_is("b", true).await;
            world.fleet.set("a", |faults| faults.is_unreachable = false);
            is_whole(&world).await;
        });
        assert!(reached || step == "refill.running");
        assert_alike(&world);
    }
}

#[test]
fn a_node_that_goes_away_during_its_copy_catches_up_and_the_copy_goes_on() {
    let mut world = World::mirrored();
    world.copy = slow();
    world.run(async |engine| {
        populate(&engine).await;
        wipe(&world.fleet, "b");
        world.in_sync_is("b", false).await;
        pass(Duration::from_secs(2)).await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        every_kind(&engine, 0).await;
        pass(Duration::from_secs(5)).await;
        world.fleet.set("b", |faults| faults.is_unreachable = false);
        every_kind(&engine, 1).await;
        is_whole(&world).await;
    });
    assert_alike(&world);
}

#[test]
fn a_write_that_only_the_half_filled_node_refuses_makes_it_not_ill() {
    let mut world = World::mirrored();
    world.copy = slow();
    world.run(async |engine| {
        populate(&engine).await;
        wipe(&world.fleet, "b");
        world.in_sync_is("b", false).await;
        pass(Duration::from_secs(1)).await;
        world.fleet.set("b", |faults| {
            faults.allergies.insert("140".into());
        });
        let partial = [json!({"id": 140, "p": 1})];
        succeed(&engine, add_by(AdditionMethod::Update, "m", &partial)).await;
        pass(Duration::from_secs(1)).await;
        world.fleet.set("b", |faults| faults.allergies.clear());
        is_whole(&world).await;
    });
    assert_alike(&world);
    assert_eq!(
        world.documents("m")["140"],
        json!({"id": 140, "n": 140, "p": 1})
    );
}

#[test]
fn the_last_replica_is_never_made_anew() {
    let world = World::single();
    world.run(async |engine| {
        succeed(&engine, add("m", &[doc(1)])).await;
        wipe(&world.fleet, "a");
        pass(Duration::from_secs(20)).await;
        assert_eq!(
            world.fleet.on("a", |a| a.task_count()),
            0,
            "it is sent nothing"
        );
        assert!(world.node("a").await.is_in_sync);
        let task = register(&engine, add("m", &[doc(2)])).await;
        pass(Duration::from_secs(5)).await;
        assert!(!engine.task(task).await.unwrap().status.is_final());
        let topology = engine.topology().await.unwrap();
        assert!(topology.nodes[0].out_of_sync_reason.is_some());
    });
    world.run(async |engine| {
        pass(Duration::from_secs(20)).await;
        assert_eq!(
            world.fleet.on("a", |a| a.task_count()),
            0,
            "also after a restart"
        );
        assert!(engine.index_stats(&crate::world::uid("m")).await.is_err());
    });
}
