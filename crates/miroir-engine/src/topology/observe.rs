//! What lies where and how large it is, asked of the nodes.

use crate::port::NodeRead;
use crate::state::{Shared, Snapshot};
use futures::future::join_all;
use miroir_core::id::{NodeId, PhysicalIndex};
use miroir_core::rebalance::observed::{IndexState, Observed, TwinBytes};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// A node that does not tell its sizes by then is left out: the others tell enough.
const TIMEOUT: Duration = Duration::from_secs(5);
/// With less in its indexes, a node's disk tells more of empty tables than of documents.
const TELLING_BYTES: u64 = 64 << 20;

#[derive(Default)]
struct Sums {
    documents: u64,
    bytes: u64,
    /// Replicas of shards on the nodes that answered.
    replicas: u64,
}

/// The cluster as it is. Sizes are those of the nodes that answer, scaled to one copy of each shard.
pub(crate) async fn observe(shared: &Shared) -> Observed {
    let snapshot = shared.snapshot.load_full();
    let readable: Vec<&NodeId> = snapshot
        .nodes
        .iter()
        .filter(|(_, view)| view.is_readable())
        .map(|(id, _)| id)
        .collect();
    let reads = readable
        .iter()
        .map(|node| shared.ports.nodes.read(node, NodeRead::Stats, TIMEOUT));
    let mut sums: BTreeMap<&str, Sums> = BTreeMap::new();
    let mut twins: BTreeMap<(&str, &NodeId), u64> = BTreeMap::new();
    let (mut disk_bytes, mut document_bytes) = (0u64, 0u64);
    for (node, answer) in readable.iter().zip(join_all(reads).await) {
        let stats = answer
            .ok()
            .and_then(|body| serde_json::from_slice::<Value>(&body).ok());
        let Some(stats) = stats else { continue };
        let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64);
        let disk = number(&stats, "usedDatabaseSize").or(number(&stats, "databaseSize"));
        disk_bytes += disk.unwrap_or(0);
        for entry in snapshot.indexes.values() {
            let indexes = stats.get("indexes");
            let of = |index: &PhysicalIndex| indexes.and_then(|all| all.get(index.as_str()));
            if let Some(twin) = &entry.twin
                && let Some(held) = of(&twin.physical)
            {
                let bytes = number(held, "rawDocumentDbSize").unwrap_or(0);
                twins.insert((twin.physical.as_str(), *node), bytes);
                document_bytes += bytes;
            }
            let Some(held) = of(&entry.record.physical) else {
                continue;
            };
            let sum = sums.entry(entry.record.physical.as_str()).or_default();
            let bytes = number(held, "rawDocumentDbSize").unwrap_or(0);
            sum.documents += number(held, "numberOfDocuments").unwrap_or(0);
            sum.bytes += bytes;
            sum.replicas += entry.placement.shards_of(node).len() as u64;
            document_bytes += bytes;
        }
    }
    let state_of = |entry: &std::sync::Arc<crate::state::IndexEntry>| {
        let record = &entry.record;
        let sum = sums.get(record.physical.as_str());
        let one_copy = |total: u64| {
            let replicas = sum.map_or(0, |sum| sum.replicas);
            miroir_core::rollup::logical_count(total, u64::from(record.shard_count), replicas)
        };
        IndexState {
            uid: record.uid.clone(),
            index: record.physical.clone(),
            replication_factor: record.replication_factor,
            replica_sets: entry.replica_sets.to_vec(),
            documents: one_copy(sum.map_or(0, |sum| sum.documents)),
            bytes: one_copy(sum.map_or(0, |sum| sum.bytes)),
        }
    };
    let indexes: Vec<IndexState> = snapshot.indexes.values().map(state_of).collect();
    Observed {
        twins: twin_bytes(&snapshot, &indexes, &twins),
        indexes,
        free_bytes: BTreeMap::new(),
        disk_factor_milli: (document_bytes >= TELLING_BYTES)
            .then(|| disk_bytes.saturating_mul(1000) / document_bytes),
        unreadable: snapshot
            .nodes
            .iter()
            .filter(|(_, view)| !view.is_readable())
            .map(|(id, _)| id.clone())
            .collect(),
    }
}

/// What each node holds of twins, and will: its part of an index as large as the one that is read.
fn twin_bytes(
    snapshot: &Snapshot,
    indexes: &[IndexState],
    held: &BTreeMap<(&str, &NodeId), u64>,
) -> BTreeMap<NodeId, TwinBytes> {
    let mut all: BTreeMap<NodeId, TwinBytes> = BTreeMap::new();
    for (entry, state) in snapshot.indexes.values().zip(indexes) {
        let Some(twin) = &entry.twin else { continue };
        for (node, shards) in twin.transit.joining() {
            let part = state.bytes.saturating_mul(shards.len() as u64);
            let part = part / u64::from(twin.shard_count.max(1));
            let there = held.get(&(twin.physical.as_str(), node)).copied();
            let there = there.unwrap_or(0);
            let sum = all.entry(node.clone()).or_default();
            sum.bytes += part.max(there);
            sum.bytes_to_come += part.saturating_sub(there);
        }
    }
    all
}
