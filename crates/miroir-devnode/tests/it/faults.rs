use crate::node::Node;
use http::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn an_overloaded_node_says_so_and_stays_healthy() {
    let node = Node::start().await;
    let (status, faults) = node
        .post("/_devnode/faults", json!({ "reject503": true }))
        .await;
    assert_eq!((status, &faults["reject503"]), (200, &json!(true)));
    let (status, headers, answer) = node.send(Method::GET, "/indexes", &[], "").await.unwrap();
    assert_eq!(
        (status, &answer["code"]),
        (503, &json!("too_many_search_requests"))
    );
    assert_eq!(headers["retry-after"], "10");
    node.get("/health").await;
    node.post("/_devnode/faults", json!({ "reject503": false }))
        .await;
    node.get("/indexes").await;
    let unknown = json!({ "x": 1 });
    node.refuses(
        Method::POST,
        "/_devnode/faults",
        unknown,
        (400, "bad_request"),
    )
    .await;
}

#[tokio::test]
async fn a_lost_answer_is_a_write_that_happened() {
    let node = Node::start().await;
    node.post("/_devnode/faults", json!({ "loseAnswers": 1 }))
        .await;
    let json_type = [("content-type", "application/json")];
    let lost = node
        .send(
            Method::POST,
            "/indexes/a/documents",
            &json_type,
            "[{\"id\":1}]",
        )
        .await;
    assert!(lost.is_err());
    let task = node.wait(&json!({ "taskUid": 0 })).await;
    assert_eq!(task["status"], "succeeded");
    node.add("a", json!([{ "id": 2 }])).await;
}

#[tokio::test]
async fn delays_can_be_set_and_taken_back() {
    let node = Node::start().await;
    let delays = json!({ "submitDelayMs": 5, "taskDelayMs": 5, "searchDelayMs": 5 });
    node.post("/_devnode/faults", delays).await;
    node.add("a", json!([{ "id": 1 }])).await;
    node.get("/indexes/a/search").await;
    let none = json!({ "submitDelayMs": 0, "taskDelayMs": 0, "searchDelayMs": 0 });
    let (_, faults) = node.post("/_devnode/faults", none).await;
    assert_eq!(faults["taskDelayMs"], 0);
    let (status, _) = node
        .call(Method::GET, "/_devnode/faults", &Value::Null)
        .await;
    assert_eq!(status, 200);
}
