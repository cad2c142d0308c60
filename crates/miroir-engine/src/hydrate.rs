//! Foreign documents for the hits of a search: looked up after the merge, over the shards of their
//! own index, one listing for each foreign index and page.
//!
//! What is kept for those who ask the same is the answer without them, so a change of a foreign
//! document shows at once. Indexes without foreign keys cost nothing.

use crate::engine::{DocumentsQuery, Engine};
use crate::error::EngineError;
use crate::features::FOREIGN_KEYS;
use crate::lookup::LOOKUP_IDS_MAX;
use crate::state::IndexEntry;
use miroir_core::document::{PrimaryKey, document_id};
use miroir_core::foreign::{ForeignKey, foreign_keys};
use miroir_core::id::IndexUid;
use miroir_core::merge::{
    FederatedPage, ForeignDocuments, HitKeys, ResponseTemplate, displayed_only, hydrated,
    named_ids, without_empty_vectors,
};
use miroir_core::settings::{displayed_attributes, has_embedders};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

#[derive(Deserialize)]
struct Listing<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

impl Engine {
    /// The answer with foreign documents in it; `None` where it stays as it is.
    ///
    /// # Errors
    /// A foreign index that some hit names a document of does not exist, or cannot be read.
    pub(crate) async fn hydrate(
        &self,
        entry: &IndexEntry,
        template: &ResponseTemplate,
    ) -> Result<Option<ResponseTemplate>, EngineError> {
        let keys = self.keys_in_use(entry);
        if keys.is_empty() {
            return Ok(None);
        }
        let hits = self
            .hydrate_hits(template.hits(), HitKeys::Same(&keys))
            .await?;
        Ok(Some(template.with_hits(&hits)))
    }

    /// The hits of a federated search with foreign documents in them; `None` where they stay as
    /// they are.
    ///
    /// # Errors
    /// As [`Engine::hydrate`].
    pub(crate) async fn hydrate_federated(
        &self,
        entries: &BTreeMap<String, Arc<IndexEntry>>,
        page: &FederatedPage<'_>,
    ) -> Result<Option<Vec<u8>>, EngineError> {
        let has_keys = |entry: &Arc<IndexEntry>| entry.record.settings.contains_key(FOREIGN_KEYS);
        if !entries.values().any(has_keys) {
            return Ok(None);
        }
        let keys_of: HashMap<String, Vec<ForeignKey>> = entries
            .iter()
            .map(|(uid, entry)| (uid.clone(), self.keys_in_use(entry)))
            .filter(|(_, keys)| !keys.is_empty())
            .collect();
        if keys_of.is_empty() {
            return Ok(None);
        }
        let mut hits = Vec::new();
        page.write_hits(&mut hits);
        let hits = self.hydrate_hits(&hits, HitKeys::ByIndex(&keys_of)).await?;
        Ok(Some(hits))
    }

    async fn hydrate_hits(&self, hits: &[u8], keys: HitKeys<'_>) -> Result<Vec<u8>, EngineError> {
        let mut documents = HashMap::new();
        for (uid, ids) in named_ids(hits, keys).map_err(garbled)? {
            documents.insert(uid, self.foreign_documents(uid, ids).await?);
        }
        hydrated(hits, keys, &documents).map_err(garbled)
    }

    /// The foreign keys of an index; none while the feature is off.
    fn keys_in_use(&self, entry: &IndexEntry) -> Vec<ForeignKey> {
        let settings = &entry.record.settings;
        if settings.contains_key(FOREIGN_KEYS) && self.has_feature(FOREIGN_KEYS) {
            foreign_keys(settings)
        } else {
            Vec::new()
        }
    }

    /// What an index shows of these documents in a foreign place.
    async fn foreign_documents(
        &self,
        uid: &str,
        ids: BTreeSet<String>,
    ) -> Result<ForeignDocuments, EngineError> {
        let uid = foreign_uid(uid)?;
        let entry = self.shared().snapshot.load().index(&uid)?.clone();
        let ids: Vec<String> = ids.into_iter().collect();
        let mut documents: ForeignDocuments = ids.iter().map(|id| (id.clone(), None)).collect();
        // Without one it holds no document.
        let Some(primary_key) = entry.record.primary_key.as_deref().map(PrimaryKey::new) else {
            return Ok(documents);
        };
        let displayed = displayed_attributes(&entry.record.settings);
        let is_shown = |name: &str| {
            let names = displayed.as_ref();
            names.is_none_or(|names| names.iter().any(|shown| shown.starts_with(name)))
        };
        // Vectors that belong to an embedder are never shown in a foreign place.
        let retrieve_vectors = is_shown("_vectors") && !has_embedders(&entry.record.settings);
        for ids in ids.chunks(LOOKUP_IDS_MAX) {
            let query = DocumentsQuery {
                offset: 0,
                limit: ids.len(),
                fields: None,
                ids: Some(ids.to_vec()),
                filter: None,
                sort: None,
                retrieve_vectors,
            };
            let listing = self.documents(&uid, query).await?;
            let listing: Listing<'_> = serde_json::from_slice(&listing).map_err(garbled)?;
            for raw in listing.results {
                let document = raw.get().as_bytes();
                let id = document_id(document, &primary_key).map_err(garbled)?;
                let document = without_empty_vectors(document).map_err(garbled)?;
                let shown = match &displayed {
                    Some(names) => displayed_only(&document, names).map_err(garbled)?,
                    None => document,
                };
                documents.insert(id.into_owned(), Some(shown));
            }
        }
        Ok(documents)
    }
}

/// The name of an index that a foreign key speaks of: any text, and what no index can be called does
/// not exist.
///
/// # Errors
/// It is no name of an index.
pub(crate) fn foreign_uid(uid: &str) -> Result<IndexUid, EngineError> {
    IndexUid::new(uid).map_err(|_| EngineError::Client {
        code: "index_not_found",
        message: format!("Index `{uid}` not found."),
    })
}

fn garbled(error: impl std::fmt::Display) -> EngineError {
    EngineError::Answer(error.to_string())
}
