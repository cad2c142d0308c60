//! Indexes as they were, from the log.

mod dumps;
mod ends;

use crate::world::{
    World, add, add_by, add_file, create, delete_ids, drop_index, edit, forget, pass, rename,
    settings, succeed, swap, uid, write,
};
use miroir_api::admin::Rewind;
use miroir_core::id::TaskUid;
use miroir_core::task::{AdditionMethod, Operation, TaskFilter};
use miroir_engine::Engine;
use miroir_engine::engine::Write;
use miroir_engine::kept::LogRetention;
use miroir_engine::port::StoreError;
use miroir_engine::rewind::Wish;
use miroir_sim::node::Fleet;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
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

fn wish(index: &str, to: TaskUid, new: &str) -> Wish {
    Wish {
        index: uid(index),
        to,
        new: uid(new),
        dump: None,
    }
}

fn from_dump(index: &str, to: TaskUid, new: &str, dump: &str) -> Wish {
    Wish {
        dump: Some(PathBuf::from(format!("/dumps/{dump}.dump"))),
        ..wish(index, to, new)
    }
}

async fn rewind(engine: &Engine, index: &str, to: TaskUid, new: &str) -> Rewind {
    let begun = engine.rewind(&wish(index, to, new)).await.unwrap();
    end_of(engine, begun.job).await
}

async fn end_of(engine: &Engine, job: u64) -> Rewind {
    for _ in 0..100_000 {
        let report = engine.rewinding(job).unwrap();
        if !matches!(report.state.as_str(), "running" | "removing") {
            return report;
        }
        pass(Duration::from_millis(10)).await;
    }
    panic!("it never ends: {:?}", engine.rewinding(job));
}

async fn refusal(engine: &Engine, index: &str, to: TaskUid, new: &str) -> String {
    refused(engine, &wish(index, to, new)).await
}

async fn refused(engine: &Engine, wish: &Wish) -> String {
    let planned = engine.rewind_plan(wish).await.map_err(|e| e.to_string());
    match engine.rewind(wish).await {
        Err(error) => {
            assert_eq!(planned, Err(error.to_string()), "the plan says the same");
            error.to_string()
        }
        Ok(report) => panic!("it began: {report:?}"),
    }
}

/// Writes a dump; returns its task and its uid.
async fn dump(engine: &Engine) -> (TaskUid, String) {
    let task = Write {
        index_uid: None,
        ..write("any", Operation::CreateDump)
    };
    let task = succeed(engine, task).await;
    (task.uid, task.details["dumpUid"].as_str().unwrap().into())
}

fn only(tasks: std::ops::Range<u64>) -> TaskFilter {
    TaskFilter {
        uids: Some(tasks.collect()),
        ..TaskFilter::default()
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
        assert!(engine.rewind_plan(&wish("m", task, "x")).await.is_ok());
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

/// Where a rewind can die, and how often each is passed.
const STEPS: [(&str, usize); 7] = [
    ("rewind.begun", 1),
    ("rewind.intended", 4),
    ("rewind.written", 12),
    ("tasks.completed", 6),
    ("rewind.built", 1),
    ("rewind.named", 1),
    ("rewind.ended", 1),
];

/// Ends rewind 1 by crashes at the step, and by the lives after them; the last one looks at the end.
fn die_at(world: &World, step: &'static str, nth: usize, wish: &Wish) -> bool {
    let is_reached = world.run_until_step(step, nth, async |engine| {
        let begun = engine.rewind(wish).await.unwrap();
        end_of(&engine, begun.job).await;
        pass(Duration::from_secs(1)).await;
    });
    // Once more, in the life that goes on with it.
    world.run_until_step(step, 0, async |engine| {
        end_of(&engine, 1).await;
        pass(Duration::from_secs(1)).await;
    });
    is_reached
}

#[test]
fn a_rewind_goes_on_after_a_crash_and_does_nothing_twice() {
    let mut reached = 0;
    for (step, times) in STEPS {
        for nth in 0..times {
            let world = keeping_all();
            let (to, then) = world.run(async |engine| {
                let mut last = TaskUid(0);
                for n in 0..6u64 {
                    succeed(&engine, add("m", &[doc(n)])).await;
                    last = succeed(&engine, edit("m", "n += 1", None)).await.uid;
                }
                world.settled().await;
                let then = world.documents("m");
                succeed(&engine, drop_index("m")).await;
                (last, then)
            });
            reached += usize::from(die_at(&world, step, nth, &wish("m", to, "before")));
            world.run(async |engine| {
                let report = end_of(&engine, 1).await;
                assert_eq!(report.state, "succeeded", "{step} {nth}: {report:?}");
                assert_eq!(
                    (report.tasks_done, report.tasks_total),
                    (12, 12),
                    "{step} {nth}"
                );
                world.settled().await;
                assert!(engine.index(&uid("before")).is_ok());
                assert!(engine.index(&uid("before-rewinding")).is_err());
                let documents = world.documents("before-rewinding");
                assert_eq!(documents, then, "crash at {step} {nth}");
                assert!(rewind_is_over(&engine));
            });
        }
    }
    assert!(reached >= 22, "{reached}");
}

fn rewind_is_over(engine: &Engine) -> bool {
    let all = engine.rewinds();
    all.iter().all(|one| one.finished_at.is_some())
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
