//! What must survive: the ordered task log, payloads, the catalog and what proxies share.
//!
//! Two implementations of the engine's ports keep the same `rules` and pass one suite:
//! [`MemoryStore`] is the reference, [`SqliteStore`] the one for a single proxy. It owns a folder:
//!
//! ```text
//! <folder>/lock              held while the store is open: one process at a time
//! <folder>/miroir.db         the database (with -wal and -shm beside it)
//! <folder>/initialized       there has been a database: one that is missing was lost
//! <folder>/payloads/*.payload
//! ```
//!
//! **Law:** when a call that writes has returned `Ok`, its effect survives the death of the process
//! and of the machine; when it has returned an error, nothing was changed.

mod rules;

pub mod dumps;
pub mod files;
pub mod memory;
pub mod snapshots;
#[cfg(feature = "sqlite")]
pub mod sqlite;

#[cfg(test)]
mod suite;

pub use dumps::FileDumps;
pub use files::FilePayloads;
pub use memory::{MemoryDumps, MemoryPayloads, MemorySnapshots, MemoryStore};
pub use snapshots::FileSnapshots;
#[cfg(feature = "sqlite")]
pub use sqlite::{SqliteStore, open, restore};
