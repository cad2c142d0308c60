//! Swaps, editions, compactions and experimental features: what the face decides of them.

use crate::support::Face;
use http::StatusCode;
use miroir_http::Options;
use serde_json::json;

#[tokio::test]
async fn swaps_and_compactions_become_tasks() {
    let face = Face::open().await;
    let swapped = face
        .json(
            "POST",
            "/swap-indexes",
            json!([{"indexes": ["a", "b"]}, {"indexes": ["c", "d"], "rename": true}]),
        )
        .await;
    assert_eq!(swapped.status, StatusCode::ACCEPTED);
    let task = face.task_of(&swapped).await;
    assert_eq!(
        (&task["type"], &task["indexUid"]),
        (&json!("indexSwap"), &json!(null))
    );
    assert_eq!(
        task["details"]["swaps"],
        json!([
            {"indexes": ["a", "b"], "rename": false},
            {"indexes": ["c", "d"], "rename": true},
        ])
    );
    let compacted = face.call("POST", "/indexes/a/compact").await;
    assert_eq!(compacted.status, StatusCode::ACCEPTED);
    let task = face.task_of(&compacted).await;
    assert_eq!(
        (&task["type"], &task["indexUid"], &task["details"]),
        (&json!("indexCompaction"), &json!("a"), &json!({}))
    );
}

#[tokio::test]
async fn a_swap_of_an_index_out_of_reach_is_refused() {
    let face = Face::locked("MASTER").await;
    let body = json!({"actions": ["indexes.swap"], "indexes": ["a*"], "expiresAt": null});
    let key = face.ask("MASTER", "POST", "/keys", &body).await.json();
    let key = key["key"].as_str().expect("a key");
    for (swap, status) in [
        (json!([{"indexes": ["a1", "a2"]}]), 202),
        (json!([{"indexes": ["a1", "b"]}]), 403),
        (json!([{"indexes": ["b", "a1"]}]), 403),
    ] {
        let answer = face.ask(key, "POST", "/swap-indexes", &swap).await;
        assert_eq!(answer.status.as_u16(), status, "{swap}");
    }
}

#[tokio::test]
async fn features_are_miroirs_own_and_outlive_nothing_they_should_not() {
    let face = Face::with(Options::default()).await;
    let path = "/experimental-features";
    assert_eq!(face.get(path).await.json()["containsFilter"], false);
    let changed = face
        .json("PATCH", path, json!({"containsFilter": true}))
        .await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_eq!(changed.json()["containsFilter"], true);
    assert_eq!(face.get(path).await.json()["containsFilter"], true);
    // One that is refused takes the others of its request with it.
    let both = json!({"containsFilter": false, "network": true});
    let (status, code, message) = face.json("PATCH", path, both).await.refusal();
    assert_eq!((status, &*code), (501, "feature_not_enabled"));
    assert!(message.contains("`network`"), "{message}");
    assert_eq!(face.get(path).await.json()["containsFilter"], true);
}

#[tokio::test]
async fn an_edition_needs_its_feature_and_a_node_that_compiles_it() {
    let face = Face::open().await;
    let path = "/indexes/a/documents/edit";
    let body = json!({"function": "doc.a = 1"});
    let (status, code, _) = face.json("POST", path, body.clone()).await.refusal();
    assert_eq!((status, &*code), (400, "feature_not_enabled"));
    let on = json!({"editDocumentsByFunction": true});
    face.json("PATCH", "/experimental-features", on).await;
    let (status, ..) = face.json("POST", path, body).await.refusal();
    assert_eq!(status, 502, "nobody is there to compile it");
    assert_eq!(face.task_count().await, 0);
}
