//! The engine of Miroir, over its ports. No HTTP, no SQL.
//!
//! **The life of a write.** [`engine::Engine::register`] makes it durable in the log and answers
//! with its place there. The dispatcher takes entries in order, has neighbours *prepared* as one
//! batch (index resolved, primary key found, every document checked and numbered), and makes the
//! batch durable. Each node's *lane* delivers the batches that concern it, one after the other, and
//! reports their ends. The *completer* ends tasks when every in-sync replica has reported.
//!
//! **The life of a search.** Plan (pure), scatter over a cover of the shards, merge (pure).
//!
//! Invariants: nothing is sent to a node before it is durable here; a batch is carried out to its
//! end, whatever crashes; readers see one immutable snapshot; what changes has one owner.

pub mod bell;
pub mod chat;
pub mod convoy;
pub mod coordination;
pub mod engine;
pub mod error;
pub mod features;
pub mod gate;
pub mod job;
pub mod keys;
pub mod plan;
pub mod port;
pub mod rules;
pub mod state;
pub mod task_view;
pub mod webhooks;

mod completer;
pub mod copy;
mod courier;
mod deliver;
mod dispatcher;
mod lane;
mod litter;
mod lookup;
mod movement;
mod nodes;
mod orphans;
mod overlay;
pub mod placing;
mod prepare;
pub mod rebuild;
mod recover;
mod translate;
mod window;

mod admin;
mod broadcast;
mod cache;
mod document;
mod edit;
mod embedders;
mod facet_search;
pub mod federated;
mod federated_ask;
mod fields;
mod foreign;
mod frequency;
mod hybrid;
mod hydrate;
mod ills;
pub mod import;
pub mod kept;
pub mod metrics;
pub mod partial;
mod pinned;
mod prober;
pub mod reads;
mod refusal;
mod render;
mod reread;
pub mod reshard;
mod restored;
pub mod rewind;
mod scatter;
mod search;
mod similar;
mod stats;
mod steps;
pub mod task_documents;
pub mod topology;

pub use engine::Engine;
pub use error::EngineError;
