//! Sends requests and reads answers, over connections that are kept.

use crate::body::Pieces;
use crate::error::{SendFailure, chain, classify_send, classify_status, garbled};
use crate::kept::{Bounds, Kept};
use crate::nodes::Endpoint;
use crate::request::NodeRequest;
use ::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST};
use ::http::{HeaderValue, Request, Response, StatusCode, Uri};
use ::http_body::Body as _;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use miroir_core::id::NodeId;
use miroir_engine::port::NodeError;
use std::sync::Arc;
use std::time::Duration;

/// A node in the same network answers a connection attempt within a millisecond or it is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Kept while nobody uses it: longer than the pauses of a quiet service, shorter than the hour in
/// which a firewall forgets the connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Idle connections kept for each node. A node of Meilisearch runs a few searches at once and
/// queues up to 1,000; what a burst opens beyond this is closed after it.
const IDLE_PER_NODE_MAX: usize = 128;

/// An answer beyond this is refused rather than kept in memory. Far above any page of hits: a
/// search may return 1,000 documents by default, and documents of 100 kB are rare.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The most that is set aside for an answer because of its announced length alone.
const ANSWER_BYTES_TRUSTED: u64 = 1024 * 1024;

#[derive(Debug, Clone)]
pub(crate) struct Http {
    /// For writes.
    client: Client<HttpConnector, Pieces>,
    /// For reads.
    kept: Arc<Kept>,
    answer_bytes_max: usize,
}

/// What a failed exchange means for sending again.
enum Failure {
    /// It is final.
    Final(NodeError),
    /// The connection was cut before an answer began.
    Cut(String),
}

impl Http {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_NODE_MAX)
            .build(connector);
        let kept = Arc::new(Kept::new(Bounds {
            connect_timeout: CONNECT_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            idle_max: IDLE_PER_NODE_MAX,
        }));
        Self {
            client,
            kept,
            answer_bytes_max: ANSWER_BYTES_MAX,
        }
    }

    /// The same with another bound on answers.
    #[cfg(test)]
    pub(crate) fn with_answer_bytes_max(self, answer_bytes_max: usize) -> Self {
        Self {
            answer_bytes_max,
            ..self
        }
    }

    /// Closes the connections that rest.
    pub(crate) fn close_idle(&self) {
        self.kept.clear();
    }

    /// Sends a read. A kept connection may be closed by the node at the moment we use it: then the
    /// same is sent once more.
    pub(crate) async fn send_read(
        &self,
        node: &NodeId,
        endpoint: &Endpoint,
        request: NodeRequest,
        timeout: Duration,
    ) -> Result<Bytes, NodeError> {
        let twice = async {
            match self.read_over(node, endpoint, request.clone(), false).await {
                Err(Failure::Cut(_)) => self.read_over(node, endpoint, request, true).await,
                outcome => outcome,
            }
        };
        within(node, timeout, twice).await
    }

    /// Sends a write, once.
    pub(crate) async fn send_write(
        &self,
        node: &NodeId,
        endpoint: &Endpoint,
        request: NodeRequest,
        timeout: Duration,
    ) -> Result<Bytes, NodeError> {
        within(node, timeout, self.exchange(node, endpoint, request)).await
    }

    /// One exchange over a kept connection, or over a new one if `is_new`.
    async fn read_over(
        &self,
        node: &NodeId,
        endpoint: &Endpoint,
        request: NodeRequest,
        is_new: bool,
    ) -> Result<Bytes, Failure> {
        let unreachable = |cause| {
            Failure::Final(NodeError::Unreachable {
                node: node.clone(),
                cause,
            })
        };
        let base = endpoint.base.as_ref().map_err(|e| unreachable(e.clone()))?;
        let mut request = build(endpoint, &base.path, request).map_err(unreachable)?;
        request.headers_mut().insert(HOST, base.host.clone());
        let line = if is_new {
            self.kept.open(&base.address).await
        } else {
            self.kept.line(&base.address).await
        };
        let mut line = line.map_err(unreachable)?;
        let response = line.send(request).await;
        let response = response.map_err(|e| Failure::Cut(chain(&e)))?;
        let status = response.status();
        let reading = self.read_body(node, response);
        let body = line.drive(reading).await.map_err(Failure::Final)?;
        self.kept.put_back(&base.address, line);
        if status.is_success() {
            return Ok(body);
        }
        Err(Failure::Final(classify_status(node, status, &body)))
    }

    async fn exchange(
        &self,
        node: &NodeId,
        endpoint: &Endpoint,
        request: NodeRequest,
    ) -> Result<Bytes, Failure> {
        let built = match &endpoint.base {
            Ok(base) => build(endpoint, &base.url, request),
            Err(cause) => Err(cause.clone()),
        };
        let request = built.map_err(|cause| {
            Failure::Final(NodeError::Unreachable {
                node: node.clone(),
                cause,
            })
        })?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|e| match classify_send(&e) {
                SendFailure::NotSent(cause) => Failure::Final(NodeError::Unreachable {
                    node: node.clone(),
                    cause,
                }),
                SendFailure::Cut(cause) => Failure::Cut(cause),
            })?;
        let status = response.status();
        let body = self
            .read_body(node, response)
            .await
            .map_err(Failure::Final)?;
        if status.is_success() {
            return Ok(body);
        }
        Err(Failure::Final(classify_status(node, status, &body)))
    }

    async fn read_body(
        &self,
        node: &NodeId,
        response: Response<Incoming>,
    ) -> Result<Bytes, NodeError> {
        let status = response.status();
        let mut body = response.into_body();
        let announced = body.size_hint().lower();
        if announced > self.answer_bytes_max as u64 {
            return Err(self.too_large(node, status));
        }
        // Most answers come in one frame, which is then the answer, uncopied.
        let mut first = Bytes::new();
        let mut rest: Option<BytesMut> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| NodeError::UnknownOutcome {
                node: node.clone(),
                cause: format!("the answer broke off: {}", chain(&e)),
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            match &mut rest {
                None if first.is_empty() => first = data,
                None => {
                    let expected = announced.min(ANSWER_BYTES_TRUSTED) as usize;
                    let mut all = BytesMut::with_capacity(expected.max(first.len() + data.len()));
                    all.extend_from_slice(&first);
                    all.extend_from_slice(&data);
                    rest = Some(all);
                }
                Some(all) => all.extend_from_slice(&data),
            }
            if rest.as_ref().map_or(first.len(), BytesMut::len) > self.answer_bytes_max {
                return Err(self.too_large(node, status));
            }
        }
        Ok(rest.map_or(first, BytesMut::freeze))
    }

    fn too_large(&self, node: &NodeId, status: StatusCode) -> NodeError {
        let max = self.answer_bytes_max;
        garbled(
            node,
            status,
            format_args!("the answer has more than {max} bytes"),
            b"",
        )
    }
}

async fn within(
    node: &NodeId,
    timeout: Duration,
    exchange: impl Future<Output = Result<Bytes, Failure>>,
) -> Result<Bytes, NodeError> {
    match tokio::time::timeout(timeout, exchange).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(Failure::Final(e))) => Err(e),
        Ok(Err(Failure::Cut(cause))) => Err(NodeError::UnknownOutcome {
            node: node.clone(),
            cause,
        }),
        Err(_) => Err(NodeError::UnknownOutcome {
            node: node.clone(),
            cause: format!("nothing came within {timeout:?}"),
        }),
    }
}

/// The message whose address begins with `base`.
fn build(endpoint: &Endpoint, base: &str, request: NodeRequest) -> Result<Request<Pieces>, String> {
    let mut url = String::with_capacity(base.len() + request.target.len());
    url.push_str(base);
    url.push_str(&request.target);
    let uri = Uri::from_maybe_shared(Bytes::from(url))
        .map_err(|e| format!("`{base}{}` is not an address: {e}", request.target))?;

    let mut message = Request::new(request.body);
    *message.method_mut() = request.method;
    *message.uri_mut() = uri;
    let headers = message.headers_mut();
    // A negotiated encoding comes in chunks, which Meilisearch's server stalls by 40 ms.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(content_type) = request.content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    if let Some(authorization) = &endpoint.authorization {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
    Ok(message)
}
