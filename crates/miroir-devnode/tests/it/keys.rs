use crate::node::Node;
use http::Method;
use serde_json::{Value, json};

const MASTER_KEY: &str = "a master key of the tests";

async fn guarded_node() -> Node {
    Node::start_with(|options| options.master_key = Some(MASTER_KEY.to_owned())).await
}

#[tokio::test]
async fn without_a_master_key_only_the_keys_are_closed() {
    let node = Node::start().await;
    node.refuses(
        Method::GET,
        "/keys",
        Value::Null,
        (401, "missing_master_key"),
    )
    .await;
    node.get("/indexes").await;
}

#[tokio::test]
async fn a_master_key_closes_all_but_health() {
    let node = guarded_node().await;
    node.get("/health").await;
    let expected = (401, "missing_authorization_header");
    node.refuses(Method::GET, "/indexes", Value::Null, expected)
        .await;
    let stranger = node.with_key("wrong");
    stranger
        .refuses(
            Method::GET,
            "/indexes",
            Value::Null,
            (403, "invalid_api_key"),
        )
        .await;
    // Authorization comes before everything else.
    let path = "/indexes/a%20b?x=1";
    stranger
        .refuses(Method::GET, path, Value::Null, (403, "invalid_api_key"))
        .await;
    node.with_key(MASTER_KEY).get("/indexes").await;
}

#[tokio::test]
async fn the_default_keys_exist_and_work() {
    let node = guarded_node().await;
    let master = node.with_key(MASTER_KEY);
    let keys = master.get("/keys").await;
    assert_eq!(keys["total"], 4);
    let value = |actions: Value| {
        let all = keys["results"].as_array().unwrap();
        let key = all.iter().find(|key| key["actions"] == actions).unwrap();
        key["key"].as_str().unwrap().to_owned()
    };
    let admin = node.with_key(&value(json!(["*"])));
    admin.add("a", json!([{ "id": 1 }])).await;
    let searcher = node.with_key(&value(json!(["search"])));
    let (status, _) = searcher.post("/indexes/a/search", json!({})).await;
    assert_eq!(status, 200);
    let path = "/indexes/a/documents";
    searcher
        .refuses(Method::GET, path, Value::Null, (403, "invalid_api_key"))
        .await;
}

#[tokio::test]
async fn keys_are_made_shown_renamed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let with_key = |options: &mut miroir_devnode::Options| {
        options.master_key = Some(MASTER_KEY.to_owned());
    };
    let node = Node::open(folder.path(), with_key).await;
    let master = node.with_key(MASTER_KEY);
    let uid = "6062abda-a5aa-4414-ac91-ecd7944c0f8d";
    let body = json!({
        "uid": uid, "actions": ["documents.*", "tasks.get"], "indexes": ["a*"], "expiresAt": null,
    });
    let (status, key) = master.post("/keys", body.clone()).await;
    assert_eq!(
        (status, &key["uid"], &key["name"]),
        (201, &json!(uid), &Value::Null)
    );
    master
        .refuses(Method::POST, "/keys", body, (409, "api_key_already_exists"))
        .await;
    let value = key["key"].as_str().unwrap().to_owned();
    let limited = node.with_key(&value);
    let (status, summary) = limited
        .post("/indexes/ab/documents", json!([{ "id": 1 }]))
        .await;
    assert_eq!(status, 202);
    let task = limited.wait(&summary).await;
    assert_eq!(
        task["error"]["code"], "index_not_found",
        "the key may not create indexes"
    );
    let expected = (403, "invalid_api_key");
    limited
        .refuses(
            Method::DELETE,
            "/indexes/b/documents",
            Value::Null,
            expected,
        )
        .await;
    node.stop().await;

    let node = Node::open(folder.path(), with_key).await;
    let master = node.with_key(MASTER_KEY);
    let path = format!("/keys/{value}");
    let (_, renamed) = master
        .call(Method::PATCH, &path, &json!({ "name": "mine" }))
        .await;
    assert_eq!(
        (&renamed["name"], &renamed["key"]),
        (&json!("mine"), &json!(value))
    );
    let change = json!({ "actions": [] });
    master
        .refuses(
            Method::PATCH,
            &path,
            change,
            (400, "immutable_api_key_actions"),
        )
        .await;
    let (status, _) = master
        .call(Method::DELETE, &format!("/keys/{uid}"), &Value::Null)
        .await;
    assert_eq!(status, 204);
    master
        .refuses(Method::GET, &path, Value::Null, (404, "api_key_not_found"))
        .await;
    node.stop().await;
}

#[tokio::test]
async fn wrong_keys_are_refused() {
    let node = guarded_node().await;
    let master = node.with_key(MASTER_KEY);
    let cases = [
        (json!({}), "missing_api_key_actions"),
        (json!({ "actions": [] }), "missing_api_key_indexes"),
        (
            json!({ "actions": [], "indexes": [] }),
            "missing_api_key_expires_at",
        ),
        (
            json!({ "actions": ["x"], "indexes": [], "expiresAt": null }),
            "invalid_api_key_actions",
        ),
        (
            json!({ "actions": [], "indexes": ["a b"], "expiresAt": null }),
            "invalid_api_key_indexes",
        ),
        (
            json!({ "actions": [], "indexes": [], "expiresAt": "2001-01-01" }),
            "invalid_api_key_expires_at",
        ),
        (
            json!({ "actions": ["version"], "indexes": ["a"], "expiresAt": null }),
            "index_scoped_api_key_with_global_action",
        ),
    ];
    for (body, code) in cases {
        master
            .refuses(Method::POST, "/keys", body, (400, code))
            .await;
    }
}

#[tokio::test]
async fn a_key_for_some_indexes_sees_only_them() {
    let node = guarded_node().await;
    let master = node.with_key(MASTER_KEY);
    master.add("a", json!([{ "id": 1 }])).await;
    master.add("b", json!([{ "id": 1 }])).await;
    let body = json!({
        "actions": ["indexes.get", "tasks.get", "stats.get", "search"], "indexes": ["a"],
        "expiresAt": null,
    });
    let (_, key) = master.post("/keys", body).await;
    let limited = node.with_key(key["key"].as_str().unwrap());
    assert_eq!(limited.get("/indexes").await["total"], 1);
    assert_eq!(
        limited.get("/tasks").await["results"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    limited
        .refuses(
            Method::GET,
            "/tasks/1",
            Value::Null,
            (404, "task_not_found"),
        )
        .await;
    assert!(limited.get("/stats").await["indexes"].get("b").is_none());
    let queries = json!({ "queries": [{ "indexUid": "b" }] });
    limited
        .refuses(
            Method::POST,
            "/multi-search",
            queries,
            (403, "invalid_api_key"),
        )
        .await;
}
