//! What can go wrong, and whose fault it is.

use crate::port::{NodeError, StoreError};
use miroir_core::id::{IndexUid, ShardId, TaskUid};
use serde_json::Value;

/// An operation of the engine failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The index does not exist.
    #[error("index `{0}` not found")]
    IndexNotFound(IndexUid),
    /// The document does not exist.
    #[error("document `{0}` not found")]
    DocumentNotFound(String),
    /// The task does not exist.
    #[error("task `{0}` not found")]
    TaskNotFound(TaskUid),
    /// The client's request is wrong: a Meilisearch code and the whole message.
    #[error("{code}: {message}")]
    Client {
        /// The Meilisearch error code.
        code: &'static str,
        /// The message for the client.
        message: String,
    },
    /// A node said that the client's request is wrong; its error object, names translated.
    #[error("a node refused with status {status}: {body}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The error object.
        body: Value,
    },
    /// No in-sync replica of these shards answered in time.
    #[error("{} of the index's shards cannot be reached: {cause}", shards.len())]
    Unavailable {
        /// The shards.
        shards: Vec<ShardId>,
        /// The last cause.
        cause: String,
    },
    /// All nodes concerned are too busy.
    #[error("the nodes are too busy")]
    Busy,
    /// Miroir cannot do this yet; names what.
    #[error("{0} is not supported by Miroir yet")]
    Unsupported(String),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// A node failed in a way no replica could make good.
    #[error("a node failed")]
    Node(#[from] NodeError),
    /// A node's answer cannot be understood.
    #[error("a node's answer cannot be understood: {0}")]
    Answer(String),
    /// The store cannot be written: writes are refused until it can, reads go on.
    #[error("the store cannot be written: {0}")]
    ReadOnly(String),
    /// As many tasks wait as may.
    #[error("as many tasks wait as may")]
    LogFull,
    /// The proxy is shutting down.
    #[error("the proxy is shutting down")]
    ShuttingDown,
}
