//! Snapshots of the fleet, and what is put back from them.

use crate::world::{World, add, cancel, ended, pass, register, succeed, write};
use miroir_core::id::TaskUid;
use miroir_core::task::{Operation, TaskFilter, TaskStatus};
use miroir_engine::Engine;
use miroir_engine::engine::Write;
use miroir_engine::port::{Change, RESTORED_FACT, TaskLog};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

fn snapshot() -> Write {
    Write {
        index_uid: None,
        ..write("any", Operation::CreateSnapshot)
    }
}

fn doc(id: u64) -> Value {
    json!({"id": id, "n": id})
}

/// All machines are lost: nodes from their snapshots, but for those that are named, which are empty;
/// the store from its copy.
fn lose_all_and_put_back(world: &mut World, empty: &[&str]) {
    for name in world.fleet.names() {
        world.fleet.on(&name, |node| {
            node.wipe();
            let taken = node.snapshot.take();
            if let Some(taken) = taken.filter(|_| !empty.contains(&name.as_str())) {
                node.restore(taken);
            }
        });
    }
    world.store = Arc::new(world.store.take_backup().unwrap());
    world.apart(async |world| {
        let fact = Change::PutFact {
            key: RESTORED_FACT.into(),
            value: json!(true),
        };
        world.store.commit(vec![fact]).await.unwrap();
    });
}

async fn check_restored(world: &World, engine: &Engine, taken: TaskUid) {
    world.settled().await;
    for name in world.fleet.names() {
        world.in_sync_is(&name, true).await;
    }
    world.assert_mirrored("m");
    let task = engine.task(taken).await.unwrap();
    assert_eq!(task.status, TaskStatus::Succeeded, "what is put back is it");
    assert!(task.finished_at.is_some());
    succeed(engine, add("m", &[doc(5000)])).await;
    world.assert_mirrored("m");
}

#[test]
fn a_fleet_is_put_back_from_its_snapshot_as_it_was_at_its_task() {
    let mut world = World::mirrored();
    let first: Vec<Value> = (0..200).map(doc).collect();
    // What is accepted behind it, and not begun when it is taken.
    let tasks = world.enqueue(vec![
        add("m", &first),
        write(
            "m",
            Operation::DeleteByFilter {
                filter: json!("n = 7"),
            },
        ),
        snapshot(),
        add("m", &[doc(1000)]),
    ]);
    let manifest = world.run(async |engine| {
        for task in &tasks {
            let record = ended(&engine, *task).await;
            assert_eq!(record.status, TaskStatus::Succeeded, "{:?}", record.error);
        }
        assert_eq!(ended(&engine, tasks[2]).await.details, Value::Null);
        succeed(&engine, add("m", &[doc(2000)])).await;
        world.settled().await;
        world.snapshots.manifest().unwrap()
    });
    assert_eq!(manifest["task"], 2);
    let names = manifest["nodes"].as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|node| node["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(manifest["nodes"][0]["leftOut"].is_null(), "{manifest}");

    lose_all_and_put_back(&mut world, &[]);
    world.run(async |engine| {
        check_restored(&world, &engine, tasks[2]).await;
        let held = world.documents("m");
        // 200 less one, the one accepted behind, the one of today; the later one is lost.
        assert_eq!(held.len(), 201);
        assert!(held.contains_key("1000") && !held.contains_key("2000") && !held.contains_key("7"));
    });
}

#[test]
fn a_node_that_is_away_is_left_out_and_filled_anew_when_all_is_put_back() {
    let mut world = World::mirrored();
    let taken = world.run(async |engine| {
        succeed(&engine, add("m", &[doc(1)])).await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        succeed(&engine, add("m", &[doc(2)])).await;
        let taken = register(&engine, snapshot()).await;
        pass(Duration::from_secs(70)).await;
        let record = ended(&engine, taken).await;
        assert_eq!(record.status, TaskStatus::Succeeded, "{:?}", record.error);
        taken
    });
    let manifest = world.snapshots.manifest().unwrap();
    assert!(manifest["nodes"][1]["leftOut"].is_string(), "{manifest}");
    world.fleet.set("b", |faults| faults.is_unreachable = false);
    lose_all_and_put_back(&mut world, &["b"]);
    world.run(async |engine| {
        check_restored(&world, &engine, taken).await;
        assert_eq!(world.documents("m").len(), 3);
    });
}

#[test]
fn a_snapshot_without_the_only_copy_of_a_shard_fails_and_says_why() {
    let world = World::new(&["a", "b"], 4, 1);
    world.run(async |engine| {
        let documents: Vec<Value> = (0..50).map(doc).collect();
        succeed(&engine, add("m", &documents)).await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        let taken = register(&engine, snapshot()).await;
        pass(Duration::from_secs(70)).await;
        let record = ended(&engine, taken).await;
        assert_eq!(record.status, TaskStatus::Failed);
        let message = record.error.unwrap()["message"].to_string();
        assert!(
            message.contains("of index `m` took a snapshot"),
            "{message}"
        );
        assert!(message.contains("node `b`"), "{message}");
        assert_eq!(world.snapshots.manifest(), None);
        world.fleet.set("b", |faults| faults.is_unreachable = false);
        succeed(&engine, add("m", &[doc(60)])).await;
        succeed(&engine, snapshot()).await;
    });
    assert!(world.snapshots.manifest().is_some());
}

#[test]
fn a_snapshot_begun_before_a_crash_is_taken_after_it_and_one_that_is_canceled_is_not() {
    for step in [
        "job.begun",
        "snapshot.nodes",
        "snapshot.finished",
        "job.ended",
    ] {
        let mut world = World::mirrored();
        let tasks = world.enqueue(vec![add("m", &[doc(1)]), snapshot(), add("m", &[doc(2)])]);
        let is_reached = world.run_until_step(step, 0, async |engine| {
            ended(&engine, tasks[2]).await;
        });
        assert!(is_reached, "{step}");
        world.run(async |engine| {
            for task in &tasks {
                let record = ended(&engine, *task).await;
                assert_eq!(
                    record.status,
                    TaskStatus::Succeeded,
                    "{step}: {:?}",
                    record.error
                );
            }
            world.settled().await;
        });
        lose_all_and_put_back(&mut world, &[]);
        world.run(async |engine| check_restored(&world, &engine, tasks[1]).await);
    }
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("m", &[doc(1)])).await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        let taken = register(&engine, snapshot()).await;
        pass(Duration::from_secs(5)).await;
        let filter = TaskFilter {
            uids: Some(vec![taken.0]),
            ..TaskFilter::default()
        };
        succeed(&engine, cancel(filter)).await;
        assert_eq!(ended(&engine, taken).await.status, TaskStatus::Canceled);
        assert_eq!(world.snapshots.manifest(), None);
    });
}
