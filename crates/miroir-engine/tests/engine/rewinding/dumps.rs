//! Rewinds that begin with a dump.

use super::*;

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
