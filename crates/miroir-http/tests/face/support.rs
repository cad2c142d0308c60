//! A face to talk to.

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use miroir_core::id::{DocumentSeq, Epoch, IndexUid, NodeId, NodeTaskUid, PhysicalIndex, TaskUid};
use miroir_engine::Engine;
use miroir_engine::job::port::{RemoteAnswer, RemoteClient, RemoteFailure, RemoteRequest};
use miroir_engine::port::{
    Change, Clock, HookClient, HookError, HookRequest, IndexRecord, NodeClient, NodeError,
    NodeRead, NodeTask, NodeTaskQuery, NodeWrite, PayloadStore, Timestamp,
};
use miroir_engine::state::{Config, NodeSpec, Ports};
use miroir_http::{Options, router};
use miroir_store::{MemoryDumps, MemoryPayloads, MemorySnapshots, MemoryStore};
use serde_json::{Map, Value};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use time::OffsetDateTime;
use tower::ServiceExt;

/// Nodes that are all away: every write stays in the log. They note what they were asked to read.
#[derive(Default)]
pub(crate) struct AwayNodes {
    reads: Mutex<Vec<String>>,
}

impl AwayNodes {
    /// What was asked so far, in words.
    pub(crate) fn reads(&self) -> Vec<String> {
        self.reads.lock().expect("no test panics here").clone()
    }

    fn away(node: &NodeId) -> NodeError {
        NodeError::Unreachable {
            node: node.clone(),
            cause: "away".into(),
        }
    }
}

#[async_trait]
impl NodeClient for AwayNodes {
    async fn read(&self, node: &NodeId, read: NodeRead, _: Duration) -> Result<Bytes, NodeError> {
        let mut reads = self.reads.lock().expect("no test panics here");
        reads.push(format!("{read:?}"));
        Err(Self::away(node))
    }
    async fn submit(
        &self,
        node: &NodeId,
        _: NodeWrite,
        _: Duration,
    ) -> Result<NodeTaskUid, NodeError> {
        Err(Self::away(node))
    }
    async fn fetch_tasks(
        &self,
        node: &NodeId,
        _: NodeTaskQuery,
        _: Duration,
    ) -> Result<Vec<NodeTask>, NodeError> {
        Err(Self::away(node))
    }
}

/// Webhooks that are all away.
struct NoHooks;

#[async_trait]
impl HookClient for NoHooks {
    async fn post(&self, _: HookRequest, _: Duration) -> Result<u16, HookError> {
        Err(HookError::Unreachable("away".into()))
    }
}

/// Other instances, all away.
struct AwayRemotes;

#[async_trait]
impl RemoteClient for AwayRemotes {
    async fn send(&self, _: RemoteRequest, _: Duration) -> Result<RemoteAnswer, RemoteFailure> {
        Err(RemoteFailure {
            cause: "away".into(),
            is_transient: false,
        })
    }
}

/// A clock that only tests set and that never wakes anyone: no loop of the engine gets ahead of a
/// test.
#[derive(Default)]
pub(crate) struct StillClock(AtomicI64);

impl StillClock {
    /// Seconds since the Unix epoch.
    pub(crate) fn set(&self, seconds: i64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(self.0.load(Ordering::SeqCst))
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
    async fn sleep(&self, _: Duration) {
        std::future::pending().await
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body as JSON; `null` for an empty one.
    pub(crate) fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("no JSON ({error}): {}", String::from_utf8_lossy(&self.body))
        })
    }

    /// Status, code and message of an error.
    pub(crate) fn refusal(&self) -> (u16, String, String) {
        let error = self.json();
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            text("link"),
            format!("https://docs.meilisearch.com/errors#{}", text("code")),
            "{self:?}"
        );
        (self.status.as_u16(), text("code"), text("message"))
    }
}

/// A face and what lies behind it.
pub(crate) struct Face {
    pub(crate) router: Router,
    pub(crate) engine: Engine,
    pub(crate) payloads: Arc<MemoryPayloads>,
    pub(crate) clock: Arc<StillClock>,
}

impl Face {
    /// A face open to everyone.
    pub(crate) async fn open() -> Self {
        Self::with(Options::default()).await
    }

    /// A face that wants this key.
    pub(crate) async fn locked(master_key: &str) -> Self {
        Self::with(Options {
            master_key: Some(master_key.into()),
            ..Options::default()
        })
        .await
    }

    pub(crate) async fn with(options: Options) -> Self {
        Self::over(Arc::new(AwayNodes::default()), options, &[]).await
    }

    /// A face over these nodes (there is one, `a`) with these indexes.
    pub(crate) async fn over(
        nodes: Arc<dyn NodeClient>,
        options: Options,
        indexes: &[&str],
    ) -> Self {
        Self::at(nodes, "http://127.0.0.1:1", options, indexes).await
    }

    /// The same with the node at this address.
    pub(crate) async fn at(
        nodes: Arc<dyn NodeClient>,
        url: &str,
        options: Options,
        indexes: &[&str],
    ) -> Self {
        let clock = Arc::new(StillClock::default());
        let payloads = Arc::new(MemoryPayloads::new());
        let store = Arc::new(MemoryStore::new());
        let ports = Ports {
            nodes,
            store: store.clone(),
            payloads: payloads.clone(),
            api_keys: store.clone(),
            instance: store,
            hooks: Arc::new(NoHooks),
            dumps: Arc::new(MemoryDumps::default()),
            snapshots: Arc::new(MemorySnapshots::default()),
            remotes: Arc::new(AwayRemotes),
            clock: clock.clone(),
        };
        for index in indexes {
            let changes = index_changes(index);
            ports.store.commit(changes).await.expect("a commit");
        }
        let node = NodeSpec {
            id: NodeId::new("a"),
            url: url.into(),
            zone: None,
            weight_milli: 1_000,
        };
        let config = Config {
            version: "test".into(),
            nodes: vec![node],
            shard_count: 2,
            replication_factor: 1,
            search_timeout: Duration::from_secs(1),
            search_cache_bytes: 0,
            node_timeout: Duration::from_secs(1),
            probe_interval: Duration::from_secs(1),
            reads: Default::default(),
            webhook: None,
            copy: miroir_engine::copy::CopyConfig::default(),
            limits: miroir_engine::gate::Limits::default(),
            declares_topology: false,
            discovery: None,
            lost_after: None,
            step_hook: None,
        };
        let engine = Engine::start(ports, config)
            .await
            .expect("an empty store can be opened");
        Self {
            router: router(engine.clone(), options),
            engine,
            payloads,
            clock,
        }
    }

    /// Sends a request.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("it never fails");
        let (parts, body) = response.into_parts();
        let body = body
            .collect()
            .await
            .expect("the answer is whole")
            .to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    /// Sends a request with a key and, if there is one, a JSON body.
    pub(crate) async fn ask(&self, key: &str, method: &str, path: &str, body: &Value) -> Answer {
        let authorization = format!("Bearer {key}");
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
        ];
        let body = match body {
            Value::Null => Body::empty(),
            body => Body::from(body.to_string()),
        };
        self.send(request(method, path, &headers, body)).await
    }

    /// Sends a request without a body.
    pub(crate) async fn call(&self, method: &str, path: &str) -> Answer {
        self.send(request(method, path, &[], Body::empty())).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path).await
    }

    /// Sends JSON.
    pub(crate) async fn json(&self, method: &str, path: &str, body: Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.send(request(
            method,
            path,
            &headers,
            Body::from(body.to_string()),
        ))
        .await
    }

    /// Sends a payload of documents.
    pub(crate) async fn upload(
        &self,
        path: &str,
        content_type: &str,
        body: impl Into<Body>,
    ) -> Answer {
        self.send(request(
            "POST",
            path,
            &[("content-type", content_type)],
            body.into(),
        ))
        .await
    }

    /// The task that an accepted write made.
    pub(crate) async fn task_of(&self, answer: &Answer) -> Value {
        let uid = &answer.json()["taskUid"];
        assert!(uid.is_u64(), "no task was made: {answer:?}");
        self.get(&format!("/tasks/{uid}")).await.json()
    }

    /// How many tasks there are.
    pub(crate) async fn task_count(&self) -> u64 {
        self.get("/tasks").await.json()["total"]
            .as_u64()
            .expect("a total")
    }

    /// How many payload files there are.
    pub(crate) async fn file_count(&self) -> usize {
        self.payloads
            .list()
            .await
            .expect("memory can be listed")
            .len()
    }
}

/// A request.
pub(crate) fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Body,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).expect("a well-formed request")
}

/// What makes an index of two shards on the node `a`.
fn index_changes(uid: &str) -> Vec<Change> {
    let uid = IndexUid::new(uid).expect("an index uid");
    let physical = PhysicalIndex::new(&uid, TaskUid(0));
    let record = IndexRecord {
        uid,
        physical: physical.clone(),
        primary_key: Some("id".into()),
        shard_count: 2,
        replication_factor: 1,
        epoch: Epoch(1),
        settings: Map::new(),
        settings_version: None,
        next_seq: DocumentSeq(0),
        changed_by: None,
        created_at: OffsetDateTime::UNIX_EPOCH,
        updated_at: OffsetDateTime::UNIX_EPOCH,
    };
    let replica_sets = vec![vec![NodeId::new("a")]; 2];
    vec![
        Change::PutIndex(Box::new(record)),
        Change::PutPlacement {
            index: physical,
            epoch: Epoch(1),
            replica_sets,
        },
    ]
}
