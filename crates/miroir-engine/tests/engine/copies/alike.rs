//! Replicas that differ are found, and made alike.

use super::*;

/// The report once it is final.
async fn verified(engine: &Engine, repair: bool) -> miroir_api::admin::Verification {
    let job = engine.verify(None, repair).unwrap().job;
    for _ in 0..10_000 {
        let report = engine.verification(job).expect("it is kept");
        if report.state != "running" {
            return report;
        }
        pass(Duration::from_millis(20)).await;
    }
    panic!("it never ends");
}

#[test]
fn a_verification_finds_vectors_that_differ_where_clients_gave_them() {
    let world = World::mirrored();
    let vectors = |number: f64, is_computed: bool| json!({"e": {"embeddings": [[number, 0.5]], "regenerate": is_computed}});
    world.run(async |engine| {
        let embedders = json!({"e": {"source": "userProvided", "dimensions": 2}});
        succeed(&engine, settings("m", json!({"embedders": embedders}))).await;
        let documents = (0..4u64).map(|id| json!({"id": id, "_vectors": vectors(0.25, id == 3)}));
        succeed(&engine, add("m", &documents.collect::<Vec<_>>())).await;
        world.settled().await;
        assert_eq!(verified(&engine, false).await.difference_count, 0);
        world.fleet.on("b", |b| {
            let index = b.indexes.values_mut().next().unwrap();
            for (id, is_computed) in [("1", false), ("3", true)] {
                let document = index.documents.get_mut(id).unwrap();
                document.insert("_vectors".into(), vectors(0.75, is_computed));
            }
        });
        let report = verified(&engine, true).await;
        let found: Vec<_> = report.differences.iter().map(|d| d.id.as_str()).collect();
        assert_eq!(found, ["1"], "what nodes compute is not compared");
        world.settled().await;
        assert_eq!(verified(&engine, false).await.difference_count, 0);
    });
    let held = |node: &str| world.fleet.documents(node, "m")["1"]["_vectors"].clone();
    assert_eq!(held("a"), held("b"));
}

#[test]
fn a_verification_names_the_documents_that_differ_and_repairs_them() {
    let world = World::new(&["a", "b", "c"], 4, 3);
    world.run(async |engine| {
        populate(&engine).await;
        world.settled().await;
        let report = verified(&engine, false).await;
        assert_eq!(report.state, "succeeded", "{report:?}");
        assert_eq!((report.documents, report.difference_count), (151, 0));

        world.fleet.on("c", |c| {
            let (_, index) = c
                .indexes
                .iter_mut()
                .find(|(n, _)| n.starts_with("m__"))
                .unwrap();
            let mut extra = index.documents.remove("7").unwrap();
            let mut changed = index.documents["8"].clone();
            changed.insert("n".into(), json!("other"));
            index.documents.insert("8".into(), changed);
            extra.insert("id".into(), json!(7000));
            let shard = miroir_core::hash::shard_of("7000", std::num::NonZeroU32::new(4).unwrap());
            let tag = miroir_core::reserved::shard_tag(shard, 4);
            extra.insert("_miroir_shard".into(), json!(tag));
            index.documents.insert("7000".into(), extra);
        });
        let report = verified(&engine, false).await;
        let mut found: Vec<_> = report
            .differences
            .iter()
            .map(|d| (d.id.as_str(), d.kind.as_str(), d.node.as_str()))
            .collect();
        found.sort_unstable();
        let expected = [
            ("7", "missing", "c"),
            ("7000", "extra", "c"),
            ("8", "changed", "c"),
        ];
        assert_eq!(found, expected);

        let writes = async {
            for round in 0..3 {
                every_kind(&engine, round).await;
            }
        };
        let (report, ()) = tokio::join!(verified(&engine, true), writes);
        assert_eq!(report.repaired_count, 3, "{report:?}");
        world.settled().await;
        assert_eq!(verified(&engine, false).await.difference_count, 0);
    });
    assert_alike(&world);
}

#[test]
fn a_scheduled_audit_repairs_what_differs() {
    let mut world = World::mirrored();
    world.copy.audit_interval = Some(Duration::from_secs(60));
    world.run(async |engine| {
        populate(&engine).await;
        world.settled().await;
        let lose = |index: &mut crate::node::Index| drop(index.documents.remove("7"));
        world.fleet.on("b", |b| {
            b.indexes.values_mut().for_each(lose);
        });
        until("it is there again", || {
            world.fleet.documents("b", "m").contains_key("7")
        })
        .await;
    });
    assert_alike(&world);
}

#[test]
fn replicas_of_which_one_carried_out_what_another_refused_are_made_alike() {
    let world = World::new(&["a", "b", "c"], 16, 2);
    world.run(async |engine| {
        succeed(&engine, create("m")).await;
        let with_a = world.id_on("m", ["a", "b"]).await;
        let with_c = world.id_on("m", ["b", "c"]).await;
        // Both replicas of one shard refuse, and one replica of another.
        for node in ["a", "b"] {
            world.fleet.set(node, |faults| {
                faults.allergies.insert(with_a.clone());
            });
        }
        let documents = [json!({"id": with_a}), json!({"id": with_c})];
        let task = register(&engine, add("m", &documents)).await;
        assert_eq!(ended(&engine, task).await.status, TaskStatus::Failed);
        let there = |node: &str| world.fleet.documents(node, "m").contains_key(&with_c);
        until("both or none have it", || there("b") == there("c")).await;
        world.settled().await;
    });
    let uneven = World::documents(&world, "m");
    assert!(uneven.len() <= 1);
}
