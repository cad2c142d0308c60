//! Where the nodes are and how to greet them.

use ::http::HeaderValue;
use ::http::uri::{Scheme, Uri};
use miroir_core::id::NodeId;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// One node to talk to.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeAddress {
    /// Its name.
    pub id: NodeId,
    /// Its address: `http://host:port`, perhaps with a path that every route is appended to.
    pub url: String,
    /// The API key to use on it.
    pub key: Option<String>,
}

// By hand, so that a key never reaches a log.
impl fmt::Debug for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeAddress")
            .field("id", &self.id)
            .field("url", &self.url)
            .field("key", &self.key.as_ref().map(|_| "<hidden>"))
            .finish()
    }
}

/// A node's address, made ready once.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Where it is, or why the node cannot be reached there.
    pub(crate) base: Result<Base, String>,
    /// The value of `Authorization`.
    pub(crate) authorization: Option<HeaderValue>,
}

/// An address, taken apart once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Base {
    /// The URL without a slash at its end.
    pub(crate) url: String,
    /// `host:port`, what to connect to.
    pub(crate) address: String,
    /// The value of `Host`.
    pub(crate) host: HeaderValue,
    /// The path that every route is appended to; empty for most.
    pub(crate) path: String,
}

/// Reads never wait for long: the map is swapped whole.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    by_id: HashMap<NodeId, Arc<Endpoint>>,
}

impl Endpoints {
    pub(crate) fn new(nodes: Vec<NodeAddress>) -> Self {
        let by_id = nodes.into_iter().map(|node| {
            let endpoint = Endpoint::new(&node);
            (node.id, Arc::new(endpoint))
        });
        Self {
            by_id: by_id.collect(),
        }
    }

    /// The node is at this address from now on. One that is not known yet is greeted with the key
    /// that all others are greeted with, if they share one.
    pub(crate) fn admit(&mut self, id: &NodeId, url: &str) {
        let known = self.by_id.get(id);
        let is_there = |endpoint: &Arc<Endpoint>| match (&endpoint.base, check_base(url)) {
            (Ok(base), Ok(other)) => *base == other,
            _ => false,
        };
        if known.is_some_and(is_there) {
            return;
        }
        let authorization = match known {
            Some(endpoint) => endpoint.authorization.clone(),
            None => {
                let mut keys = self.by_id.values().map(|endpoint| &endpoint.authorization);
                let first = keys.next().cloned().flatten();
                first.filter(|first| keys.all(|key| key.as_ref() == Some(first)))
            }
        };
        let endpoint = Endpoint {
            base: check_base(url),
            authorization,
        };
        self.by_id.insert(id.clone(), Arc::new(endpoint));
    }

    /// The node is known no more.
    pub(crate) fn retire(&mut self, id: &NodeId) {
        self.by_id.remove(id);
    }

    pub(crate) fn get(&self, id: &NodeId) -> Option<Arc<Endpoint>> {
        self.by_id.get(id).cloned()
    }

    /// A process that is not one of the nodes. It is greeted with the key that all nodes are greeted
    /// with, if they share one.
    pub(crate) fn stranger(&self, url: &str) -> Endpoint {
        let mut keys = self.by_id.values().map(|endpoint| &endpoint.authorization);
        let first = keys.next().cloned().flatten();
        Endpoint {
            base: check_base(url),
            authorization: first.filter(|first| keys.all(|key| key.as_ref() == Some(first))),
        }
    }
}

impl Endpoint {
    fn new(node: &NodeAddress) -> Self {
        let (authorization, bad_key) = match node.key.as_ref().map(|key| bearer(key)) {
            None => (None, None),
            Some(Ok(value)) => (Some(value), None),
            Some(Err(cause)) => (None, Some(cause)),
        };
        let base = bad_key.map_or_else(|| check_base(&node.url), Err);
        Self {
            base,
            authorization,
        }
    }
}

fn bearer(key: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
        .map_err(|_| "its key has characters that no header can carry".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn check_base(url: &str) -> Result<Base, String> {
    let base = url.trim_end_matches('/');
    let not_an_address = |e: &dyn fmt::Display| format!("`{url}` is not an address: {e}");
    let uri: Uri = base.parse().map_err(|e| not_an_address(&e))?;
    if uri.scheme() == Some(&Scheme::HTTPS) {
        return Err(format!(
            "`{url}`: TLS to nodes is not built in, use http://"
        ));
    }
    let (Some(authority), true) = (uri.authority(), uri.scheme() == Some(&Scheme::HTTP)) else {
        return Err(format!("`{url}` does not begin with http:// and a host"));
    };
    if uri.query().is_some() {
        return Err(format!("`{url}` has a query, which an address cannot have"));
    }
    let (host, port) = (authority.host(), authority.port_u16());
    let named = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Ok(Base {
        address: format!("{host}:{}", port.unwrap_or(80)),
        host: HeaderValue::from_str(&named).map_err(|e| not_an_address(&e))?,
        path: uri.path().trim_end_matches('/').to_owned(),
        url: base.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{Endpoints, NodeAddress, check_base};
    use miroir_core::id::NodeId;

    #[test]
    fn a_node_that_comes_later_is_greeted_with_the_key_that_all_share() {
        let address = |name: &str, key: &str| NodeAddress {
            id: NodeId::new(name),
            url: format!("http://{name}"),
            key: Some(key.to_owned()),
        };
        let late = NodeId::new("c");
        for (keys, is_greeted) in [(["k", "k"], true), (["k", "other"], false)] {
            let nodes = vec![address("a", keys[0]), address("b", keys[1])];
            let mut endpoints = Endpoints::new(nodes);
            endpoints.admit(&late, "http://c:7700");
            let endpoint = endpoints.get(&late).unwrap();
            assert_eq!(endpoint.authorization.is_some(), is_greeted);
            assert_eq!(endpoint.base.as_ref().unwrap().address, "c:7700");
            endpoints.retire(&late);
            assert!(endpoints.get(&late).is_none());
        }
    }

    #[test]
    fn a_node_that_moves_keeps_its_key() {
        let mut endpoints = Endpoints::new(vec![NodeAddress {
            id: NodeId::new("a"),
            url: "http://a".into(),
            key: Some("k".into()),
        }]);
        endpoints.admit(&NodeId::new("a"), "http://elsewhere");
        let endpoint = endpoints.get(&NodeId::new("a")).unwrap();
        assert_eq!(endpoint.base.as_ref().unwrap().address, "elsewhere:80");
        assert!(endpoint.authorization.is_some());
    }

    #[test]
    fn an_address_is_http_with_a_host_and_perhaps_a_path() {
        let parts = |url: &str| {
            let base = check_base(url).unwrap();
            [
                base.url,
                base.address,
                base.host.to_str().unwrap().to_owned(),
                base.path,
            ]
        };
        let ip = "127.0.0.1:7700";
        assert_eq!(
            parts("http://127.0.0.1:7700/"),
            ["http://127.0.0.1:7700", ip, ip, ""]
        );
        assert_eq!(
            parts("http://node/meili/"),
            ["http://node/meili", "node:80", "node", "/meili"]
        );
        assert_eq!(
            parts("http://[::1]:7700"),
            ["http://[::1]:7700", "[::1]:7700", "[::1]:7700", ""]
        );
        assert!(check_base("https://node:7700").unwrap_err().contains("TLS"));
        for url in [
            "",
            "node",
            "node:7700",
            "ftp://node",
            "http://node?x=1",
            "http://",
        ] {
            assert!(check_base(url).is_err(), "{url}");
        }
    }
}
