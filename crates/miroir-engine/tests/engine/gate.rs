//! A store that fails, and bounds that are reached: writes are refused in words, reads go on, and
//! nothing accepted is lost.

use crate::world::{World, add, add_file, cancel, create, ended, pass, register, succeed, uid};
use miroir_core::task::{TaskFilter, TaskStatus};
use miroir_engine::engine::Write;
use miroir_engine::port::{PayloadStore, StoreError};
use miroir_engine::{Engine, EngineError};
use serde_json::json;
use std::time::Duration;

async fn refusal(engine: &Engine, write: Write) -> EngineError {
    match engine.register(write).await {
        Ok(task) => panic!("task {} was accepted", task.uid),
        Err(error) => error,
    }
}

async fn fault(engine: &Engine) -> Option<String> {
    let topology = engine.topology().await.unwrap();
    topology.store_fault.map(|fault| fault.cause)
}

#[test]
fn a_store_that_fails_refuses_writes_goes_on_reading_and_recovers() {
    let world = World::single();
    world.run(async |engine| {
        succeed(&engine, add("m", &[json!({"id": 1})])).await;
        let before = world.all_tasks().await.len();
        world.store.fail(Some(StoreError::Io("fsync: no".into())));
        let first = refusal(&engine, add("m", &[json!({"id": 2})])).await;
        assert!(
            matches!(first, EngineError::Store(StoreError::Io(_))),
            "{first}"
        );
        let next = refusal(&engine, add("m", &[json!({"id": 3})])).await;
        assert!(matches!(next, EngineError::ReadOnly(_)), "{next}");
        assert!(engine.create_payload().await.is_err());
        let ready = engine.ready().await;
        assert!(ready.ready && ready.reason.unwrap().contains("writes are refused"));
        assert!(fault(&engine).await.unwrap().contains("fsync"));
        assert!(engine.index(&uid("m")).is_ok(), "reads go on");
        assert_eq!(world.all_tasks().await.len(), before);

        pass(Duration::from_secs(5)).await;
        assert!(
            fault(&engine).await.is_some(),
            "it was tried and still fails"
        );
        world.store.fail(None);
        pass(Duration::from_secs(3)).await;
        assert_eq!(fault(&engine).await, None);
        succeed(&engine, add("m", &[json!({"id": 4})])).await;
        world.settled().await;
    });
    assert_eq!(world.documents("m").keys().collect::<Vec<_>>(), ["1", "4"]);
}

#[test]
fn what_was_accepted_before_the_disk_was_full_ends_when_there_is_room_and_not_before() {
    let world = World::single();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("a", |faults| faults.is_holding = true);
        let task = register(&engine, add("m", &[json!({"id": 1})])).await;
        pass(Duration::from_secs(1)).await;
        world.store.fail(Some(StoreError::NoSpace("full".into())));
        world.fleet.set("a", |faults| faults.is_holding = false);
        pass(Duration::from_secs(5)).await;
        assert!(
            !engine.task(task).await.unwrap().status.is_final(),
            "an end that is not durable is not told"
        );
        let error = refusal(&engine, create("n")).await;
        assert!(
            matches!(error, EngineError::Store(StoreError::NoSpace(_))),
            "the failed commit closed the gate: {error}"
        );
        world.store.fail(None);
        assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
        pass(Duration::from_secs(2)).await;
        succeed(&engine, create("n")).await;
    });
}

#[test]
fn a_damaged_database_takes_no_writes_until_a_restart() {
    let world = World::single();
    world.run(async |engine| {
        let corrupt = StoreError::Corrupt {
            what: "database",
            cause: "malformed".into(),
        };
        world.store.fail(Some(corrupt));
        refusal(&engine, create("m")).await;
        world.store.fail(None);
        pass(Duration::from_secs(60)).await;
        let error = refusal(&engine, create("m")).await;
        assert!(matches!(error, EngineError::ReadOnly(_)), "{error}");
        assert!(fault(&engine).await.unwrap().contains("malformed"));
    });
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
    });
}

#[test]
fn a_full_log_refuses_writes_takes_cancelations_and_drops_nothing() {
    let mut world = World::single();
    world.limits.unfinished_tasks_max = 10;
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("a", |faults| faults.is_holding = true);
        let mut tasks = Vec::new();
        for id in 0..10 {
            tasks.push(register(&engine, add("m", &[json!({"id": id})])).await);
        }
        for _ in 0..3 {
            let error = refusal(&engine, add("m", &[json!({"id": 99})])).await;
            assert!(matches!(error, EngineError::LogFull), "{error}");
        }
        assert!(engine.index(&uid("m")).is_ok());
        let nothing = TaskFilter {
            uids: Some(vec![4_000]),
            ..TaskFilter::default()
        };
        succeed(&engine, cancel(nothing)).await;
        world.fleet.set("a", |faults| faults.is_holding = false);
        for task in tasks {
            assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
        }
        succeed(&engine, add("m", &[json!({"id": 10})])).await;
    });
    assert_eq!(world.documents("m").len(), 11);
}

#[test]
fn the_payload_file_of_a_write_that_is_refused_is_removed_at_once() {
    let mut world = World::single();
    world.limits.unfinished_tasks_max = 1;
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("a", |faults| faults.is_holding = true);
        let taken = register(&engine, add("m", &[json!({"id": 1})])).await;
        let large = add_file(&engine, "m", &[json!({"id": 2})]).await;
        assert_eq!(world.payload_count().await, 1);
        let error = refusal(&engine, large).await;
        assert!(matches!(error, EngineError::LogFull), "{error}");
        pass(Duration::from_secs(1)).await;
        assert_eq!(world.payload_count().await, 0);
        world.fleet.set("a", |faults| faults.is_holding = false);
        ended(&engine, taken).await;
        succeed(&engine, create("n")).await;
        world.settled().await;
    });
}

#[test]
fn payload_files_take_no_more_than_they_may_and_make_room_when_they_are_applied() {
    let mut world = World::single();
    world.limits.payload_bytes_max = 2_000;
    let documents: Vec<_> = (0..50)
        .map(|id| json!({"id": id, "f": "xxxxxxxx"}))
        .collect();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        world.fleet.set("a", |faults| faults.is_holding = true);
        let first = add_file(&engine, "m", &documents).await;
        let first = register(&engine, first).await;
        let mut refused = engine.create_payload().await.unwrap();
        let error = refused.append(vec![b'x'; 1_500].into()).await.unwrap_err();
        assert!(matches!(error, StoreError::NoSpace(_)), "{error}");
        drop(refused);
        // Small writes travel in the log and go on.
        let small = register(&engine, add("m", &[json!({"id": 50})])).await;
        world.fleet.set("a", |faults| faults.is_holding = false);
        for task in [first, small] {
            assert_eq!(ended(&engine, task).await.status, TaskStatus::Succeeded);
        }
        world.settled().await;
        assert!(world.payloads.list().await.unwrap().is_empty());
        let again = add_file(&engine, "m", &documents).await;
        succeed(&engine, again).await;
    });
    assert_eq!(world.documents("m").len(), 51);
}
