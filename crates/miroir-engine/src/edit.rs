//! Checks an edit function before it is taken into the log, as one Meilisearch does.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::features::is_missing;
use crate::port::{NodeError, NodeRead};
use crate::refusal::NO_INDEX;
use crate::state::NodeView;
use bytes::Bytes;
use miroir_core::edit;
use miroir_core::id::IndexUid;
use serde_json::{Value, json};

/// What a node says when it has found nothing wrong but the context.
const FINE: &str = "invalid_document_edition_context";

impl Engine {
    /// Has a node compile the function and read the filter: only it knows its version's grammar.
    /// Then it compiles the function as nodes will get it (see [`miroir_core::edit`]). Nothing is
    /// registered there: the question is asked with a context that is always refused, and a node
    /// looks at that last.
    ///
    /// # Errors
    /// [`EngineError::Refused`] in the node's words; [`EngineError::Unsupported`] for what one
    /// Meilisearch runs and Miroir cannot; [`EngineError::Node`] if no node answers, since a function
    /// that nobody compiled could leave the one it is wrapped in.
    pub async fn check_edit(
        &self,
        uid: &IndexUid,
        function: &str,
        filter: Option<&Value>,
    ) -> Result<(), EngineError> {
        self.compile(uid, function, filter).await?;
        if let Some(obstacle) = edit::obstacle(function) {
            return Err(EngineError::Unsupported(obstacle.to_owned()));
        }
        match self.compile(uid, &edit::wrap(function), None).await {
            Err(EngineError::Refused { .. }) => Err(EngineError::Unsupported(
                "An edit function that cannot stand inside another one, such as one that defines \
                 functions with `fn`,"
                    .to_owned(),
            )),
            outcome => outcome,
        }
    }

    async fn compile(
        &self,
        uid: &IndexUid,
        function: &str,
        filter: Option<&Value>,
    ) -> Result<(), EngineError> {
        let shared = self.shared();
        let snapshot = shared.snapshot.load_full();
        let body = json!({ "function": function, "filter": filter, "context": 0 });
        let body = Bytes::from(body.to_string());
        let mut last = None;
        for (node, _) in snapshot
            .nodes
            .iter()
            .filter(|(_, view)| NodeView::is_readable(view))
        {
            let read = NodeRead::Raw {
                path: format!("/indexes/{NO_INDEX}/documents/edit"),
                body: Some(body.clone()),
            };
            let timeout = shared.config.search_timeout;
            match shared.ports.nodes.read(node, read, timeout).await {
                Err(NodeError::Refused { code, .. }) if code == FINE => return Ok(()),
                Err(error) if is_missing(&error, shared) => {
                    shared.features.forget(node);
                    last = Some(error);
                }
                Err(NodeError::Refused {
                    status, mut body, ..
                }) => {
                    if let Some(Value::String(message)) = body.get_mut("message") {
                        *message = message.replace(NO_INDEX, uid.as_str());
                    }
                    return Err(EngineError::Refused { status, body });
                }
                Err(error) => last = Some(error),
                Ok(_) => {
                    return Err(EngineError::Answer(
                        "a node took a function with a context that is none".to_owned(),
                    ));
                }
            }
        }
        Err(match last {
            // The client did switch the feature on: it is the node that is not there yet.
            Some(NodeError::Refused { node, .. }) => NodeError::Busy { node }.into(),
            Some(error) => error.into(),
            None => EngineError::Unavailable {
                shards: Vec::new(),
                cause: "no node is there to check the function".to_owned(),
            },
        })
    }
}
