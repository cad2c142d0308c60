//! Indexes as they were, from the log.

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
fn the_log_trimmed_before_a_dump_the_dump_is_what_a_rewind_begins_with() {
    let world = keeping_all();
    // Larger than a piece, and in the order of insertion.
    let filling = "x".repeat(40_000);
    let large: Vec<Value> = (0..130)
        .map(|id| json!({"id": 1000 - id, "n": 1, "text": filling}))
        .collect();
    world.run(async |engine| {
        succeed(&engine, add("other", &[doc(5)])).await;
        let file = add_file(&engine, "m", &large).await;
        succeed(&engine, file).await;
        succeed(&engine, settings("m", json!({"stopWords": ["the"]}))).await;
        let (at, _) = dump(&engine).await;
        world.settled().await;
        let mut then = vec![(at, "m", world.documents("m"))];
        for write in [edit("m", "n += 1", None), add("m", &[doc(7)])] {
            let task = succeed(&engine, write).await.uid;
            world.settled().await;
            then.push((task, "m", world.documents("m")));
        }
        // By its name of then, whatever became of it since.
        let task = succeed(&engine, rename("m", "films")).await.uid;
        then.push((task, "films", world.documents("m")));
        succeed(&engine, swap(&[("films", "other", false)])).await;
        succeed(&engine, drop_index("other")).await;
        succeed(&engine, forget(only(0..at.0))).await;
        for (task, index, documents) in then {
            let name = format!("was-{task}");
            let plan = engine.rewind_plan(&wish(index, task, &name)).await.unwrap();
            assert_eq!(plan.from_task, at.0);
            let report = rewind(&engine, index, task, &name).await;
            assert_eq!(report.state, "succeeded", "{report:?}");
            assert_eq!(report.from_dump, plan.from_dump);
            assert_eq!(
                (report.documents, report.tasks_done),
                (130, plan.tasks_total)
            );
            world.settled().await;
            assert_eq!(world.documents(&format!("{name}-rewinding")), documents);
            let record = world.index(&name).await.unwrap();
            assert_eq!(record.settings["stopWords"], json!(["the"]));
            assert_eq!(record.primary_key.as_deref(), Some("id"));
        }
        // What was made since the dump needs nothing of it.
        let task = succeed(&engine, add("new", &[doc(1)])).await.uid;
        let report = rewind(&engine, "new", task, "new-before").await;
        assert_eq!(
            (report.state.as_str(), report.from_dump),
            ("succeeded", None)
        );
    });
}

#[test]
fn a_rewind_from_a_dump_goes_on_after_a_crash() {
    let filling = "x".repeat(40_000);
    let large: Vec<Value> = (0..130)
        .map(|id| json!({"id": id, "n": 1, "text": filling}))
        .collect();
    for (step, nth) in [
        ("rewind.begun", 0),
        ("rewind.intended", 1),
        ("rewind.written", 1),
        ("rewind.intended", 3),
        ("rewind.written", 3),
        ("rewind.written", 5),
        ("rewind.written", 6),
        ("rewind.built", 0),
    ] {
        let world = keeping_all();
        let (to, then) = world.run(async |engine| {
            let file = add_file(&engine, "m", &large).await;
            succeed(&engine, file).await;
            let (at, _) = dump(&engine).await;
            succeed(&engine, edit("m", "n += 1", None)).await;
            let last = succeed(&engine, edit("m", "n += 1", None)).await.uid;
            world.settled().await;
            let then = world.documents("m");
            succeed(&engine, forget(only(0..at.0))).await;
            world.settled().await;
            (last, then)
        });
        assert!(
            die_at(&world, step, nth, &wish("m", to, "before")),
            "{step} {nth}"
        );
        world.run(async |engine| {
            let report = end_of(&engine, 1).await;
            assert_eq!(report.state, "succeeded", "{step} {nth}: {report:?}");
            assert_eq!(
                (report.tasks_done, report.documents),
                (2, 130),
                "{step} {nth}"
            );
            world.settled().await;
            assert_eq!(world.documents("before-rewinding"), then, "{step} {nth}");
        });
    }
}

#[test]
fn a_dump_that_does_not_serve_is_refused_with_the_reason() {
    let world = keeping_all();
    world.run(async |engine| {
        let first = succeed(&engine, add("m", &[doc(1)])).await.uid;
        let (at, uid) = dump(&engine).await;
        let file = add_file(&engine, "m", &[doc(2)]).await;
        let second = succeed(&engine, file).await.uid;
        let third = succeed(&engine, add("late", &[doc(2)])).await.uid;
        let ask = async |to, dump: &str| refused(&engine, &from_dump("m", to, "x", dump)).await;

        let text = ask(first, &uid).await;
        assert!(text.contains(&format!("before task {at}")), "{text}");
        let text = ask(second, "20200101-000000000").await;
        assert!(text.contains("There is no dump"), "{text}");
        let text = refused(&engine, &from_dump("none", second, "x", &uid)).await;
        assert!(text.contains("There was no index `none`"), "{text}");
        let text = refused(&engine, &from_dump("late", second, "x", &uid)).await;
        assert!(text.contains("There was no index `late`"), "{text}");

        let of = world.dumps.file(&uid, "instance_uid.uuid").unwrap();
        let stranger = "00000000-0000-4000-8000-000000000000";
        world.dumps.replace(&uid, "instance_uid.uuid", stranger);
        let text = ask(second, &uid).await;
        assert!(
            text.contains("of another instance") && text.contains(stranger),
            "{text}"
        );
        world.dumps.replace(&uid, "instance_uid.uuid", &of);
        let metadata = world.dumps.file(&uid, "metadata.json").unwrap();
        let other = metadata.replace("\"2025-", "\"2024-");
        assert_ne!(other, metadata);
        world.dumps.replace(&uid, "metadata.json", &other);
        let text = ask(second, &uid).await;
        assert!(text.contains("The log does not know the dump"), "{text}");
        world.dumps.replace(&uid, "metadata.json", "nothing");
        let text = ask(second, &uid).await;
        assert!(text.contains("It is no dump"), "{text}");
        world.dumps.replace(&uid, "metadata.json", &metadata);

        // A dump that is there, and a log with a hole behind it.
        succeed(&engine, forget(only(second.0..third.0))).await;
        let text = ask(third, &uid).await;
        assert!(
            text.contains(&format!("Task {second} is no longer in the log")),
            "{text}"
        );
        succeed(&engine, forget(only(first.0..at.0))).await;
        let text = refusal(&engine, "m", third, "x").await;
        assert!(text.contains("neither"), "{text}");
        world.dumps.remove(&uid);
        let text = refusal(&engine, "m", at, "x").await;
        assert!(
            text.contains("does not reach back") || text.contains("no index"),
            "{text}"
        );
        assert!(engine.rewinds().is_empty(), "nothing was begun");
    });
    // Payloads that were not kept.
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("m", &[doc(1)])).await;
        let (at, uid) = dump(&engine).await;
        let later = succeed(&engine, add("m", &[doc(2)])).await.uid;
        world.settled().await;
        let text = refused(&engine, &from_dump("m", later, "x", &uid)).await;
        assert!(text.contains("does not reach back to the dump"), "{text}");
        assert!(text.contains("log_retention"), "{text}");
        // The dump alone needs no log.
        let report = rewind(&engine, "m", at, "x").await;
        assert_eq!((report.state.as_str(), report.documents), ("succeeded", 1));
    });
}

#[test]
fn a_dump_of_another_life_of_the_log_is_not_taken_for_its_own() {
    let world = keeping_all();
    world.run(async |engine| {
        succeed(&engine, add("m", &[doc(1)])).await;
        let (at, uid) = dump(&engine).await;
        let later = succeed(&engine, add("m", &[doc(2)])).await.uid;
        // As if the log were that of a backup, where another task has this place.
        succeed(&engine, forget(only(at.0..at.0 + 1))).await;
        let text = refused(&engine, &from_dump("m", later, "x", &uid)).await;
        assert!(text.contains("The log does not know the dump"), "{text}");
    });
}

fn are_away(fleet: &Fleet, is_away: bool) {
    for name in fleet.names() {
        fleet.set(&name, |faults| faults.is_unreachable = is_away);
    }
}

/// A life in which all nodes go away when some of a rewind into `x` is written.
fn stand_still(world: &World, to: TaskUid, body: impl AsyncFnOnce(Engine)) {
    let go_away = |fleet: &Fleet| are_away(fleet, true);
    let is_reached = world.run_with_step("rewind.written", 40, go_away, async |engine| {
        engine.rewind(&wish("m", to, "x")).await.unwrap();
        pass(Duration::from_secs(2)).await;
        let report = engine.rewinding(1).unwrap();
        assert_eq!(report.state, "running", "{report:?}");
        assert!(engine.index(&uid("x-rewinding")).is_ok(), "{report:?}");
        body(engine).await;
    });
    assert!(is_reached);
}

async fn eighty(engine: &Engine) -> TaskUid {
    let mut last = TaskUid(0);
    for n in 0..80u64 {
        last = succeed(engine, add("m", &[doc(n)])).await.uid;
    }
    last
}

#[test]
fn a_rewind_that_is_cancelled_leaves_nothing_also_over_a_crash() {
    for step in [None, Some("rewind.removing"), Some("rewind.ended")] {
        let world = keeping_all();
        let to = world.run(async |engine| eighty(&engine).await);
        stand_still(&world, to, async |engine| {
            let text = refusal(&engine, "m", to, "x").await;
            assert!(text.contains("under way"), "{text}");
            let told = engine.cancel_rewind(1).await.unwrap();
            assert_eq!(told.state, "removing");
        });
        are_away(&world.fleet, false);
        if let Some(step) = step {
            let is_reached = world.run_until_step(step, 0, async |engine| {
                end_of(&engine, 1).await;
                pass(Duration::from_secs(1)).await;
            });
            assert!(is_reached, "{step}");
        }
        world.run(async |engine| {
            let report = end_of(&engine, 1).await;
            assert_eq!(report.state, "cancelled", "{report:?}");
            world.settled().await;
            assert!(engine.index(&uid("x")).is_err());
            assert!(engine.index(&uid("x-rewinding")).is_err());
            assert!(world.documents("x-rewinding").is_empty());
            let error = engine.cancel_rewind(1).await.unwrap_err().to_string();
            assert!(error.contains("has ended"), "{error}");
            assert!(engine.cancel_rewind(7).await.is_err());
            // The name is free again.
            let report = rewind(&engine, "m", to, "x").await;
            assert_eq!(report.state, "succeeded", "{report:?}");
        });
    }
}

#[test]
fn a_rewind_into_which_somebody_writes_fails_and_takes_nothing_of_others_along() {
    let world = keeping_all();
    let to = world.run(async |engine| eighty(&engine).await);
    stand_still(&world, to, async |engine| {
        crate::world::register(&engine, add("x-rewinding", &[doc(9999)])).await;
        are_away(&world.fleet, false);
        let report = end_of(&engine, 1).await;
        assert_eq!(report.state, "failed", "{report:?}");
        assert!(report.error.unwrap().contains("of somebody else"));
        world.settled().await;
        assert!(engine.index(&uid("x-rewinding")).is_err());
        // An index of that name that somebody made is not touched.
        succeed(&engine, add("y-rewinding", &[doc(1)])).await;
        let text = refusal(&engine, "m", to, "y").await;
        assert!(text.contains("remove it, or choose another name"), "{text}");
        assert!(engine.index(&uid("y-rewinding")).is_ok());
    });
}

#[test]
fn a_rewind_whose_tasks_are_deleted_before_it_goes_on_fails_and_leaves_nothing() {
    let world = keeping_all();
    let to = world.run(async |engine| eighty(&engine).await);
    stand_still(&world, to, async |engine| {
        // Its own that have ended: nobody could tell any more what it has done.
        succeed(&engine, forget(only(to.0 + 1..to.0 + 4))).await;
    });
    are_away(&world.fleet, false);
    world.run(async |engine| {
        let report = end_of(&engine, 1).await;
        assert_eq!(report.state, "failed", "{report:?}");
        let error = report.error.unwrap();
        assert!(error.contains("no longer in the log"), "{error}");
        world.settled().await;
        assert!(engine.index(&uid("x")).is_err());
    });
}

#[test]
fn a_rewind_waits_while_the_store_is_full() {
    let world = keeping_all();
    world.run(async |engine| {
        let mut last = TaskUid(0);
        for n in 0..60u64 {
            last = succeed(&engine, add("m", &[doc(n)])).await.uid;
        }
        world.settled().await;
        let begun = engine.rewind(&wish("m", last, "x")).await.unwrap();
        *world.store.fault.lock() = Some(StoreError::NoSpace("the test says so".into()));
        pass(Duration::from_secs(5)).await;
        let report = engine.rewinding(begun.job).unwrap();
        assert_eq!(report.state, "running");
        assert!(report.waits_for.unwrap().contains("the test says so"));
        *world.store.fault.lock() = None;
        let report = end_of(&engine, begun.job).await;
        assert_eq!(
            (report.state.as_str(), report.tasks_done),
            ("succeeded", 60)
        );
        world.settled().await;
        assert_eq!(world.documents("x-rewinding"), world.documents("m"));
    });
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
