//! A node for one test, and the client that talks to it.

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use miroir_devnode::{Options, Server};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Between two looks at a task.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// Far beyond what any task takes, so that a hung node fails its test instead of the whole run.
const TASK_TIMEOUT: Duration = Duration::from_secs(240);

/// A node in this process; it ends with the test.
pub(crate) struct Node {
    pub(crate) client: TestClient,
    // Dropped after the server's runtime is asked to stop; the folder goes with it.
    folder: Option<TempDir>,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
}

impl std::ops::Deref for Node {
    type Target = TestClient;

    fn deref(&self) -> &TestClient {
        &self.client
    }
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_options| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut node = Self::open(folder.path(), change).await;
        node.folder = Some(folder);
        node
    }

    /// A node over a folder that outlives it.
    pub(crate) async fn open(folder: &Path, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new(SocketAddr::from(([127, 0, 0, 1], 0)), folder);
        options.max_index_size = 1 << 30;
        change(&mut options);
        let server = Server::bind(options).await.unwrap();
        let client = TestClient::new(server.local_addr());
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        Self {
            client,
            folder: None,
            stop: Some(stop),
            running: Some(running),
        }
    }

    /// Stops the node and waits until its folder is free.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.running.take().unwrap().await.unwrap();
    }
}

/// Talks to one node.
pub(crate) struct TestClient {
    address: SocketAddr,
    http: Client<HttpConnector, Full<Bytes>>,
    key: Option<String>,
}

impl TestClient {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            http: Client::builder(TokioExecutor::new()).build_http(),
            key: None,
        }
    }

    /// The same client with a key.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self {
            address: self.address,
            http: self.http.clone(),
            key: Some(key.to_owned()),
        }
    }

    /// Sends anything; the answer's status, headers and body (null when it is empty).
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<(u16, HeaderMap, Value), hyper_util::client::legacy::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let response = self
            .http
            .request(request.body(Full::new(body.into())).unwrap())
            .await?;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let value = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).unwrap()
        };
        Ok((parts.status.as_u16(), parts.headers, value))
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let headers: &[(&str, &str)] = if body.is_null() {
            &[]
        } else {
            &[("content-type", "application/json")]
        };
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, _headers, answer) = self.send(method, path, headers, text).await.unwrap();
        (status, answer)
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call(Method::GET, path, &Value::Null).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, &body).await
    }

    /// Sends a write and waits for its task to end.
    pub(crate) async fn write(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, summary) = self.call(method, path, &body).await;
        assert!(status == 202 || status == 200, "{status} {summary}");
        self.wait(&summary).await
    }

    /// As [`TestClient::write`], for a task that must succeed.
    pub(crate) async fn write_well(&self, method: Method, path: &str, body: Value) -> Value {
        let task = self.write(method, path, body).await;
        assert_eq!(task["status"], "succeeded", "{task}");
        task
    }

    /// Adds documents, well.
    pub(crate) async fn add(&self, index: &str, documents: Value) -> Value {
        self.write_well(
            Method::POST,
            &format!("/indexes/{index}/documents"),
            documents,
        )
        .await
    }

    /// The finished task of a summary.
    pub(crate) async fn wait(&self, summary: &Value) -> Value {
        let path = format!("/tasks/{}", summary["taskUid"]);
        let finished = async {
            loop {
                let task = self.get(&path).await;
                if !task["finishedAt"].is_null() {
                    return task;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        tokio::time::timeout(TASK_TIMEOUT, finished).await.unwrap()
    }

    /// Asserts that a request fails with this status and code.
    pub(crate) async fn refuses(
        &self,
        method: Method,
        path: &str,
        body: Value,
        expected: (u16, &str),
    ) {
        let (status, answer) = self.call(method.clone(), path, &body).await;
        let code = answer["code"].as_str().unwrap_or_default();
        assert_eq!(
            (status, code),
            expected,
            "{method} {path} {body} -> {answer}"
        );
        assert_eq!(
            answer["link"],
            format!("https://docs.meilisearch.com/errors#{code}")
        );
    }
}
