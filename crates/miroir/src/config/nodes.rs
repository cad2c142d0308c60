//! The nodes: their names, addresses, weights and keys.

use super::raw::{At, RawNode};
use super::{Check, NODE_KEY_ENV, Secret};
use std::collections::BTreeMap;

/// One Meilisearch node.
#[derive(Debug, Clone)]
pub(crate) struct NodeConfig {
    /// Its name: what identifies it, whatever its URL.
    pub(crate) name: String,
    /// `http://host:port` or `https://host:port`, without a path.
    pub(crate) url: String,
    /// The failure domain it stands in.
    pub(crate) zone: Option<String>,
    /// Its share of the shards, relative to the other nodes; finite and above 0.
    pub(crate) weight: f64,
    /// The key that Miroir shows to it.
    pub(crate) key: Option<Secret>,
    /// It shall hold nothing; for a declared topology.
    pub(crate) drains: bool,
}

impl Check {
    pub(super) fn nodes(
        &mut self,
        raw: Option<Vec<RawNode>>,
        secret: &impl Fn(&str) -> Option<Secret>,
    ) -> Vec<NodeConfig> {
        if raw.is_none() {
            self.add(
                None,
                "there are no nodes: add one table for each Meilisearch, as in\n    [[nodes]]\n    \
                 name = \"node-1\"\n    url = \"http://10.0.0.1:7700\"",
            );
        }
        let mut names = BTreeMap::new();
        let mut urls = BTreeMap::new();
        let mut nodes = Vec::new();
        for node in raw.unwrap_or_default() {
            let line = node.line;
            let name = self.node_name(&node);
            let url = self.node_url(&node);
            for (seen, value, key) in [(&mut names, &name, "name"), (&mut urls, &url, "url")] {
                if value.is_empty() {
                    continue;
                }
                if let Some(Some(first)) = seen.insert(value.clone(), line) {
                    let text = format!(
                        "two nodes have the {key} \"{value}\" (the other stands at line {first}): \
                         each node needs its own"
                    );
                    self.add(line, text);
                }
            }
            let weight = self.node_weight(node.weight);
            let key = self.node_key(node.key_env, &name, secret);
            let zone = node
                .zone
                .map(|zone| zone.value)
                .filter(|zone| !zone.is_empty());
            nodes.push(NodeConfig {
                name,
                url,
                zone,
                weight,
                key,
                drains: node.drain.is_some_and(|drain| drain.value),
            });
        }
        nodes
    }

    fn node_name(&mut self, node: &RawNode) -> String {
        let Some(At { value, line }) = &node.name else {
            self.add(node.line, "a node has no `name`: write `name = \"node-1\"`");
            return String::new();
        };
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if value.is_empty() || value.len() > 64 || !value.chars().all(is_allowed) {
            let text = format!(
                "a node cannot be named \"{value}\": use 1 to 64 letters, digits, `-` and `_`"
            );
            self.add(*line, text);
        }
        value.clone()
    }

    fn node_url(&mut self, node: &RawNode) -> String {
        let Some(At { value, line }) = &node.url else {
            self.add(
                node.line,
                "a node has no `url`: write `url = \"http://10.0.0.1:7700\"`",
            );
            return String::new();
        };
        match plain_url(value) {
            Some(url) => url,
            None => {
                let text = format!(
                    "a node's `url` cannot be \"{value}\": write `http://host:port` or \
                     `https://host:port`, with no user, path or query"
                );
                self.add(*line, text);
                value.clone()
            }
        }
    }

    fn node_weight(&mut self, raw: Option<At<f64>>) -> f64 {
        let Some(At { value, line }) = raw else {
            return 1.0;
        };
        // The bounds keep a ratio of two weights far from what a float cannot tell apart.
        if (0.001..=1000.0).contains(&value) {
            return value;
        }
        self.add(
            line,
            format!("a node's `weight` must be from 0.001 to 1000, not {value}"),
        );
        1.0
    }

    fn node_key(
        &mut self,
        raw: Option<At<String>>,
        node: &str,
        secret: &impl Fn(&str) -> Option<Secret>,
    ) -> Option<Secret> {
        let Some(At {
            value: variable,
            line,
        }) = raw
        else {
            return secret(NODE_KEY_ENV);
        };
        let key = secret(&variable);
        if key.is_none() {
            let text = format!(
                "node \"{node}\" reads its key from the environment variable {variable}, which is \
                 not set: set it, or remove `key_env` to use {NODE_KEY_ENV}"
            );
            self.add(line, text);
        }
        key
    }
}

/// The URL without a closing slash, if it names a scheme, a host and nothing after.
pub(crate) fn plain_url(text: &str) -> Option<String> {
    let uri: http::Uri = text.parse().ok()?;
    let scheme = uri
        .scheme_str()
        .filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = uri.authority()?;
    let is_plain = uri.path().trim_matches('/').is_empty()
        && uri.query().is_none()
        && !authority.as_str().contains('@')
        && !authority.host().is_empty();
    is_plain.then(|| format!("{scheme}://{authority}"))
}
