//! Nodes found by name: `meili-0.meili`, `meili-1.meili`, ... as a StatefulSet names its pods.
//!
//! Names are looked up now and then. Who is found and not declared becomes part of what is declared,
//! and is staged, looked at and applied like any newcomer. A node is its name and its address holds
//! the name, so it may have another IP after each restart. A name that is found no more takes no node
//! away (failure is not topology): it is only told of.

use crate::engine::Engine;
use async_trait::async_trait;
use miroir_api::admin::{Declaration, DeclaredNode};
use miroir_core::topology::NodeRole;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Names beyond the last one found that are looked up too: those between may be away.
const GAP_MAX: u32 = 4;
/// Names looked up at most.
const NAMES_MAX: u32 = 1000;

/// Looks up names.
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    /// Whether the name leads anywhere now.
    async fn is_there(&self, host: &str, port: u16) -> bool;
}

/// Where nodes are found, and how often they are looked for.
#[derive(Clone)]
pub struct Discovery {
    /// What stands before the number.
    pub before: String,
    /// What stands behind it, without the port.
    pub after: String,
    /// The port of every node.
    pub port: u16,
    /// Between two looks.
    pub interval: Duration,
    /// Who looks up names.
    pub resolver: Arc<dyn Resolver>,
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Discovery({}{{n}}{}:{})",
            self.before, self.after, self.port
        )
    }
}

impl Discovery {
    fn host(&self, number: u32) -> String {
        format!("{}{number}{}", self.before, self.after)
    }

    /// A node's name is the first part of its host's.
    fn node(&self, number: u32) -> DeclaredNode {
        let host = self.host(number);
        let name = host.split('.').next().unwrap_or_default().to_owned();
        DeclaredNode {
            name,
            url: format!("http://{host}:{}", self.port),
            ..DeclaredNode::default()
        }
    }

    /// The numbers whose names lead somewhere.
    pub(super) async fn find(&self) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        let mut missing = 0;
        for number in 0..NAMES_MAX {
            if self.resolver.is_there(&self.host(number), self.port).await {
                found.insert(number);
                missing = 0;
            } else {
                missing += 1;
                if missing > GAP_MAX {
                    break;
                }
            }
        }
        found
    }

    /// What is declared, with those found, and those that were found once; and who is found no more.
    pub(super) fn complete(
        &self,
        engine: &Engine,
        found: &BTreeSet<u32>,
        mut declaration: Declaration,
    ) -> (Declaration, Vec<String>) {
        let shared = engine.shared();
        let snapshot = shared.snapshot.load_full();
        let mut vanished = Vec::new();
        let named: BTreeSet<String> = declaration.nodes.iter().map(|n| n.name.clone()).collect();
        let is_new = |node: &DeclaredNode| !named.contains(&node.name);
        let here = found.iter().map(|number| self.node(*number)).filter(is_new);
        let here: Vec<DeclaredNode> = here.collect();
        let is_here = |name: &str| here.iter().any(|node| node.name == name);
        let Ok(topology) = super::topology_of(shared, &snapshot) else {
            return (declaration, vanished);
        };
        for node in topology.nodes() {
            let name = node.id.as_str();
            if named.contains(name) || !self.is_of_pattern(&node.url) {
                continue;
            }
            if !is_here(name) {
                vanished.push(format!(
                    "The name of node `{name}` leads nowhere now; it stays a node until it is removed."
                ));
            }
            // As it is: what was said of it by command is not taken back.
            declaration.nodes.push(DeclaredNode {
                name: name.to_owned(),
                url: node.url.clone(),
                zone: node.zone.clone(),
                weight: Some(f64::from(node.weight_milli) / 1000.0),
                drain: node.role == NodeRole::Draining,
            });
        }
        let is_known = |node: &DeclaredNode| declaration.nodes.iter().any(|n| n.name == node.name);
        let newcomers: Vec<DeclaredNode> =
            here.into_iter().filter(|node| !is_known(node)).collect();
        declaration.nodes.extend(newcomers);
        (declaration, vanished)
    }

    fn is_of_pattern(&self, url: &str) -> bool {
        let rest = url.strip_prefix("http://").unwrap_or_default();
        let rest = rest.strip_prefix(&self.before);
        let end = format!("{}:{}", self.after, self.port);
        let number = rest.and_then(|rest| rest.strip_suffix(&end));
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    }
}
