//! Who gets in.

use crate::support::{Face, request};
use axum::body::Body;
use http::StatusCode;
use serde_json::json;

/// One route of each file, with every way to read its path and body.
const ROUTES: &[(&str, &str)] = &[
    ("GET", "/version"),
    ("GET", "/stats"),
    ("GET", "/indexes"),
    ("POST", "/indexes"),
    ("GET", "/indexes/movies"),
    ("PATCH", "/indexes/movies"),
    ("DELETE", "/indexes/movies"),
    ("GET", "/indexes/movies/stats"),
    ("GET", "/indexes/movies/documents"),
    ("POST", "/indexes/movies/documents"),
    ("PUT", "/indexes/movies/documents"),
    ("DELETE", "/indexes/movies/documents"),
    ("POST", "/indexes/movies/documents/fetch"),
    ("POST", "/indexes/movies/documents/delete"),
    ("POST", "/indexes/movies/documents/delete-batch"),
    ("GET", "/indexes/movies/documents/1"),
    ("DELETE", "/indexes/movies/documents/1"),
    ("GET", "/indexes/movies/settings"),
    ("PATCH", "/indexes/movies/settings"),
    ("DELETE", "/indexes/movies/settings"),
    ("GET", "/indexes/movies/settings/stop-words"),
    ("PUT", "/indexes/movies/settings/stop-words"),
    ("DELETE", "/indexes/movies/settings/stop-words"),
    ("PATCH", "/indexes/movies/settings/typo-tolerance"),
    ("POST", "/indexes/movies/search"),
    ("GET", "/indexes/movies/search"),
    ("GET", "/tasks"),
    ("DELETE", "/tasks"),
    ("GET", "/tasks/1"),
    ("POST", "/tasks/cancel"),
    ("POST", "/multi-search"),
    ("GET", "/keys"),
    ("GET", "/_miroir/topology"),
    ("POST", "/_miroir/verify"),
    ("GET", "/_miroir/verify/1"),
    ("GET", "/_miroir/indexes/movies/shards"),
    ("GET", "/_miroir/orphans"),
    ("POST", "/_miroir/orphans/sweep"),
    ("POST", "/_miroir/backup"),
    ("POST", "/_miroir/rewind"),
    ("POST", "/_miroir/rewind/plan"),
    ("GET", "/_miroir/rewinds"),
    ("GET", "/_miroir/rewind/1"),
    ("POST", "/_miroir/rewind/1/cancel"),
];

#[tokio::test]
async fn every_route_but_the_health_checks_wants_the_key() {
    let face = Face::locked("secret").await;
    for (method, path) in ROUTES {
        let answer = face.call(method, path).await;
        let (status, code, _) = answer.refusal();
        assert_eq!(
            (status, &*code),
            (401, "missing_authorization_header"),
            "{method} {path}"
        );
        let wrong = [("authorization", "Bearer public")];
        let answer = face
            .send(request(method, path, &wrong, Body::empty()))
            .await;
        let (status, code, _) = answer.refusal();
        assert_eq!(
            (status, &*code),
            (403, "invalid_api_key"),
            "{method} {path}"
        );
    }
    for path in ["/health", "/", "/_miroir/ready"] {
        assert_ne!(
            face.get(path).await.status,
            StatusCode::UNAUTHORIZED,
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_master_key_opens_every_route() {
    let face = Face::locked("secret").await;
    for (method, path) in ROUTES {
        let right = [("authorization", "Bearer secret")];
        let answer = face
            .send(request(method, path, &right, Body::empty()))
            .await;
        assert!(
            !matches!(answer.status.as_u16(), 401 | 403 | 405),
            "{method} {path}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn without_a_master_key_all_is_open_but_the_keys() {
    let face = Face::open().await;
    assert_eq!(face.get("/indexes").await.status, StatusCode::OK);
    for (method, path) in [("GET", "/keys"), ("POST", "/keys"), ("DELETE", "/keys/x")] {
        assert_eq!(
            face.call(method, path).await.refusal(),
            (
                401,
                "missing_master_key".to_owned(),
                "Meilisearch is running without a master key. To access this API endpoint, you \
                 must have set a master key at launch."
                    .to_owned()
            )
        );
    }
}

#[tokio::test]
async fn permission_is_checked_before_anything_else() {
    let face = Face::locked("secret").await;
    let answer = face
        .json("POST", "/indexes/not%20a%20uid/search?x=1", json!({"x": 1}))
        .await;
    assert_eq!(answer.refusal().1, "missing_authorization_header");
}

#[tokio::test]
async fn clients_learn_that_the_proxy_is_there_and_what_it_speaks() {
    let face = Face::open().await;
    let health = face.get("/health").await;
    assert_eq!(
        (health.status, health.json()),
        (StatusCode::OK, json!({"status": "available"}))
    );
    let version = face.get("/version").await.json();
    assert_eq!(version["pkgVersion"], "1.50.0");
    assert!(
        version["commitSha"]
            .as_str()
            .is_some_and(|sha| sha.starts_with("miroir-"))
    );
}
