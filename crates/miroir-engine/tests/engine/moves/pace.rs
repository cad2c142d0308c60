//! How a movement goes beside searches that feel it, and beside such that do not.

use super::{Model, nodes, over, populate, start, world};
use crate::reads::everything;
use crate::world::{World, add, pass, succeed, uid};
use miroir_core::search::SearchRequest;
use miroir_engine::Engine;
use miroir_engine::copy::CopyConfig;
use std::time::Duration;
use tokio::time::Instant;

const USUAL: Duration = Duration::from_millis(10);
/// Enough searches that it is known what is usual.
const QUIET: u32 = 400;

async fn search(engine: &Engine, number: u32) {
    let request = SearchRequest {
        q: Some(format!("word{number}")),
        ..everything()
    };
    engine.search(&uid("m"), request).await.expect("an answer");
}

fn set_delay(world: &World, delay: Duration) {
    world.fleet.set("a", |faults| faults.read_delay = delay);
}

/// All shards move from one node to another; one after the other searches, and takes so long while
/// the copy works. Returns how long it took, and whether it rested for searches.
fn moved_beside(share: u32, beside: Duration) -> (Duration, bool) {
    let mut world = world(&["a", "b"], 8, 1);
    world.copy = CopyConfig {
        copy_share: share,
        ..CopyConfig::default()
    };
    let mut found = (Duration::ZERO, false);
    world.run(async |engine| {
        let model = Model::default();
        populate(&engine, &model).await;
        let more: Vec<_> = (100..500).map(|id| super::doc(id, id)).collect();
        succeed(&engine, add("m", &more)).await;
        start(&world, &engine, |_| nodes(&["a"])).await;
        over(&engine).await;
        set_delay(&world, USUAL);
        // What a copy does takes time.
        world
            .fleet
            .set("b", |faults| faults.delay = Duration::from_millis(20));
        for number in 0..QUIET {
            search(&engine, number).await;
        }
        start(&world, &engine, |_| nodes(&["b"])).await;
        let began = Instant::now();
        let mut number = QUIET;
        loop {
            let movement = engine.movement().expect("a movement");
            if movement.state.is_final() {
                break;
            }
            let is_resting = movement
                .waits_for
                .is_some_and(|wait| wait.what == "searches");
            found.1 |= is_resting;
            set_delay(&world, if is_resting { USUAL } else { beside });
            search(&engine, number).await;
            number += 1;
            pass(Duration::from_millis(1)).await;
            assert!(number < 50_000, "it never ends: {:?}", engine.movement());
        }
        found.0 = began.elapsed();
        set_delay(&world, Duration::ZERO);
        world.fleet.set("b", |faults| faults.delay = Duration::ZERO);
    });
    found
}

#[test]
fn a_movement_rests_while_searches_feel_it_and_ends() {
    let (took, has_rested) = moved_beside(10, USUAL * 3);
    assert!(has_rested);
    let (quick, has_rested) = moved_beside(100, USUAL * 3);
    assert!(!has_rested);
    assert!(took > quick * 2, "{took:?} {quick:?}");
}

#[test]
fn a_movement_that_searches_do_not_feel_does_not_rest() {
    let (_, has_rested) = moved_beside(10, USUAL);
    assert!(!has_rested);
}
