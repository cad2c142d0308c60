//! Other instances, which are no nodes of ours: the targets of exports.
//!
//! Their addresses come from clients, so a client that may export could make Miroir call whatever
//! it reaches and clients do not. Like a Meilisearch it calls global addresses only, unless the
//! operator allows networks by name; what a name resolves to is checked at the moment of the
//! connection, so that no second answer of a name server can differ from the one checked.

use crate::policy::IpPolicy;
use crate::roots::Roots;
use ::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use ::http::{HeaderValue, Method, Request, Uri};
use async_trait::async_trait;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use miroir_engine::job::port::{
    RemoteAnswer, RemoteClient, RemoteFailure, RemoteMethod, RemoteRequest,
};
use std::future::Future;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::Service;

/// An answer is a task, an index or an error.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Talks to other instances over HTTP/1.1, with TLS where the address says so.
#[derive(Debug)]
pub struct HttpRemoteClient {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    policy: Arc<IpPolicy>,
}

impl HttpRemoteClient {
    /// A client that calls where the policy lets it.
    #[must_use]
    pub fn new(policy: IpPolicy, roots: &Roots) -> Self {
        let policy = Arc::new(policy);
        let mut http = HttpConnector::new_with_resolver(Resolver {
            inner: GaiResolver::new(),
            policy: Arc::clone(&policy),
        });
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.enforce_http(false);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(roots.connector(http));
        Self { client, policy }
    }

    fn build(&self, request: RemoteRequest) -> Result<Request<Full<Bytes>>, RemoteFailure> {
        let url = &request.url;
        let uri: Uri = url
            .parse()
            .map_err(|e| never(format!("`{url}` is not an address: {e}")))?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let Some(host) = uri.host().filter(|_| is_http) else {
            return Err(never(format!(
                "`{url}` does not begin with http:// or https:// and a host"
            )));
        };
        // An address in digits is never resolved, so it is checked here.
        let digits = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = digits.parse::<IpAddr>()
            && !self.policy.allows(ip)
        {
            return Err(never(REJECTED.to_owned()));
        }
        let (method, content_type, body) = match request.method {
            RemoteMethod::Get => (Method::GET, None, Bytes::new()),
            RemoteMethod::Post(body) => (Method::POST, Some("application/json"), body),
            RemoteMethod::Patch(body) => (Method::PATCH, Some("application/json"), body),
            RemoteMethod::PostDocuments(body) => (Method::POST, Some("application/x-ndjson"), body),
        };
        let mut message = Request::new(Full::new(body));
        *message.method_mut() = method;
        *message.uri_mut() = uri;
        let headers = message.headers_mut();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(content_type) = content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if let Some(key) = &request.api_key {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
                .map_err(|_| never("the key has characters that no header can carry".into()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(message)
    }

    async fn exchange(&self, request: RemoteRequest) -> Result<RemoteAnswer, RemoteFailure> {
        let is_documents = matches!(request.method, RemoteMethod::PostDocuments(_));
        let mut message = self.build(request)?;
        if is_documents {
            let body = std::mem::take(message.body_mut());
            let body = compressed(body).await?;
            *message.body_mut() = Full::new(body);
            let gzip = HeaderValue::from_static("gzip");
            message.headers_mut().insert(CONTENT_ENCODING, gzip);
        }
        let response = self
            .client
            .request(message)
            .await
            .map_err(|e| RemoteFailure {
                is_transient: !is_rejected(&e),
                cause: crate::error::chain(&e),
            })?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(|e| RemoteFailure {
            cause: format!("the answer broke off: {e}"),
            is_transient: true,
        })?;
        Ok(RemoteAnswer {
            status,
            body: body.to_bytes(),
        })
    }
}

#[async_trait]
impl RemoteClient for HttpRemoteClient {
    async fn send(
        &self,
        request: RemoteRequest,
        timeout: Duration,
    ) -> Result<RemoteAnswer, RemoteFailure> {
        match tokio::time::timeout(timeout, self.exchange(request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(RemoteFailure {
                cause: format!("nothing came within {timeout:?}"),
                is_transient: true,
            }),
        }
    }
}

/// What Meilisearch says of an address it may not call.
pub(crate) const REJECTED: &str = "Rejected IP";

fn never(cause: String) -> RemoteFailure {
    RemoteFailure {
        cause,
        is_transient: false,
    }
}

async fn compressed(body: Full<Bytes>) -> Result<Bytes, RemoteFailure> {
    let body = body
        .collect()
        .await
        .map_or_else(|never| match never {}, |all| all.to_bytes());
    let work = move || -> io::Result<Vec<u8>> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&body)?;
        encoder.finish()
    };
    let done = tokio::task::spawn_blocking(work).await;
    match done {
        Ok(Ok(bytes)) => Ok(Bytes::from(bytes)),
        Ok(Err(e)) => Err(never(e.to_string())),
        Err(e) => Err(never(format!("a blocking task ended early: {e}"))),
    }
}

fn is_rejected(error: &hyper_util::client::legacy::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.to_string() == REJECTED {
            return true;
        }
        source = cause.source();
    }
    false
}

/// The system's resolver, less the addresses that may not be called.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    inner: GaiResolver,
    policy: Arc<IpPolicy>,
}

impl Resolver {
    pub(crate) fn new(policy: Arc<IpPolicy>) -> Self {
        Self {
            inner: GaiResolver::new(),
            policy,
        }
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let found = self.inner.call(name);
        let policy = Arc::clone(&self.policy);
        Box::pin(async move {
            let all: Vec<SocketAddr> = found.await?.collect();
            let had_any = !all.is_empty();
            let allowed: Vec<SocketAddr> = all
                .into_iter()
                .filter(|address| policy.allows(address.ip()))
                .collect();
            if allowed.is_empty() && had_any {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, REJECTED));
            }
            Ok(allowed.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn send(client: &HttpRemoteClient, url: &str) -> Result<RemoteAnswer, RemoteFailure> {
        let request = RemoteRequest {
            method: RemoteMethod::Get,
            url: url.to_owned(),
            api_key: None,
        };
        client.send(request, Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn private_addresses_are_called_only_where_they_are_allowed() {
        let careful = HttpRemoteClient::new(IpPolicy::default(), &Roots::new(None).unwrap());
        for url in [
            "http://127.0.0.1:1/x",
            "http://[::1]:1/",
            "http://localhost:1/",
        ] {
            let failure = send(&careful, url).await.unwrap_err();
            assert!(failure.cause.contains(REJECTED), "{url}: {failure}");
            assert!(!failure.is_transient, "{url}");
        }
        let open = HttpRemoteClient::new(
            IpPolicy::parse("127.0.0.0/8").unwrap(),
            &Roots::new(None).unwrap(),
        );
        let failure = send(&open, "http://127.0.0.1:1/x").await.unwrap_err();
        assert!(failure.is_transient, "{failure}");
    }

    #[tokio::test]
    async fn what_is_no_address_is_refused_for_good() {
        let client = HttpRemoteClient::new(IpPolicy::default(), &Roots::new(None).unwrap());
        for url in ["", "ftp://a.example", "a b", "/only/a/path"] {
            assert!(!send(&client, url).await.unwrap_err().is_transient, "{url}");
        }
    }
}
