//! The node as its clients meet it: over HTTP on a loopback port, each with a folder of its own.
//!
//! One binary for all, since linking the engine takes longer than running the tests.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets a surprise has failed"
)]

mod batching;
mod crash;
mod documents;
mod faults;
mod indexes;
mod keys;
mod node;
mod search;
mod settings;
mod tasks;
