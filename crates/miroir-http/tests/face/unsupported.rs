//! What is not there says so by name.

use crate::support::Face;
use http::StatusCode;

#[tokio::test]
async fn every_route_not_there_yet_answers_501_and_names_itself() {
    let face = Face::open().await;
    let table = [
        (
            "PATCH",
            "/indexes/a/settings/chat",
            "/indexes/{uid}/settings/chat",
        ),
        (
            "PUT",
            "/indexes/a/settings/foreign-keys",
            "/indexes/{uid}/settings/foreign-keys",
        ),
        ("GET", "/tasks/1/documents", "/tasks/{id}/documents"),
        ("POST", "/tasks/compact", "/tasks/compact"),
        ("GET", "/batches", "/batches"),
        ("GET", "/batches/1", "/batches/{id}"),
        ("POST", "/dumps", "/dumps"),
        ("POST", "/snapshots", "/snapshots"),
        ("POST", "/export", "/export"),
        ("PATCH", "/network", "/network"),
        ("POST", "/network/control", "/network/control"),
        ("POST", "/webhooks", "/webhooks"),
        ("DELETE", "/webhooks/x", "/webhooks/{id}"),
        ("GET", "/metrics", "/metrics"),
        ("POST", "/logs/stream", "/logs/stream"),
        ("POST", "/logs/stderr", "/logs/stderr"),
        ("GET", "/chats", "/chats"),
        (
            "POST",
            "/chats/x/chat/completions",
            "/chats/{id}/chat/completions",
        ),
        (
            "PATCH",
            "/dynamic-search-rules/x",
            "/dynamic-search-rules/{id}",
        ),
        ("POST", "/render-template", "/render-template"),
    ];
    for (method, path, name) in table {
        let (status, code, message) = face.call(method, path).await.refusal();
        assert_eq!(
            (status, &*code),
            (501, "feature_not_enabled"),
            "{method} {path}"
        );
        let start = format!("`{method} {name}` is not supported by Miroir yet.");
        assert!(message.starts_with(&start), "{message}");
    }
    assert_eq!(face.task_count().await, 0);
}

#[tokio::test]
async fn unknown_routes_and_wrong_verbs_have_no_body() {
    let face = Face::open().await;
    for (method, path, status) in [
        ("GET", "/nowhere", StatusCode::NOT_FOUND),
        ("GET", "/indexes/a/nowhere", StatusCode::NOT_FOUND),
        ("GET", "/_miroir/nowhere", StatusCode::NOT_FOUND),
        ("DELETE", "/indexes", StatusCode::METHOD_NOT_ALLOWED),
        ("PUT", "/indexes/a/search", StatusCode::METHOD_NOT_ALLOWED),
        (
            "PUT",
            "/indexes/a/settings/typo-tolerance",
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            "PATCH",
            "/indexes/a/settings/stop-words",
            StatusCode::METHOD_NOT_ALLOWED,
        ),
    ] {
        let answer = face.call(method, path).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.body.is_empty(), "{method} {path}: {answer:?}");
    }
}
