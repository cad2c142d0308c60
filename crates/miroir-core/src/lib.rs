//! The domain of Miroir, pure: no async, clock, socket, disk or thread.
//!
//! An index is cut into [`id::ShardId`]s by a stable [`hash`] of the document id; each shard has a
//! replica set chosen by [`placement`]; a write is cut by [`batch`]; a search is answered by a
//! [`cover`] of the shards and its answers become one page by [`merge`].

pub mod id;

pub mod batch;
pub mod cover;
pub mod document;
pub mod hash;
pub mod payload;
pub mod placement;
pub mod reserved;
pub mod topology;

pub mod listing;
pub mod merge;
pub mod search;
pub mod settings;

pub mod backoff;
pub mod health;
pub mod rollup;
pub mod task;
