use crate::node::Node;
use http::Method;
use serde_json::{Value, json};

fn uids(page: &Value) -> Vec<u64> {
    page["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["uid"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn tasks_are_listed_by_page_and_by_filter() {
    let node = Node::start().await;
    node.write_well(Method::POST, "/indexes", json!({ "uid": "a" }))
        .await;
    node.add("a", json!([{ "id": 1 }])).await;
    node.add("b", json!([{ "id": 1 }])).await;
    node.write(Method::DELETE, "/indexes/c", Value::Null).await;
    let page = node.get("/tasks?limit=3").await;
    assert_eq!(uids(&page), [3, 2, 1]);
    let place = [&page["total"], &page["from"], &page["next"], &page["limit"]];
    assert_eq!(place, [&json!(4), &json!(3), &json!(0), &json!(3)]);
    assert_eq!(uids(&node.get("/tasks?limit=3&from=0").await), [0]);
    let page = node.get("/tasks?reverse=true&limit=2&from=1").await;
    assert_eq!((uids(&page), &page["next"]), (vec![1, 2], &json!(3)));
    let cases: [(&str, &[u64]); 9] = [
        ("uids=0,2,77", &[2, 0]),
        ("types=documentAdditionOrUpdate", &[2, 1]),
        ("statuses=failed", &[3]),
        ("statuses=succeeded,failed&indexUids=a,c", &[3, 1, 0]),
        ("batchUids=1", &[1]),
        ("canceledBy=3", &[]),
        ("afterEnqueuedAt=2020-01-01", &[3, 2, 1, 0]),
        ("beforeFinishedAt=2020-01-01T00:00:00Z", &[]),
        ("indexUids=*", &[3, 2, 1, 0]),
    ];
    for (filter, expected) in cases {
        assert_eq!(
            uids(&node.get(&format!("/tasks?{filter}")).await),
            expected,
            "{filter}"
        );
    }
    let get = async |path: &str, expected| {
        node.refuses(Method::GET, path, Value::Null, expected).await;
    };
    get("/tasks/99", (404, "task_not_found")).await;
    get("/tasks/x", (400, "invalid_task_uids")).await;
    get("/tasks?statuses=lost", (400, "invalid_task_statuses")).await;
    get("/tasks?x=1", (400, "bad_request")).await;
    get("/tasks?limit=x", (400, "invalid_task_limit")).await;
}

#[tokio::test]
async fn a_finished_task_has_the_fields_of_the_api_in_order() {
    let node = Node::start().await;
    let path = "/indexes/a/documents?customMetadata=m";
    let task = node
        .write_well(Method::POST, path, json!([{ "id": 1 }]))
        .await;
    let fields: Vec<&String> = task.as_object().unwrap().keys().collect();
    let expected = [
        "uid",
        "batchUid",
        "indexUid",
        "status",
        "type",
        "canceledBy",
        "details",
        "error",
        "duration",
        "enqueuedAt",
        "startedAt",
        "finishedAt",
        "customMetadata",
    ];
    assert_eq!(fields, expected);
    assert!(task["duration"].as_str().unwrap().starts_with("PT"));
    assert!(task["finishedAt"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn waiting_tasks_are_canceled_and_finished_ones_deleted() {
    let node = Node::start().await;
    node.add("a", json!([{ "id": 1 }])).await;
    node.post("/_devnode/faults", json!({ "holdQueue": true }))
        .await;
    let (_, waiting) = node
        .post("/indexes/a/documents", json!([{ "id": 2 }]))
        .await;
    let (status, cancelation) = node.post("/tasks/cancel?indexUids=a", Value::Null).await;
    assert_eq!(
        (status, &cancelation["type"]),
        (200, &json!("taskCancelation"))
    );
    node.post("/_devnode/faults", json!({ "holdQueue": false }))
        .await;
    let cancelation = node.wait(&cancelation).await;
    let details =
        json!({ "matchedTasks": 2, "canceledTasks": 1, "originalFilter": "?indexUids=a" });
    assert_eq!(cancelation["details"], details);
    let canceled = node.wait(&waiting).await;
    assert_eq!(canceled["status"], "canceled");
    assert_eq!(canceled["canceledBy"], cancelation["uid"]);
    assert_eq!(canceled["batchUid"], cancelation["batchUid"]);
    assert_eq!(node.get("/indexes/a/stats").await["numberOfDocuments"], 1);
    let deletion = node
        .write_well(Method::DELETE, "/tasks?statuses=canceled", Value::Null)
        .await;
    let details =
        json!({ "matchedTasks": 1, "deletedTasks": 1, "originalFilter": "?statuses=canceled" });
    assert_eq!(deletion["details"], details);
    assert_eq!(node.get("/tasks").await["total"], 3);
    let expected = (400, "missing_task_filters");
    node.refuses(Method::DELETE, "/tasks", Value::Null, expected)
        .await;
    node.refuses(Method::POST, "/tasks/cancel", Value::Null, expected)
        .await;
    node.refuses(
        Method::DELETE,
        "/tasks?limit=1",
        Value::Null,
        (400, "bad_request"),
    )
    .await;
}

#[tokio::test]
async fn batches_sum_up_their_tasks() {
    let node = Node::start().await;
    node.add("a", json!([{ "id": 1 }])).await;
    let batch = node.get("/batches/0").await;
    assert_eq!(batch["stats"]["totalNbTasks"], 1);
    assert_eq!(
        batch["stats"]["types"],
        json!({ "documentAdditionOrUpdate": 1 })
    );
    assert_eq!(
        batch["details"],
        json!({ "receivedDocuments": 1, "indexedDocuments": 1 })
    );
    assert_eq!(node.get("/batches").await["total"], 1);
    node.refuses(
        Method::GET,
        "/batches/9",
        Value::Null,
        (404, "batch_not_found"),
    )
    .await;
}
