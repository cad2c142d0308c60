//! Experimental features: which are on, durably, and on every node that needs to know.
//!
//! Miroir owns the switches. What a feature opens at Miroir's own routes is decided here; what it
//! opens inside a node is switched on there too: when it changes, and when a node returns, before it
//! counts as up. One prober speaks to each node, so a node never gets an older state after a newer.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::port::{NodeError, NodeRead};
use crate::state::Shared;
use arc_swap::ArcSwap;
use bytes::Bytes;
use miroir_core::health::NodeHealth;
use miroir_core::id::NodeId;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Lets documents be edited by a function.
pub const EDIT_BY_FUNCTION: &str = "editDocumentsByFunction";
/// Lets filters use `CONTAINS`.
pub const CONTAINS_FILTER: &str = "containsFilter";
/// Lets listings of documents pass a node's search queue by.
pub const NO_FETCH_QUEUE: &str = "disableDocumentsFetchQueue";

/// Lets embedders be made of two.
pub const COMPOSITE_EMBEDDERS: &str = "compositeEmbedders";
/// Lets searches give media, embedders have fragments and filters ask for vectors.
pub const MULTIMODAL: &str = "multimodal";

/// Features that, once on, stay on on nodes: what was accepted before they were switched off is
/// carried out, and indexes that use them are copied to nodes that join. Miroir itself refuses what
/// comes after.
const LASTING: [&str; 3] = [EDIT_BY_FUNCTION, COMPOSITE_EMBEDDERS, MULTIMODAL];
/// How refusals of nodes name them, in the same order.
const LASTING_WORDS: [&str; 3] = ["edit", "composite embedders", "multimodal"];

/// Lets templates be rendered.
pub const RENDER_ROUTE: &str = "renderRoute";

/// Opens the routes of chats and the setting `chat`; Miroir's own, so no node is told.
pub const CHAT_COMPLETIONS: &str = "chatCompletions";

/// Opens the route that shows the documents of a waiting task; Miroir's own, so no node is told.
pub const TASK_DOCUMENTS: &str = "getTaskDocumentsRoute";

/// Lets hits show documents of other indexes, and filters ask for them; Miroir's own doing, so no
/// node is told. The setting has the same name.
pub const FOREIGN_KEYS: &str = "foreignKeys";

/// A change is answered when every node that is up has it, or after this.
const APPLY_WAIT: Duration = Duration::from_secs(2);
/// The nodes are looked at this often meanwhile, should a note of it be missed.
const APPLY_LOOK: Duration = Duration::from_millis(50);
/// A node that takes longer has not been told.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// The switches, and which nodes know them.
#[derive(Default)]
pub struct FeatureBoard {
    /// Those ever switched, by name.
    switched: ArcSwap<BTreeMap<String, bool>>,
    /// Counts changes.
    version: AtomicU64,
    /// The count each node was told last.
    told: Mutex<BTreeMap<NodeId, u64>>,
    /// Wakes the probers.
    pub(crate) changed: Notify,
    /// Wakes those who wait for nodes to be told.
    applied: Notify,
}

impl FeatureBoard {
    pub(crate) fn replace(&self, switched: BTreeMap<String, bool>) {
        self.switched.store(switched.into());
        self.version.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }

    /// The node is to be told again.
    pub(crate) fn forget(&self, node: &NodeId) {
        self.told.lock().remove(node);
        self.changed.notify_waiters();
    }

    fn knows(&self, node: &NodeId) -> bool {
        let version = self.version.load(Ordering::Acquire);
        // Version 0: nothing was ever switched, so there is nothing to tell.
        version == 0 || self.told.lock().get(node) == Some(&version)
    }

    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.switched.load().get(name).copied().unwrap_or(false)
    }
}

/// What the nodes are to have switched.
fn node_flags(switched: &BTreeMap<String, bool>) -> Map<String, Value> {
    let mut flags = Map::new();
    for name in LASTING {
        if switched.contains_key(name) {
            flags.insert(name.to_owned(), Value::Bool(true));
        }
    }
    for name in [CONTAINS_FILTER, NO_FETCH_QUEUE, RENDER_ROUTE] {
        if let Some(is_on) = switched.get(name) {
            flags.insert(name.to_owned(), Value::Bool(*is_on));
        }
    }
    flags
}

/// The node lacks a feature that Miroir switched on there.
pub(crate) fn is_missing(error: &NodeError, shared: &Shared) -> bool {
    let NodeError::Refused { code, message, .. } = error else {
        return false;
    };
    let switched = shared.features.switched.load();
    let mut lasting = LASTING.iter().zip(LASTING_WORDS);
    code == "feature_not_enabled"
        && lasting.any(|(name, word)| switched.contains_key(*name) && message.contains(word))
}

/// Tells the node what it does not know of the switches.
///
/// # Errors
/// The node could not be told. One that refuses, because it does not know a feature, is told no
/// more; what needs the feature is refused by it when it is used.
pub(crate) async fn bring_up(node: &NodeId, shared: &Shared) -> Result<(), NodeError> {
    let board = &shared.features;
    if board.knows(node) {
        return Ok(());
    }
    let version = board.version.load(Ordering::Acquire);
    let flags = node_flags(&board.switched.load());
    if !flags.is_empty() && !tell(node, shared, &flags).await? {
        // It may be only one that it does not know.
        for (name, is_on) in flags {
            let flag = Map::from_iter([(name.clone(), is_on)]);
            if !tell(node, shared, &flag).await? {
                tracing::warn!(%node, name, "the node does not take the experimental feature");
            }
        }
    }
    board.told.lock().insert(node.clone(), version);
    board.applied.notify_waiters();
    Ok(())
}

/// Whether the node takes the switches.
async fn tell(
    node: &NodeId,
    shared: &Shared,
    flags: &Map<String, Value>,
) -> Result<bool, NodeError> {
    let body = Bytes::from(Value::Object(flags.clone()).to_string());
    let read = NodeRead::SetFeatures { body };
    match shared.ports.nodes.read(node, read, CALL_TIMEOUT).await {
        Err(NodeError::Refused { .. }) => Ok(false),
        Err(error) => Err(error),
        Ok(_) => Ok(true),
    }
}

impl Engine {
    /// The experimental features that were ever switched, by name.
    #[must_use]
    pub fn features(&self) -> BTreeMap<String, bool> {
        BTreeMap::clone(&self.shared().features.switched.load())
    }

    /// Whether an experimental feature was ever switched through Miroir, on or off. One that never
    /// was is as it is on the nodes.
    #[must_use]
    pub fn knows_feature(&self, name: &str) -> bool {
        self.shared().features.switched.load().contains_key(name)
    }

    /// Whether an experimental feature is on.
    #[must_use]
    pub fn has_feature(&self, name: &str) -> bool {
        self.shared().features.is_on(name)
    }

    /// Switches features, durably, and then on the nodes. Returns when those that are up know, or
    /// after two seconds; the others are told when they are there, before they count as up.
    ///
    /// # Errors
    /// The store failed; then nothing was switched.
    pub async fn switch_features(
        &self,
        changes: BTreeMap<String, bool>,
    ) -> Result<(), EngineError> {
        let shared = self.shared();
        let instance = &shared.ports.instance;
        if changes.is_empty() {
            return Ok(());
        }
        shared.gate.pass()?;
        shared.noted(instance.put_features(changes).await)?;
        shared.step("features.stored").await;
        // Read back: of two changes at once the one read last has both.
        shared.features.replace(instance.load_features().await?);
        let started = shared.ports.clock.monotonic();
        loop {
            let applied = shared.features.applied.notified();
            let snapshot = shared.snapshot.load_full();
            let is_told = |(node, view): (&NodeId, &crate::state::NodeView)| {
                view.health != NodeHealth::Up || shared.features.knows(node)
            };
            let waited = shared.ports.clock.monotonic().saturating_sub(started);
            if snapshot.nodes.iter().all(is_told) || waited > APPLY_WAIT {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = applied => {}
                () = shared.shutdown.cancelled() => return Ok(()),
                () = shared.ports.clock.sleep(APPLY_LOOK) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nodes_are_told_of_what_they_do() {
        let switched = |list: &[(&str, bool)]| -> BTreeMap<String, bool> {
            list.iter()
                .map(|(name, on)| ((*name).to_owned(), *on))
                .collect()
        };
        let flags = |list: &[(&str, bool)]| Value::Object(node_flags(&switched(list)));
        assert_eq!(flags(&[]), json!({}));
        assert_eq!(flags(&[("metrics", true), (FOREIGN_KEYS, true)]), json!({}));
        assert_eq!(
            flags(&[(EDIT_BY_FUNCTION, false), (CONTAINS_FILTER, false)]),
            json!({"editDocumentsByFunction": true, "containsFilter": false})
        );
        assert_eq!(flags(&[(MULTIMODAL, false)]), json!({"multimodal": true}));
    }
}
