//! Writes, reads and changes of the index beside a movement.

use super::{
    Model, assert_placed, busy, doc, list, nodes, over, placed, populate, search, spread, start,
    world,
};
use crate::world::{
    add, delete_ids, drop_index, edit, ended, pass, register, rename, succeed, until, write,
};
use miroir_core::hash::shard_of;
use miroir_core::rebalance::movement::{MoveState, MovementState};
use miroir_core::task::{Operation, TaskStatus};
use miroir_engine::copy::CopyConfig;
use serde_json::json;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

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
