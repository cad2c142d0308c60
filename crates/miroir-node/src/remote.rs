//! Other instances, which are no nodes of ours: the targets of exports.
//!
//! Their addresses come from clients, so they are called where the policy allows it (see
//! [`outward`](crate::outward)).

use crate::outward::{Caller, REJECTED, Unfit, caller, is_rejected, target};
use crate::policy::IpPolicy;
use crate::roots::Roots;
use ::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use ::http::{HeaderValue, Method, Request};
use async_trait::async_trait;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt as _, Full, Limited};
use miroir_engine::job::port::{
    RemoteAnswer, RemoteClient, RemoteFailure, RemoteMethod, RemoteRequest,
};
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

/// An answer is a task, an index or an error.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Talks to other instances over HTTP/1.1, with TLS where the address says so.
#[derive(Debug)]
pub struct HttpRemoteClient {
    caller: Caller,
    policy: Arc<IpPolicy>,
}

impl HttpRemoteClient {
    /// A client that calls where the policy lets it.
    #[must_use]
    pub fn new(policy: IpPolicy, roots: &Roots) -> Self {
        let policy = Arc::new(policy);
        let caller = caller(Some(Arc::clone(&policy)), roots);
        Self { caller, policy }
    }

    fn build(&self, request: RemoteRequest) -> Result<Request<Full<Bytes>>, RemoteFailure> {
        let url = &request.url;
        let uri = target(url, Some(&self.policy)).map_err(|unfit| match unfit {
            Unfit::Unreadable(cause) => never(format!("`{url}` is not an address: {cause}")),
            Unfit::NoHost => never(format!(
                "`{url}` does not begin with http:// or https:// and a host"
            )),
            Unfit::Rejected => never(REJECTED.to_owned()),
        })?;
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
            .caller
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn send(client: &HttpRemoteClient, url: &str) -> Result<RemoteAnswer, RemoteFailure> {
        let request = RemoteRequest {
            method: RemoteMethod::Get,
            url: url.to_owned(),
            api_key: None,
        };
        client.send(request, Duration::from_secs(60)).await
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
