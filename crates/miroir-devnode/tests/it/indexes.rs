use crate::node::Node;
use http::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn indexes_are_created_shown_listed_changed_and_removed() {
    let node = Node::start().await;
    for uid in ["b", "a", "c"] {
        let body =
            json!({ "uid": uid, "primaryKey": if uid == "a" { json!("id") } else { Value::Null } });
        let task = node
            .write_well(Method::POST, "/indexes", body.clone())
            .await;
        assert_eq!(task["details"]["primaryKey"], body["primaryKey"]);
    }
    let list = node.get("/indexes?offset=1&limit=1").await;
    assert_eq!(
        (&list["total"], &list["results"][0]["uid"]),
        (&json!(3), &json!("b"))
    );
    assert_eq!(node.get("/indexes/a").await["primaryKey"], "id");
    let task = node
        .write_well(Method::PATCH, "/indexes/b", json!({ "primaryKey": "key" }))
        .await;
    assert_eq!(task["type"], "indexUpdate");
    assert_eq!(node.get("/indexes/b").await["primaryKey"], "key");
    node.add("b", json!([{ "key": 1 }])).await;
    let task = node
        .write(Method::PATCH, "/indexes/b", json!({ "primaryKey": "id" }))
        .await;
    assert_eq!(task["error"]["code"], "index_primary_key_already_exists");
    let task = node
        .write_well(Method::DELETE, "/indexes/b", Value::Null)
        .await;
    assert_eq!(task["details"], json!({ "deletedDocuments": 1 }));
    node.refuses(
        Method::GET,
        "/indexes/b",
        Value::Null,
        (404, "index_not_found"),
    )
    .await;
    let task = node.write(Method::DELETE, "/indexes/b", Value::Null).await;
    assert_eq!(task["error"]["message"], "Index `b` not found.");
    let task = node
        .write(Method::POST, "/indexes", json!({ "uid": "a" }))
        .await;
    assert_eq!(task["error"]["code"], "index_already_exists");
}

#[tokio::test]
async fn swapped_and_renamed_indexes_take_their_tasks_along() {
    let node = Node::start().await;
    let first = node.add("a", json!([{ "id": 1 }])).await;
    node.add("b", json!([{ "id": 1 }, { "id": 2 }])).await;
    let body = json!([{ "indexes": ["a", "b"] }]);
    let task = node.write_well(Method::POST, "/swap-indexes", body).await;
    let details = json!({ "swaps": [{ "indexes": ["a", "b"], "rename": false }] });
    assert_eq!(
        (&task["indexUid"], &task["details"]),
        (&Value::Null, &details)
    );
    assert_eq!(node.get("/indexes/a/stats").await["numberOfDocuments"], 2);
    assert_eq!(
        node.get(&format!("/tasks/{}", first["uid"])).await["indexUid"],
        "b"
    );
    node.write_well(Method::PATCH, "/indexes/b", json!({ "uid": "c" }))
        .await;
    assert_eq!(node.get("/indexes/c/stats").await["numberOfDocuments"], 1);
    assert_eq!(
        node.get(&format!("/tasks/{}", first["uid"])).await["indexUid"],
        "c"
    );
    let task = node
        .write(Method::PATCH, "/indexes/c", json!({ "uid": "a" }))
        .await;
    assert_eq!(task["error"]["code"], "index_already_exists");
    let body = json!([{ "indexes": ["a", "x"] }]);
    let task = node.write(Method::POST, "/swap-indexes", body).await;
    assert_eq!(task["error"]["code"], "index_not_found");
    let body = json!([{ "indexes": ["a", "x"], "rename": true }]);
    node.write_well(Method::POST, "/swap-indexes", body).await;
    assert_eq!(node.get("/indexes/x/stats").await["numberOfDocuments"], 2);
}

#[tokio::test]
async fn requests_about_indexes_are_checked() {
    let node = Node::start().await;
    let post = async |path: &str, body: Value, expected| {
        node.refuses(Method::POST, path, body, expected).await;
    };
    post("/indexes", json!({}), (400, "missing_index_uid")).await;
    post(
        "/indexes",
        json!({ "uid": "a b" }),
        (400, "invalid_index_uid"),
    )
    .await;
    post(
        "/indexes",
        json!({ "uid": "a", "x": 1 }),
        (400, "bad_request"),
    )
    .await;
    post(
        "/indexes",
        json!({ "uid": "a", "primaryKey": 1 }),
        (400, "invalid_index_primary_key"),
    )
    .await;
    post(
        "/swap-indexes",
        json!([{ "indexes": ["a"] }]),
        (400, "invalid_swap_indexes"),
    )
    .await;
    post("/swap-indexes", json!([{}]), (400, "missing_swap_indexes")).await;
    let twice = json!([{ "indexes": ["a", "a"] }]);
    post(
        "/swap-indexes",
        twice,
        (400, "invalid_swap_duplicate_index_found"),
    )
    .await;
    let body = json!({ "createdAt": "now" });
    node.refuses(
        Method::PATCH,
        "/indexes/a",
        body,
        (400, "immutable_index_created_at"),
    )
    .await;
    node.refuses(
        Method::GET,
        "/indexes?limit=x",
        Value::Null,
        (400, "invalid_index_limit"),
    )
    .await;
}

#[tokio::test]
async fn the_server_tells_of_itself() {
    let node = Node::start().await;
    assert_eq!(node.get("/health").await, json!({ "status": "available" }));
    assert_eq!(node.get("/health/").await, json!({ "status": "available" }));
    assert_eq!(node.get("/version").await["pkgVersion"], "1.15.1");
    assert_eq!(node.get("/stats").await["lastUpdate"], Value::Null);
    node.add("a", json!([{ "id": 1, "x": 2 }])).await;
    let stats = node.get("/stats").await;
    assert_eq!(
        stats["indexes"]["a"]["fieldDistribution"],
        json!({ "id": 1, "x": 1 })
    );
    assert_eq!(stats["indexes"]["a"]["isIndexing"], false);
    assert!(stats["databaseSize"].as_u64().unwrap() >= stats["usedDatabaseSize"].as_u64().unwrap());
    let (status, body) = node.call(Method::GET, "/nowhere", &Value::Null).await;
    assert_eq!((status, body), (404, Value::Null));
    let (status, body) = node.call(Method::PUT, "/health", &Value::Null).await;
    assert_eq!((status, body), (405, Value::Null));
}

#[tokio::test]
async fn experimental_features_are_flags_that_stay() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path(), |_| {}).await;
    assert_eq!(
        node.get("/experimental-features").await["containsFilter"],
        false
    );
    let on = json!({ "containsFilter": true });
    let (status, flags) = node
        .call(Method::PATCH, "/experimental-features", &on)
        .await;
    assert_eq!(
        (status, &flags["containsFilter"], &flags["network"]),
        (200, &json!(true), &json!(false))
    );
    let unknown = json!({ "x": true });
    node.refuses(
        Method::PATCH,
        "/experimental-features",
        unknown,
        (400, "bad_request"),
    )
    .await;
    node.stop().await;
    let node = Node::open(folder.path(), |_| {}).await;
    assert_eq!(
        node.get("/experimental-features").await["containsFilter"],
        true
    );
    node.stop().await;
}
