//! The servers that cases are put on: one node, and Miroir over three for each replication factor
//! that is drawn. They run all the time; every case has an index of its own.

use super::{Ask, Case, Route};
use crate::{Client, Cluster, ClusterOptions, NodeOptions, NodeProcess, Programs, Reply};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::thread;

const NODES: u32 = 3;
const SHARDS: u32 = 8;

/// The running servers.
pub struct Arena {
    programs: Programs,
    single: NodeProcess,
    clusters: BTreeMap<u32, Cluster>,
    next_index: u64,
}

/// A case's data on the servers.
#[derive(Debug)]
pub struct Stage {
    pub(super) index: String,
    pub(super) physical: String,
    pub(super) replication_factor: u32,
    /// Writes and settings that ended otherwise on Miroir, for a reader.
    pub faults: Vec<String>,
}

impl Arena {
    /// Starts the one node; clusters are started when a case asks for one.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(programs: &Programs) -> Result<Self> {
        Ok(Self {
            single: NodeProcess::start(&programs.node, NodeOptions::default())?,
            programs: programs.clone(),
            clusters: BTreeMap::new(),
            next_index: 0,
        })
    }

    /// Whether the nodes are real Meilisearch servers.
    #[must_use]
    pub fn has_real_nodes(&self) -> bool {
        self.programs.has_real_nodes()
    }

    /// The one node with all documents.
    #[must_use]
    pub fn single(&self) -> &NodeProcess {
        &self.single
    }

    /// The cluster with so many copies, started if none runs yet.
    ///
    /// # Errors
    /// When it does not start.
    pub fn cluster(&mut self, replication_factor: u32) -> Result<&Cluster> {
        if !self.clusters.contains_key(&replication_factor) {
            let options = ClusterOptions::new(NODES, replication_factor, SHARDS);
            let cluster = Cluster::start(&self.programs, &options)?;
            self.clusters.insert(replication_factor, cluster);
        }
        self.running(replication_factor)
    }

    pub(super) fn running(&self, replication_factor: u32) -> Result<&Cluster> {
        self.clusters
            .get(&replication_factor)
            .context("a cluster that was started")
    }

    /// Makes an index of the case's settings and documents on both sides.
    ///
    /// # Errors
    /// When a server does not answer. Writes that fail are no error if they fail on both sides.
    pub fn load(&mut self, case: &Case) -> Result<Stage> {
        self.next_index += 1;
        let index = format!("fuzz-{}", self.next_index);
        self.cluster(case.replication_factor)?;
        let cluster = self.running(case.replication_factor)?;
        let (single, proxy) = (self.single.client(), cluster.client());
        let (expected, found) = thread::scope(|scope| {
            let expected = scope.spawn(|| play(single, &index, case));
            let found = play(proxy, &index, case);
            (expected.join(), found)
        });
        let Ok(expected) = expected else {
            bail!("the writer to one node panicked");
        };
        let (expected, found) = (expected?, found?);
        let pairs = expected.iter().zip(&found).enumerate();
        let mut faults: Vec<String> = pairs
            .filter(|(_, (expected, found))| expected != found)
            .map(|(step, (expected, found))| format!("write {step}: {expected} ≠ {found}"))
            .collect();
        let shown = |client: &Client| -> Result<Value> {
            Ok(client.get(&format!("/indexes/{index}/settings"))?.body)
        };
        let (expected, found) = (shown(single)?, shown(proxy)?);
        for (name, value) in expected.as_object().into_iter().flatten() {
            if found[name] != *value {
                faults.push(format!("settings {name}: {value} ≠ {}", found[name]));
            }
        }
        Ok(Stage {
            physical: cluster.physical_index(&index)?,
            index,
            replication_factor: case.replication_factor,
            faults,
        })
    }

    /// Removes the index of a case, without waiting for it.
    ///
    /// # Errors
    /// When a server does not answer.
    pub fn clear(&self, stage: &Stage) -> Result<()> {
        let path = format!("/indexes/{}", stage.index);
        self.single.client().delete(&path)?;
        let cluster = self.running(stage.replication_factor)?;
        cluster.client().delete(&path)?;
        Ok(())
    }
}

/// Writes a case to one side, step by step, and returns how each ended.
///
/// Each is waited for. A node that may gather tasks numbers documents otherwise, and never sees the
/// fields of a document that the next task replaces.
fn play(client: &Client, index: &str, case: &Case) -> Result<Vec<String>> {
    let path = format!("/indexes/{index}");
    let made = json!({"uid": index, "primaryKey": case.key_field});
    let mut steps = vec![("POST", "/indexes".to_owned(), &made)];
    steps.push(("PATCH", format!("{path}/settings"), &case.settings));
    for step in &case.writes {
        steps.push((&step.method, format!("{path}/{}", step.path), &step.body));
    }
    let mut ends = Vec::new();
    for (method, path, body) in steps {
        let reply = client.call(method, &path, Some(body))?;
        if reply.status != 202 {
            ends.push(refusal(&reply));
            continue;
        }
        let task = client.wait_task(reply.accepted()?)?;
        // Messages of tasks may name what only nodes know.
        ends.push(format!("{} {}", task["status"], task["error"]["code"]));
    }
    Ok(ends)
}

fn refusal(reply: &Reply) -> String {
    format!("{} {}", reply.status, reply.body["code"])
}

/// Sends one request.
pub(super) fn send(client: &Client, index: &str, ask: &Ask) -> Result<Reply> {
    let path = format!("/indexes/{index}");
    match ask.route {
        Route::Search => client.search(index, &ask.body),
        Route::SearchByGet => client.get(&format!("{path}/search?{}", query_string(&ask.body))),
        Route::Fetch => client.post(&format!("{path}/documents/fetch"), &ask.body),
        Route::FacetSearch => client.post(&format!("{path}/facet-search"), &ask.body),
    }
}

/// A body as query string: lists by commas, a filter with lists as JSON.
fn query_string(body: &Value) -> String {
    let mut text = String::new();
    let mut add = |name: &str, value: &str| {
        if !text.is_empty() {
            text.push('&');
        }
        let _ = write!(text, "{name}={}", encoded(value));
    };
    for (name, value) in body.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("hybrid", hybrid) => {
                if let Some(embedder) = hybrid["embedder"].as_str() {
                    add("hybridEmbedder", embedder);
                }
                if !hybrid["semanticRatio"].is_null() {
                    add("hybridSemanticRatio", &hybrid["semanticRatio"].to_string());
                }
            }
            (_, Value::String(value)) => add(name, value),
            ("filter", value) => add(name, &value.to_string()),
            (_, Value::Array(items)) => {
                let items: Vec<String> = items
                    .iter()
                    .map(|item| {
                        item.as_str()
                            .map_or_else(|| item.to_string(), str::to_owned)
                    })
                    .collect();
                add(name, &items.join(","));
            }
            (_, value) => add(name, &value.to_string()),
        }
    }
    text
}

fn encoded(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_becomes_a_query_string() {
        let body = json!({"q": "é a", "limit": 3, "facets": ["x", "y"], "filter": [["a = 1"]],
            "hybrid": {"embedder": "e", "semanticRatio": 1.0}});
        let mut parts: Vec<_> = query_string(&body).split('&').map(str::to_owned).collect();
        parts.sort();
        assert_eq!(
            parts,
            [
                "facets=x%2Cy",
                "filter=%5B%5B%22a%20%3D%201%22%5D%5D",
                "hybridEmbedder=e",
                "hybridSemanticRatio=1.0",
                "limit=3",
                "q=%C3%A9%20a"
            ]
        );
    }
}
