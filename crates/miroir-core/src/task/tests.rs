use super::*;
use serde_json::json;

#[test]
fn the_details_of_a_reset_show_what_meilisearch_shows() {
    let details = |settings: Value, is_reset: bool| {
        let may_create_index = !is_reset;
        let operation = Operation::UpdateSettings {
            settings,
            is_reset,
            may_create_index,
        };
        operation.initial_details(None)
    };
    assert_eq!(
        details(json!({"searchableAttributes": null}), true),
        json!({"searchableAttributes": ["*"]})
    );
    assert_eq!(
        details(
            json!({"displayedAttributes": null, "stopWords": null}),
            true
        ),
        json!({
            "displayedAttributes": ["*"],
            "stopWords": null,
            "foreignKeys": null,
            "chat": null,
        })
    );
}

#[test]
fn the_details_of_settings_hide_the_keys_of_embedders() {
    let operation = Operation::UpdateSettings {
        settings: json!({"embedders": {
            "a": {"source": "openAi", "apiKey": "0123456789"},
            "b": {"source": "composite", "searchEmbedder": {"apiKey": "0123456789"}},
        }}),
        is_reset: false,
        may_create_index: true,
    };
    let details = operation.initial_details(None);
    assert_eq!(details["embedders"]["a"]["apiKey"], "01XXXX...");
    let nested = &details["embedders"]["b"]["searchEmbedder"]["apiKey"];
    assert_eq!(nested, "01XXXX...");
}

#[test]
fn a_renaming_tells_both_names() {
    let operation = Operation::UpdateIndex {
        primary_key: None,
        new_uid: IndexUid::new("b").ok(),
    };
    assert_eq!(
        operation.initial_details(IndexUid::new("a").ok().as_ref()),
        json!({"primaryKey": null, "oldIndexUid": "a", "newIndexUid": "b"})
    );
}

#[test]
fn a_swap_tells_its_pairs_as_they_are_stored() {
    let uid = |name| IndexUid::new(name).expect("a valid uid");
    let swaps = vec![IndexSwap {
        indexes: (uid("a"), uid("b")),
        rename: true,
    }];
    let operation = Operation::SwapIndexes { swaps };
    assert_eq!(
        operation.initial_details(None),
        json!({"swaps": [{"indexes": ["a", "b"], "rename": true}]})
    );
    assert_eq!(
        serde_json::to_string(&operation).expect("an operation serializes"),
        r#"{"op":"swapIndexes","swaps":[{"indexes":["a","b"],"rename":true}]}"#
    );
}

#[test]
fn an_export_shows_its_key_hidden_and_its_size_readable() {
    let operation = Operation::Export {
        url: "http://a.example".into(),
        api_key: Some("0123456789abcdef".into()),
        payload_size: Some(24 * 1024 * 1024),
        indexes: BTreeMap::from([("a*".to_owned(), ExportIndex::default())]),
    };
    assert_eq!(
        operation.initial_details(None),
        json!({
            "url": "http://a.example",
            "apiKey": "01XXXX...",
            "payloadSize": "24 MiB",
            "indexes": {"a*": {"filter": null, "overrideSettings": false}},
        })
    );
}

#[test]
fn an_edition_tells_its_filter_as_text() {
    let operation = Operation::EditDocuments {
        filter: Some(json!("a = 1")),
        context: None,
        function: "doc.b = 1".into(),
    };
    assert_eq!(
        operation.initial_details(None),
        json!({
            "deletedDocuments": null,
            "editedDocuments": null,
            "originalFilter": "\"a = 1\"",
            "context": null,
            "function": "doc.b = 1",
        })
    );
}

#[test]
fn a_final_status_never_changes() {
    for from in TaskStatus::ALL {
        for to in TaskStatus::ALL {
            if from.is_final() {
                assert!(!from.may_become(to), "{from:?} became {to:?}");
            }
        }
    }
}

#[test]
fn names_are_found_whatever_their_case() {
    for status in TaskStatus::ALL {
        assert_eq!(
            TaskStatus::from_name(&status.as_str().to_uppercase()),
            Some(status)
        );
    }
    for kind in TaskKind::ALL {
        assert_eq!(
            TaskKind::from_name(&kind.as_str().to_lowercase()),
            Some(*kind)
        );
    }
}

#[test]
fn the_stored_forms_of_jobs_are_pinned() {
    let export = Operation::Export {
        url: "http://a.example".into(),
        api_key: None,
        payload_size: Some(7),
        indexes: BTreeMap::from([("*".to_owned(), ExportIndex::default())]),
    };
    let text = |operation: &Operation| serde_json::to_string(operation).expect("it serializes");
    assert_eq!(text(&Operation::CreateDump), r#"{"op":"createDump"}"#);
    assert_eq!(
        text(&Operation::CreateSnapshot),
        r#"{"op":"createSnapshot"}"#
    );
    assert_eq!(
        text(&export),
        r#"{"op":"export","url":"http://a.example","apiKey":null,"payloadSize":7,"indexes":{"*":{"filter":null,"overrideSettings":false}}}"#
    );
    assert!(export.is_job() && !Operation::DeleteIndex.is_job());
}

#[test]
fn the_stored_form_of_an_operation_is_pinned() {
    let operation = Operation::AddDocuments {
        method: AdditionMethod::Replace,
        primary_key: None,
        skip_creation: false,
        may_create_index: true,
        document_count: 2,
    };
    assert_eq!(
        serde_json::to_string(&operation).expect("an operation serializes"),
        r#"{"op":"addDocuments","method":"replace","primaryKey":null,"skipCreation":false,"mayCreateIndex":true,"documentCount":2}"#
    );
}
