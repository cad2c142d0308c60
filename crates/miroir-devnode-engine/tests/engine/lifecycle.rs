//! Indexes come, go and outlive the process; nothing kills it.

use crate::support::{Fixture, KEY, options, query};
use miroir_devnode_engine::{Engine, ErrorKind};
use serde_json::json;

#[test]
fn an_index_survives_reopening_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("payload");
    std::fs::write(&file, r#"{"id":1}{"id":2}"#).unwrap();
    let operation = miroir_devnode_engine::DocumentOp::Replace {
        file,
        skip_creation: false,
    };
    let created_at = {
        let engine = Engine::open(options(folder.path().join("indexes"))).unwrap();
        engine.create_index(KEY).unwrap();
        engine.apply_documents(KEY, &[operation], None).unwrap();
        engine.stats(KEY).unwrap().created_at
    };

    let engine = Engine::open(options(folder.path().join("indexes"))).unwrap();

    let stats = engine.stats(KEY).unwrap();
    assert_eq!(stats.number_of_documents, 2);
    assert_eq!(stats.created_at, created_at);
    assert!(stats.updated_at > created_at);
    assert_eq!(engine.primary_key(KEY).unwrap().as_deref(), Some("id"));
}

#[test]
fn creating_and_removing_twice_is_harmless() {
    let fixture = Fixture::new();
    fixture.add(json!([{ "id": 1 }]));
    fixture.engine.create_index(KEY).unwrap();
    assert_eq!(fixture.count(), 1);

    fixture.engine.remove_index(KEY).unwrap();
    fixture.engine.remove_index(KEY).unwrap();
    assert!(!fixture.engine.has_index(KEY));

    fixture.engine.create_index(KEY).unwrap();
    assert_eq!(fixture.count(), 0);
}

#[test]
fn a_missing_index_is_missing_everywhere() {
    let fixture = Fixture::new();
    let engine = &fixture.engine;
    let kinds = [
        engine.stats("other").unwrap_err().kind,
        engine.settings("other").unwrap_err().kind,
        engine.search("other", &query("x")).unwrap_err().kind,
        engine.clear_documents("other").unwrap_err().kind,
        engine.apply_documents("other", &[], None).unwrap_err().kind,
    ];
    assert!(kinds.iter().all(|kind| *kind == ErrorKind::Missing));
}

#[test]
fn a_key_never_leads_out_of_the_folder() {
    let fixture = Fixture::new();
    for key in ["", ".", "..", "../other", "a/b", ".hidden", "a\0b"] {
        assert_eq!(
            fixture.engine.create_index(key).unwrap_err().kind,
            ErrorKind::Internal
        );
        assert!(!fixture.engine.has_index(key));
    }
}

#[test]
fn removing_an_index_waits_for_nobody_who_has_finished() {
    let fixture = Fixture::new();
    fixture.add(json!([{ "id": 1 }]));
    let searches: Vec<_> = (0..4)
        .map(|_| {
            let engine = fixture.engine.clone();
            std::thread::spawn(move || engine.search(KEY, &query("x")).map(|_| ()))
        })
        .collect();
    fixture.engine.remove_index(KEY).unwrap();
    for search in searches {
        // Each search came before the removal or after it; none was hurt by it.
        if let Err(error) = search.join().unwrap() {
            assert_eq!(error.kind, ErrorKind::Missing);
        }
    }
}

#[test]
fn a_full_index_refuses_the_write_and_keeps_what_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let small = miroir_devnode_engine::EngineOptions {
        map_size: 1 << 20,
        ..options(folder.path().join("indexes"))
    };
    let engine = Engine::open(small).unwrap();
    engine.create_index(KEY).unwrap();
    let file = folder.path().join("payload");
    let write = |text: String| {
        std::fs::write(&file, text).unwrap();
        let operation = miroir_devnode_engine::DocumentOp::Replace {
            file: file.clone(),
            skip_creation: false,
        };
        engine.apply_documents(KEY, &[operation], None)
    };
    write(r#"{"id":1}"#.to_owned()).unwrap();

    let much: String = (0..5000)
        .map(|id| format!(r#"{{"id":{id},"text":"{}"}}"#, "word ".repeat(50)))
        .collect();
    let error = write(much).unwrap_err();

    assert_eq!(error.code(), "database_size_limit_reached");
    assert_eq!(engine.stats(KEY).unwrap().number_of_documents, 1);
}

#[test]
fn more_indexes_than_may_be_open_all_answer() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(folder.path().to_owned())).unwrap();
    let keys: Vec<String> = (0..205).map(|number| format!("index-{number}")).collect();
    for key in &keys {
        engine.create_index(key).unwrap();
    }
    for key in &keys {
        assert_eq!(engine.stats(key).unwrap().number_of_documents, 0);
    }
}
