//! Settings, whole and one by one.

use crate::support::Face;
use http::StatusCode;
use miroir_api::settings::{SETTINGS, Verb};
use serde_json::{Value, json};

#[tokio::test]
async fn a_change_of_settings_is_a_task_with_what_was_sent() {
    let face = Face::open().await;
    let body = json!({"stopWords": ["the", "a"], "distinctAttribute": null});
    let whole = face.json("PATCH", "/indexes/a/settings", body).await;
    assert_eq!(whole.status, StatusCode::ACCEPTED);
    let task = face.task_of(&whole).await;
    assert_eq!(task["type"], "settingsUpdate");
    assert_eq!(
        task["details"],
        json!({"stopWords": ["a", "the"], "distinctAttribute": null})
    );
    let single = face
        .json(
            "PUT",
            "/indexes/a/settings/searchable-attributes",
            json!(["b"]),
        )
        .await;
    assert_eq!(
        face.task_of(&single).await["details"],
        json!({"searchableAttributes": ["b"]})
    );
    let reset = face.call("DELETE", "/indexes/a/settings/stop-words").await;
    assert_eq!(
        face.task_of(&reset).await["details"],
        json!({"stopWords": null})
    );
    let reset = face.call("DELETE", "/indexes/a/settings").await;
    let details = face.task_of(&reset).await["details"].clone();
    assert!(
        details
            .as_object()
            // Two are shown at their default, as Meilisearch does.
            .is_some_and(|details| details.values().all(|v| v.is_null() || *v == json!(["*"])))
    );
}

#[tokio::test]
async fn every_setting_has_its_sub_route_with_its_verb() {
    let face = Face::open().await;
    let chats = json!({"chatCompletions": true});
    face.json("PATCH", "/experimental-features", chats).await;
    for setting in SETTINGS {
        let path = format!("/indexes/a/settings/{}", setting.route);
        let (right, wrong) = match setting.verb {
            Verb::Put => ("PUT", "PATCH"),
            Verb::Patch => ("PATCH", "PUT"),
        };
        let answer = face.json(right, &path, Value::Null).await;
        assert_eq!(
            answer.status,
            StatusCode::ACCEPTED,
            "{right} {path}: {answer:?}"
        );
        let answer = face.json(right, &path, json!([[1]])).await;
        assert_eq!(answer.refusal().1, setting.code.name(), "{right} {path}");
        let answer = face.json(wrong, &path, Value::Null).await;
        assert_eq!(
            answer.status,
            StatusCode::METHOD_NOT_ALLOWED,
            "{wrong} {path}"
        );
        assert_eq!(
            face.get(&path).await.refusal().1,
            "index_not_found",
            "GET {path}"
        );
        let answer = face.call("DELETE", &path).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "DELETE {path}");
    }
}

#[tokio::test]
async fn wrong_settings_are_refused_at_once() {
    let face = Face::open().await;
    let answer = face.json(
        "PATCH",
        "/indexes/a/settings",
        json!({"pagination": {"maxTotalHits": 0}}),
    );
    assert_eq!(
        answer.await.refusal(),
        (
            400,
            "invalid_settings_pagination".to_owned(),
            "Invalid value at `.pagination.maxTotalHits`: a non-zero integer value lower than \
             `18446744073709551615` was expected, but found a zero"
                .to_owned()
        )
    );
    let answer = face
        .json("PATCH", "/indexes/a/settings", json!({"doggo": 1}))
        .await;
    assert_eq!(answer.refusal().1, "bad_request");
    assert_eq!(face.task_count().await, 0);
}
