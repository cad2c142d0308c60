//! A lost store, rebuilt from the nodes alone.
//!
//! ```text
//! look (every node, read only) ─► plan (pure: miroir_core::recover) ─► write (a new, empty store)
//! ```
//! No engine runs meanwhile, here or elsewhere: looking fails when a node has not come to rest or is
//! written to. Nothing is written to a node; what is to be put right there (replicas to be made anew,
//! shards to be compared) is noted in the store, and done by the engine that starts on it.

mod look;
mod write;

pub use look::{Progress, look};
pub use write::write;

use crate::port::{NodeError, StoreError};
use miroir_core::id::NodeId;
use miroir_core::recover::PlanError;

/// Why a store cannot be rebuilt now.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// A node does not answer.
    #[error("node {node} cannot be read")]
    Node {
        /// Which.
        node: NodeId,
        /// What it said.
        #[source]
        cause: NodeError,
    },
    /// A node's answer is not understood.
    #[error("node {node} shows what cannot be understood: {cause}")]
    Answer {
        /// Which.
        node: NodeId,
        /// What is wrong with it.
        cause: String,
    },
    /// A node still works on what it was sent.
    #[error("node {node} has {waiting} tasks to carry out and has not come to rest")]
    Busy {
        /// Which.
        node: NodeId,
        /// Tasks that have not ended.
        waiting: u64,
    },
    /// A node was written to while it was looked at.
    #[error("node {0} was written to meanwhile: stop whatever writes to it, every Miroir first")]
    Disturbed(NodeId),
    /// Nothing can be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The store is not empty, or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
