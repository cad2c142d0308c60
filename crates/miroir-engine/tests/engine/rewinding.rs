//! Indexes as they were, from the log.

use crate::world::{
    World, add, add_by, add_file, create, delete_ids, drop_index, edit, forget, pass, rename,
    settings, succeed, swap, uid, write,
};
use miroir_core::id::TaskUid;
use miroir_core::task::{AdditionMethod, Operation, TaskFilter};
use miroir_engine::Engine;
use miroir_engine::engine::Write;
use miroir_engine::kept::LogRetention;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A world that keeps its log.
fn keeping(age: Duration, bytes: u64) -> World {
    let mut world = World::mirrored();
    world.copy.log = Some(LogRetention { age, bytes });
    world
}

fn keeping_all() -> World {
    keeping(Duration::from_hours(24), u64::MAX)
}

async fn rewind(engine: &Engine, index: &str, to: TaskUid, new: &str) -> miroir_api::admin::Rewind {
    let begun = engine.rewind(uid(index), to, uid(new)).await.unwrap();
    for _ in 0..100_000 {
        let report = engine.rewinding(begun.job).unwrap();
        if report.state != "running" {
            return report;
        }
        pass(Duration::from_millis(10)).await;
    }
    panic!("it never ends: {:?}", engine.rewinding(begun.job));
}

async fn refusal(engine: &Engine, index: &str, to: TaskUid, new: &str) -> String {
    match engine.rewind(uid(index), to, uid(new)).await {
        Err(error) => error.to_string(),
        Ok(report) => panic!("it began: {report:?}"),
    }
}

fn doc(id: u64) -> Value {
    json!({"id": id, "n": id})
}

/// Writes of every kind.
async fn history(engine: &Engine) -> Vec<Write> {
    let many: Vec<Value> = (100..300).map(doc).collect();
    vec![
        add("m", &[doc(1), doc(2), doc(3)]),
        settings("m", json!({"stopWords": ["the"]})),
        add_by(AdditionMethod::Update, "m", &[json!({"id": 2, "p": 1})]),
        add_file(engine, "m", &many).await,
        delete_ids("m", &["1", "100"]),
        edit("m", "n += 1", None),
        write(
            "m",
            Operation::DeleteByFilter {
                filter: json!("n = 151"),
            },
        ),
        write("m", Operation::DeleteAllDocuments),
        add("m", &[doc(7)]),
    ]
}

#[test]
fn an_index_is_built_as_it_was_at_each_of_its_tasks() {
    let world = keeping_all();
    world.run(async |engine| {
        succeed(&engine, add("other", &[doc(5)])).await;
        let mut then: Vec<(TaskUid, BTreeMap<String, Value>, Value)> = Vec::new();
        for write in history(&engine).await {
            let task = succeed(&engine, write).await.uid;
            world.settled().await;
            let record = world.index("m").await.unwrap();
            then.push((task, world.documents("m"), Value::Object(record.settings)));
        }
        succeed(&engine, drop_index("m")).await;
        for (task, documents, settings) in then {
            let name = format!("was-{task}");
            let report = rewind(&engine, "m", task, &name).await;
            assert_eq!(report.state, "succeeded", "{report:?}");
            assert_eq!(report.tasks_done, report.tasks_total);
            world.settled().await;
            assert_eq!(world.documents(&format!("{name}-rewinding")), documents);
            let record = world.index(&name).await.unwrap();
            assert_eq!(Value::Object(record.settings), settings);
            assert_eq!(record.primary_key.as_deref(), Some("id"));
        }
    });
}

#[test]
fn an_index_that_was_swapped_or_renamed_since_is_found_by_its_name_of_then() {
    let world = keeping_all();
    world.run(async |engine| {
        succeed(&engine, add("b", &[doc(2)])).await;
        let in_a = succeed(&engine, add("a", &[doc(1)])).await.uid;
        succeed(&engine, swap(&[("a", "b", false)])).await;
        let swapped = succeed(&engine, add("a", &[doc(3)])).await.uid;
        succeed(&engine, rename("b", "c")).await;
        succeed(&engine, swap(&[("a", "c", false)])).await;
        let report = rewind(&engine, "a", in_a, "a-before").await;
        assert_eq!(report.state, "succeeded", "{report:?}");
        let report = rewind(&engine, "a", swapped, "a-between").await;
        assert_eq!(report.state, "succeeded", "{report:?}");
        let report = rewind(&engine, "b", swapped, "b-between").await;
        assert_eq!(report.state, "succeeded", "{report:?}");
        world.settled().await;
    });
    let ids = |name: &str| {
        let documents = world.documents(&format!("{name}-rewinding"));
        documents.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(ids("a-before"), ["1"]);
    assert_eq!(ids("a-between"), ["2", "3"]);
    assert_eq!(ids("b-between"), ["1"]);
}

#[test]
fn what_the_log_does_not_hold_is_refused_by_name() {
    let world = keeping_all();
    world.run(async |engine| {
        let first = succeed(&engine, add("m", &[doc(1)])).await.uid;
        let second = succeed(&engine, add("m", &[doc(2)])).await.uid;
        let other = succeed(&engine, add("other", &[doc(2)])).await.uid;
        let text = refusal(&engine, "m", second, "other").await;
        assert!(text.contains("already exists"), "{text}");
        let text = refusal(&engine, "m", TaskUid(99), "x").await;
        assert!(text.contains("no task 99"), "{text}");
        let text = refusal(&engine, "other", second, "x").await;
        assert!(text.contains("There was no index `other`"), "{text}");
        let forgotten = |task: TaskUid| {
            forget(TaskFilter {
                uids: Some(vec![task.0]),
                ..TaskFilter::default()
            })
        };
        succeed(&engine, forgotten(second)).await;
        let text = refusal(&engine, "m", other, "x").await;
        assert!(text.contains("Task 1 is no longer in the log"), "{text}");
        succeed(&engine, forgotten(first)).await;
        let third = succeed(&engine, add("m", &[doc(3)])).await.uid;
        let text = refusal(&engine, "m", third, "x").await;
        assert!(text.contains("does not reach back"), "{text}");
        assert!(engine.index(&uid("x")).is_err());
    });
    // What was not kept.
    let world = World::mirrored();
    world.run(async |engine| {
        let task = succeed(&engine, add("m", &[doc(1)])).await.uid;
        world.settled().await;
        let text = refusal(&engine, "m", task, "x").await;
        assert!(text.contains("no longer kept"), "{text}");
        assert!(text.contains("log_retention"), "{text}");
    });
}

#[test]
fn the_log_is_kept_up_to_an_age_and_a_size() {
    let large: Vec<Value> = (0..400).map(doc).collect();
    let world = keeping(Duration::from_secs(300), u64::MAX);
    world.run(async |engine| {
        let write = add_file(&engine, "m", &large).await;
        let task = succeed(&engine, write).await.uid;
        pass(Duration::from_secs(120)).await;
        assert_eq!(world.payload_count().await, 1, "it is kept");
        assert!(engine.rewind(uid("m"), task, uid("x")).await.is_ok());
    });
    world.run(async |_| {
        assert_eq!(world.payload_count().await, 1, "also over a restart");
        // The clock begins anew with each life.
        pass(Duration::from_secs(600)).await;
        assert_eq!(world.payload_count().await, 0, "it is too old");
    });
    let world = keeping(Duration::from_hours(24), 20_000);
    world.run(async |engine| {
        for _ in 0..6 {
            let write = add_file(&engine, "m", &large).await;
            succeed(&engine, write).await;
        }
        pass(Duration::from_secs(130)).await;
        let count = world.payload_count().await;
        assert!((1..6).contains(&count), "{count} are kept");
    });
    // A log that is kept no longer is dropped at the next start.
    let world = keeping_all();
    world.run(async |engine| {
        let write = add_file(&engine, "m", &large).await;
        succeed(&engine, write).await;
        world.settled().await;
    });
    assert_eq!(world.apart(async |world| world.payload_count().await), 1);
    let mut world = world;
    world.copy.log = None;
    world.run(async |_| {
        pass(Duration::from_secs(10)).await;
        assert_eq!(world.payload_count().await, 0);
    });
}

#[test]
fn a_deleted_task_takes_its_kept_payload_with_it() {
    let world = keeping_all();
    world.run(async |engine| {
        let write = add_file(&engine, "m", &[doc(1)]).await;
        let task = succeed(&engine, write).await.uid;
        world.settled().await;
        assert_eq!(world.payload_count().await, 1);
        let filter = TaskFilter {
            uids: Some(vec![task.0]),
            ..TaskFilter::default()
        };
        succeed(&engine, forget(filter)).await;
        pass(Duration::from_secs(1)).await;
        assert_eq!(world.payload_count().await, 0);
    });
}

#[test]
fn a_rewind_cut_off_by_a_crash_shows_nothing_and_can_be_begun_again() {
    let mut cut_off = 0;
    for nth in 0..6 {
        let world = keeping_all();
        let to = world.run(async |engine| {
            let mut last = TaskUid(0);
            for n in 0..12u64 {
                last = succeed(&engine, add("m", &[doc(n)])).await.uid;
            }
            world.settled().await;
            last
        });
        world.run_until_step("tasks.completed", nth, async |engine| {
            rewind(&engine, "m", to, "before").await;
        });
        world.run(async |engine| {
            pass(Duration::from_secs(5)).await;
            // It died behind the naming, or before and then nothing is shown.
            if engine.index(&uid("before")).is_err() {
                cut_off += 1;
                let report = rewind(&engine, "m", to, "before").await;
                assert_eq!(report.state, "succeeded", "{report:?}");
            }
            world.settled().await;
            assert!(engine.index(&uid("before-rewinding")).is_err());
            let documents = world.documents("before-rewinding");
            assert_eq!(documents, world.documents("m"), "crash at {nth}");
        });
    }
    assert!(cut_off >= 2, "{cut_off}");
}

#[test]
fn an_index_made_by_itself_keeps_its_primary_key_and_a_failed_task_changes_nothing() {
    let world = keeping_all();
    world.run(async |engine| {
        let creation = Operation::CreateIndex {
            primary_key: Some("key".into()),
        };
        succeed(&engine, write("m", creation)).await;
        let bad = crate::world::register(&engine, add("m", &[json!({"no": 1})])).await;
        crate::world::ended(&engine, bad).await;
        let good = add("m", &[json!({"key": 1, "id": 2})]);
        let to = succeed(&engine, good).await.uid;
        succeed(&engine, create("unlike")).await;
        let report = rewind(&engine, "m", to, "x").await;
        assert_eq!(
            (report.state.as_str(), report.tasks_total),
            ("succeeded", 1)
        );
        let record = world.index("x").await.unwrap();
        assert_eq!(record.primary_key.as_deref(), Some("key"));
    });
}
