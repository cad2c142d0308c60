//! What restricted keys and tenant tokens see and reach behind the door.

use crate::support::{AwayNodes, Face};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use http::StatusCode;
use miroir_http::Options;
use serde_json::{Value, json};
use sha2::Sha256;
use std::sync::Arc;

const MASTER: &str = "a master key";

/// A tenant token signed with a key as `/keys` shows it.
pub(crate) fn token(key: &Value, mut claims: Value) -> String {
    claims["apiKeyUid"] = key["uid"].clone();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({"alg": "HS256", "typ": "JWT"});
    let message = format!("{}.{}", part(&header), part(&claims));
    let secret = key["key"].as_str().expect("a value");
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(message.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{message}.{signature}")
}

/// A face with three indexes.
async fn face() -> (Face, Arc<AwayNodes>) {
    let nodes = Arc::new(AwayNodes::default());
    let options = Options {
        master_key: Some(MASTER.into()),
        ..Options::default()
    };
    let face = Face::over(nodes.clone(), options, &["apples", "pears", "plums"]).await;
    (face, nodes)
}

async fn key(face: &Face, actions: &[&str], indexes: &[&str]) -> Value {
    let wish = json!({"actions": actions, "indexes": indexes, "expiresAt": null});
    let answer = face.ask(MASTER, "POST", "/keys", &wish).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer.json()
}

fn value(key: &Value) -> &str {
    key["key"].as_str().expect("a value")
}

fn names(list: &Value, name: &str) -> Vec<String> {
    let results = list["results"].as_array().expect("results");
    let names = results.iter().map(|entry| entry[name].as_str());
    names
        .map(|name| name.unwrap_or("none").to_owned())
        .collect()
}

#[tokio::test]
async fn a_listing_of_indexes_shows_those_in_reach() {
    let (face, _) = face().await;
    let restricted = key(&face, &["indexes.get"], &["p*"]).await;
    let list = face
        .ask(value(&restricted), "GET", "/indexes?limit=1", &Value::Null)
        .await
        .json();
    assert_eq!(
        (names(&list, "uid"), &list["total"]),
        (vec!["pears".into()], &json!(2))
    );
    let list = face
        .ask(MASTER, "GET", "/indexes", &Value::Null)
        .await
        .json();
    assert_eq!(names(&list, "uid"), ["apples", "pears", "plums"]);
}

#[tokio::test]
async fn tasks_out_of_reach_are_not_there() {
    let (face, _) = face().await;
    for (method, path) in [
        ("DELETE", "/indexes/apples"),
        ("DELETE", "/indexes/pears"),
        ("POST", "/tasks/cancel?uids=0"),
        ("DELETE", "/indexes/plums"),
        ("DELETE", "/indexes/pearsandmore"),
    ] {
        let answer = face.ask(MASTER, method, path, &Value::Null).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }
    for (indexes, uids) in [
        (&["pears"][..], vec![1]),
        (&["pear*"], vec![4, 1]),
        (&["pl*", "apples"], vec![3, 0]),
        (&["doggo"], vec![]),
        (&["doggo", "*"], vec![4, 3, 2, 1, 0]),
    ] {
        let key = key(&face, &["tasks.*"], indexes).await;
        let list = face
            .ask(value(&key), "GET", "/tasks", &Value::Null)
            .await
            .json();
        let results = list["results"].as_array().expect("results");
        let found: Vec<u64> = results
            .iter()
            .filter_map(|task| task["uid"].as_u64())
            .collect();
        assert_eq!(
            (&found, &list["total"]),
            (&uids, &json!(uids.len())),
            "{indexes:?}"
        );
        for uid in 0..5 {
            let shown = face
                .ask(value(&key), "GET", &format!("/tasks/{uid}"), &Value::Null)
                .await;
            let expected = if uids.contains(&uid) { 200 } else { 404 };
            assert_eq!(shown.status.as_u16(), expected, "{indexes:?} {uid}");
        }
        // A filter for an index does not widen it.
        let path = "/tasks?indexUids=apples,pears,plums,pearsandmore";
        let list = face
            .ask(value(&key), "GET", path, &Value::Null)
            .await
            .json();
        let mut uids = uids;
        uids.retain(|uid| *uid != 2);
        assert_eq!(list["total"], json!(uids.len()), "{indexes:?}");
    }
}

#[tokio::test]
async fn tasks_about_tasks_reach_only_those_in_reach() {
    let (face, _) = face().await;
    let restricted = key(&face, &["tasks.*"], &["pear*"]).await;
    for (method, path) in [
        ("POST", "/tasks/cancel?statuses=*"),
        ("DELETE", "/tasks?uids=0,1"),
    ] {
        let answer = face
            .ask(value(&restricted), method, path, &Value::Null)
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let uid = answer.json()["taskUid"].as_u64().expect("a task");
        let task = face
            .engine
            .task(miroir_core::id::TaskUid(uid))
            .await
            .expect("it is there");
        let (miroir_core::task::Operation::CancelTasks { filter, .. }
        | miroir_core::task::Operation::DeleteTasks { filter, .. }) = task.operation
        else {
            panic!("{:?} is not about tasks", task.operation);
        };
        assert_eq!(filter.index_patterns, Some(vec!["pear*".to_owned()]));
    }
}

#[tokio::test]
async fn making_an_index_needs_the_right_to() {
    let (face, _) = face().await;
    let maker = key(&face, &["indexes.create", "documents.add"], &["new*"]).await;
    let writer = key(&face, &["documents.add", "settings.update"], &["new*"]).await;
    let made = face
        .ask(value(&maker), "POST", "/indexes", &json!({"uid": "news"}))
        .await;
    assert_eq!(made.status, StatusCode::ACCEPTED);
    let refused = face
        .ask(value(&maker), "POST", "/indexes", &json!({"uid": "olds"}))
        .await;
    assert_eq!(refused.refusal().2, "The provided API key is invalid.");
    let documents = json!([{"id": 1}]);
    for (key, method, path, may) in [
        (&maker, "POST", "/indexes/news/documents", true),
        (&writer, "POST", "/indexes/news/documents", false),
        (&writer, "PUT", "/indexes/news/documents", false),
        (&writer, "PATCH", "/indexes/news/settings", false),
    ] {
        let body = if method == "PATCH" {
            json!({})
        } else {
            documents.clone()
        };
        let answer = face.ask(value(key), method, path, &body).await;
        let uid = answer.json()["taskUid"].as_u64().expect("a task");
        let task = face
            .engine
            .task(miroir_core::id::TaskUid(uid))
            .await
            .expect("it is there");
        let stored = format!("{:?}", task.operation);
        assert!(
            stored.contains(&format!("may_create_index: {may}")),
            "{path}: {stored}"
        );
    }
}

#[tokio::test]
async fn what_a_token_demands_reaches_the_nodes() {
    let rules = json!({"searchRules": {
        "apples": {"filter": ["tenant = 1"]},
        "p*": {"filter": "tenant = 2"},
        "plums": {},
    }});
    for (path, body, expected) in [
        ("/indexes/apples/search", json!({"q": "x"}), "tenant = 1"),
        (
            "/indexes/pears/search",
            json!({"filter": "a = 1"}),
            "tenant = 2",
        ),
        (
            "/indexes/pears/search",
            json!({"filter": ["a = 1", ["b = 2"]]}),
            "tenant = 2",
        ),
        ("/indexes/plums/search", json!({"filter": "a = 1"}), ""),
        (
            "/multi-search",
            json!({"queries": [{"indexUid": "apples"}]}),
            "tenant = 1",
        ),
        (
            "/indexes/apples/facet-search",
            json!({"facetName": "a"}),
            "tenant = 1",
        ),
    ] {
        // A new face each time: a node that did not answer is not asked again.
        let (face, nodes) = face().await;
        let parent = key(&face, &["search"], &["*"]).await;
        let tenant = token(&parent, rules.clone());
        let before = nodes.reads().len();
        let answer = face.ask(&tenant, "POST", path, &body).await;
        assert!(
            !matches!(answer.status.as_u16(), 401 | 403),
            "{path}: {answer:?}"
        );
        let reads = nodes.reads().split_off(before).join("\n");
        // A filter on an attribute that is not filterable is refused before any node is asked.
        let seen = format!("{reads}{}", String::from_utf8_lossy(&answer.body));
        assert!(
            !seen.is_empty() && seen.contains(expected),
            "{path} {body}: {seen}"
        );
        assert!(
            expected == "tenant = 1" || !seen.contains("tenant = 1"),
            "{path}: {seen}"
        );
    }
}

#[tokio::test]
async fn a_multi_search_is_refused_at_the_first_index_out_of_reach() {
    let (face, _) = face().await;
    let narrow = key(&face, &["search"], &["apples"]).await;
    let wide = key(&face, &["search"], &["*"]).await;
    let tenant = token(&wide, json!({"searchRules": ["apples"]}));
    let body = json!({"queries": [{"indexUid": "apples"}, {"indexUid": "pears"}]});
    for credential in [value(&narrow), &tenant] {
        let answer = face.ask(credential, "POST", "/multi-search", &body).await;
        assert_eq!(
            answer.refusal(),
            (
                403,
                "invalid_api_key".into(),
                "Inside `.queries[1]`: The provided API key is invalid.".into()
            )
        );
    }
}
