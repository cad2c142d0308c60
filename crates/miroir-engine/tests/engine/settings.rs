//! Settings that the nodes refuse leave no trace, wherever the proxy dies.

use crate::world::{World, add, create, pass, register, settings, succeed, uid};
use miroir_core::task::TaskStatus;
use serde_json::{Value, json};
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

fn poison(word: &str) -> Value {
    json!({"synonyms": {"poison": [word]}, "stopWords": [word]})
}

#[test]
fn a_crash_at_any_step_keeps_no_refused_settings() {
    for step in STEPS {
        for nth in 0..20 {
            let world = World::mirrored();
            world.run(async |engine| {
                succeed(&engine, settings("m", json!({"stopWords": ["old"]}))).await;
                world.settled().await;
            });
            let story = || {
                [
                    settings("m", poison("one")),
                    settings("m", json!({"displayedAttributes": ["id"]})),
                    settings("m", poison("two")),
                    add("m", &[json!({"id": 1})]),
                    settings("m", json!({"searchableAttributes": ["id"]})),
                ]
            };
            let is_reached = world.run_until_step(step, nth, async |engine| {
                for write in story() {
                    register(&engine, write).await;
                }
                world.settled().await;
            });
            let when = format!("after a crash at {step} {nth}");
            let expected = json!({
                "displayedAttributes": ["id"],
                "searchableAttributes": ["id"],
                "stopWords": ["old"],
            });
            world.run(async |engine| {
                world.settled().await;
                let done = world.all_tasks().await.len() - 1;
                for write in story().into_iter().skip(done) {
                    register(&engine, write).await;
                }
                world.settled().await;
                pass(Duration::from_secs(6)).await;
                let statuses: Vec<_> = world.all_tasks().await.iter().map(|t| t.status).collect();
                let failed = [1, 3].map(|at: usize| statuses[at]);
                assert_eq!(failed, [TaskStatus::Failed; 2], "{when}");
                let record = world.index("m").await.unwrap();
                assert_eq!(json!(record.settings), expected, "{when}");
            });
            // The next start reads the same.
            world.run(async |_| {
                let record = world.index("m").await.unwrap();
                assert_eq!(json!(record.settings), expected, "{when}, after a start");
            });
            if !is_reached {
                break;
            }
        }
    }
}

#[test]
fn settings_in_flight_at_a_crash_are_not_shown_before_they_end() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| faults.is_holding = true);
        }
        register(
            &engine,
            settings("m", json!({"displayedAttributes": ["id"]})),
        )
        .await;
        pass(Duration::from_secs(1)).await;
    });
    world.run(async |engine| {
        pass(Duration::from_secs(1)).await;
        let shown = engine.settings(&uid("m")).await.unwrap();
        assert_eq!(
            shown.get("displayedAttributes"),
            Some(&json!(["*"])),
            "{shown:?}"
        );
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| faults.is_holding = false);
        }
        world.settled().await;
        let shown = engine.settings(&uid("m")).await.unwrap();
        assert_eq!(shown.get("displayedAttributes"), Some(&json!(["id"])));
    });
}
