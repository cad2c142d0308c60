//! Calls to addresses that clients name: webhooks, the targets of exports, LLMs.
//!
//! Whoever may name an address could otherwise make the proxy talk to what only it can reach, such
//! as the metadata service of a cloud. So only what the policy allows is called, and what a name
//! resolves to is checked at the moment of the connection: no second answer of a name server can
//! differ from the one that was checked. A redirection is an answer like others and is never
//! followed, for it would name an address and be sent the credentials of another.

use crate::policy::IpPolicy;
use crate::roots::Roots;
use ::http::Uri;
use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{io, vec};
use tower::Service;

/// They may stand far away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Kept between requests that follow each other, such as those of one conversation.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// To one address; each of them is called by few at a time.
const IDLE_MAX: usize = 4;

/// What Meilisearch says of an address it may not call.
pub(crate) const REJECTED: &str = "Rejected IP";

/// Calls over HTTP/1.1, with TLS where the address says so.
pub(crate) type Caller = Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>;

/// A caller of what the policy allows; of everything if there is none.
pub(crate) fn caller(policy: Option<Arc<IpPolicy>>, roots: &Roots) -> Caller {
    let resolver = Resolver {
        system: GaiResolver::new(),
        policy,
    };
    let mut connector = HttpConnector::new_with_resolver(resolver);
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_MAX)
        .build(roots.connector(connector))
}

/// Why an address is never called.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It cannot be read, for this cause.
    Unreadable(String),
    /// It does not begin with `http://` or `https://` and a host.
    NoHost,
    /// The policy does not allow it.
    Rejected,
}

/// Reads an address, and checks it as far as that goes without asking a name server.
///
/// # Errors
/// It is never called.
pub(crate) fn target(url: &str, policy: Option<&IpPolicy>) -> Result<Uri, Unfit> {
    let uri: Uri = url
        .parse()
        .map_err(|error: ::http::uri::InvalidUri| Unfit::Unreadable(error.to_string()))?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let host = uri.host().filter(|_| is_http).ok_or(Unfit::NoHost)?;
    // An address in digits is never resolved, so it is checked here.
    let digits = host.trim_start_matches('[').trim_end_matches(']');
    match (policy, digits.parse::<IpAddr>()) {
        (Some(policy), Ok(ip)) if !policy.allows(ip) => Err(Unfit::Rejected),
        _ => Ok(uri),
    }
}

/// Whether a call failed because the name has only addresses that may not be called.
pub(crate) fn is_rejected(error: &hyper_util::client::legacy::Error) -> bool {
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
    system: GaiResolver,
    /// `None` allows all.
    policy: Option<Arc<IpPolicy>>,
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Service::poll_ready(&mut self.system, context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let policy = self.policy.clone();
        let found = Service::call(&mut self.system, name);
        Box::pin(async move {
            let mut addresses: Vec<SocketAddr> = found.await?.collect();
            let had_any = !addresses.is_empty();
            if let Some(policy) = policy {
                addresses.retain(|address| policy.allows(address.ip()));
            }
            if addresses.is_empty() && had_any {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, REJECTED));
            }
            Ok(addresses.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_the_web_and_in_digits_one_that_the_policy_allows() {
        let careful = IpPolicy::default();
        let local = IpPolicy::parse("127.0.0.0/8").unwrap();
        for wrong in ["", "a b", "http://"] {
            let unfit = target(wrong, None).unwrap_err();
            assert!(matches!(unfit, Unfit::Unreadable(_)), "{wrong}: {unfit:?}");
        }
        for wrong in ["ftp://a.example", "/only/a/path", "a.example"] {
            assert_eq!(target(wrong, None).unwrap_err(), Unfit::NoHost, "{wrong}");
        }
        for private in ["http://127.0.0.1:1/x", "https://[::1]/", "http://10.0.0.1"] {
            let unfit = target(private, Some(&careful)).unwrap_err();
            assert_eq!(unfit, Unfit::Rejected, "{private}");
            assert!(target(private, None).is_ok(), "{private}");
        }
        assert!(target("http://127.0.0.1:1/x", Some(&local)).is_ok());
        assert!(target("https://[::1]/", Some(&local)).is_err());
        assert!(target("https://a.example/x?y", Some(&careful)).is_ok());
    }
}
