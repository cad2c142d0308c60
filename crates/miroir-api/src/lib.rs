//! The HTTP vocabulary of Meilisearch (as of 1.50) and of Miroir's own admin API, as types, tables
//! and pure checks. It knows nothing of shards, nodes or tasks' lives; what it does not understand
//! of a node's answer passes through elsewhere, unread.
//!
//! Reading order: [`error`] (every failing answer), [`validate`] and [`query`] (how a JSON body and
//! a query string are checked, and in which words they are refused), then one module a resource.

pub mod code;
pub mod error;

pub mod query;
pub mod validate;

pub mod filter;
pub mod locale;
pub mod secret;

pub mod action;
pub mod batch;
pub mod chat;
pub mod document;
pub mod edit;
pub mod export;
pub mod facet_search;
pub mod feature;
pub mod field;
pub mod index;
pub mod key;
pub mod log;
pub mod multi_search;
pub mod rule;
pub mod search;
pub mod settings;
pub mod similar;
pub mod swap;
pub mod task;
pub mod tenant;
pub mod version;
pub mod webhook;

pub mod admin;
