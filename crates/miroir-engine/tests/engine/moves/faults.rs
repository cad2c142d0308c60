//! Whatever dies or is given up at any step of a movement.

use super::{
    Model, STEPS, assert_placed, busy, doc, nodes, over, placed, populate, spread, start, world,
};
use crate::world::{World, add, create, pass, register, until};
use miroir_core::id::NodeId;
use miroir_core::rebalance::movement::MovementState;
use miroir_engine::Engine;
use miroir_engine::state::StepHook;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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
fn a_target_that_dies_or_loses_its_data_is_filled_again_from_the_beginning() {
    for (step, nth) in [
        ("move.announced", 0),
        ("move.joined", 0),
        ("move.noted", 0),
        ("refill.listed", 0),
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
                let files = world.payload_count().await;
                assert_eq!(files, 0, "{step}, wiped: {is_wiped}");
            });
        }
    }
}

#[test]
fn no_shard_of_an_index_in_the_making_loses_its_last_node_in_sync() {
    let world = world(&["a", "b", "c"], 8, 2);
    let model = Model::default();
    let is_armed = Arc::new(AtomicBool::new(false));
    let hook: StepHook = {
        let (is_armed, fleet) = (is_armed.clone(), world.fleet.clone());
        Arc::new(move |step| {
            // The index is placed, and nobody but the dispatcher knows of it.
            let is_here = step == "batch.prepared" && is_armed.swap(false, Ordering::Relaxed);
            let fleet = fleet.clone();
            Box::pin(async move {
                if is_here {
                    for node in ["a", "b"] {
                        fleet.set(node, |faults| faults.is_unreachable = true);
                    }
                    pass(Duration::from_secs(20)).await;
                }
            })
        })
    };
    let life = async |world: &World| {
        let engine = Engine::start(world.ports(), world.config(Some(hook))).await;
        let engine = engine.expect("a start");
        populate(&engine, &model).await;
        // Both may leave, as far as this index is concerned.
        let apart = |shard: u32| nodes(if shard == 0 { &["a", "c"] } else { &["b", "c"] });
        start(world, &engine, apart).await;
        assert_eq!(over(&engine).await, MovementState::Done);
        world.settled().await;
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| faults.is_holding = true);
        }
        let everything: Vec<_> = (0..60).map(|id| doc(id, 7)).collect();
        register(&engine, add("m", &everything)).await;
        pass(Duration::from_secs(1)).await;
        is_armed.store(true, Ordering::Relaxed);
        register(&engine, create("n")).await;
        pass(Duration::from_secs(40)).await;
        let (_, sets) = placed(world, "n").await;
        let pair = nodes(&["a", "b"]);
        let is_on_both = |set: &&Vec<NodeId>| pair.iter().all(|node| set.contains(node));
        assert!(sets.iter().any(|set| is_on_both(&set)), "{sets:?}");
        let in_sync = [world.node("a").await, world.node("b").await].map(|node| node.is_in_sync);
        assert_eq!(in_sync.iter().filter(|is_in_sync| **is_in_sync).count(), 1);
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| {
                faults.is_unreachable = false;
                faults.is_holding = false;
            });
        }
        world.settled().await;
    };
    world.apart(life);
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
fn shards_copied_together_are_listed_anew_when_nobody_has_them_all() {
    // Each shard is on a and on one other: together they are listed from a, and without it from two.
    let mut world = world(&["a", "b", "c", "d"], 6, 2);
    world.copy.documents_per_second = 20;
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        let with = |first: &'static str| {
            move |shard: u32| match shard % 2 {
                0 => nodes(&[first, "b"]),
                _ => nodes(&[first, "c"]),
            }
        };
        start(&world, &engine, with("a")).await;
        over(&engine).await;
        start(&world, &engine, with("d")).await;
        let is_copying = || {
            engine
                .movement()
                .is_some_and(|movement| movement.documents > 0)
        };
        until("something is copied", is_copying).await;
        world.fleet.set("a", |faults| faults.is_unreachable = true);
        assert_eq!(busy(&world, &engine, &model, 0).await, MovementState::Done);
        world.fleet.set("a", |faults| faults.is_unreachable = false);
        world.in_sync_is("a", true).await;
        world.settled().await;
        pass(Duration::from_secs(3)).await;
        assert_placed(&world, "m", &model.now()).await;
        assert_eq!(world.payload_count().await, 0, "no list is left over");
    });
}
