//! A cluster in one thread, from one seed: the production engine over simulated ports.
//!
//! **What is simulated.** The clock, the network and the nodes, the disk under the store and the
//! payloads, the clients, and the moment at which the proxy is killed. Everything between these is the
//! engine as it runs in production. One seed gives one course of things, to the last call.
//!
//! **What is checked**, by checkers that ask the engine nothing (`check`): they read what the
//! ports and the clients noted (`history`) and compare it with one perfect Meilisearch that carries
//! out the log (`model`). No acknowledged write is lost; tasks of an index end in order and as one
//! Meilisearch would have ended them; an answer shows everything whose task had ended when it was
//! asked for, nothing that was not yet written, and nothing twice; a replica that is noted as in sync
//! holds what clients were told; once nothing is broken everything ends, every replica holds exactly its
//! shards of the model, and nothing is left over.
//!
//! The world of the engine's own tests (`world`, `node`, `store`) is the ground it stands on.

pub mod hooks;
pub mod node;
pub mod remote;
pub mod store;
pub mod world;

pub mod dice;
mod filter;
pub mod time;

pub mod check;
mod cutter;
pub mod disk;
pub mod history;
mod ills;
pub mod model;
mod mover;
mod nemesis;
pub mod network;
pub mod run;
pub mod sabotage;
pub mod sweep;
pub mod workload;

pub use run::{Options, Outcome, play};
pub use sabotage::Sabotage;
pub use sweep::{Finding, sweep};
