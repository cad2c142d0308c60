//! The real Meilisearch engine (milli at 1.15) behind plain functions, for the bundled node.
//!
//! All generics of the engine are instantiated here and nowhere else, so the HTTP side compiles
//! fast. This crate knows nothing of HTTP, of tasks or of client-visible index names: an index is a
//! *key*, the name of a folder below [`EngineOptions::folder`].
//!
//! Every function blocks; call them from a blocking thread. Each read opens one read transaction
//! and drops it before it returns. Each write is one transaction: it happens as a whole or not at
//! all. A panic inside the engine comes back as an [`ErrorKind::Internal`] error.
//!
//! Where the engine and Meilisearch 1.50 differ and a few lines can mend it, they are mended here:
//! ranking scores with sort rules, thresholds, totals, distinct in hybrid searches, exact neighbours,
//! patterns in facets, `skipCreation`. Ranking rules are the engine's: `attributeRank` and
//! `wordPosition` are unknown to it.
//!
//! Reading order: `engine` (the registry of open indexes), `query` (what goes in and comes out),
//! `documents` (writes), `read` (documents out), `settings`, `search`.

#![warn(missing_docs)]

mod documents;
mod embedder;
mod engine;
mod error;
mod language;
mod payload;
mod query;
mod read;
mod search;
mod selector;
mod settings;

pub use engine::{Engine, EngineOptions, IndexStats};
pub use error::{EngineError, ErrorKind};
pub use query::{
    DocumentOp, FacetSearchQuery, FetchQuery, HybridQuery, MatchingStrategy, OpOutcome, Page,
    SearchOutcome, SearchQuery, SimilarQuery, Totals,
};
