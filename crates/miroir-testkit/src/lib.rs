//! What Miroir's integration tests and its bench stand on: real processes, generated data and a
//! comparison that says *why* two answers differ.
//!
//! A test starts nodes ([`NodeProcess`]) and proxies ([`ProxyProcess`]) as processes of their own,
//! so that they can be killed at any moment; [`Cluster`] starts both. A node is either the bundled
//! development node of the binary under test or, if `MIROIR_TEST_NODE` names one, a real
//! Meilisearch server binary: every test runs on either ([`Programs`]).
//!
//! Everything generated comes from a seed ([`Rng`]): the same seed gives the same documents,
//! settings and queries on every machine. Everything blocks: a test is a plain function, and a
//! client that sends exactly what it is told (no hidden second attempt of a write) is easier to
//! reason about than a pool with retries.
//!
//! This crate is for development only. It knows Miroir as its users do: by its command line, its
//! configuration file and HTTP.

// Processes, and how to talk to them.
mod bound;
mod client;
mod cluster;
mod disk;
mod http;
mod link;
mod mute;
mod node;
mod poll;
mod port;
mod process;
mod programs;
mod proxy;
mod relay;

// Generated data.
mod documents;
mod history;
mod lexicon;
mod queries;
mod rng;
mod settings;
mod words;
mod workload;

// Judgement.
mod compare;
pub mod crowd;
mod explain;
pub mod fuzz;
mod report;

pub use bound::spawn_bound;
pub use client::{Client, Reply};
pub use cluster::{Cluster, ClusterOptions};
pub use compare::{Difference, Expectations, Kind, compare};
pub use documents::{Corpus, KeyStyle};
pub use explain::{Cause, Witness};
pub use history::{Pace, load};
pub use http::{Answer, Body, Http, Request};
pub use lexicon::{lexicon_documents, lexicon_filter, words_of};
pub use link::{Condition, Link};
pub use mute::MuteNode;
pub use node::{NodeOptions, NodeProcess};
pub use poll::{PATIENCE, poll};
pub use port::free_port;
pub use process::Process;
pub use programs::{NodeProgram, Programs, clean_command, scale};
pub use proxy::{ProxyOptions, ProxyProcess};
pub use queries::{Category, Query, QueryGenerator};
pub use relay::Relay;
pub use report::{Report, Verdict};
pub use rng::Rng;
pub use settings::{Variant, variants};
pub use words::Vocabulary;
pub use workload::{Model, Outcome, Write, send_write, stored_documents, write_script};
