//! Laws of indexes, placements, nodes and facts.

use super::*;
use miroir_core::id::{BatchUid, Epoch};
use miroir_core::task::{IndexSwap, TaskFilter};
use miroir_engine::port::{NodeRecord, NodeSettingsVersion, TaskQuery};

on_every_store!(
    indexes_come_back_sorted_and_rewritten,
    two_indexes_may_exchange_their_physical_index,
    removing_an_index_takes_its_placement_and_settings_versions,
    renaming_an_index_keeps_what_hangs_on_its_physical_name,
    names_are_exchanged_in_earlier_tasks_alone,
    a_rename_needs_its_index_and_a_free_name,
    a_placement_is_replaced_whole,
    nodes_come_back_sorted_and_rewritten,
    removing_a_node_forgets_its_settings_versions,
    a_fact_is_its_last_value,
);

fn put(name: &str, physical_name: &str) -> Change {
    Change::PutIndex(Box::new(index_record(name, physical_name)))
}

fn version(physical_name: &str, node_name: &str, task: u64) -> NodeSettingsVersion {
    NodeSettingsVersion {
        index: physical(physical_name),
        node: node(node_name),
        version: TaskUid(task),
        updated_at: at(1),
    }
}

fn node_record(name: &str) -> NodeRecord {
    NodeRecord {
        id: node(name),
        url: "http://127.0.0.1:7701".to_owned(),
        zone: Some("z1".to_owned()),
        weight_milli: 1500,
        is_in_sync: true,
        out_of_sync_reason: None,
        applied_batch: Some(BatchUid(9)),
    }
}

async fn indexes_come_back_sorted_and_rewritten(store: &dyn Whole) {
    store
        .commit(vec![put("b", "b__1"), put("a", "a__2")])
        .await
        .unwrap();
    let expected = vec![index_record("a", "a__2"), index_record("b", "b__1")];
    assert_eq!(store.load_indexes().await.unwrap(), expected);

    let bare = IndexRecord {
        primary_key: None,
        settings: Default::default(),
        settings_version: None,
        changed_by: Some(BatchUid(4)),
        ..index_record("b", "b__5")
    };
    store
        .commit(vec![Change::PutIndex(Box::new(bare.clone()))])
        .await
        .unwrap();
    assert_eq!(store.load_indexes().await.unwrap()[1], bare);
}

async fn two_indexes_may_exchange_their_physical_index(store: &dyn Whole) {
    store
        .commit(vec![put("a", "a__0"), put("b", "b__1")])
        .await
        .unwrap();
    store
        .commit(vec![put("a", "b__1"), put("b", "a__0")])
        .await
        .unwrap();
    let expected = vec![index_record("a", "b__1"), index_record("b", "a__0")];
    assert_eq!(store.load_indexes().await.unwrap(), expected);
}

async fn removing_an_index_takes_its_placement_and_settings_versions(store: &dyn Whole) {
    let sets = vec![vec![node("n1")]];
    let place = |name: &str| Change::PutPlacement {
        index: physical(name),
        epoch: Epoch(1),
        replica_sets: sets.clone(),
    };
    let changes = vec![
        put("a", "a__0"),
        put("b", "b__1"),
        place("a__0"),
        place("b__1"),
        Change::PutNodeSettingsVersion(version("a__0", "n1", 2)),
        Change::PutNodeSettingsVersion(version("b__1", "n1", 3)),
    ];
    store.commit(changes).await.unwrap();
    let remove = || vec![Change::RemoveIndex(index("a"))];
    store.commit(remove()).await.unwrap();
    store.commit(remove()).await.unwrap();
    assert_eq!(
        store.load_indexes().await.unwrap(),
        [index_record("b", "b__1")]
    );
    assert_eq!(store.load_placement(&physical("a__0")).await.unwrap(), None);
    assert_eq!(
        store.load_placement(&physical("b__1")).await.unwrap(),
        Some((Epoch(1), sets))
    );
    let versions = store.load_node_settings_versions().await.unwrap();
    assert_eq!(versions, [version("b__1", "n1", 3)]);
}

async fn renaming_an_index_keeps_what_hangs_on_its_physical_name(store: &dyn Whole) {
    let task = append(store, entry("a")).await;
    let placement = Change::PutPlacement {
        index: physical("a__0"),
        epoch: Epoch(1),
        replica_sets: vec![vec![node("n1")]],
    };
    let noted = Change::PutNodeSettingsVersion(version("a__0", "n1", 2));
    store
        .commit(vec![put("a", "a__0"), placement, noted])
        .await
        .unwrap();
    let rename = Change::RenameIndex {
        from: index("a"),
        to: index("b"),
    };
    store.commit(vec![rename]).await.unwrap();
    assert_eq!(
        store.load_indexes().await.unwrap(),
        [index_record("b", "a__0")]
    );
    assert!(
        store
            .load_placement(&physical("a__0"))
            .await
            .unwrap()
            .is_some()
    );
    let versions = store.load_node_settings_versions().await.unwrap();
    assert_eq!(versions, [version("a__0", "n1", 2)]);
    assert_eq!(store.load_task(task.uid).await.unwrap(), Some(task));
}

async fn names_are_exchanged_in_earlier_tasks_alone(store: &dyn Whole) {
    let pair = |a, b| IndexSwap {
        indexes: (index(a), index(b)),
        rename: false,
    };
    let swap = NewEntry {
        operation: Operation::SwapIndexes {
            swaps: vec![pair("a", "c"), pair("d", "b")],
        },
        ..global_entry()
    };
    let mut tasks = Vec::new();
    for entry in [
        entry("a"),
        entry("b"),
        entry("c"),
        swap.clone(),
        global_entry(),
        entry("a"),
        swap,
    ] {
        tasks.push(append(store, entry).await);
    }
    let exchange = Change::ExchangeTaskNames {
        before: tasks[5].uid,
        names: (index("a"), index("b")),
    };
    store.commit(vec![exchange]).await.unwrap();
    tasks[0].index_uid = Some(index("b"));
    tasks[1].index_uid = Some(index("a"));
    tasks[3].details = json!({"swaps": [
        {"indexes": ["b", "c"], "rename": false},
        {"indexes": ["d", "a"], "rename": false},
    ]});
    for expected in &tasks {
        let found = store.load_task(expected.uid).await.unwrap();
        assert_eq!(found.as_ref(), Some(expected));
    }
    for (name, found) in [("a", 2), ("b", 1), ("c", 1)] {
        let filter = TaskFilter {
            index_uids: Some(vec![name.to_owned()]),
            ..Default::default()
        };
        let query = TaskQuery {
            filter,
            limit: 10,
            ..Default::default()
        };
        let page = store.list_tasks(query).await.unwrap();
        assert_eq!(
            (page.total, page.tasks.len()),
            (found, found as usize),
            "{name}"
        );
    }
}

async fn a_rename_needs_its_index_and_a_free_name(store: &dyn Whole) {
    store
        .commit(vec![put("a", "a__0"), put("b", "b__1")])
        .await
        .unwrap();
    let rename = |from, to| {
        vec![Change::RenameIndex {
            from: index(from),
            to: index(to),
        }]
    };
    assert_conflict(store.commit(rename("missing", "c")).await);
    assert_conflict(store.commit(rename("a", "b")).await);
    store.commit(rename("a", "a")).await.unwrap();
    let expected = vec![index_record("a", "a__0"), index_record("b", "b__1")];
    assert_eq!(store.load_indexes().await.unwrap(), expected);
}

async fn a_placement_is_replaced_whole(store: &dyn Whole) {
    let index = physical("a__0");
    assert_eq!(store.load_placement(&index).await.unwrap(), None);
    for (epoch, replica_sets) in [
        (
            1,
            vec![vec![node("n1"), node("n2")], vec![node("n2")], vec![]],
        ),
        (2, vec![vec![node("n3")]]),
    ] {
        let epoch = Epoch(epoch);
        let change = Change::PutPlacement {
            index: index.clone(),
            epoch,
            replica_sets: replica_sets.clone(),
        };
        store.commit(vec![change]).await.unwrap();
        assert_eq!(
            store.load_placement(&index).await.unwrap(),
            Some((epoch, replica_sets))
        );
    }
}

async fn nodes_come_back_sorted_and_rewritten(store: &dyn Whole) {
    let put = |record: &NodeRecord| Change::PutNode(Box::new(record.clone()));
    let ill = NodeRecord {
        zone: None,
        is_in_sync: false,
        out_of_sync_reason: Some("disk full".to_owned()),
        applied_batch: None,
        ..node_record("n1")
    };
    let changes = vec![put(&node_record("n2")), put(&node_record("n1")), put(&ill)];
    store.commit(changes).await.unwrap();
    assert_eq!(store.load_nodes().await.unwrap(), [ill, node_record("n2")]);
}

async fn removing_a_node_forgets_its_settings_versions(store: &dyn Whole) {
    let changes = vec![
        Change::PutNode(Box::new(node_record("n1"))),
        Change::PutNodeSettingsVersion(version("b__1", "n2", 5)),
        Change::PutNodeSettingsVersion(version("a__0", "n1", 2)),
        Change::PutNodeSettingsVersion(version("a__0", "n2", 2)),
        Change::PutNodeSettingsVersion(version("a__0", "n2", 3)),
    ];
    store.commit(changes).await.unwrap();
    let expected = [
        version("a__0", "n1", 2),
        version("a__0", "n2", 3),
        version("b__1", "n2", 5),
    ];
    assert_eq!(store.load_node_settings_versions().await.unwrap(), expected);
    store
        .commit(vec![Change::RemoveNode(node("n1"))])
        .await
        .unwrap();
    assert_eq!(store.load_nodes().await.unwrap(), []);
    assert_eq!(
        store.load_node_settings_versions().await.unwrap(),
        expected[1..]
    );
}

async fn a_fact_is_its_last_value(store: &dyn Whole) {
    assert_eq!(store.load_fact("instance").await.unwrap(), None);
    for value in [json!("x"), json!({"z": 1, "a": [null]}), json!(null)] {
        let change = Change::PutFact {
            key: "instance".to_owned(),
            value: value.clone(),
        };
        store.commit(vec![change]).await.unwrap();
        assert_eq!(store.load_fact("instance").await.unwrap(), Some(value));
    }
}
