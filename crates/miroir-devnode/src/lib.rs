//! A small server with the HTTP API of Meilisearch over its real engine: a stand-in for one node.
//!
//! It exists so that Miroir can be tried, developed and tested where no Meilisearch binary can be
//! had, and so that tests can do to a node what a real one does not offer: hold its queue, delay
//! it, cut its answers. It is for development, says so when it starts, and is never used in
//! production. Everything that speaks to it must work the same with a real Meilisearch.
//!
//! The life of a write: a route checks it and writes its payload file, the `store` records a
//! task, the client gets 202. The `worker`, one thread, takes the oldest waiting tasks as one
//! `batch`, applies them (`apply`) to the engine and records what became of them.
//!
//! What it must not know: Miroir. It depends on the engine crate and on the table of error codes.
//!
//! What differs from a real node: the engine is that of Meilisearch 1.15 (so is the version it
//! reports); a batch that runs is not aborted by a cancelation, which waits for its end; there are
//! no federated searches, tenant tokens, dumps, snapshots, webhooks, metrics and function edits.

mod apply;
mod auth;
mod batch;
mod bell;
mod clock;
mod error;
mod faults;
mod http;
mod options;
mod payload;
mod route;
mod server;
mod shared;
mod store;
mod task;
mod worker;

pub use options::Options;
pub use server::{RunError, Server, run};
