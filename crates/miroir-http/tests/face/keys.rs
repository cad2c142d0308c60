//! The API keys themselves: made, listed, shown, changed, removed.

use crate::support::Face;
use http::StatusCode;
use miroir_api::key::KeyValue;
use serde_json::{Value, json};

const MASTER: &str = "a master key";
const UID: &str = "6062abda-a5aa-4414-ac91-ecd7944c0f8d";

async fn create(face: &Face, body: Value) -> Value {
    let answer = face.ask(MASTER, "POST", "/keys", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn a_new_key_is_shown_with_the_value_that_follows_from_its_uid() {
    let face = Face::locked(MASTER).await;
    let body = json!({
        "uid": UID,
        "name": "n",
        "description": "d",
        "actions": ["search", "documents.*"],
        "indexes": ["movies", "books-*"],
        "expiresAt": "1970-01-02",
    });
    let value = KeyValue::derive(MASTER, UID.parse().expect("a uid")).to_hex();
    let expected = json!({
        "name": "n",
        "description": "d",
        "key": value,
        "uid": UID,
        "actions": ["search", "documents.*"],
        "indexes": ["movies", "books-*"],
        "expiresAt": "1970-01-02T00:00:00Z",
        "createdAt": "1970-01-01T00:00:00Z",
        "updatedAt": "1970-01-01T00:00:00Z",
    });
    let created = create(&face, body.clone()).await;
    assert_eq!(
        created.to_string(),
        expected.to_string(),
        "the order counts"
    );
    for name in [UID, &value, &UID.to_uppercase(), &value.to_uppercase()] {
        let shown = face
            .ask(MASTER, "GET", &format!("/keys/{name}"), &Value::Null)
            .await;
        assert_eq!(shown.json(), expected, "{name}");
    }
    let again = face.ask(MASTER, "POST", "/keys", &body).await;
    assert_eq!(
        again.refusal(),
        (
            409,
            "api_key_already_exists".into(),
            format!("`uid` field value `{UID}` is already an existing API key.")
        )
    );
}

#[tokio::test]
async fn a_new_instance_has_four_keys_and_a_used_one_no_more() {
    let face = Face::locked(MASTER).await;
    for _ in 0..2 {
        let made = face.engine.make_default_api_keys().await;
        made.expect("the store works");
    }
    let list = face.ask(MASTER, "GET", "/keys", &Value::Null).await.json();
    let keys: Vec<_> = list["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|key| {
            json!([
                key["name"],
                key["actions"],
                key["indexes"],
                key["expiresAt"]
            ])
        })
        .collect();
    assert_eq!(
        Value::from(keys),
        json!([
            ["Default Search API Key", ["search"], ["*"], null],
            ["Default Admin API Key", ["*"], ["*"], null],
            [
                "Default Read-Only Admin API Key",
                ["*.get", "keys.get"],
                ["*"],
                null
            ],
            [
                "Default Chat API Key",
                ["chatCompletions", "search"],
                ["*"],
                null
            ],
        ])
    );
    assert_eq!(
        (&list["offset"], &list["limit"], &list["total"]),
        (&json!(0), &json!(20), &json!(4))
    );
}

#[tokio::test]
async fn keys_are_listed_newest_first_and_page_by_page() {
    let face = Face::locked(MASTER).await;
    for second in 0..4 {
        face.clock.set(second);
        let name = format!("key-{second}");
        create(
            &face,
            json!({"name": name, "actions": ["*"], "indexes": ["*"], "expiresAt": null}),
        )
        .await;
    }
    let page = face
        .ask(MASTER, "GET", "/keys?offset=1&limit=2", &Value::Null)
        .await;
    let page = page.json();
    let names: Vec<_> = page["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|key| key["name"].clone())
        .collect();
    assert_eq!(names, ["key-2", "key-1"]);
    assert_eq!(page["total"], 4);
    for (query, code) in [
        ("limit=doggo", "invalid_api_key_limit"),
        ("offset=doggo", "invalid_api_key_offset"),
        ("doggo=1", "bad_request"),
    ] {
        let path = format!("/keys?{query}");
        let refused = face.ask(MASTER, "GET", &path, &Value::Null).await;
        assert_eq!(refused.refusal().1, code);
    }
}

#[tokio::test]
async fn name_and_description_change_and_nothing_else() {
    let face = Face::locked(MASTER).await;
    let key = create(
        &face,
        json!({"uid": UID, "name": "n", "actions": ["search"], "indexes": ["*"], "expiresAt": null}),
    )
    .await;
    face.clock.set(7);
    let path = format!("/keys/{UID}");
    let changed = face
        .ask(MASTER, "PATCH", &path, &json!({"description": "d"}))
        .await;
    let mut expected = key.clone();
    expected["description"] = json!("d");
    expected["updatedAt"] = json!("1970-01-01T00:00:07Z");
    assert_eq!(changed.json(), expected);
    let changed = face
        .ask(MASTER, "PATCH", &path, &json!({"name": null}))
        .await;
    expected["name"] = Value::Null;
    assert_eq!(changed.json(), expected);
    let refused = face
        .ask(MASTER, "PATCH", &path, &json!({"actions": ["*"]}))
        .await;
    assert_eq!(refused.refusal().1, "immutable_api_key_actions");
    // A mistake in the body is told before a key that is not there.
    let refused = face
        .ask(MASTER, "PATCH", "/keys/doggo", &json!({"uid": 1}))
        .await;
    assert_eq!(refused.refusal().1, "immutable_api_key_uid");
}

#[tokio::test]
async fn a_removed_key_opens_nothing_from_that_moment_on() {
    let face = Face::locked(MASTER).await;
    let key = create(
        &face,
        json!({"uid": UID, "actions": ["tasks.get"], "indexes": ["*"], "expiresAt": null}),
    )
    .await;
    let value = key["key"].as_str().expect("a value");
    assert_eq!(
        face.ask(value, "GET", "/tasks", &Value::Null).await.status,
        StatusCode::OK
    );
    let path = format!("/keys/{value}");
    let removed = face.ask(MASTER, "DELETE", &path, &Value::Null).await;
    assert_eq!(
        (removed.status, removed.body.len()),
        (StatusCode::NO_CONTENT, 0)
    );
    let refused = face.ask(value, "GET", "/tasks", &Value::Null).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    for (method, name) in [
        ("GET", UID),
        ("DELETE", UID),
        ("GET", "doggo"),
        ("PATCH", UID),
    ] {
        let missing = face
            .ask(MASTER, method, &format!("/keys/{name}"), &json!({}))
            .await;
        assert_eq!(
            missing.refusal(),
            (
                404,
                "api_key_not_found".into(),
                format!("API key `{name}` not found.")
            ),
            "{method}"
        );
    }
}

#[tokio::test]
async fn keys_survive_a_restart_of_the_face_and_another_master_key_changes_their_values() {
    let face = Face::locked(MASTER).await;
    let key = create(
        &face,
        json!({"uid": UID, "actions": ["tasks.get"], "indexes": ["*"], "expiresAt": null}),
    )
    .await;
    let value = key["key"].as_str().expect("a value");
    let again = |master_key: &str| {
        let options = miroir_http::Options {
            master_key: Some(master_key.to_owned()),
            ..miroir_http::Options::default()
        };
        Face {
            router: miroir_http::router(face.engine.clone(), options),
            engine: face.engine.clone(),
            payloads: face.payloads.clone(),
            clock: face.clock.clone(),
        }
    };
    let same = again(MASTER)
        .ask(value, "GET", "/tasks", &Value::Null)
        .await;
    assert_eq!(same.status, StatusCode::OK);
    let other = again("another")
        .ask(value, "GET", "/tasks", &Value::Null)
        .await;
    assert_eq!(other.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn without_a_master_key_there_are_no_keys() {
    let face = Face::open().await;
    for (method, path) in [("GET", "/keys"), ("POST", "/keys"), ("PATCH", "/keys/x")] {
        let refused = face.ask("anything", method, path, &json!({})).await;
        assert_eq!(refused.refusal().1, "missing_master_key", "{method} {path}");
    }
}
