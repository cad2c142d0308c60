//! What `miroir plan-capacity --index` begins with: an index of a running proxy as it is.

use crate::cli::connection::Connection;
use crate::screen::{bytes, grouped};
use anyhow::{Context, ensure};
use http::Method;
use miroir_api::admin::{IndexShards, PlanRequest, Topology, TopologyPlan};
use miroir_core::capacity::Capacity;
use serde_json::{Value, json};
use std::time::Duration;

/// The sizes are asked of every node.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// An index, as large as it is, and what it lies on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Live {
    pub(super) index: String,
    pub(super) documents: u64,
    /// Bytes of a document as the nodes store it, on average.
    pub(super) document_bytes: u64,
    /// What the nodes use of their disks over all documents that they store; `None` while they hold too
    /// little to tell.
    pub(super) disk_factor: Option<f64>,
    pub(super) replication_factor: u32,
    pub(super) shards: u64,
    /// Nodes that take shards.
    pub(super) nodes: u64,
}

/// Asks a proxy.
pub(super) async fn ask(proxy: &Connection, index: &str) -> anyhow::Result<Live> {
    let client = proxy.client(ANSWER_MAX)?;
    let stats = client.get(&format!("/indexes/{index}/stats")).await?;
    let number = |name: &str| stats.get(name).and_then(Value::as_u64);
    let documents = number("numberOfDocuments").context("the proxy tells no documents")?;
    ensure!(
        documents > 0,
        "index `{index}` is empty: nothing can be told of its documents; give --documents and \
         --doc-bytes instead"
    );
    let stored = number("rawDocumentDbSize").context("the proxy tells no size of the documents")?;
    let shards: IndexShards = understood(
        client
            .get(&format!("/_miroir/indexes/{index}/shards"))
            .await?,
    )?;
    let topology: Topology = understood(client.get("/_miroir/topology").await?)?;
    let request = serde_json::to_value(PlanRequest::default())?;
    let plan = client
        .send_json(Method::POST, "/_miroir/topology/plan", &request)
        .await?;
    let plan: TopologyPlan = understood(plan)?;
    Ok(Live {
        index: index.to_owned(),
        documents,
        document_bytes: stored.div_ceil(documents).max(1),
        disk_factor: plan.disk_factor,
        replication_factor: shards.replication_factor,
        shards: shards.shards.len() as u64,
        nodes: topology.nodes.iter().filter(|node| !node.drained).count() as u64,
    })
}

fn understood<T: serde::de::DeserializeOwned>(answer: Value) -> anyhow::Result<T> {
    serde_json::from_value(answer).context("the answer is not understood (is it a Miroir?)")
}

impl Live {
    /// So many times its documents, at least one.
    pub(super) fn times(&self, factor: f64) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a plan is no count; the cast saturates"
        )]
        let documents = (self.documents as f64 * factor) as u64;
        documents.max(1)
    }

    /// What at least moves to nodes that are added, when it has grown.
    fn moved(&self, planned: &Capacity) -> u64 {
        let added = u128::from(planned.nodes.saturating_sub(self.nodes));
        let moved = u128::from(planned.total_bytes) * added / u128::from(planned.nodes.max(1));
        u64::try_from(moved).unwrap_or(u64::MAX)
    }

    pub(super) fn to_json(&self, planned: &Capacity) -> Value {
        json!({
            "index": self.index,
            "documents": self.documents,
            "documentBytes": self.document_bytes,
            "diskFactor": self.disk_factor,
            "replicationFactor": self.replication_factor,
            "shards": self.shards,
            "nodes": self.nodes,
            "bytesMoved": self.moved(planned),
        })
    }

    /// What there is, and what would have to be done.
    pub(super) fn to_text(&self, planned: &Capacity) -> String {
        let mut lines = vec![format!(
            "{} has {} documents of {} as they are stored, {} copies, {} shards on {} nodes.",
            self.index,
            grouped(self.documents),
            bytes(self.document_bytes),
            self.replication_factor,
            grouped(self.shards),
            grouped(self.nodes)
        )];
        if self.disk_factor.is_none() {
            lines.push(
                "The nodes hold too little to tell what a byte of it takes of their disks: what is \
                 usual is reckoned with, or give --disk-factor."
                    .to_owned(),
            );
        }
        lines.push(match planned.nodes.checked_sub(self.nodes) {
            None | Some(0) => "The nodes there are suffice.".to_owned(),
            Some(added) => format!(
                "{} nodes more are needed (miroir node add); {} at least move to them.",
                grouped(added),
                bytes(self.moved(planned))
            ),
        });
        if u64::from(planned.shards) > self.shards {
            lines.push(format!(
                "More shards are needed: miroir index reshard {} --shards {}",
                self.index, planned.shards
            ));
        }
        lines.push("\nIf it is as said:".to_owned());
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miroir_core::capacity::{Workload, capacity};

    fn live() -> Live {
        Live {
            index: "movies".into(),
            documents: 1_000_000,
            document_bytes: 1000,
            disk_factor: Some(3.0),
            replication_factor: 2,
            shards: 32,
            nodes: 3,
        }
    }

    fn planned(documents: u64) -> Capacity {
        let workload = Workload {
            documents,
            document_bytes: 1000,
            disk_factor: 3.0,
            replication_factor: 2,
            node_memory_bytes: 8 << 30,
            node_disk_bytes: None,
            hot: 0.3,
            disk_fill_max: 0.7,
            nodes: None,
            shards: None,
        };
        capacity(&workload).unwrap()
    }

    #[test]
    fn an_index_that_outgrows_its_nodes_is_told_how_many_more_and_what_moves() {
        let planned = planned(live().times(50.0));
        assert!(planned.nodes > 3);
        let text = live().to_text(&planned);
        for needed in [
            "miroir node add",
            "miroir index reshard movies --shards",
            "at least move",
        ] {
            assert!(text.contains(needed), "{needed}: {text}");
        }
    }

    #[test]
    fn an_index_that_fits_is_told_that_it_does() {
        let text = live().to_text(&planned(live().times(1.0)));
        assert!(text.contains("The nodes there are suffice."), "{text}");
        assert!(!text.contains("reshard"), "{text}");
    }
}
