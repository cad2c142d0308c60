//! Compaction: every node that holds a part of the index does it.

use crate::world::{World, add, create, ended, succeed, write};
use miroir_core::task::{Operation, TaskStatus};
use serde_json::json;

#[test]
fn every_node_compacts_and_the_task_shows_the_sizes_of_one() {
    let world = World::mirrored();
    let tasks = world.enqueue(vec![
        create("m"),
        add("m", &[json!({"id": 1})]),
        write("m", Operation::CompactIndex),
        add("m", &[json!({"id": 2})]),
        write("none", Operation::CompactIndex),
    ]);
    world.run(async |engine| {
        world.settled().await;
        let task = ended(&engine, tasks[2]).await;
        assert_eq!(task.status, TaskStatus::Succeeded, "{:?}", task.error);
        assert_eq!(
            task.details,
            json!({"preCompactionSize": "2 KiB", "postCompactionSize": "1 KiB"})
        );
        let missing = ended(&engine, tasks[4]).await;
        assert_eq!(missing.error.unwrap()["code"], "index_not_found");
        assert_eq!(missing.details, json!({}));
    });
    world.assert_mirrored("m");
}

#[test]
fn a_replica_that_was_away_compacts_when_it_returns() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.settled().await;
        world.fleet.set("a", |faults| faults.is_unreachable = true);
        let task = succeed(&engine, write("m", Operation::CompactIndex)).await;
        assert_eq!(task.details["postCompactionSize"], "1 KiB");
        world.fleet.set("a", |faults| faults.is_unreachable = false);
        world.in_sync_is("a", true).await;
        world.settled().await;
    });
    assert_eq!(
        world.fleet.on("a", |node| node.task_count()),
        world.fleet.on("b", |node| node.task_count())
    );
}
