//! Writes: what a batch of operations leaves behind.

use crate::support::{Fixture, KEY};
use miroir_devnode_engine::DocumentOp;
use serde_json::{Value, json};

fn skipping(operation: DocumentOp) -> DocumentOp {
    match operation {
        DocumentOp::Replace { file, .. } => DocumentOp::Replace {
            file,
            skip_creation: true,
        },
        DocumentOp::Update { file, .. } => DocumentOp::Update {
            file,
            skip_creation: true,
        },
        DocumentOp::Delete { .. } => panic!("a deletion creates nothing"),
    }
}

fn delete(ids: &[&str]) -> DocumentOp {
    DocumentOp::Delete {
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
    }
}

fn counts(fixture: &Fixture, operations: &[DocumentOp]) -> Vec<u64> {
    fixture
        .apply(operations)
        .into_iter()
        .map(|outcome| {
            assert_eq!(outcome.error, None);
            outcome.documents
        })
        .collect()
}

#[test]
fn replacing_drops_fields_and_updating_keeps_them() {
    let fixture = Fixture::new();
    fixture.add(json!([{ "id": 1, "a": 1, "b": { "c": 1, "d": 1 } }]));

    fixture.apply(&[fixture.update(json!([{ "id": 1, "b": { "c": 2 } }]))]);
    assert_eq!(
        fixture.get("1"),
        Some(json!({ "id": 1, "a": 1, "b": { "c": 2 } }))
    );

    fixture.apply(&[fixture.replace(json!([{ "id": 1, "b": 3 }]))]);
    assert_eq!(fixture.get("1"), Some(json!({ "id": 1, "b": 3 })));
}

#[test]
fn operations_of_a_batch_apply_in_order() {
    let fixture = Fixture::new();
    let operations = [
        fixture.replace(json!([{ "id": 1, "a": 1 }, { "id": 2, "a": 1 }])),
        delete(&["1"]),
        fixture.update(json!([{ "id": 1, "b": 2 }, { "id": 2, "b": 2 }])),
        delete(&["2", "9"]),
    ];
    assert_eq!(counts(&fixture, &operations), [2, 1, 2, 1]);
    assert_eq!(fixture.get("1"), Some(json!({ "id": 1, "b": 2 })));
    assert_eq!(fixture.get("2"), None);
}

#[test]
fn the_number_one_and_the_text_one_are_one_document() {
    let fixture = Fixture::new();
    fixture.add(json!([{ "id": 1, "a": 1 }, { "id": "1", "a": 2 }]));
    assert_eq!(fixture.count(), 1);
    assert_eq!(fixture.get("1"), Some(json!({ "id": "1", "a": 2 })));
}

#[test]
fn a_wrong_payload_fails_alone() {
    let fixture = Fixture::new();
    let operations = [
        fixture.replace(json!([{ "id": 1 }])),
        fixture.replace(json!([{ "id": 2 }, { "id": "not legal" }])),
        fixture.replace(json!([{ "name": "nobody" }])),
        fixture.replace(json!([{ "id": 3 }])),
    ];
    let outcomes = fixture.apply(&operations);
    let codes: Vec<Option<&str>> = outcomes
        .iter()
        .map(|outcome| outcome.error.as_ref().map(|error| error.code()))
        .collect();
    assert_eq!(
        codes,
        [
            None,
            Some("invalid_document_id"),
            Some("index_primary_key_no_candidate_found"),
            None
        ]
    );
    assert_eq!(fixture.count(), 2);
    assert_eq!(fixture.get("2"), None);
}

fn check_inference(documents: Value, expected: Result<&str, &str>) {
    let fixture = Fixture::new();
    let outcome = fixture.apply(&[fixture.replace(documents)]).remove(0);
    match expected {
        Ok(primary_key) => {
            assert_eq!(outcome.error, None);
            let found = fixture.engine.primary_key(KEY).unwrap();
            assert_eq!(found.as_deref(), Some(primary_key));
        }
        Err(code) => {
            assert_eq!(outcome.error.unwrap().code(), code);
            assert_eq!(fixture.count(), 0);
        }
    }
}

#[test]
fn the_primary_key_is_the_one_field_that_ends_in_id() {
    check_inference(json!([{ "name": "x", "filmID": 1 }]), Ok("filmID"));
    check_inference(
        json!([{ "name": "x" }]),
        Err("index_primary_key_no_candidate_found"),
    );
    check_inference(
        json!([{ "id": 1, "other_id": 2 }]),
        Err("index_primary_key_multiple_candidates_found"),
    );
}

#[test]
fn a_given_primary_key_must_be_the_one_of_the_index() {
    let fixture = Fixture::new();
    let add = |name| {
        let operations = [fixture.replace(json!([{ "id": 1, "sku": 2 }]))];
        fixture
            .engine
            .apply_documents(KEY, &operations, Some(name))
            .unwrap()
            .remove(0)
    };
    assert_eq!(add("sku").error, None);
    assert_eq!(
        add("id").error.unwrap().code(),
        "index_primary_key_already_exists"
    );

    let change = fixture.engine.set_primary_key(KEY, Some("id")).unwrap_err();
    assert_eq!(change.code(), "index_primary_key_already_exists");
    fixture.engine.clear_documents(KEY).unwrap();
    fixture.engine.set_primary_key(KEY, Some("id")).unwrap();
    assert_eq!(
        fixture.engine.primary_key(KEY).unwrap().as_deref(),
        Some("id")
    );
    fixture.engine.set_primary_key(KEY, None).unwrap();
    assert_eq!(fixture.engine.primary_key(KEY).unwrap(), None);
}

#[test]
fn skipping_creation_changes_only_documents_that_exist() {
    let fixture = Fixture::new();
    fixture.add(json!([{ "id": 1, "a": 1 }]));
    let operations = [
        skipping(fixture.replace(json!([{ "id": 1, "a": 2 }, { "id": 2, "a": 2 }]))),
        fixture.replace(json!([{ "id": 3, "a": 3 }])),
        skipping(fixture.update(json!([{ "id": 3, "b": 3 }, { "id": 4, "b": 3 }]))),
        delete(&["1"]),
        skipping(fixture.update(json!([{ "id": 1, "b": 4 }]))),
    ];
    assert_eq!(counts(&fixture, &operations), [1, 1, 1, 1, 0]);
    assert_eq!(fixture.get("1"), None);
    assert_eq!(fixture.get("3"), Some(json!({ "id": 3, "a": 3, "b": 3 })));
    assert_eq!(fixture.count(), 1);
}

#[test]
fn skipping_creation_still_reports_wrong_documents() {
    let fixture = Fixture::new();
    let operation = skipping(fixture.replace(json!([{ "id": 1 }, { "id": null }])));
    let outcome = fixture.apply(&[operation]).remove(0);
    assert_eq!(outcome.error.unwrap().code(), "invalid_document_id");
}

#[test]
fn an_empty_payload_changes_nothing() {
    let fixture = Fixture::new();
    assert_eq!(counts(&fixture, &[fixture.replace(json!([]))]), [0]);
    assert!(counts(&fixture, &[]).is_empty());
    assert_eq!(fixture.count(), 0);
}

#[test]
fn a_nested_primary_key_is_followed() {
    let fixture = Fixture::new();
    let operations = [
        fixture.replace(json!([{ "ref": { "id": 7 }, "a": 1 }])),
        skipping(fixture.update(json!([{ "ref": { "id": 7 }, "b": 1 }, { "ref": { "id": 8 } }]))),
    ];
    fixture
        .engine
        .apply_documents(KEY, &operations, Some("ref.id"))
        .unwrap();
    assert_eq!(
        fixture.get("7"),
        Some(json!({ "ref": { "id": 7 }, "a": 1, "b": 1 }))
    );
    assert_eq!(fixture.count(), 1);
}

#[test]
fn a_filter_deletes_what_matches_it() {
    let fixture = Fixture::with(
        json!({ "filterableAttributes": ["a"] }),
        json!([{ "id": 1, "a": 1 }, { "id": 2, "a": 2 }, { "id": 3, "a": 3 }]),
    );
    let delete = |filter| fixture.engine.delete_by_filter(KEY, &filter);
    assert_eq!(delete(json!("a > 1")), Ok(2));
    assert_eq!(delete(json!([["a = 9", "a = 8"]])), Ok(0));
    assert_eq!(delete(json!([])), Ok(0));
    assert_eq!(
        delete(json!("b = 1")).unwrap_err().code(),
        "invalid_document_filter"
    );
    assert_eq!(
        delete(json!(7)).unwrap_err().code(),
        "invalid_document_filter"
    );
    assert_eq!(fixture.count(), 1);
}

#[test]
fn clearing_keeps_settings_and_primary_key() {
    let fixture = Fixture::with(
        json!({ "sortableAttributes": ["a"] }),
        json!([{ "id": 1, "a": 1 }, { "id": 2 }]),
    );
    assert_eq!(fixture.engine.clear_documents(KEY), Ok(2));
    assert_eq!(fixture.count(), 0);
    assert_eq!(fixture.setting("sortableAttributes"), json!(["a"]));
    assert_eq!(
        fixture.engine.primary_key(KEY).unwrap().as_deref(),
        Some("id")
    );
}

#[test]
fn a_wrong_place_fails_the_whole_transaction() {
    let fixture = Fixture::new();
    fixture.set(json!({ "sortableAttributes": ["_geo"] }));
    let operations = [
        fixture.replace(json!([{ "id": 1, "_geo": null }])),
        fixture.replace(json!([{ "id": 2, "_geo": { "lat": "north", "lng": 1 } }])),
    ];
    let error = fixture
        .engine
        .apply_documents(KEY, &operations, None)
        .unwrap_err();
    assert_eq!(error.code(), "invalid_document_geo_field");
    assert_eq!(fixture.count(), 0);
}

#[test]
fn stats_count_documents_and_fields() {
    let fixture = Fixture::new();
    fixture.add(json!([{ "id": 1, "a": { "b": 1 } }, { "id": 2, "c": 1 }]));
    let stats = fixture.engine.stats(KEY).unwrap();
    assert_eq!(stats.number_of_documents, 2);
    assert_eq!(stats.field_distribution.get("id"), Some(&2));
    assert_eq!(stats.field_distribution.get("c"), Some(&1));
    assert!(stats.raw_document_db_size > 0);
    assert!(stats.avg_document_size > 0);
    assert!(stats.used_size > 0);
    assert!(stats.disk_size >= stats.used_size);
}
