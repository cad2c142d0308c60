//! Rewinds that are cancelled, disturbed or held up.

use super::*;

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
