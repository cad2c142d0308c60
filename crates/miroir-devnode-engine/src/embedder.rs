//! Embedders as the engine wants them, built once for each configuration.
//!
//! Making a `rest` or `openAi` embedder asks its service a question, so it must not be done for
//! each search.

use crate::error::EngineError;
use milli_core::heed::RoTxn;
use milli_core::index::IndexEmbeddingConfig;
use milli_core::prompt::Prompt;
use milli_core::vector::{Embedder, EmbeddingConfigs};
use milli_core::{Index, UserError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Answers kept for each embedder, so that a repeated query is embedded once. The number that
/// Meilisearch takes when told to cache.
const CACHED_EMBEDDINGS: usize = 150;

/// Embedder, document template, and whether vectors are stored as bits.
pub(crate) type Ready = (Arc<Embedder>, Arc<Prompt>, bool);

/// The embedders of one index.
#[derive(Default)]
pub(crate) struct EmbedderCache {
    by_name: Mutex<HashMap<String, Cached>>,
}

struct Cached {
    /// The configuration in JSON: another one needs another embedder.
    config: String,
    ready: Ready,
}

impl EmbedderCache {
    /// All embedders of the index, for a write.
    pub(crate) fn all(
        &self,
        index: &Index,
        rtxn: &RoTxn<'_>,
    ) -> Result<EmbeddingConfigs, EngineError> {
        let mut all = HashMap::new();
        for config in index.embedding_configs(rtxn)? {
            all.insert(config.name.clone(), self.ready(config)?);
        }
        Ok(EmbeddingConfigs::new(all))
    }

    /// One embedder, for a search; `None` if the index has none of this name.
    pub(crate) fn one(
        &self,
        index: &Index,
        rtxn: &RoTxn<'_>,
        name: &str,
    ) -> Result<Option<Ready>, EngineError> {
        let configs = index.embedding_configs(rtxn)?;
        let config = configs.into_iter().find(|config| config.name == name);
        config.map(|config| self.ready(config)).transpose()
    }

    fn ready(&self, entry: IndexEmbeddingConfig) -> Result<Ready, EngineError> {
        let config = serde_json::to_string(&entry.config)?;
        let quantized = entry.config.quantized();
        // The lock is not held while an embedder is made: that may wait for a service.
        if let Some(cached) = self.by_name().get(&entry.name)
            && cached.config == config
        {
            return Ok(cached.ready.clone());
        }
        let prompt: Prompt =
            entry.config.prompt.try_into().map_err(|error| {
                UserError::InvalidPromptForEmbeddings(entry.name.clone(), error)
            })?;
        let embedder = Embedder::new(entry.config.embedder_options, CACHED_EMBEDDINGS)
            .map_err(milli_core::vector::Error::from)
            .map_err(milli_core::Error::from)?;
        let ready = (Arc::new(embedder), Arc::new(prompt), quantized);
        self.by_name().insert(
            entry.name,
            Cached {
                config,
                ready: ready.clone(),
            },
        );
        Ok(ready)
    }

    fn by_name(&self) -> std::sync::MutexGuard<'_, HashMap<String, Cached>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
