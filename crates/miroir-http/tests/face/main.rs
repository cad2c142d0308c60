//! The face without a socket: requests in, answers out, over a real engine whose nodes are all
//! away. What a write leaves in the log is visible in its task; nothing is ever applied.

mod support;

mod access;
mod batches;
mod chats;
mod documents;
mod indexes;
mod keys;
mod layers;
mod leaks;
mod load;
mod logs;
mod metrics;
mod operations;
mod rights;
mod search;
mod serving;
mod settings;
mod tasks;
mod tenants;
mod tls;
mod unsupported;
mod webhooks;
