//! Cancelation and deletion of tasks.

use crate::world::{
    World, add, add_file, cancel, create, ended, forget, pass, register, succeed, write,
};
use miroir_core::id::TaskUid;
use miroir_core::task::{Operation, TaskFilter, TaskStatus};
use miroir_engine::EngineError;
use miroir_engine::port::BatchQuery;
use serde_json::json;
use std::time::Duration;

fn with_statuses(statuses: &[TaskStatus]) -> TaskFilter {
    TaskFilter {
        statuses: Some(statuses.to_vec()),
        ..TaskFilter::default()
    }
}

#[test]
fn enqueued_tasks_are_canceled_and_what_is_on_its_way_is_not() {
    let world = World::single();
    let tasks = world.enqueue(vec![
        create("m"),
        add("m", &[json!({"id": 1})]),
        cancel(with_statuses(&[TaskStatus::Enqueued])),
        add("m", &[json!({"id": 2})]),
    ]);
    world.run(async |engine| {
        let cancelation = ended(&engine, tasks[2]).await;
        assert_eq!(cancelation.status, TaskStatus::Succeeded);
        assert_eq!(cancelation.details["matchedTasks"], 2);
        assert_eq!(cancelation.details["canceledTasks"], 2);
        for task in &tasks[..2] {
            let record = ended(&engine, *task).await;
            assert_eq!(record.status, TaskStatus::Canceled);
            assert_eq!(record.canceled_by, Some(tasks[2]));
        }
        assert_eq!(ended(&engine, tasks[3]).await.status, TaskStatus::Succeeded);
        world.fleet.set("a", |faults| faults.is_holding = true);
        let running = register(&engine, add("m", &[json!({"id": 3})])).await;
        pass(Duration::from_secs(1)).await;
        let all = with_statuses(&[TaskStatus::Enqueued, TaskStatus::Processing]);
        let cancelation = register(&engine, cancel(all)).await;
        let cancelation = ended(&engine, cancelation).await;
        assert_eq!(cancelation.details["matchedTasks"], 1);
        assert_eq!(cancelation.details["canceledTasks"], 0);
        world.fleet.set("a", |faults| faults.is_holding = false);
        assert_eq!(ended(&engine, running).await.status, TaskStatus::Succeeded);
    });
    assert_eq!(world.documents("m").keys().collect::<Vec<_>>(), ["2", "3"]);
}

#[test]
fn a_canceled_write_leaves_no_payload_behind() {
    let world = World::single();
    let write = world.run(async |engine| add_file(&engine, "m", &[json!({"id": 1})]).await);
    let tasks = world.enqueue(vec![write, cancel(with_statuses(&[TaskStatus::Enqueued]))]);
    world.run(async |engine| {
        ended(&engine, tasks[1]).await;
        assert_eq!(
            ended(&engine, tasks[0]).await.details["indexedDocuments"],
            0
        );
        assert_eq!(world.payload_count().await, 0);
    });
}

#[test]
fn a_deletion_waits_a_moment_for_what_is_being_done() {
    let world = World::single();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("a", |faults| faults.is_holding = true);
        let running = register(&engine, add("m", &[json!({"id": 1})])).await;
        pass(Duration::from_secs(1)).await;
        let only = |uid: TaskUid| TaskFilter {
            uids: Some(vec![uid.0]),
            ..TaskFilter::default()
        };
        let deletion = register(&engine, forget(only(running))).await;
        pass(Duration::from_secs(1)).await;
        world.fleet.set("a", |faults| faults.is_holding = false);
        let deletion = ended(&engine, deletion).await;
        assert_eq!(deletion.details["matchedTasks"], 1);
        assert_eq!(deletion.details["deletedTasks"], 1);
        assert!(matches!(
            engine.task(running).await,
            Err(EngineError::TaskNotFound(_))
        ));

        // One that does not end soon is left.
        world.fleet.set("a", |faults| faults.is_holding = true);
        let running = register(&engine, add("m", &[json!({"id": 2})])).await;
        pass(Duration::from_secs(1)).await;
        let deletion = register(&engine, forget(only(running))).await;
        let deletion = ended(&engine, deletion).await;
        assert_eq!(deletion.details["deletedTasks"], 0);
        world.fleet.set("a", |faults| faults.is_holding = false);
        assert_eq!(ended(&engine, running).await.status, TaskStatus::Succeeded);
    });
}

#[test]
fn finished_tasks_can_be_forgotten_unless_a_node_still_needs_them() {
    let world = World::mirrored();
    world.run(async |engine| {
        let made = succeed(&engine, create("m")).await.uid;
        world.settled().await;
        world.fleet.set("b", |faults| faults.is_unreachable = true);
        let missed = succeed(&engine, add("m", &[json!({"id": 1})])).await.uid;
        let deletion = register(&engine, forget(with_statuses(&[TaskStatus::Succeeded]))).await;
        let deletion = ended(&engine, deletion).await;
        assert_eq!(deletion.details["matchedTasks"], 2);
        assert_eq!(deletion.details["deletedTasks"], 1);
        assert!(matches!(
            engine.task(made).await,
            Err(EngineError::TaskNotFound(_))
        ));
        assert_eq!(
            engine.task(missed).await.unwrap().status,
            TaskStatus::Succeeded
        );
    });
    world.fleet.set("b", |faults| faults.is_unreachable = false);
    world.run(async |engine| {
        world.in_sync_is("b", true).await;
        world.settled().await;
        succeed(&engine, write("m", Operation::DeleteAllDocuments)).await;
    });
    world.assert_mirrored("m");
}

#[test]
fn a_batch_lives_as_long_as_one_of_its_tasks() {
    let world = World::single();
    world.run(async |engine| {
        let first = register(&engine, create("m")).await;
        ended(&engine, first).await;
        let second = register(&engine, add("m", &[json!({"id": 1})])).await;
        let second = ended(&engine, second).await;
        let only = |uid: u64| TaskFilter {
            uids: Some(vec![uid]),
            ..TaskFilter::default()
        };
        let listed = async || {
            let query = BatchQuery {
                limit: 10,
                ..BatchQuery::default()
            };
            let page = engine.batches(query).await.unwrap();
            page.batches
                .iter()
                .map(|batch| batch.uid)
                .collect::<Vec<_>>()
        };
        assert_eq!(listed().await.len(), 2);
        let deletion = register(&engine, forget(only(first.0))).await;
        let deletion = ended(&engine, deletion).await;
        assert_eq!(deletion.details["deletedTasks"], 1);
        let left = [deletion.batch_uid.unwrap(), second.batch_uid.unwrap()];
        assert_eq!(listed().await, left);
    });
}
