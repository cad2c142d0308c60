//! Asks every node for its health, learns its version, and looks whether a node that returns still
//! holds what it held.

use crate::port::{NodeError, NodeRead};
use crate::state::Shared;
use miroir_core::health::NodeHealth;
use miroir_core::id::NodeId;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// A probe that takes longer has failed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Until a node has answered for the first time it is asked this often: a start takes no longer
/// than its nodes do.
const FIRST_PROBE_INTERVAL: Duration = Duration::from_millis(25);
/// ... for this many probes; a node that is not there at start is then asked as any other.
const FIRST_PROBES: u32 = 200;

/// Probes one node until the engine shuts down.
pub(crate) async fn run(node: NodeId, shared: Arc<Shared>) {
    let mut probe_count = 0u32;
    let mut was_up = false;
    loop {
        let result = shared.ports.nodes.read(&node, NodeRead::Health, PROBE_TIMEOUT).await;
        let is_well = result.is_ok();
        if is_well && !was_up {
            // Before it counts as up: what it is and what it holds.
            learn_version(&node, &shared).await;
            check_contents(&node, &shared).await;
        }
        shared.observe_read(&node, &result);
        was_up = is_well && shared.is_up(&node);
        probe_count = probe_count.saturating_add(1);
        let is_new = shared
            .snapshot
            .load()
            .nodes
            .get(&node)
            .is_some_and(|view| matches!(view.health, NodeHealth::Unknown | NodeHealth::Suspect));
        let interval = if is_new && probe_count < FIRST_PROBES {
            FIRST_PROBE_INTERVAL
        } else {
            shared.config.probe_interval
        };
        tokio::select! {
            () = shared.shutdown.cancelled() => return,
            () = shared.ports.clock.sleep(interval) => {}
        }
    }
}

async fn learn_version(node: &NodeId, shared: &Shared) {
    let answer = shared.ports.nodes.read(node, NodeRead::Version, PROBE_TIMEOUT).await;
    let version = answer.ok().and_then(|body| {
        let value: Value = serde_json::from_slice(&body).ok()?;
        value.get("pkgVersion")?.as_str().map(str::to_owned)
    });
    if version.is_some() {
        shared.update(|snapshot| {
            if let Some(view) = snapshot.nodes.get_mut(node) {
                view.version = version;
            }
        });
    }
}

/// A node must hold every index that clients see and that is placed on it, if it is in sync. One
/// that came back empty, or with another's data, is kept apart: its answers would be silently
/// incomplete.
async fn check_contents(node: &NodeId, shared: &Shared) {
    let snapshot = shared.snapshot.load_full();
    let is_in_sync = snapshot.nodes.get(node).is_some_and(|view| view.record.is_in_sync);
    let expected: Vec<_> = snapshot
        .indexes
        .values()
        .filter(|entry| !entry.placement.shards_of(node).is_empty())
        .map(|entry| entry.record.physical.clone())
        .collect();
    for index in expected {
        let read = NodeRead::Index { index: index.clone() };
        match shared.ports.nodes.read(node, read, PROBE_TIMEOUT).await {
            Err(NodeError::Refused { code, .. }) if code == "index_not_found" => {
                let pending = shared.is_indexing(&index);
                if pending || !is_in_sync {
                    continue;
                }
                let reason = format!(
                    "it came back without index `{index}` that it held: its data is lost or is not \
                     its own; give it its data back, or an empty folder and a new name"
                );
                tracing::error!(%node, reason, "node is kept apart");
                shared.quarantine.lock().insert(node.clone(), reason);
                shared.nodes_changed.send_modify(|count| *count += 1);
                return;
            }
            Err(NodeError::Refused { .. }) | Ok(_) => {}
            Err(_) => return,
        }
    }
}
