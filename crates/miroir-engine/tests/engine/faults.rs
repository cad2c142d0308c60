//! Reads while a node is dead, slow, silent, overloaded or garbling: the others answer at once, each
//! document is shown once, and the node is asked again when it is well.

use crate::node::ReadFault;
use crate::reads::everything;
use crate::world::{World, add, pass, succeed, uid};
use miroir_core::search::{Paging, SearchRequest};
use miroir_engine::{Engine, EngineError};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const USUAL: Duration = Duration::from_millis(4);
const DEADLINE: Duration = Duration::from_secs(2);

fn query(number: u32) -> SearchRequest {
    SearchRequest {
        q: Some(format!("word{number}")),
        ..everything()
    }
}

async fn hits(engine: &Engine, number: u32) -> Result<Vec<Value>, EngineError> {
    let answer = engine.search(&uid("m"), query(number)).await?;
    let body: Value = serde_json::from_slice(&answer.body).expect("an answer is JSON");
    Ok(body["hits"].as_array().expect("hits").clone())
}

fn documents() -> Vec<Value> {
    (0..40).map(|n| json!({"id": n})).collect()
}

/// Documents on all nodes, and enough searches that it is known how quick they are.
async fn prepare(world: &World, engine: &Engine) {
    succeed(engine, add("m", &documents())).await;
    for node in world.fleet.names() {
        world.fleet.set(&node, |faults| faults.read_delay = USUAL);
    }
    for number in 0..200 {
        assert_eq!(hits(engine, 1_000_000 + number).await.unwrap(), documents());
    }
}

fn seen(world: &World, node: &str) -> u64 {
    world.fleet.on(node, |node| node.reads_seen)
}

/// Each search is whole and takes no longer than `most`.
async fn check(engine: &Engine, numbers: std::ops::Range<u32>, most: Duration) {
    for number in numbers {
        let started = Instant::now();
        let found = hits(engine, number).await;
        let elapsed = started.elapsed();
        assert_eq!(found.unwrap(), documents(), "search {number}");
        assert!(elapsed <= most, "search {number} took {elapsed:?}");
        pass(Duration::from_millis(10)).await;
    }
}

#[test]
fn whatever_is_wrong_with_one_node_the_others_answer_at_once() {
    for fault in [
        ReadFault::Silence,
        ReadFault::Reset,
        ReadFault::Busy,
        ReadFault::Failure,
        ReadFault::Truncation,
    ] {
        let world = World::new(&["a", "b", "c"], 8, 2);
        world.run(async |engine| {
            prepare(&world, &engine).await;
            world.fleet.set("b", |faults| faults.reads = fault);
            check(&engine, 0..200, Duration::from_millis(100)).await;
            let id = world.id_on("m", ["a", "b"]).await;
            let started = Instant::now();
            engine
                .document(&uid("m"), &id, None, false)
                .await
                .map_or_else(
                    |error| {
                        assert!(
                            matches!(error, EngineError::DocumentNotFound(_)),
                            "{fault:?}: {error}"
                        );
                    },
                    drop,
                );
            assert!(started.elapsed() < DEADLINE / 2, "{fault:?}");
        });
    }
}

#[test]
fn a_dead_node_and_one_much_too_slow_are_passed_by() {
    for is_dead in [true, false] {
        let world = World::new(&["a", "b", "c"], 8, 2);
        world.run(async |engine| {
            prepare(&world, &engine).await;
            world.fleet.set("b", |faults| {
                faults.is_unreachable = is_dead;
                faults.read_delay = Duration::from_secs(30);
            });
            check(&engine, 0..100, Duration::from_millis(100)).await;
        });
    }
}

#[test]
fn searches_at_the_same_time_over_a_silent_node_all_end_within_the_deadline() {
    for hedge_milli in [50, 0] {
        let mut world = World::mirrored();
        world.reads.hedge_milli = hedge_milli;
        world.run(async |engine| {
            prepare(&world, &engine).await;
            world
                .fleet
                .set("b", |faults| faults.reads = ReadFault::Silence);
            let started = Instant::now();
            let searches = (0..100).map(|number| hits(&engine, number));
            for found in futures::future::join_all(searches).await {
                assert_eq!(found.unwrap(), documents());
            }
            assert!(started.elapsed() < DEADLINE, "{:?}", started.elapsed());
        });
    }
}

#[test]
fn a_node_that_fails_is_left_alone_and_asked_again_when_it_is_well() {
    let world = World::new(&["a", "b", "c"], 8, 2);
    world.run(async |engine| {
        prepare(&world, &engine).await;
        world
            .fleet
            .set("b", |faults| faults.reads = ReadFault::Reset);
        check(&engine, 0..100, Duration::from_millis(100)).await;
        let before = seen(&world, "b");
        check(&engine, 100..300, Duration::from_millis(100)).await;
        let tried = seen(&world, "b") - before;
        assert!((1..=8).contains(&tried), "{tried} trials in three seconds");
        world
            .fleet
            .set("b", |faults| faults.reads = ReadFault::None);
        pass(Duration::from_secs(31)).await;
        let before = seen(&world, "b");
        check(&engine, 300..1500, Duration::from_millis(100)).await;
        let asked = seen(&world, "b") - before;
        assert!(asked > 200, "asked {asked} times of 1,200");
    });
}

#[test]
fn a_503_is_load_and_not_death() {
    let world = World::mirrored();
    world.run(async |engine| {
        prepare(&world, &engine).await;
        world
            .fleet
            .set("b", |faults| faults.reads = ReadFault::Busy);
        check(&engine, 0..100, Duration::from_millis(100)).await;
        let node = engine.topology().await.unwrap().nodes[1].clone();
        assert_eq!(node.state, "up", "it answers");
        assert!(world.node("b").await.is_in_sync);
        let before = seen(&world, "b");
        world
            .fleet
            .set("b", |faults| faults.reads = ReadFault::None);
        pass(Duration::from_secs(5)).await;
        check(&engine, 100..200, Duration::from_millis(100)).await;
        assert!(seen(&world, "b") > before + 20, "it has its part again");
        for node in ["a", "b"] {
            world
                .fleet
                .set(node, |faults| faults.reads = ReadFault::Busy);
        }
        let error = hits(&engine, 1000).await.unwrap_err();
        assert!(matches!(error, EngineError::Busy), "{error}");
    });
}

#[test]
fn the_only_replica_is_asked_however_often_it_failed() {
    let world = World::single();
    world.run(async |engine| {
        prepare(&world, &engine).await;
        world
            .fleet
            .set("a", |faults| faults.reads = ReadFault::Failure);
        for number in 0..2 {
            let error = hits(&engine, number).await.unwrap_err();
            assert!(matches!(error, EngineError::Unavailable { .. }), "{error}");
        }
        pass(Duration::from_millis(500)).await;
        for number in 2..6 {
            hits(&engine, number).await.unwrap_err();
            pass(Duration::from_millis(500)).await;
        }
        world
            .fleet
            .set("a", |faults| faults.reads = ReadFault::None);
        assert_eq!(hits(&engine, 10).await.unwrap(), documents());
    });
}

#[test]
fn a_slow_node_is_asked_little_and_its_searches_are_not_slow() {
    let world = World::mirrored();
    world.run(async |engine| {
        prepare(&world, &engine).await;
        world.fleet.set("b", |faults| {
            faults.read_delay = Duration::from_millis(80);
        });
        check(&engine, 0..100, Duration::from_millis(100)).await;
        let before = seen(&world, "b");
        check(&engine, 100..400, Duration::from_millis(100)).await;
        let asked = seen(&world, "b") - before;
        assert!(asked <= 30, "{asked} of 300");
        world.fleet.set("b", |faults| faults.read_delay = USUAL);
        check(&engine, 400..2400, Duration::from_millis(100)).await;
        let before = seen(&world, "b");
        check(&engine, 2400..2600, Duration::from_millis(100)).await;
        let asked = seen(&world, "b") - before;
        assert!(asked > 50, "it is found to be well: {asked} of 200");
    });
}

#[test]
fn when_all_are_slow_few_requests_are_sent_twice() {
    let world = World::mirrored();
    world.run(async |engine| {
        prepare(&world, &engine).await;
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| {
                faults.read_delay = Duration::from_millis(200)
            });
        }
        let before = seen(&world, "a") + seen(&world, "b");
        for round in 0..20 {
            let searches = (0..20).map(|number| hits(&engine, round * 20 + number));
            for found in futures::future::join_all(searches).await {
                assert_eq!(found.unwrap(), documents());
            }
        }
        let asked = seen(&world, "a") + seen(&world, "b") - before;
        assert!(
            (400..=400 + 16 + 22).contains(&asked),
            "{asked} requests for 400 searches"
        );
    });
}

#[test]
fn the_pages_of_a_query_come_from_one_replica() {
    let world = World::mirrored();
    world.run(async |engine| {
        prepare(&world, &engine).await;
        for number in 0..20 {
            let before = (seen(&world, "a"), seen(&world, "b"));
            for page in 0..4 {
                let paging = Paging::Offset {
                    offset: page * 10,
                    limit: 10,
                };
                let request = SearchRequest {
                    paging,
                    ..query(number)
                };
                engine.search(&uid("m"), request).await.unwrap();
            }
            let asked = (seen(&world, "a") - before.0, seen(&world, "b") - before.1);
            assert!(asked.0 == 0 || asked.1 == 0, "query {number}: {asked:?}");
        }
    });
}
