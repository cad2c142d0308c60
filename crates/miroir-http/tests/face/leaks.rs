//! No key is told to anyone: the nodes' keys reach neither clients nor logs, clients' keys no log.

use crate::support::Face;
use crate::tenants::token;
use axum::Router;
use axum::http::header::AUTHORIZATION;
use axum::response::IntoResponse;
use miroir_core::id::NodeId;
use miroir_http::Options;
use miroir_node::{HttpNodeClient, NodeAddress};
use serde_json::{Value, json};
use std::io;
use std::sync::{Arc, Mutex};
use tracing_subscriber::fmt::MakeWriter;

const MASTER: &str = "master-key-of-this-test";
const NODE_KEY: &str = "node-key-of-this-test";

/// Everything that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .expect("no writer panics")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A node that wants its key, counts who has it, and answers everything with an error.
async fn node(status: u16, seen: Arc<Mutex<Vec<String>>>) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answer = move |request: axum::extract::Request| async move {
        let header = request.headers().get(AUTHORIZATION);
        let key = header.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        seen.lock().expect("no handler panics").extend(key);
        let status = axum::http::StatusCode::from_u16(status).expect("a status");
        let error = json!({
            "message": "The provided API key is invalid.",
            "code": "invalid_api_key",
            "type": "auth",
            "link": "https://docs.meilisearch.com/errors#invalid_api_key",
        });
        (status, error.to_string()).into_response()
    };
    let server = tokio::spawn(async move {
        let router = Router::new().fallback(answer);
        // It ends with the test, which aborts it.
        let _ = axum::serve(listener, router).await;
    });
    (url, server)
}

#[tokio::test]
async fn no_key_leaves_in_an_answer_or_a_log() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    // One thread runs the whole test, so that this holds for all its tasks.
    let _guard = tracing::subscriber::set_default(subscriber);
    for status in [403, 500] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (url, server) = node(status, seen.clone()).await;
        let address = NodeAddress {
            id: NodeId::new("a"),
            url: url.clone(),
            key: Some(NODE_KEY.into()),
        };
        let nodes = Arc::new(HttpNodeClient::new(vec![address]));
        let options = Options {
            master_key: Some(MASTER.into()),
            ..Options::default()
        };
        tracing::info!("{options:?}");
        let face = Face::at(nodes, &url, options, &["apples"]).await;
        face.engine
            .make_default_api_keys()
            .await
            .expect("the store works");
        let listed = face.ask(MASTER, "GET", "/keys", &Value::Null).await.json();
        let keys = listed["results"].as_array().expect("results").clone();
        let mut credentials: Vec<String> = vec![MASTER.into(), "doggo".into()];
        credentials.extend(
            keys.iter()
                .filter_map(|key| key["key"].as_str().map(str::to_owned)),
        );
        credentials.push(token(&keys[0], json!({"searchRules": ["*"]})));

        let mut answers = String::new();
        for credential in &credentials {
            for (method, path, body) in [
                ("GET", "/indexes/apples/search?q=x", Value::Null),
                ("POST", "/indexes/apples/search", json!({})),
                (
                    "POST",
                    "/multi-search",
                    json!({"queries": [{"indexUid": "apples"}]}),
                ),
                ("GET", "/indexes/apples/documents", Value::Null),
                ("GET", "/indexes/apples/documents/1", Value::Null),
                ("GET", "/indexes/apples/settings", Value::Null),
                ("GET", "/indexes/apples/stats", Value::Null),
                ("GET", "/stats", Value::Null),
                ("GET", "/tasks", Value::Null),
                ("GET", "/_miroir/topology", Value::Null),
                ("GET", "/_miroir/ready", Value::Null),
                ("GET", "/_miroir/indexes/apples/shards", Value::Null),
                ("DELETE", "/indexes/nowhere", Value::Null),
                ("GET", "/keys/doggo", Value::Null),
            ] {
                let answer = face.ask(credential, method, path, &body).await;
                answers.push_str(&format!("{:?}", answer.headers));
                answers.push_str(&String::from_utf8_lossy(&answer.body));
            }
        }
        // A key may be named by its value: its answer shows it, as it should, and no log does.
        for key in &keys {
            let path = format!("/keys/{}", key["key"].as_str().expect("a value"));
            let shown = face.ask(MASTER, "GET", &path, &Value::Null).await;
            assert_eq!(shown.json()["uid"], key["uid"]);
        }
        server.abort();
        let seen = seen.lock().expect("no handler panics").clone();
        assert!(
            seen.iter().all(|key| key == &format!("Bearer {NODE_KEY}")),
            "{seen:?}"
        );
        assert!(!seen.is_empty(), "the node was asked, with its own key");
        let logged = String::from_utf8_lossy(&log.0.lock().expect("no writer panics")).into_owned();
        assert!(logged.contains("<hidden>"), "the log is captured");
        assert!(!answers.contains(NODE_KEY) && !answers.contains(MASTER));
        for secret in credentials.iter().filter(|text| *text != "doggo") {
            assert!(!answers.contains(secret), "an answer tells a key");
            assert!(!logged.contains(secret), "the log tells a key");
        }
        assert!(!logged.contains(NODE_KEY), "the log tells a node's key");
    }
}
