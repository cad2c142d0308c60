//! Writes wait a little for a node that comes back: however fast they come, it gets level.

use crate::world::{World, add_by, create, pass, settings, succeed};
use miroir_core::task::AdditionMethod;
use miroir_engine::Engine;
use miroir_engine::engine::Write;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// A node takes so long for a batch.
const PACE: Duration = Duration::from_millis(80);

/// More writes than the nodes carry out in the time of a test, of which no two travel together.
fn flood() -> Vec<Write> {
    let method = |id: u64| match id % 2 {
        0 => AdditionMethod::Replace,
        _ => AdditionMethod::Update,
    };
    let write = |id: u64| add_by(method(id), "m", &[json!({"id": id % 50, "n": id})]);
    (0..1_200).map(write).collect()
}

/// Two nodes that are equally fast, one of which was away while writes came, and they go on coming.
/// Meanwhile `body`.
fn while_one_comes_back(share: u32, body: impl AsyncFnOnce(&World, Engine)) {
    let mut world = World::mirrored();
    world.copy.catch_up_share = share;
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.settled().await;
    });
    world.enqueue(flood());
    world.run(async |engine| {
        let began = Instant::now();
        let set_pace = |pace| {
            for name in ["a", "b"] {
                world.fleet.on(name, |node| node.pace = pace);
            }
        };
        set_pace(Some(PACE));
        let work = async {
            loop {
                pass(Duration::from_millis(10)).await;
                for name in ["a", "b"] {
                    world
                        .fleet
                        .on(name, |node| node.work_until(began.elapsed()));
                }
            }
        };
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        let course = async {
            pass(Duration::from_secs(6)).await;
            assert!(!world.node("b").await.is_in_sync);
            world.fleet.set("b", |faults| faults.is_unreachable = false);
            body(&world, engine).await;
        };
        tokio::select! {
            biased;
            () = course => {}
            () = work => {}
        }
        set_pace(None);
    });
}

/// Tasks that have not ended.
async fn open_count(world: &World) -> usize {
    let tasks = world.all_tasks().await;
    tasks.iter().filter(|task| !task.status.is_final()).count()
}

#[test]
fn a_node_that_returns_while_writes_never_pause_is_in_sync_before_they_end() {
    while_one_comes_back(50, async |world, engine| {
        pass(Duration::from_secs(4)).await;
        let before = open_count(world).await;
        let topology = engine.topology().await.expect("it is shown");
        let b = &topology.nodes[1];
        assert!(b.slows_writes && b.lag_batches > 0, "{b:?}");
        let words = b.waits_for.clone().expect("it is not level");
        assert!(
            words.contains("new writes to its indexes are slowed"),
            "{words}"
        );
        let page = engine.metrics_page().await.expect("it is shown");
        assert!(
            page.contains(r#"miroir_node_slows_writes{node="b"} 1"#),
            "{page}"
        );
        assert!(
            page.contains(r#"miroir_node_write_waits{node="b"}"#),
            "{page}"
        );
        world.in_sync_is("b", true).await;
        let after = open_count(world).await;
        assert!(after > 500, "{after} of 1200 writes still wait");
        assert!(after < before, "writes went on meanwhile: {before} {after}");
        let topology = engine.topology().await.expect("it is shown");
        assert!(!topology.nodes[1].slows_writes);
    });
}

#[test]
fn without_a_bound_such_a_node_stays_behind_while_writes_come() {
    while_one_comes_back(100, async |world, engine| {
        pass(Duration::from_secs(40)).await;
        assert!(open_count(world).await > 500);
        assert!(!world.node("b").await.is_in_sync);
        let topology = engine.topology().await.expect("it is shown");
        assert!(!topology.nodes[1].slows_writes && topology.nodes[1].lag_batches > 50);
    });
}

#[test]
fn writes_do_not_wait_for_a_node_that_came_back_and_stands_still() {
    while_one_comes_back(50, async |world, _| {
        pass(Duration::from_secs(2)).await;
        world.fleet.set("b", |faults| faults.is_holding = true);
        pass(Duration::from_secs(12)).await;
        let before = open_count(world).await;
        pass(Duration::from_secs(10)).await;
        let after = open_count(world).await;
        assert!(before - after > 80, "{before} {after}");
        world.fleet.set("b", |faults| faults.is_holding = false);
    });
}

#[test]
fn writes_do_not_wait_for_a_node_that_fails_what_it_is_sent() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("b", |faults| faults.is_disk_full = true);
        let began = Instant::now();
        for number in 0..20 {
            succeed(
                &engine,
                settings("m", json!({"stopWords": [number.to_string()]})),
            )
            .await;
        }
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
        assert!(!world.node("b").await.is_in_sync);
        world.fleet.set("b", |faults| faults.is_disk_full = false);
        world.in_sync_is("b", true).await;
        world.settled().await;
    });
}

#[test]
fn a_node_that_is_filled_again_while_writes_never_pause_is_in_sync_before_they_end() {
    while_one_comes_back(50, async |world, _| {
        world.fleet.on("b", |node| node.wipe());
        world.in_sync_is("b", false).await;
        world.in_sync_is("b", true).await;
        let left = open_count(world).await;
        assert!(left > 200, "{left} of 1200 writes still wait");
    });
}
