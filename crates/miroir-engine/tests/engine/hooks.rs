//! What webhooks are told: every finished task, at least once, whatever crashes.

use crate::world::{World, add, create, ended, pass, register, succeed};
use miroir_engine::webhooks::Webhook;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;
use uuid::Uuid;

fn hook(url: &str) -> Webhook {
    Webhook {
        url: url.into(),
        headers: [("authorization".to_owned(), "secret".to_owned())].into(),
    }
}

const ID: Uuid = Uuid::from_u128(7);

#[test]
fn a_hook_is_told_what_finishes_after_it_was_made() {
    let world = World::mirrored();
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        let added = engine.add_webhook(ID, hook("u"), 1).await.expect("a store");
        assert!(added.is_some());
        let second = engine.add_webhook(Uuid::max(), hook("v"), 1).await;
        assert!(second.expect("a store").is_none(), "one more than allowed");
        let task = register(&engine, add("m", &[json!({"id": 1})])).await;
        ended(&engine, task).await;
        let failing = register(&engine, create("m")).await;
        ended(&engine, failing).await;
        pass(Duration::from_secs(1)).await;
        assert_eq!(world.hooks.told("u"), [task.0, failing.0]);
        let headers = world.hooks.headers.lock().clone();
        assert_eq!(headers[0]["authorization"], "secret");
    });
}

#[test]
fn a_hook_that_was_away_is_told_what_it_missed_also_by_the_next_process() {
    let world = World::mirrored();
    world.hooks.is_away.store(true, Ordering::SeqCst);
    let tasks = world.run(async |engine| {
        engine
            .add_webhook(ID, hook("u"), 20)
            .await
            .expect("a store");
        let mut tasks = Vec::new();
        for id in 0..40 {
            let task = register(&engine, add("m", &[json!({"id": id})])).await;
            ended(&engine, task).await;
            tasks.push(task.0);
        }
        tasks
    });
    assert!(world.hooks.calls.load(Ordering::SeqCst) > 0);
    world.hooks.is_away.store(false, Ordering::SeqCst);
    world.run(async |engine| {
        pass(Duration::from_secs(90)).await;
        assert_eq!(engine.webhooks().len(), 1);
    });
    assert_eq!(world.hooks.told("u"), tasks);
    world.run(async |_| pass(Duration::from_secs(90)).await);
    assert_eq!(world.hooks.told("u"), tasks, "nothing is told again");
}

#[test]
fn what_a_hook_refuses_is_not_sent_again_and_what_it_cannot_take_is() {
    let world = World::single();
    world.run(async |engine| {
        engine
            .add_webhook(ID, hook("u"), 20)
            .await
            .expect("a store");
        world.hooks.status.store(400, Ordering::SeqCst);
        succeed(&engine, create("a")).await;
        pass(Duration::from_secs(100)).await;
        assert_eq!(world.hooks.calls.load(Ordering::SeqCst), 1);
        world.hooks.status.store(503, Ordering::SeqCst);
        let task = register(&engine, create("b")).await;
        ended(&engine, task).await;
        pass(Duration::from_secs(100)).await;
        let calls = world.hooks.calls.load(Ordering::SeqCst);
        assert!((5..20).contains(&calls), "{calls}");
        world.hooks.status.store(0, Ordering::SeqCst);
        pass(Duration::from_secs(100)).await;
        assert_eq!(world.hooks.told("u"), [task.0]);
    });
}

#[test]
fn a_slow_index_does_not_hold_back_what_finished_on_others() {
    let world = World::new(&["a", "b"], 4, 1);
    world.run(async |engine| {
        engine
            .add_webhook(ID, hook("u"), 20)
            .await
            .expect("a store");
        succeed(&engine, create("m")).await;
        world.fleet.set("a", |faults| faults.is_holding = true);
        let waiting = register(&engine, create("slow")).await;
        let gone = register(&engine, delete_index("nobody")).await;
        pass(Duration::from_secs(5)).await;
        let told = world.hooks.told("u");
        assert!(
            told.contains(&gone.0) && !told.contains(&waiting.0),
            "{told:?}"
        );
        world.fleet.set("a", |faults| faults.is_holding = false);
        ended(&engine, waiting).await;
        pass(Duration::from_secs(5)).await;
        assert!(world.hooks.told("u").contains(&waiting.0));
    });
}

fn delete_index(index: &str) -> miroir_engine::engine::Write {
    miroir_engine::engine::Write {
        operation: miroir_core::task::Operation::DeleteIndex,
        ..create(index)
    }
}

#[test]
fn a_removed_hook_is_told_nothing_and_a_moved_one_at_its_new_address() {
    let world = World::single();
    world.run(async |engine| {
        engine
            .add_webhook(ID, hook("u"), 20)
            .await
            .expect("a store");
        world.hooks.is_away.store(true, Ordering::SeqCst);
        let task = register(&engine, create("a")).await;
        ended(&engine, task).await;
        pass(Duration::from_secs(1)).await;
        let moved = engine.change_webhook(ID, |_| Ok::<_, ()>(hook("v"))).await;
        assert!(moved.expect("a store").is_some());
        world.hooks.is_away.store(false, Ordering::SeqCst);
        pass(Duration::from_secs(100)).await;
        assert_eq!(
            (world.hooks.told("u"), world.hooks.told("v")),
            (vec![], vec![task.0])
        );
        assert!(engine.remove_webhook(ID).await.expect("a store"));
        assert!(!engine.remove_webhook(ID).await.expect("a store"));
        succeed(&engine, create("b")).await;
        pass(Duration::from_secs(100)).await;
        assert_eq!(world.hooks.told("v"), [task.0]);
    });
}
