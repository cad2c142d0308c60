//! Tasks: listed, shown, chosen.

use crate::support::Face;
use http::StatusCode;
use serde_json::{Value, json};

async fn face_with_tasks(count: usize) -> Face {
    let face = Face::open().await;
    for idx in 0..count {
        let answer = face.call("DELETE", &format!("/indexes/index-{idx}")).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }
    face
}

fn uids(list: &Value) -> Vec<u64> {
    let results = list["results"].as_array().expect("results");
    results
        .iter()
        .filter_map(|task| task["uid"].as_u64())
        .collect()
}

#[tokio::test]
async fn tasks_are_listed_newest_first_and_page_by_page() {
    let face = face_with_tasks(5).await;
    let first = face.get("/tasks?limit=2").await.json();
    assert_eq!(uids(&first), [4, 3]);
    assert_eq!(
        (
            &first["total"],
            &first["limit"],
            &first["from"],
            &first["next"]
        ),
        (&json!(5), &json!(2), &json!(4), &json!(2))
    );
    let second = face.get("/tasks?limit=3&from=2").await.json();
    assert_eq!(
        (uids(&second), &second["next"]),
        (vec![2, 1, 0], &Value::Null)
    );
    assert_eq!(
        uids(&face.get("/tasks?reverse=true&limit=2").await.json()),
        [0, 1]
    );
}

#[tokio::test]
async fn tasks_are_listed_by_what_they_are() {
    let face = face_with_tasks(3).await;
    for (query, expected) in [
        ("uids=0,2", vec![2, 0]),
        ("indexUids=index-1", vec![1]),
        ("types=INDEXDELETION", vec![2, 1, 0]),
        ("types=indexCreation", vec![]),
        ("statuses=enqueued,*", vec![2, 1, 0]),
        ("afterEnqueuedAt=1970-01-01", vec![]),
        ("beforeEnqueuedAt=1970-01-02", vec![2, 1, 0]),
    ] {
        assert_eq!(
            uids(&face.get(&format!("/tasks?{query}")).await.json()),
            expected,
            "{query}"
        );
    }
}

#[tokio::test]
async fn an_enqueued_task_has_every_field() {
    let face = face_with_tasks(1).await;
    assert_eq!(
        face.get("/tasks/0").await.json(),
        json!({
            "uid": 0,
            "batchUid": null,
            "indexUid": "index-0",
            "status": "enqueued",
            "type": "indexDeletion",
            "canceledBy": null,
            "details": {"deletedDocuments": null},
            "error": null,
            "duration": null,
            "enqueuedAt": "1970-01-01T00:00:00Z",
            "startedAt": null,
            "finishedAt": null,
        })
    );
}

#[tokio::test]
async fn wrong_task_requests_are_refused_in_meilisearch_words() {
    let face = Face::open().await;
    for (method, path, status, code, message) in [
        (
            "GET",
            "/tasks/7",
            404,
            "task_not_found",
            "Task `7` not found.",
        ),
        (
            "GET",
            "/tasks/doggo",
            400,
            "invalid_task_uids",
            "Task uid `doggo` is invalid. It should only contain numeric characters.",
        ),
        (
            "GET",
            "/tasks?uids=1,dogo",
            400,
            "invalid_task_uids",
            "Invalid value in parameter `uids[1]`: could not parse `dogo` as a positive integer",
        ),
        (
            "DELETE",
            "/tasks",
            400,
            "missing_task_filters",
            "Query parameters to filter the tasks to delete are missing. Available query \
             parameters are: `uids`, `indexUids`, `statuses`, `types`, `canceledBy`, \
             `beforeEnqueuedAt`, `afterEnqueuedAt`, `beforeStartedAt`, `afterStartedAt`, \
             `beforeFinishedAt`, `afterFinishedAt`.",
        ),
        (
            "POST",
            "/tasks/cancel?limit=1",
            400,
            "bad_request",
            "Unknown parameter `limit`: expected one of `uids`, `batchUids`, `canceledBy`, \
             `types`, `statuses`, `indexUids`, `afterEnqueuedAt`, `beforeEnqueuedAt`, \
             `afterStartedAt`, `beforeStartedAt`, `afterFinishedAt`, `beforeFinishedAt`",
        ),
    ] {
        let refusal = face.call(method, path).await.refusal();
        assert_eq!(refusal, (status, code.to_owned(), message.to_owned()));
    }
}

#[tokio::test]
async fn a_cancelation_and_a_deletion_are_tasks_answered_with_200() {
    let face = Face::open().await;
    let cancel = face.call("POST", "/tasks/cancel?uids=0&statuses=*").await;
    assert_eq!(
        (cancel.status, &cancel.json()["type"]),
        (StatusCode::OK, &json!("taskCancelation"))
    );
    let delete = face.call("DELETE", "/tasks?uids=0").await;
    assert_eq!(
        (delete.status, &delete.json()["type"]),
        (StatusCode::OK, &json!("taskDeletion"))
    );
    let task = face.task_of(&cancel).await;
    assert_eq!(task["indexUid"], Value::Null);
    assert_eq!(task["details"]["originalFilter"], "?uids=0&statuses=*");
}

async fn open_task_documents(face: &Face) {
    let wish = json!({"getTaskDocumentsRoute": true});
    let answer = face.json("PATCH", "/experimental-features", wish).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_task_that_waits_shows_its_documents() {
    let face = Face::open().await;
    open_task_documents(&face).await;
    let small = json!([{"id": 1, "title": "one"}, {"id": 2}]).to_string();
    face.upload("/indexes/a/documents", "application/json", small)
        .await;
    let answer = face.get("/tasks/0/documents").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let lines: Vec<Value> = serde_json::Deserializer::from_slice(&answer.body)
        .into_iter()
        .collect::<Result<_, _>>()
        .expect("NDJSON");
    assert_eq!(lines, [json!({"id": 1, "title": "one"}), json!({"id": 2})]);
}

#[tokio::test]
async fn a_payload_of_many_pieces_is_shown_whole() {
    let face = Face::open().await;
    open_task_documents(&face).await;
    let text = "word ".repeat(1000);
    let lines: String = (0..600)
        .map(|id| format!("{{\"id\":{id},\"text\":\"{text}\"}}\n"))
        .collect();
    face.upload(
        "/indexes/a/documents",
        "application/x-ndjson",
        lines.clone(),
    )
    .await;
    let answer = face.get("/tasks/0/documents").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(
        answer.body == lines.as_bytes(),
        "{} bytes",
        answer.body.len()
    );
}

#[tokio::test]
async fn a_task_of_another_kind_has_no_documents() {
    let face = face_with_tasks(1).await;
    let (status, code, _) = face.get("/tasks/x/documents").await.refusal();
    assert_eq!((status, &*code), (400, "feature_not_enabled"));
    open_task_documents(&face).await;
    let (status, code, message) = face.get("/tasks/0/documents").await.refusal();
    assert_eq!((status, &*code), (404, "task_file_not_found"));
    assert!(
        message.starts_with("Task `0` does not contain any documents."),
        "{message}"
    );
    let (status, code, _) = face.get("/tasks/7/documents").await.refusal();
    assert_eq!((status, &*code), (404, "task_not_found"));
    let (status, code, _) = face.get("/tasks/x/documents").await.refusal();
    assert_eq!((status, &*code), (400, "invalid_task_uids"));
}
