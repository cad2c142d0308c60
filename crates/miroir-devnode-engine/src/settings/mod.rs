//! Index settings in the form of the Meilisearch API: read from JSON, applied, shown again.
//!
//! [`form`] checks a patch without an index, [`apply`] carries it out, [`view`] shows what holds.
//! In a patch `null` means reset and an absent name means unchanged.

mod apply;
mod form;
mod value;
mod view;

use crate::engine::Engine;
use crate::error::EngineError;
use form::Patch;
use serde_json::{Map, Value};

/// The names of the settings, in the order in which they are shown.
const NAMES: [&str; 20] = [
    "displayedAttributes",
    "searchableAttributes",
    "filterableAttributes",
    "sortableAttributes",
    "rankingRules",
    "stopWords",
    "nonSeparatorTokens",
    "separatorTokens",
    "dictionary",
    "synonyms",
    "distinctAttribute",
    "proximityPrecision",
    "typoTolerance",
    "faceting",
    "pagination",
    "embedders",
    "searchCutoffMs",
    "localizedAttributes",
    "facetSearch",
    "prefixSearch",
];

impl Engine {
    /// Changes settings, documents being indexed anew where that is needed. All or nothing.
    ///
    /// # Errors
    /// Those of [`Engine::check_settings`]; and what only shows on the documents, such as
    /// `invalid_document_geo_field`, or a service that cannot be reached.
    pub fn apply_settings(&self, key: &str, patch: &Map<String, Value>) -> Result<(), EngineError> {
        let patch = Patch::parse(patch)?;
        self.with(key, |open| {
            apply::apply(&open.index, &self.indexer().config, patch)
        })
    }

    /// Checks the form of a patch; needs no index.
    ///
    /// # Errors
    /// `bad_request` for an unknown name, else the `invalid_settings_…` code of the setting.
    pub fn check_settings(patch: &Map<String, Value>) -> Result<(), EngineError> {
        Patch::parse(patch).map(|_| ())
    }

    /// All settings, defaults filled in, secrets made unreadable.
    ///
    /// # Errors
    /// When there is no such index.
    pub fn settings(&self, key: &str) -> Result<Map<String, Value>, EngineError> {
        self.with(key, |open| {
            let rtxn = open.index.read_txn()?;
            view::view(&open.index, &rtxn)
        })
    }
}
