//! Calls webhooks: NDJSON, compressed, over HTTP or HTTPS.
//!
//! They are called where the policy allows it, as Meilisearch does, unless the operator named the
//! address or allows them all (see [`outward`](crate::outward)).

use crate::error::chain;
use crate::outward::{Caller, Unfit, caller, target};
use crate::policy::IpPolicy;
use crate::roots::Roots;
use ::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use ::http::{Method, Request};
use async_trait::async_trait;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use miroir_engine::port::{HookClient, HookError, HookRequest};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// Calls webhooks over connections that are kept for a while.
#[derive(Debug, Clone)]
pub struct HttpHookClient {
    guarded: Caller,
    free: Caller,
    policy: Arc<IpPolicy>,
}

impl HttpHookClient {
    /// A client that calls the addresses that the policy allows; those that the operator names
    /// himself it calls wherever they are.
    #[must_use]
    pub fn new(policy: IpPolicy, roots: &Roots) -> Self {
        let policy = Arc::new(policy);
        Self {
            guarded: caller(Some(policy.clone()), roots),
            free: caller(None, roots),
            policy,
        }
    }
}

#[async_trait]
impl HookClient for HttpHookClient {
    async fn post(&self, request: HookRequest, timeout: Duration) -> Result<u16, HookError> {
        let policy = (!request.is_trusted).then_some(&*self.policy);
        let sender = match policy {
            Some(_) => &self.guarded,
            None => &self.free,
        };
        let message = build(request, policy).map_err(HookError::Refused)?;
        let answer = tokio::time::timeout(timeout, sender.request(message)).await;
        match answer {
            // Nobody reads what a hook says.
            Ok(Ok(response)) => Ok(response.status().as_u16()),
            Ok(Err(error)) => Err(HookError::Unreachable(chain(&error))),
            Err(_) => Err(HookError::Unreachable(format!(
                "nothing came within {timeout:?}"
            ))),
        }
    }
}

fn build(request: HookRequest, policy: Option<&IpPolicy>) -> Result<Request<Full<Bytes>>, String> {
    let uri = target(&request.url, policy).map_err(|unfit| match unfit {
        Unfit::Unreadable(cause) => format!("its address is none: {cause}"),
        Unfit::NoHost => {
            "its address does not begin with http:// or https:// and a host".to_owned()
        }
        Unfit::Rejected => "its address is not a global one".to_owned(),
    })?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let body = encoder
        .write_all(&request.body)
        .and_then(|()| encoder.finish())
        .map_err(|error| format!("its tasks cannot be compressed: {error}"))?;
    let mut message = Request::new(Full::new(Bytes::from(body)));
    *message.method_mut() = Method::POST;
    *message.uri_mut() = uri;
    let headers = message.headers_mut();
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|error| format!("the name of a header is none: {error}"))?;
        let mut value = HeaderValue::from_str(value)
            .map_err(|error| format!("the value of a header is none: {error}"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::HeaderMap;
    use axum::routing::post;
    use std::io::Read as _;
    use std::sync::Mutex;

    fn request(url: &str, is_trusted: bool) -> HookRequest {
        HookRequest {
            url: url.to_owned(),
            headers: [("authorization".to_owned(), "Bearer k".to_owned())].into(),
            body: Bytes::from_static(b"{\"uid\":1}\n"),
            is_trusted,
        }
    }

    #[tokio::test]
    async fn tasks_are_posted_compressed_with_the_headers_of_the_hook() {
        let seen = Arc::new(Mutex::new(None));
        let kept = seen.clone();
        let hook = async move |headers: HeaderMap, body: Bytes| {
            *kept.lock().unwrap() = Some((headers, body));
            axum::http::StatusCode::ACCEPTED
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/tasks", post(hook));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let url = format!("http://{address}/tasks");

        let client = HttpHookClient::new(IpPolicy::default(), &Roots::new(None).unwrap());
        let second = Duration::from_secs(60);
        let refused = client.post(request(&url, false), second).await;
        assert!(matches!(refused, Err(HookError::Refused(_))), "{refused:?}");
        let named = url.replace("127.0.0.1", "localhost");
        let refused = client.post(request(&named, false), second).await;
        assert!(
            matches!(refused, Err(HookError::Unreachable(_))),
            "{refused:?}"
        );
        assert!(seen.lock().unwrap().is_none());

        assert_eq!(client.post(request(&url, true), second).await.unwrap(), 202);
        let (headers, body) = seen.lock().unwrap().take().unwrap();
        assert_eq!(headers["authorization"], "Bearer k");
        assert_eq!(headers["content-type"], "application/x-ndjson");
        assert_eq!(headers["content-encoding"], "gzip");
        let mut text = String::new();
        flate2::read::GzDecoder::new(&body[..])
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "{\"uid\":1}\n");
        server.abort();

        let open = HttpHookClient::new(IpPolicy::parse("any").unwrap(), &Roots::new(None).unwrap());
        assert!(open.post(request("ftp://a", false), second).await.is_err());
    }
}
