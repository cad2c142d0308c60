//! The domain of Miroir, pure: no async, clock, socket, disk or thread.
//!
//! **Where documents live.** An index is cut into [`id::ShardId`]s by a stable [`hash`] of the
//! document id; each shard has a replica set on the nodes of a [`topology`], chosen by
//! [`placement`].
//!
//! **A write.** A [`payload`] is split into documents as it arrives; each [`document`] is checked,
//! given the [`reserved`] fields and cut by [`batch`]; its [`task`] is what the client sees.
//!
//! **A search.** It is answered by a [`cover`] of the shards, one in-sync replica each, and the
//! nodes' answers become one page by [`merge`]. Clients see the [`settings`] they set; nodes have
//! more.

pub mod id;

pub mod batch;
pub mod capacity;
pub mod cover;
pub mod digest;
pub mod document;
pub mod edit;
pub mod hash;
pub mod mark;
pub mod payload;
pub mod placement;
pub mod rebalance;
pub mod reserved;
pub mod topology;

pub mod foreign;
pub mod listing;
pub mod merge;
pub mod rules;
pub mod search;
pub mod settings;
pub mod vector_filter;

pub mod backoff;
pub mod condition;
pub mod health;
pub mod overtaken;
pub mod reads;
pub mod rollup;
pub mod summary;
pub mod task;

pub mod recover;
