//! Talks to LLMs, whose addresses clients set: at those that the policy allows, as [`remote`] does.
//!
//! [`remote`]: crate::remote

use crate::error::chain;
use crate::policy::IpPolicy;
use crate::remote::{REJECTED, Resolver};
use crate::roots::Roots;
use ::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderName};
use ::http::{HeaderValue, Method, Request, Uri};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use miroir_engine::chat::port::{LlmAnswer, LlmClient, LlmError, LlmRequest};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than the searches between two requests of one conversation.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Talks to LLMs over HTTP/1.1, with TLS where the address says so.
#[derive(Debug)]
pub struct HttpLlmClient {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    policy: Arc<IpPolicy>,
}

impl HttpLlmClient {
    /// A client that calls where the policy lets it.
    #[must_use]
    pub fn new(policy: IpPolicy, roots: &Roots) -> Self {
        let policy = Arc::new(policy);
        let mut http = HttpConnector::new_with_resolver(Resolver::new(Arc::clone(&policy)));
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.enforce_http(false);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(roots.connector(http));
        Self { client, policy }
    }

    fn build(&self, request: LlmRequest) -> Result<Request<Full<Bytes>>, LlmError> {
        let wrong = |what: &str| LlmError(what.to_owned());
        let uri: Uri = request
            .url
            .parse()
            .map_err(|_| wrong("the address of the LLM is none"))?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        let Some(host) = uri.host().filter(|_| is_http) else {
            return Err(wrong(
                "the address of the LLM does not begin with http:// or https:// and a host",
            ));
        };
        // An address in digits is never resolved, so it is checked here.
        let digits = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = digits.parse::<IpAddr>()
            && !self.policy.allows(ip)
        {
            return Err(wrong(REJECTED));
        }
        let mut message = Request::new(Full::new(request.body));
        *message.method_mut() = Method::POST;
        *message.uri_mut() = uri;
        let headers = message.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for (name, value) in request.headers {
            let mut value = HeaderValue::from_str(&value).map_err(|_| {
                wrong("the settings of the workspace have characters that no header can carry")
            })?;
            value.set_sensitive(true);
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(message)
    }
}

#[async_trait]
impl LlmClient for HttpLlmClient {
    async fn post(&self, request: LlmRequest) -> Result<LlmAnswer, LlmError> {
        let patience = request.patience;
        let message = self.build(request)?;
        let sent = tokio::time::timeout(patience, self.client.request(message)).await;
        let response = sent
            .map_err(|_| too_slow(patience))?
            .map_err(|error| LlmError(chain(&error)))?;
        let content_type = response.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        Ok(LlmAnswer {
            status: response.status().as_u16(),
            content_type: content_type.map(str::to_owned),
            body: Box::pin(stream::unfold(
                Some(response.into_body()),
                move |body| async move { next_piece(body?, patience).await },
            )),
        })
    }
}

/// The next bytes, and what is left to be read: nothing after a failure.
async fn next_piece(
    mut body: Incoming,
    patience: Duration,
) -> Option<(Result<Bytes, LlmError>, Option<Incoming>)> {
    loop {
        match tokio::time::timeout(patience, body.frame()).await {
            Err(_) => return Some((Err(too_slow(patience)), None)),
            Ok(None) => return None,
            Ok(Some(Err(error))) => {
                let cause = format!("the answer broke off: {}", chain(&error));
                return Some((Err(LlmError(cause)), None));
            }
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Some((Ok(data), Some(body)));
                }
            }
        }
    }
}

fn too_slow(patience: Duration) -> LlmError {
    LlmError(format!("nothing came within {patience:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::HeaderMap;
    use axum::routing::post;
    use futures::StreamExt as _;

    fn request(url: &str) -> LlmRequest {
        LlmRequest {
            url: url.to_owned(),
            headers: vec![("authorization", "Bearer k".to_owned())],
            body: Bytes::from_static(b"{}"),
            patience: Duration::from_secs(5),
        }
    }

    fn client(policy: &str) -> HttpLlmClient {
        HttpLlmClient::new(IpPolicy::parse(policy).unwrap(), &Roots::new(None).unwrap())
    }

    #[tokio::test]
    async fn an_llm_is_asked_where_the_policy_allows_it() {
        let echo = async |headers: HeaderMap, body: String| {
            let key = headers["authorization"].to_str().unwrap().to_owned();
            ([("content-type", "text/event-stream")], key + &body)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/chat", post(echo));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let url = format!("http://{address}/chat");

        let refused = client("").post(request(&url)).await.unwrap_err();
        assert_eq!(refused.0, REJECTED);
        let named = url.replace("127.0.0.1", "localhost");
        assert!(client("").post(request(&named)).await.is_err());
        assert!(client("any").post(request("ftp://a/b")).await.is_err());
        assert!(client("any").post(request("no")).await.is_err());

        let answer = client("127.0.0.0/8").post(request(&url)).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.content_type.as_deref(), Some("text/event-stream"));
        let pieces: Vec<_> = answer.body.collect().await;
        let bytes: Vec<u8> = pieces.into_iter().flat_map(Result::unwrap).collect();
        assert_eq!(bytes, b"Bearer k{}");
        server.abort();
    }
}
