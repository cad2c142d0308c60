//! The engine over nodes and a store in memory, on virtual time: order, outages, failures, crashes.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod chaos;
mod failure;
mod node;
mod order;
mod outage;
mod reads;
mod recovery;
mod store;
mod tasks;
mod world;
