use crate::node::Node;
use serde_json::json;
use std::collections::BTreeSet;

#[tokio::test]
async fn many_small_writes_end_in_few_batches() {
    let node = Node::start().await;
    let mut summaries = Vec::new();
    for id in 0..100 {
        let (status, summary) = node
            .post("/indexes/a/documents", json!([{ "id": id }]))
            .await;
        assert_eq!(status, 202);
        summaries.push(summary);
    }
    let mut batches = BTreeSet::new();
    for summary in &summaries {
        let task = node.wait(summary).await;
        assert_eq!(task["status"], "succeeded");
        batches.insert(task["batchUid"].as_u64().unwrap());
    }
    assert!(batches.len() < 60, "{} batches", batches.len());
    assert_eq!(node.get("/indexes/a/stats").await["numberOfDocuments"], 100);
}

#[tokio::test]
async fn writes_held_back_are_one_batch_and_keep_their_order() {
    let node = Node::start().await;
    node.post("/_devnode/faults", json!({ "holdQueue": true }))
        .await;
    let path = "/indexes/a/documents";
    for n in 0..20 {
        node.post(path, json!([{ "id": n % 5, "n": n }])).await;
    }
    let (_, deletion) = node
        .post("/indexes/a/documents/delete-batch", json!([0]))
        .await;
    let (_, last) = node.post(path, json!([{ "id": 1, "n": "last" }])).await;
    node.post("/_devnode/faults", json!({ "holdQueue": false }))
        .await;
    let last = node.wait(&last).await;
    assert_eq!(last["status"], "succeeded", "{last}");
    assert_eq!(node.get("/batches").await["total"], 1);
    assert_eq!(node.wait(&deletion).await["details"]["deletedDocuments"], 1);
    let expected = json!([
        { "id": 1, "n": "last" }, { "id": 2, "n": 17 }, { "id": 3, "n": 18 }, { "id": 4, "n": 19 },
    ]);
    let mut found = node.get(path).await["results"].as_array().unwrap().clone();
    found.sort_by_key(|document| document["id"].as_u64());
    assert_eq!(json!(found), expected);
}
