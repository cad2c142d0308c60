//! Calls webhooks: NDJSON, compressed, over HTTP or HTTPS.
//!
//! Who may make a webhook could otherwise make the proxy talk to what only it can reach, such as
//! the metadata service of a cloud. So addresses that are not global are refused, as Meilisearch
//! does, unless the operator named the address or allows them all.

use crate::error::chain;
use crate::policy::IpPolicy;
use crate::roots::Roots;
use ::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use ::http::{Method, Request, Uri};
use async_trait::async_trait;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use miroir_engine::port::{HookClient, HookError, HookRequest};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, vec};
use tower::Service;

/// A hook may stand far away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Kept between deliveries that follow each other.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

type Sender = Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>;

/// Calls webhooks over connections that are kept for a while.
#[derive(Debug, Clone)]
pub struct HttpHookClient {
    guarded: Sender,
    free: Sender,
    policy: Arc<IpPolicy>,
}

impl HttpHookClient {
    /// A client that calls the addresses that the policy allows; those that the operator names
    /// himself it calls wherever they are.
    #[must_use]
    pub fn new(policy: IpPolicy, roots: &Roots) -> Self {
        let policy = Arc::new(policy);
        Self {
            guarded: sender(Some(policy.clone()), roots),
            free: sender(None, roots),
            policy,
        }
    }
}

fn sender(policy: Option<Arc<IpPolicy>>, roots: &Roots) -> Sender {
    let resolver = Resolver {
        system: GaiResolver::new(),
        policy,
    };
    let mut connector = HttpConnector::new_with_resolver(resolver);
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(1)
        .build(roots.connector(connector))
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
    let uri: Uri = request
        .url
        .parse()
        .map_err(|error| format!("its address is none: {error}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("its address does not begin with http:// or https://".to_owned());
    }
    let host = uri.host().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    if let Some(policy) = policy
        && let Ok(address) = literal.parse::<IpAddr>()
        && !policy.allows(address)
    {
        // A literal address is not resolved, so the resolver would not see it.
        return Err(format!("{address} is not a global address"));
    }
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

/// Names as the system resolves them, without the addresses that may not be called.
#[derive(Debug, Clone)]
struct Resolver {
    system: GaiResolver,
    /// `None` allows all.
    policy: Option<Arc<IpPolicy>>,
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.system, context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let policy = self.policy.clone();
        let asked = Service::call(&mut self.system, name);
        Box::pin(async move {
            let found: Vec<SocketAddr> = asked.await?.collect();
            let allowed: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| {
                    policy
                        .as_ref()
                        .is_none_or(|policy| policy.allows(address.ip()))
                })
                .collect();
            if allowed.is_empty() {
                return Err(io::Error::other("its name has no global address"));
            }
            Ok(allowed.into_iter())
        })
    }
}

/// Whether an address can be that of a public server. The ranges are those of the registries of
/// special-purpose addresses (RFC 6890); addresses that carry others are judged by what they carry.
/// Whether an address is one of the whole internet's.
pub(crate) fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_global_v4(address),
        IpAddr::V6(address) => {
            let [a, b, ..] = address.segments();
            if let Some(mapped) = address.to_ipv4_mapped() {
                return is_global_v4(mapped);
            }
            // Only 2000::/3 is given out; of it, documentation, benchmarks, tunnels and the like.
            (0x2000..0x4000).contains(&a)
                && !(a == 0x2001 && (b < 0x0200 || b == 0x0db8))
                && a != 0x2002
                && !(a == 0x3fff && b < 0x1000)
        }
    }
}

fn is_global_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || a >= 224
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19)))
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

    #[test]
    fn addresses_of_private_networks_are_not_global() {
        for local in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "198.18.0.1",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "2001:db8::1",
            "2002:7f00:1::",
            "64:ff9b::7f00:1",
        ] {
            assert!(!is_global(local.parse().unwrap()), "{local}");
        }
        for public in [
            "1.1.1.1",
            "192.0.1.1",
            "100.128.0.1",
            "2606:4700::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_global(public.parse().unwrap()), "{public}");
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
        let second = Duration::from_secs(5);
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
