//! A node that does not know Miroir's key is ill; no task fails for it.

use crate::world::{World, add, ended, pass, register, succeed};
use miroir_core::task::TaskStatus;
use serde_json::json;
use std::time::Duration;

#[test]
fn a_write_goes_on_without_a_node_that_turns_the_key_away() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("m", &[json!({"id": 1})])).await;
        world.settled().await;
        world.fleet.set("b", |faults| faults.is_denying = true);
        succeed(&engine, add("m", &[json!({"id": 2})])).await;
        let node = world.node("b").await;
        assert!(!node.is_in_sync);
        let reason = node.out_of_sync_reason.unwrap();
        assert!(reason.contains("key"), "{reason}");
        // Its health is well, and still it is not taken for well.
        pass(Duration::from_secs(10)).await;
        assert!(!world.node("b").await.is_in_sync);
        let shown = serde_json::to_value(engine.topology().await.unwrap())
            .unwrap()
            .to_string();
        assert!(shown.contains("turns Miroir's key away"), "{shown}");
        world.fleet.set("b", |faults| faults.is_denying = false);
        world.in_sync_is("b", true).await;
        world.settled().await;
    });
    world.assert_mirrored("m");
}

#[test]
fn a_write_waits_for_the_last_replica_that_turns_the_key_away() {
    let world = World::single();
    world.run(async |engine| {
        succeed(&engine, add("m", &[json!({"id": 1})])).await;
        world.fleet.set("a", |faults| faults.is_denying = true);
        let task = register(&engine, add("m", &[json!({"id": 2})])).await;
        pass(Duration::from_secs(20)).await;
        assert_eq!(
            engine.task(task).await.unwrap().status,
            TaskStatus::Processing
        );
        world.fleet.set("a", |faults| faults.is_denying = false);
        assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
    });
}
