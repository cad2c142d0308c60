//! What happens when there is more to do than can be done.

use crate::support::{Face, request};
use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use miroir_core::id::{NodeId, NodeTaskUid};
use miroir_engine::port::{NodeClient, NodeError, NodeRead, NodeTask, NodeTaskQuery, NodeWrite};
use miroir_http::{GateLimits, Options};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tower::ServiceExt;

/// Nodes that never answer a search, or refuse every one for now.
#[derive(Default)]
struct Loaded {
    is_busy: bool,
    asked: Notify,
}

#[async_trait]
impl NodeClient for Loaded {
    async fn read(&self, node: &NodeId, read: NodeRead, _: Duration) -> Result<Bytes, NodeError> {
        if !format!("{read:?}").starts_with("Search") {
            return Err(NodeError::Unreachable {
                node: node.clone(),
                cause: "it is no search".into(),
            });
        }
        self.asked.notify_one();
        if self.is_busy {
            return Err(NodeError::Busy { node: node.clone() });
        }
        std::future::pending().await
    }
    async fn submit(
        &self,
        _: &NodeId,
        _: NodeWrite,
        _: Duration,
    ) -> Result<NodeTaskUid, NodeError> {
        std::future::pending().await
    }
    async fn fetch_tasks(
        &self,
        _: &NodeId,
        _: NodeTaskQuery,
        _: Duration,
    ) -> Result<Vec<NodeTask>, NodeError> {
        std::future::pending().await
    }
}

const ONE_AT_A_TIME: GateLimits = GateLimits {
    inside_max: 1,
    waiting_max: 0,
    wait_max: Duration::from_secs(1),
};

#[tokio::test]
async fn searches_beyond_the_gate_are_told_when_to_come_back() {
    let nodes = Arc::new(Loaded::default());
    let options = Options {
        searches: ONE_AT_A_TIME,
        ..Options::default()
    };
    let face = Face::over(nodes.clone(), options, &["a"]).await;
    let search = || request("GET", "/indexes/a/search", &[], Body::empty());
    let first = tokio::spawn(face.router.clone().oneshot(search()));
    nodes.asked.notified().await;
    for (method, path, body) in [
        ("GET", "/indexes/a/search", Value::Null),
        ("POST", "/indexes/a/search", json!({})),
        (
            "POST",
            "/multi-search",
            json!({"queries": [{"indexUid": "a"}]}),
        ),
        (
            "POST",
            "/multi-search",
            json!({"federation": {}, "queries": [{"indexUid": "a"}]}),
        ),
        ("POST", "/indexes/a/facet-search", json!({"facetName": "f"})),
        ("GET", "/indexes/a/documents", Value::Null),
        ("POST", "/indexes/a/documents/fetch", json!({})),
    ] {
        let answer = match body {
            Value::Null => face.call(method, path).await,
            body => face.json(method, path, body).await,
        };
        let message = "Too many search requests running at the same time: 0. Retry after 10s.";
        assert_eq!(
            answer.refusal(),
            (503, "too_many_search_requests".into(), message.into()),
            "{method} {path}"
        );
        assert_eq!(answer.headers["retry-after"], "10");
    }
    // What a node counts as no search needs no place.
    assert_eq!(face.get("/tasks").await.status, StatusCode::OK);
    // Mistakes are told whether there is a place or not.
    let wrong = face
        .json("POST", "/indexes/a/search", json!({"limit": -1}))
        .await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    // A client that goes away makes room.
    first.abort();
    let _ = first.await;
    let second = tokio::spawn(face.router.clone().oneshot(search()));
    nodes.asked.notified().await;
    second.abort();
}

#[tokio::test]
async fn payloads_beyond_the_gate_are_told_when_to_come_back() {
    let options = Options {
        uploads: ONE_AT_A_TIME,
        ..Options::default()
    };
    let face = Face::with(options).await;
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (reached.clone(), go_on.clone());
    let slow = futures::stream::once(async move {
        tell.notify_one();
        wait.notified().await;
        Ok::<_, std::io::Error>(Bytes::from_static(b"[{\"id\":1}]"))
    });
    let json = [("content-type", "application/json")];
    let path = "/indexes/a/documents";
    let upload = request("POST", path, &json, Body::from_stream(slow));
    let first = tokio::spawn(face.router.clone().oneshot(upload));
    reached.notified().await;
    let second = face.upload(path, "application/json", "[]").await;
    assert_eq!(second.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(second.headers["retry-after"], "10");
    assert_eq!(face.task_count().await, 0, "it left nothing");
    go_on.notify_one();
    let first = first.await.unwrap().unwrap();
    assert_eq!(first.status(), StatusCode::ACCEPTED);
    let third = face.upload(path, "application/json", "[]").await;
    assert_eq!(third.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn when_every_replica_is_busy_the_client_is_told_when_to_come_back() {
    let nodes = Arc::new(Loaded {
        is_busy: true,
        ..Loaded::default()
    });
    let face = Face::over(nodes, Options::default(), &["a"]).await;
    let answer = face.get("/indexes/a/search").await;
    let (status, code, _) = answer.refusal();
    assert_eq!((status, &*code), (503, "too_many_search_requests"));
    assert_eq!(answer.headers["retry-after"], "10");
}
