//! Asks every node for its health, learns its version, and looks whether a node that returns still
//! holds what it held.

use crate::copy::witness::{self, Identity};
use crate::error::EngineError;
use crate::features;
use crate::plan::Work;
use crate::port::{NodeError, NodeRead};
use crate::recover::parse_plan;
use crate::state::Shared;
use miroir_core::health::NodeHealth;
use miroir_core::id::{NodeId, PhysicalIndex};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A probe that takes longer has failed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Until a node has answered for the first time it is asked this often: a start takes no longer
/// than its nodes do.
const FIRST_PROBE_INTERVAL: Duration = Duration::from_millis(25);
/// ... for this many probes; a node that is not there at start is then asked as any other.
const FIRST_PROBES: u32 = 200;

/// A node that never failed to answer is looked at for its data all the same, every so many probes:
/// it may have been replaced between two.
const PROBES_BETWEEN_CHECKS: u32 = 15;

/// Probes one node until the engine shuts down.
pub(crate) async fn run(node: NodeId, shared: Arc<Shared>) {
    let mut probe_count = 0u32;
    let mut was_up = false;
    loop {
        let switched = shared.features.changed.notified();
        let mut result = shared
            .ports
            .nodes
            .read(&node, NodeRead::Health, PROBE_TIMEOUT)
            .await;
        let is_due =
            shared.copy.take_suspect(&node) || probe_count.is_multiple_of(PROBES_BETWEEN_CHECKS);
        if result.is_ok() {
            // Before it counts as up: what it is and what it holds, and what it has to know.
            if let Err(error) = introduce(&node, &shared, was_up).await {
                result = Err(error);
            }
            if was_up && is_due {
                check_contents(&node, &shared).await;
            }
        }
        let is_well = result.is_ok();
        shared.observe_read(&node, &result);
        was_up = is_well && shared.is_up(&node);
        probe_count = probe_count.saturating_add(1);
        let is_new =
            shared.snapshot.load().nodes.get(&node).is_some_and(|view| {
                matches!(view.health, NodeHealth::Unknown | NodeHealth::Suspect)
            });
        let interval = if is_new && probe_count < FIRST_PROBES {
            FIRST_PROBE_INTERVAL
        } else {
            shared.config.probe_interval
        };
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            () = switched => {}
            () = shared.ports.clock.sleep(interval) => {}
        }
    }
}

/// Whether a node whose process is healthy can be worked with.
///
/// # Errors
/// It turns Miroir's key away (its health anyone may ask), or cannot be told of the experimental
/// features.
async fn introduce(node: &NodeId, shared: &Shared, was_up: bool) -> Result<(), NodeError> {
    if !was_up {
        learn_version(node, shared).await?;
        check_contents(node, shared).await;
    }
    features::bring_up(node, shared).await
}

/// Whether this is what a node says to a key it does not know.
fn is_denial(error: &NodeError) -> bool {
    matches!(
        error,
        NodeError::Failed {
            status: 401 | 403,
            ..
        }
    )
}

async fn learn_version(node: &NodeId, shared: &Shared) -> Result<(), NodeError> {
    let answer = shared
        .ports
        .nodes
        .read(node, NodeRead::Version, PROBE_TIMEOUT)
        .await;
    if let Err(error) = &answer
        && is_denial(error)
    {
        return Err(error.clone());
    }
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
    Ok(())
}

/// A node must hold every index that clients see and that is placed on it. One that came back
/// empty, or with another's data, is kept apart: its answers would be silently incomplete, and what
/// is sent to it would make the index anew without its settings.
///
/// An index may be missing only if the node is still owed the batch that makes it, or if a batch
/// that removes it is under way.
///
/// Its task list is asked first: a node made anew or restored from an old copy holds the indexes, but
/// not the tasks (see [`witness`]).
pub(crate) async fn check_contents(node: &NodeId, shared: &Shared) {
    let is_impostor = shared.copy.impostor(node).is_some();
    if shared.quarantine.lock().contains_key(node) && !is_impostor {
        return;
    }
    match witness::examine(node, shared, PROBE_TIMEOUT).await {
        Ok(Identity::Another(other)) => {
            let reason = format!("its address leads to node `{other}`");
            shared.copy.set_impostor(node, Some(other));
            if !is_impostor {
                keep_apart(node, shared, reason);
            }
            return;
        }
        Ok(Identity::Changed(cause)) => {
            shared.copy.set_impostor(node, None);
            keep_apart(
                node,
                shared,
                format!("its data is lost or is not its own: {cause}"),
            );
            return;
        }
        Ok(Identity::Own) if is_impostor => {
            shared.copy.set_impostor(node, None);
            let_in(node, shared);
        }
        Ok(Identity::Own) => {}
        Err(_) => return,
    }
    let snapshot = shared.snapshot.load_full();
    let expected: Vec<_> = snapshot
        .indexes
        .values()
        .filter(|entry| !entry.placement.shards_of(node).is_empty())
        .filter(|entry| !shared.copy.is_awaiting(node, &entry.record.physical))
        .map(|entry| entry.record.physical.clone())
        .collect();
    let mut missing = Vec::new();
    for index in expected {
        let read = NodeRead::Index {
            index: index.clone(),
        };
        match shared.ports.nodes.read(node, read, PROBE_TIMEOUT).await {
            Err(NodeError::Refused { code, .. }) if code == "index_not_found" => {
                missing.push(index);
            }
            Err(NodeError::Refused { .. }) | Ok(_) => {}
            Err(_) => break,
        }
    }
    if missing.is_empty() {
        return;
    }
    let excused = match excused(node, shared).await {
        Ok(excused) => excused,
        Err(error) => {
            // Nothing can be written without the store either; the next start looks again.
            tracing::error!(%error, %node, "it cannot be told why the node lacks an index");
            return;
        }
    };
    let current = shared.snapshot.load_full();
    let is_there = |index: &PhysicalIndex| {
        current
            .indexes
            .values()
            .any(|entry| entry.record.physical == *index)
    };
    let lost = missing
        .into_iter()
        .find(|index| !excused.contains(index) && is_there(index));
    if let Some(index) = lost {
        let reason = format!(
            "its data is lost or is not its own: it came back without index `{index}` that it held"
        );
        keep_apart(node, shared, reason);
    }
}

/// The indexes that the node need not hold now: to be made on it, or being removed.
async fn excused(node: &NodeId, shared: &Shared) -> Result<BTreeSet<PhysicalIndex>, EngineError> {
    let mut excused = BTreeSet::new();
    for batch in shared.ports.store.load_open_batches().await? {
        let plan = parse_plan(&batch)?;
        let is_owed = batch
            .deliveries
            .get(node)
            .is_some_and(|delivery| !delivery.is_applied);
        let makes = plan.creation.is_some() || matches!(plan.work, Work::RecreateIndex { .. });
        if (makes && is_owed) || plan.work == Work::DeleteIndex {
            excused.insert(plan.physical);
        }
    }
    Ok(excused)
}

/// The node is itself again: what it missed, it is owed.
fn let_in(node: &NodeId, shared: &Shared) {
    tracing::info!(%node, "the node's address leads to it again");
    shared.quarantine.lock().remove(node);
    shared.update(|snapshot| {
        if let Some(view) = snapshot.nodes.get_mut(node) {
            view.is_apart = false;
        }
    });
    shared.nodes_changed.ring();
}

/// The node is sent nothing and shown to nobody. Once it is out of the in-sync set (which needs
/// another replica of all it held) its replicas are copied anew.
pub(crate) fn keep_apart(node: &NodeId, shared: &Shared, reason: String) {
    tracing::error!(%node, reason, "node is kept apart");
    shared.quarantine.lock().insert(node.clone(), reason);
    shared.update(|snapshot| {
        if let Some(view) = snapshot.nodes.get_mut(node) {
            view.is_apart = true;
        }
    });
    shared.nodes_changed.ring();
}
