//! What an LLM is told of an index, and the searches it calls for.
//!
//! A search shows whole documents, for templates see also what clients are not shown; its answers
//! are therefore never kept for others.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::search::answer_once;
use crate::state::IndexEntry;
use miroir_core::id::IndexUid;
use miroir_core::merge::{FacetOrder, IndexView};
use miroir_core::search::{Paging, SearchRequest};
use miroir_core::settings::{ChatSetting, Settings, displayed_attributes};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// So many values of each field an LLM is told.
const FACET_VALUES: usize = 10;

/// The documents that a search found.
#[derive(Debug, Clone)]
pub struct ChatFound {
    /// The documents, whole.
    pub documents: Vec<Map<String, Value>>,
    /// The primary key, if there is one.
    pub primary_key: Option<String>,
    /// The settings of the index.
    pub settings: Settings,
}

impl ChatFound {
    /// The documents as clients may see them.
    #[must_use]
    pub fn shown(&self) -> Vec<Map<String, Value>> {
        let Some(displayed) = displayed_attributes(&self.settings) else {
            return self.documents.clone();
        };
        let shown = |document: &Map<String, Value>| -> Map<String, Value> {
            let members = displayed.iter();
            members
                .filter_map(|name| Some((name.clone(), document.get(name)?.clone())))
                .collect()
        };
        self.documents.iter().map(shown).collect()
    }
}

impl Engine {
    /// The setting `chat` of an index.
    ///
    /// # Errors
    /// [`EngineError::IndexNotFound`].
    pub fn chat_setting(&self, uid: &IndexUid) -> Result<ChatSetting, EngineError> {
        let snapshot = self.shared().snapshot.load();
        Ok(ChatSetting::of(&snapshot.index(uid)?.record.settings))
    }

    /// The most frequent values of every field that can be filtered, by field.
    ///
    /// # Errors
    /// As [`Engine::search`].
    pub async fn chat_facets(
        &self,
        uid: &IndexUid,
        filter: Option<Value>,
    ) -> Result<Vec<(String, Vec<String>)>, EngineError> {
        let snapshot = self.shared().snapshot.load_full();
        if snapshot.index(uid)?.view.filterable.is_empty() {
            // Nodes would refuse to count nothing.
            return Ok(Vec::new());
        }
        let request = SearchRequest {
            filter,
            facets: Some(vec!["*".to_owned()]),
            paging: Paging::Offset {
                offset: 0,
                limit: 0,
            },
            ..SearchRequest::default()
        };
        let found = self.search_otherwise(uid, &request, |view| {
            view.max_values_per_facet = FACET_VALUES;
            view.sort_facet_values_by = BTreeMap::from([("*".to_owned(), FacetOrder::Count)]);
        });
        let (mut answer, _) = found.await?;
        let Some(Value::Object(facets)) = answer.remove("facetDistribution") else {
            return Ok(Vec::new());
        };
        let mut facets: Vec<_> = facets
            .into_iter()
            .map(|(field, values)| {
                let values = values.as_object().into_iter().flat_map(Map::keys);
                (field, values.cloned().collect())
            })
            .collect();
        facets.sort();
        Ok(facets)
    }

    /// The documents that an LLM searched for.
    ///
    /// # Errors
    /// As [`Engine::search`].
    pub async fn chat_search(
        &self,
        uid: &IndexUid,
        request: SearchRequest,
    ) -> Result<ChatFound, EngineError> {
        let (mut answer, entry) = self.search_otherwise(uid, &request, |_| {}).await?;
        let hits = match answer.remove("hits") {
            Some(Value::Array(hits)) => hits,
            _ => return Err(EngineError::Answer("an answer without hits".to_owned())),
        };
        let mut documents: Vec<Map<String, Value>> = hits
            .into_iter()
            .filter_map(|hit| match hit {
                Value::Object(document) => Some(document),
                _ => None,
            })
            .collect();
        // Told of a hit that was sorted by it, and no part of the document.
        let is_by_distance = |sort: &String| sort.starts_with("_geoPoint");
        if request.sort.iter().flatten().any(is_by_distance) {
            for document in &mut documents {
                document.shift_remove("_geoDistance");
            }
        }
        Ok(ChatFound {
            documents,
            primary_key: entry.record.primary_key.clone(),
            settings: entry.record.settings.clone(),
        })
    }

    /// The answer to a search on an index that shows everything, and what else `adjust` says.
    async fn search_otherwise(
        &self,
        uid: &IndexUid,
        request: &SearchRequest,
        adjust: impl FnOnce(&mut IndexView),
    ) -> Result<(Map<String, Value>, IndexEntry), EngineError> {
        let snapshot = self.shared().snapshot.load_full();
        let mut entry = IndexEntry::clone(snapshot.index(uid)?);
        let mut view = IndexView::clone(&entry.view);
        view.displayed = None;
        adjust(&mut view);
        entry.view = Arc::new(view);
        let body = Box::pin(answer_once(self.shared(), &snapshot, &entry, request)).await?;
        let answer = serde_json::from_slice(&body)
            .map_err(|error| EngineError::Answer(error.to_string()))?;
        Ok((answer, entry))
    }
}
