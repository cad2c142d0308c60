//! The engine through its public functions, each test in a folder of its own.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod documents;
mod facets;
mod fetching;
mod formatting;
mod lifecycle;
mod searching;
mod settings;
mod support;
mod vectors;
