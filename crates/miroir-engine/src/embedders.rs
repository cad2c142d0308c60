//! Whether a change of embedders can be taken.
//!
//! What a template, a request or a fragment may say is a language of the nodes' version, and a
//! mistake in it is told before there is a task. So a node is asked: it is sent the change with one
//! more embedder behind all others that is sure to be refused. If the refusal is of that one all
//! others are right, and in no case is there a task on the node.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::port::{NodeError, NodeRead};
use crate::refusal::NO_INDEX;
use crate::state::NodeView;
use bytes::Bytes;
use miroir_core::id::PhysicalIndex;
use serde_json::{Value, json};

/// A name behind all others: nodes check embedders by their names.
const LAST: &str = "\u{10ffff}-miroir";
/// What nodes say of embedders that they do not take.
const REFUSALS: [&str; 2] = ["invalid_settings_embedders", "vector_embedding_error"];

impl Engine {
    /// Checks a change of embedders that is right in form. Without a node that answers it passes;
    /// the nodes that are to apply it will find the mistake again.
    ///
    /// # Errors
    /// [`EngineError::Refused`] in a node's words.
    pub async fn check_embedders(&self, embedders: &Value) -> Result<(), EngineError> {
        let Value::Object(embedders) = embedders else {
            return Ok(());
        };
        let is_any_set = embedders.values().any(Value::is_object);
        if !is_any_set || embedders.contains_key(LAST) {
            return Ok(());
        }
        let mut asked = embedders.clone();
        // It cannot be without `dimensions`.
        asked.insert(LAST.to_owned(), json!({"source": "userProvided"}));
        let body = Bytes::from(json!({ "embedders": asked }).to_string());
        let shared = self.shared();
        let snapshot = shared.snapshot.load_full();
        let nodes = snapshot.nodes.iter();
        for (node, _) in nodes.filter(|(_, view)| NodeView::is_readable(view)) {
            let read = NodeRead::CheckSettings {
                index: PhysicalIndex::from_stored(NO_INDEX),
                body: body.clone(),
            };
            let timeout = shared.config.search_timeout;
            match shared.ports.nodes.read(node, read, timeout).await {
                Err(NodeError::Refused { message, .. }) if message.contains(LAST) => return Ok(()),
                Err(NodeError::Refused {
                    code, status, body, ..
                }) if REFUSALS.contains(&&*code) => {
                    return Err(EngineError::Refused { status, body });
                }
                Err(error) if crate::features::is_missing(&error, shared) => {
                    shared.features.forget(node);
                }
                Err(_) => {}
                Ok(_) => {
                    // It will fail there, as it names what is wrong.
                    tracing::warn!(%node, "the node took settings that it should refuse");
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Whether an index has an embedder of that name.
    #[must_use]
    pub fn has_embedder(&self, uid: &miroir_core::id::IndexUid, name: &str) -> bool {
        let snapshot = self.shared().snapshot.load();
        snapshot.index(uid).is_ok_and(|entry| {
            let embedders = entry.record.settings.get("embedders");
            embedders.is_some_and(|embedders| embedders.get(name).is_some())
        })
    }
}
