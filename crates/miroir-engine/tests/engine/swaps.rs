//! Names of indexes trade places: at once for everybody, in the order of the log, whatever crashes.

use crate::world::{
    World, add, create, drop_index, ended, pass, register, rename, settings, succeed, swap, uid,
};
use miroir_core::id::IndexUid;
use miroir_core::search::SearchRequest;
use miroir_core::task::{TaskFilter, TaskStatus};
use miroir_engine::engine::Write;
use miroir_engine::port::TaskQuery;
use miroir_engine::{Engine, EngineError};
use serde_json::json;
use std::time::Duration;

const STEPS: [&str; 7] = [
    "entry.appended",
    "batch.prepared",
    "batch.committed",
    "node.sent",
    "node.applied",
    "delivery.noted",
    "tasks.completed",
];

fn names(engine: &Engine) -> Vec<String> {
    let indexes = engine.indexes().into_iter();
    indexes.map(|index| index.uid.to_string()).collect()
}

/// The first made of the indexes with these documents.
async fn shown(engine: &Engine, index: &str) -> usize {
    let all = miroir_engine::engine::DocumentsQuery {
        offset: 0,
        limit: 100,
        fields: None,
        ids: None,
        filter: None,
        sort: None,
        retrieve_vectors: false,
    };
    let body = engine.documents(&uid(index), all).await.unwrap();
    let page: serde_json::Value = serde_json::from_slice(&body).unwrap();
    page["results"].as_array().unwrap().len()
}

async fn indexes_of_tasks(world: &World) -> Vec<Option<IndexUid>> {
    let tasks = world.all_tasks().await.into_iter();
    tasks.map(|task| task.index_uid).collect()
}

#[test]
fn a_swap_exchanges_what_is_read_and_what_is_written_and_sends_nothing() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("a", &[json!({"id": 1})])).await;
        succeed(&engine, add("b", &[json!({"id": 1}), json!({"id": 2})])).await;
        let sent = world.fleet.on("a", |node| node.task_count());
        let task = succeed(&engine, swap(&[("a", "b", false)])).await;
        assert_eq!(task.index_uid, None);
        assert_eq!(
            task.details,
            json!({"swaps": [{"indexes": ["a", "b"], "rename": false}]})
        );
        assert_eq!(world.fleet.on("a", |node| node.task_count()), sent);
        assert_eq!(
            [shown(&engine, "a").await, shown(&engine, "b").await],
            [2, 1]
        );
        succeed(&engine, add("a", &[json!({"id": 3})])).await;
        assert_eq!(
            [shown(&engine, "a").await, shown(&engine, "b").await],
            [3, 1]
        );
    });
    // The same after a restart.
    world.run(async |engine| {
        world.fleet.set("a", |_| {});
        pass(Duration::from_secs(1)).await;
        assert_eq!(
            [shown(&engine, "a").await, shown(&engine, "b").await],
            [3, 1]
        );
    });
    assert_eq!(
        world.documents("b").len(),
        3,
        "the nodes know it by its first name"
    );
}

#[test]
fn a_swap_waits_for_what_came_before_and_holds_back_what_comes_behind() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("a")).await;
        succeed(&engine, add("b", &[json!({"id": 1})])).await;
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| faults.is_holding = true);
        }
        let first = register(&engine, add("a", &[json!({"id": 1}), json!({"id": 2})])).await;
        let swapped = register(&engine, swap(&[("a", "b", false)])).await;
        let behind = register(&engine, add("b", &[json!({"id": 3})])).await;
        pass(Duration::from_secs(1)).await;
        for task in [first, swapped, behind] {
            assert!(!engine.task(task).await.unwrap().status.is_final());
        }
        assert_eq!(
            [shown(&engine, "a").await, shown(&engine, "b").await],
            [0, 1]
        );
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| faults.is_holding = false);
        }
        let ends = [
            ended(&engine, first).await.finished_at,
            ended(&engine, swapped).await.finished_at,
            ended(&engine, behind).await.finished_at,
        ];
        assert!(ends.is_sorted(), "{ends:?}");
        assert_eq!(
            [shown(&engine, "a").await, shown(&engine, "b").await],
            [1, 3]
        );
    });
}

#[test]
fn a_read_is_not_told_that_an_index_is_missing_because_its_name_went_to_another_under_it() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("a", &[json!({"id": 1})])).await;
        succeed(
            &engine,
            add("b", &[json!({"id": 1, "n": 2}), json!({"id": 2})]),
        )
        .await;
        world.settled().await;
        // The nodes take their time for reads alone.
        for node in ["a", "b"] {
            let delay = Duration::from_millis(900);
            world.fleet.set(node, |faults| faults.read_delay = delay);
        }
        let change = async {
            pass(Duration::from_millis(100)).await;
            succeed(&engine, swap(&[("a", "b", false)])).await;
            succeed(&engine, drop_index("b")).await;
            for node in ["a", "b"] {
                let held = world.fleet.on(node, |node| node.indexes.len());
                assert_eq!(held, 1, "what was a first is gone from {node}");
            }
        };
        let (name, missing) = (uid("a"), uid("b"));
        let search = engine.search(&name, SearchRequest::default());
        let document = engine.document(&name, "1", None, false);
        let (listed, found, got, stats, ()) = futures::join!(
            shown(&engine, "a"),
            Box::pin(search),
            document,
            engine.index_stats(&name),
            change
        );
        assert_eq!(listed, 2);
        let found: serde_json::Value = serde_json::from_slice(&found.unwrap().body).unwrap();
        assert_eq!(found["estimatedTotalHits"], 2);
        let got: serde_json::Value = serde_json::from_slice(&got.unwrap()).unwrap();
        assert_eq!(got, json!({"id": 1, "n": 2}));
        assert_eq!(stats.unwrap()["numberOfDocuments"], 2);
        let gone = engine.document(&missing, "1", None, false).await;
        assert!(
            matches!(gone, Err(EngineError::IndexNotFound(_))),
            "{gone:?}"
        );
    });
}

#[test]
fn readers_see_the_old_names_until_a_swap_ends_also_after_a_crash() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, add("a", &[json!({"id": 1})])).await;
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| faults.is_holding = true);
        }
        // Made, filled, brought forward: the classic way to replace an index.
        register(&engine, add("new", &[json!({"id": 1}), json!({"id": 2})])).await;
        register(&engine, swap(&[("a", "new", false)])).await;
        pass(Duration::from_secs(1)).await;
        assert_eq!(names(&engine), ["a"]);
    });
    world.run(async |engine| {
        pass(Duration::from_secs(1)).await;
        assert_eq!(
            shown(&engine, "a").await,
            1,
            "the old one, not one half made"
        );
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| faults.is_holding = false);
        }
        world.settled().await;
        assert_eq!(names(&engine), ["a", "new"]);
        assert_eq!(shown(&engine, "a").await, 2);
        succeed(&engine, drop_index("new")).await;
        assert_eq!(shown(&engine, "a").await, 2);
    });
    for node in ["a", "b"] {
        let left = world.fleet.on(node, |node| node.indexes.len());
        assert_eq!(left, 1, "the old one was removed");
    }
}

#[test]
fn all_pairs_of_a_swap_or_none() {
    let world = World::mirrored();
    world.run(async |engine| {
        for index in ["a", "b", "c"] {
            succeed(&engine, create(index)).await;
        }
        for (pairs, code, message) in [
            (
                &[("a", "b", false), ("c", "d", false)][..],
                "index_not_found",
                "Index `d` not found.",
            ),
            (
                &[("y", "x", false), ("a", "b", false)],
                "index_not_found",
                "Indexes `x`, `y` not found.",
            ),
            (
                &[("a", "b", true)],
                "index_already_exists",
                "Cannot rename `a` to `b` as the index already exists. Hint: You can remove `b` \
                 first and then do your remove.",
            ),
        ] {
            let task = register(&engine, swap(pairs)).await;
            let task = ended(&engine, task).await;
            assert_eq!(task.status, TaskStatus::Failed);
            let error = task.error.unwrap();
            assert_eq!(
                (&error["code"], &error["message"]),
                (&json!(code), &json!(message))
            );
        }
        succeed(&engine, swap(&[("a", "b", false), ("c", "d", true)])).await;
        assert_eq!(names(&engine), ["a", "b", "d"]);
        succeed(&engine, swap(&[])).await;
    });
    let physical = |name: &'static str| {
        world.apart(async move |world| world.index(name).await.unwrap().physical.to_string())
    };
    assert!(physical("a").starts_with("b__"), "{}", physical("a"));
    assert!(physical("b").starts_with("a__") && physical("d").starts_with("c__"));
}

#[test]
fn earlier_tasks_are_found_under_the_new_names_and_later_ones_under_their_own() {
    let world = World::mirrored();
    world.enqueue(vec![
        create("a"),
        add("b", &[json!({"id": 1})]),
        swap(&[("a", "b", false)]),
        add("a", &[json!({"id": 2})]),
        rename("b", "c"),
        create("b"),
    ]);
    world.run(async |engine| {
        world.settled().await;
        let of = |name: &str| Some(uid(name));
        assert_eq!(
            indexes_of_tasks(&world).await,
            [of("c"), of("a"), None, of("a"), of("b"), of("b")]
        );
        let filter = TaskFilter {
            index_uids: Some(vec!["c".into()]),
            ..TaskFilter::default()
        };
        let query = TaskQuery {
            filter,
            limit: 10,
            ..TaskQuery::default()
        };
        assert_eq!(engine.tasks(query).await.unwrap().total, 1);
        let swapped = &world.all_tasks().await[2];
        assert_eq!(swapped.details["swaps"][0]["indexes"], json!(["a", "c"]));
    });
}

#[test]
fn settings_that_fail_behind_a_swap_are_undone_under_the_new_name() {
    let world = World::mirrored();
    world.enqueue(vec![
        settings("a", json!({"stopWords": ["x"]})),
        create("b"),
        swap(&[("a", "b", false)]),
        settings("b", json!({"synonyms": {"poison": ["y"]}})),
    ]);
    world.run(async |engine| {
        world.settled().await;
        pass(Duration::from_secs(1)).await;
        assert_eq!(names(&engine), ["a", "b"]);
        let (a, b) = (
            world.index("a").await.unwrap(),
            world.index("b").await.unwrap(),
        );
        assert_eq!(json!(a.settings), json!({}));
        assert_eq!(json!(b.settings), json!({"stopWords": ["x"]}));
    });
}

fn story() -> Vec<Write> {
    vec![
        add("a", &[json!({"id": 1})]),
        add("b", &[json!({"id": 1}), json!({"id": 2})]),
        swap(&[("a", "b", false)]),
        add("a", &[json!({"id": 3})]),
        swap(&[("b", "c", true), ("a", "d", true)]),
        add("a", &[json!({"id": 9})]),
        rename("d", "b"),
        add("b", &[json!({"id": 4})]),
        swap(&[("c", "b", false)]),
        drop_index("b"),
    ]
}

#[test]
fn a_crash_at_any_step_around_swaps_loses_nothing() {
    for step in STEPS {
        for nth in 0..24 {
            let world = World::mirrored();
            let is_reached = world.run_until_step(step, nth, async |engine| {
                for write in story() {
                    register(&engine, write).await;
                }
                world.settled().await;
            });
            world.run(async |engine| {
                world.settled().await;
                let done = world.all_tasks().await.len();
                for write in story().into_iter().skip(done) {
                    register(&engine, write).await;
                }
                world.settled().await;
                let when = format!("after a crash at {step} {nth}");
                for task in world.all_tasks().await {
                    assert_eq!(task.status, TaskStatus::Succeeded, "{when}: {task:?}");
                }
                assert_eq!(names(&engine), ["a", "c"], "{when}");
                assert_eq!(shown(&engine, "a").await, 1, "{when}");
                assert_eq!(shown(&engine, "c").await, 4, "{when}");
                let of = |name: &str| Some(uid(name));
                assert_eq!(
                    indexes_of_tasks(&world).await,
                    [
                        of("b"),
                        of("c"),
                        None,
                        of("c"),
                        None,
                        of("a"),
                        of("d"),
                        of("c"),
                        None,
                        of("b")
                    ],
                    "{when}"
                );
            });
            for node in ["a", "b"] {
                assert_eq!(world.fleet.on(node, |node| node.indexes.len()), 2);
            }
            if !is_reached {
                break;
            }
        }
    }
}
