//! Against small servers on the loopback: what is sent, and what each answer is taken for.

use super::*;
use ::http::{HeaderMap, Method, Uri};
use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use miroir_core::id::PhysicalIndex;
use miroir_core::task::{AdditionMethod, TaskKind, TaskStatus};
use serde_json::{Value, json};
use std::sync::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

mod connection;

/// Long enough for any answer on the loopback.
const PATIENT: Duration = Duration::from_secs(120);

/// What a server saw of one request.
#[derive(Debug, Clone)]
struct Seen {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// A node that notes what it is asked and gives one answer to all of it.
struct FakeNode {
    client: HttpNodeClient,
    seen: Arc<Mutex<Vec<Seen>>>,
    server: JoinHandle<()>,
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Answer = (u16, String);

async fn note(
    State((seen, answer)): State<(Arc<Mutex<Vec<Seen>>>, Answer)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    seen.lock().unwrap().push(Seen {
        method,
        uri,
        headers,
        body,
    });
    (StatusCode::from_u16(answer.0).unwrap(), answer.1)
}

fn node() -> NodeId {
    NodeId::new("a")
}

fn client_of(url: String, key: Option<&str>) -> HttpNodeClient {
    HttpNodeClient::new(vec![NodeAddress {
        id: node(),
        url,
        key: key.map(str::to_owned),
    }])
}

impl FakeNode {
    async fn answering(status: u16, body: impl ToString) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let answer = (status, body.to_string());
        let router = Router::new()
            .fallback(note)
            .with_state((Arc::clone(&seen), answer));
        Self::serving(router, seen).await
    }

    async fn serving(router: Router, seen: Arc<Mutex<Vec<Seen>>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            client: client_of(url, Some("secret")),
            seen,
            server,
        }
    }

    async fn read(&self) -> Result<Bytes, NodeError> {
        self.client.read(&node(), NodeRead::Health, PATIENT).await
    }

    async fn submit(&self, write: NodeWrite) -> Result<NodeTaskUid, NodeError> {
        self.client.submit(&node(), write, PATIENT).await
    }

    fn only_request(&self) -> Seen {
        let seen = self.seen.lock().unwrap();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }
}

fn index() -> PhysicalIndex {
    PhysicalIndex::from_stored("movies__7")
}

fn summary() -> Value {
    json!({"taskUid": 12, "indexUid": "movies__7", "status": "enqueued"})
}

fn addition(pieces: &[&'static str]) -> NodeWrite {
    NodeWrite::AddDocuments {
        index: index(),
        method: AdditionMethod::Replace,
        primary_key: "the id".to_owned(),
        skip_creation: false,
        body: pieces
            .iter()
            .map(|piece| Bytes::from_static(piece.as_bytes()))
            .collect(),
        marker: "m/1&2".to_owned(),
    }
}

#[tokio::test]
async fn every_request_asks_for_identity_and_carries_the_key() {
    let fake = FakeNode::answering(200, "{}").await;
    assert_eq!(fake.read().await.unwrap(), "{}");
    let seen = fake.only_request();
    assert_eq!((seen.method, seen.uri.path()), (Method::GET, "/health"));
    assert_eq!(seen.headers["accept-encoding"], "identity");
    assert_eq!(seen.headers["authorization"], "Bearer secret");
    assert!(!seen.headers.contains_key("content-type"));
}

#[tokio::test]
async fn a_node_without_a_key_gets_no_authorization() {
    let fake = FakeNode::answering(200, "{}").await;
    let endpoint = fake.client.endpoint(&node()).unwrap();
    let base = endpoint.base.as_ref().unwrap().url.clone();
    fake.client.set_nodes(vec![NodeAddress {
        id: node(),
        url: base,
        key: None,
    }]);
    fake.read().await.unwrap();
    assert!(!fake.only_request().headers.contains_key("authorization"));
}

#[tokio::test]
async fn each_read_has_its_route() {
    let fake = FakeNode::answering(200, "{}").await;
    let body = Bytes::from_static(b"{\"q\":1}");
    let index = index;
    let cases = [
        (NodeRead::Version, "GET /version"),
        (NodeRead::Stats, "GET /stats"),
        (
            NodeRead::IndexStats { index: index() },
            "GET /indexes/movies__7/stats",
        ),
        (NodeRead::Index { index: index() }, "GET /indexes/movies__7"),
        (
            NodeRead::Settings { index: index() },
            "GET /indexes/movies__7/settings",
        ),
        (
            NodeRead::Search {
                index: index(),
                body: body.clone(),
            },
            "POST /indexes/movies__7/search {\"q\":1}",
        ),
        (
            NodeRead::Documents {
                index: index(),
                body: body.clone(),
            },
            "POST /indexes/movies__7/documents/fetch {\"q\":1}",
        ),
        (
            NodeRead::Document {
                index: index(),
                id: "a/b".into(),
                query: "fields=x".into(),
            },
            "GET /indexes/movies__7/documents/a%2Fb?fields=x",
        ),
        (
            NodeRead::Document {
                index: index(),
                id: "1".into(),
                query: String::new(),
            },
            "GET /indexes/movies__7/documents/1",
        ),
        (
            NodeRead::Raw {
                path: "/keys?limit=1".into(),
                body: None,
            },
            "GET /keys?limit=1",
        ),
        (
            NodeRead::Raw {
                path: "/multi-search".into(),
                body: Some(body),
            },
            "POST /multi-search {\"q\":1}",
        ),
    ];
    for (read, expected) in cases {
        fake.client.read(&node(), read, PATIENT).await.unwrap();
        let seen = fake.seen.lock().unwrap().pop().unwrap();
        let body = String::from_utf8(seen.body.to_vec()).unwrap();
        let got = format!("{} {} {body}", seen.method, seen.uri);
        assert_eq!(got.trim_end(), expected);
        let content_type = seen
            .headers
            .get("content-type")
            .map(|value| value.to_str().unwrap());
        assert_eq!(
            content_type,
            (!body.is_empty()).then_some("application/json")
        );
    }
}

#[tokio::test]
async fn each_write_has_its_route_and_its_marker() {
    let fake = FakeNode::answering(202, summary()).await;
    let body = Bytes::from_static(b"[1]");
    let marker = "m/1&2".to_owned();
    let cases = [
        (
            NodeWrite::CreateIndex {
                index: index(),
                primary_key: Some("id".into()),
            },
            "POST /indexes {\"uid\":\"movies__7\",\"primaryKey\":\"id\"}",
        ),
        (
            NodeWrite::UpdateIndex {
                index: index(),
                primary_key: "id".into(),
            },
            "PATCH /indexes/movies__7 {\"primaryKey\":\"id\"}",
        ),
        (
            NodeWrite::DeleteIndex { index: index() },
            "DELETE /indexes/movies__7",
        ),
        (
            NodeWrite::UpdateSettings {
                index: index(),
                body: body.clone(),
            },
            "PATCH /indexes/movies__7/settings [1]",
        ),
        (
            NodeWrite::DeleteDocuments {
                index: index(),
                body: body.clone(),
                marker: marker.clone(),
            },
            "POST /indexes/movies__7/documents/delete-batch?customMetadata=m%2F1%262 [1]",
        ),
        (
            NodeWrite::DeleteByFilter {
                index: index(),
                body,
                marker: marker.clone(),
            },
            "POST /indexes/movies__7/documents/delete?customMetadata=m%2F1%262 [1]",
        ),
        (
            NodeWrite::DeleteAllDocuments {
                index: index(),
                marker: marker.clone(),
            },
            "DELETE /indexes/movies__7/documents?customMetadata=m%2F1%262",
        ),
        (
            addition(&["{}\n"]),
            "POST /indexes/movies__7/documents?primaryKey=the%20id&customMetadata=m%2F1%262 {}",
        ),
        (
            NodeWrite::AddDocuments {
                index: index(),
                method: AdditionMethod::Update,
                primary_key: "id".to_owned(),
                skip_creation: true,
                body: vec![],
                marker,
            },
            "PUT /indexes/movies__7/documents?primaryKey=id&skipCreation=true\
             &customMetadata=m%2F1%262",
        ),
    ];
    for (write, expected) in cases {
        assert_eq!(fake.submit(write).await.unwrap(), NodeTaskUid(12));
        let seen = fake.seen.lock().unwrap().pop().unwrap();
        let body = String::from_utf8(seen.body.to_vec()).unwrap();
        assert_eq!(
            format!("{} {} {body}", seen.method, seen.uri).trim_end(),
            expected
        );
    }
}

#[tokio::test]
async fn pieces_are_sent_in_order_under_a_known_length() {
    let fake = FakeNode::answering(202, summary()).await;
    fake.submit(addition(&["{\"a\":1}\n", "", "{\"a\":2}\n"]))
        .await
        .unwrap();
    let seen = fake.only_request();
    assert_eq!(seen.body, "{\"a\":1}\n{\"a\":2}\n");
    assert_eq!(seen.headers["content-length"], "16");
    assert!(!seen.headers.contains_key("transfer-encoding"));
    assert_eq!(seen.headers["content-type"], "application/x-ndjson");
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = client_of(url, None);
    let e = client
        .submit(&node(), addition(&["{}"]), PATIENT)
        .await
        .unwrap_err();
    assert!(matches!(&e, NodeError::Unreachable { .. }), "{e:?}");
    assert!(!e.is_outcome_unknown());
}

#[tokio::test]
async fn tls_an_unknown_name_and_an_unusable_key_are_unreachable_and_say_why() {
    let client = client_of("https://127.0.0.1:1".to_owned(), None);
    let e = client
        .read(&node(), NodeRead::Health, PATIENT)
        .await
        .unwrap_err();
    assert!(
        matches!(&e, NodeError::Unreachable { cause, .. } if cause.contains("TLS")),
        "{e}"
    );

    let e = client
        .read(&NodeId::new("b"), NodeRead::Health, PATIENT)
        .await
        .unwrap_err();
    assert!(
        matches!(&e, NodeError::Unreachable { cause, .. } if cause.contains("name")),
        "{e}"
    );

    let client = client_of("http://127.0.0.1:1".to_owned(), Some("line\nbreak"));
    let e = client
        .read(&node(), NodeRead::Health, PATIENT)
        .await
        .unwrap_err();
    assert!(
        matches!(&e, NodeError::Unreachable { cause, .. } if cause.contains("key")),
        "{e}"
    );
}

#[tokio::test]
async fn a_path_that_no_url_can_carry_is_an_error_and_no_panic() {
    let fake = FakeNode::answering(200, "{}").await;
    let read = NodeRead::Raw {
        path: "/a b\n".to_owned(),
        body: None,
    };
    let e = fake.client.read(&node(), read, PATIENT).await.unwrap_err();
    assert!(matches!(e, NodeError::Unreachable { .. }), "{e:?}");
}

#[tokio::test]
async fn overload_is_busy() {
    for status in [408, 429, 503] {
        let fake = FakeNode::answering(status, json!({"code": "too_many", "message": "m"})).await;
        let e = fake.read().await.unwrap_err();
        assert!(matches!(e, NodeError::Busy { .. }), "{status}: {e:?}");
    }
}

#[tokio::test]
async fn an_error_object_of_the_client_is_passed_on_whole() {
    let object = json!({
        "message": "Index `x` not found.", "code": "index_not_found",
        "type": "invalid_request", "link": "l",
    });
    let fake = FakeNode::answering(404, &object).await;
    let e = fake.submit(addition(&["{}"])).await.unwrap_err();
    let NodeError::Refused {
        status,
        code,
        message,
        body,
        ..
    } = e
    else {
        panic!("{e:?}")
    };
    assert_eq!((status, code.as_str()), (404, "index_not_found"));
    assert_eq!(message, "Index `x` not found.");
    assert_eq!(body, object);
}

#[tokio::test]
async fn what_is_not_understood_is_the_nodes_failure() {
    for (status, body) in [
        (500, r#"{"code":"internal","message":"m"}"#),
        (502, "bad gateway"),
        (404, "not meilisearch"),
        (400, r#"{"message":"without a code"}"#),
        (302, ""),
    ] {
        let fake = FakeNode::answering(status, body).await;
        let e = fake.read().await.unwrap_err();
        assert!(
            matches!(&e, NodeError::Failed { status: s, .. } if *s == status),
            "{e:?}"
        );
        assert!(e.is_outcome_unknown());
    }
    let fake = FakeNode::answering(202, r#"{"uid":1}"#).await;
    let e = fake.submit(addition(&["{}"])).await.unwrap_err();
    assert!(matches!(e, NodeError::Failed { status: 202, .. }), "{e:?}");
}

#[tokio::test]
async fn tasks_are_read_as_the_node_tells_them() {
    let page = json!({"results": [
        {
            "uid": 9, "batchUid": 3, "indexUid": "movies__7", "status": "failed",
            "type": "documentAdditionOrUpdate", "canceledBy": null,
            "details": {"receivedDocuments": 1}, "error": {"code": "c"}, "duration": null,
            "enqueuedAt": "2024-01-01T00:00:00Z", "startedAt": null, "finishedAt": null,
            "customMetadata": "m",
        },
        {
            "uid": 8, "indexUid": null, "status": "enqueued", "type": "somethingNew",
            "details": null, "error": null, "enqueuedAt": "2024-01-01T00:00:00Z",
        },
    ], "total": 2, "limit": 2, "from": 9, "next": null});
    let fake = FakeNode::answering(200, page).await;
    let query = NodeTaskQuery {
        uids: vec![NodeTaskUid(8), NodeTaskUid(9), NodeTaskUid(8)],
        from: None,
        limit: 2,
    };
    let tasks = fake
        .client
        .fetch_tasks(&node(), query, PATIENT)
        .await
        .unwrap();
    assert_eq!(fake.only_request().uri, "/tasks?limit=2&uids=9,8");
    assert_eq!(
        tasks,
        [
            NodeTask {
                uid: NodeTaskUid(9),
                index: Some(index()),
                kind: Some(TaskKind::DocumentAdditionOrUpdate),
                status: TaskStatus::Failed,
                error: Some(json!({"code": "c"})),
                details: Some(json!({"receivedDocuments": 1})),
                marker: Some("m".to_owned()),
                enqueued_at: "2024-01-01T00:00:00Z".to_owned(),
            },
            NodeTask {
                uid: NodeTaskUid(8),
                index: None,
                kind: None,
                status: TaskStatus::Enqueued,
                error: None,
                details: None,
                marker: None,
                enqueued_at: "2024-01-01T00:00:00Z".to_owned(),
            },
        ]
    );
}

#[tokio::test]
async fn a_task_list_of_an_unknown_shape_is_the_nodes_failure() {
    for body in [
        "[]",
        r#"{"results":[{"uid":1,"status":"odd","type":"x","enqueuedAt":"t"}]}"#,
    ] {
        let fake = FakeNode::answering(200, body).await;
        let query = NodeTaskQuery {
            limit: 1,
            ..Default::default()
        };
        let e = fake
            .client
            .fetch_tasks(&node(), query, PATIENT)
            .await
            .unwrap_err();
        assert!(matches!(e, NodeError::Failed { status: 200, .. }), "{e:?}");
    }
}
