//! Talks to LLMs, whose addresses clients set: at those that the policy allows (see
//! [`outward`](crate::outward)).

use crate::error::chain;
use crate::outward::{Caller, REJECTED, Unfit, caller, target};
use crate::policy::IpPolicy;
use crate::roots::Roots;
use ::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderName};
use ::http::{HeaderValue, Method, Request};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use miroir_engine::chat::port::{LlmAnswer, LlmClient, LlmError, LlmRequest};
use std::sync::Arc;
use std::time::Duration;

/// Talks to LLMs over HTTP/1.1, with TLS where the address says so.
#[derive(Debug)]
pub struct HttpLlmClient {
    caller: Caller,
    policy: Arc<IpPolicy>,
}

impl HttpLlmClient {
    /// A client that calls where the policy lets it.
    #[must_use]
    pub fn new(policy: IpPolicy, roots: &Roots) -> Self {
        let policy = Arc::new(policy);
        let caller = caller(Some(Arc::clone(&policy)), roots);
        Self { caller, policy }
    }

    fn build(&self, request: LlmRequest) -> Result<Request<Full<Bytes>>, LlmError> {
        let wrong = |what: &str| LlmError(what.to_owned());
        let uri = target(&request.url, Some(&self.policy)).map_err(|unfit| {
            wrong(match unfit {
                Unfit::Unreadable(_) => "the address of the LLM is none",
                Unfit::NoHost => {
                    "the address of the LLM does not begin with http:// or https:// and a host"
                }
                Unfit::Rejected => REJECTED,
            })
        })?;
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
        let sent = tokio::time::timeout(patience, self.caller.request(message)).await;
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
            patience: Duration::from_secs(60),
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
        let moved = async || axum::response::Redirect::temporary("/chat");
        let router = Router::new()
            .route("/chat", post(echo))
            .route("/elsewhere", post(moved));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let url = format!("http://{address}/chat");

        let refused = client("").post(request(&url)).await.unwrap_err();
        assert_eq!(refused.0, REJECTED);
        let named = url.replace("127.0.0.1", "localhost");
        assert!(client("").post(request(&named)).await.is_err());
        assert!(client("any").post(request("ftp://a/b")).await.is_err());
        assert!(client("any").post(request("no")).await.is_err());

        // What answers with another address is not followed there: the key is not for that one.
        let elsewhere = format!("http://{address}/elsewhere");
        let moved = client("any").post(request(&elsewhere)).await.unwrap();
        assert_eq!(moved.status, 307);

        let answer = client("127.0.0.0/8").post(request(&url)).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.content_type.as_deref(), Some("text/event-stream"));
        let pieces: Vec<_> = answer.body.collect().await;
        let bytes: Vec<u8> = pieces.into_iter().flat_map(Result::unwrap).collect();
        assert_eq!(bytes, b"Bearer k{}");
        server.abort();
    }
}
