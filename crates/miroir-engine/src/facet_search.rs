//! A search for the values of a facet: plan, scatter, merge.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::hybrid::Asker;
use crate::partial::ReadAnswer;
use crate::port::NodeRead;
use crate::reads::{PartialPolicy, ReadKind};
use crate::scatter::{Gathered, Scatter};
use crate::search::elapsed_ms;
use miroir_core::cover::CoverPart;
use miroir_core::hash::document_hash;
use miroir_core::id::IndexUid;
use miroir_core::merge::{FacetHit, FacetSearchPlan, FacetSearchRequest};
use miroir_core::reserved::is_reserved;
use miroir_core::settings::facet_search_refusal;
use serde_json::{Map, Value, json};

/// The code of a facet whose values cannot be searched.
const NOT_SEARCHABLE: &str = "invalid_facet_search_facet_name";

impl Engine {
    /// The values of a facet and how many documents have them, as the whole JSON body; of the
    /// shards that can be reached, if `wish` or else the configuration says so.
    ///
    /// # Errors
    /// As [`Engine::search`].
    pub async fn facet_search(
        &self,
        uid: &IndexUid,
        request: FacetSearchRequest,
        wish: Option<PartialPolicy>,
    ) -> Result<ReadAnswer, EngineError> {
        let read = || self.facet_search_once(uid, &request, wish);
        self.read_named(std::iter::once(uid), read).await
    }

    async fn facet_search_once(
        &self,
        uid: &IndexUid,
        request: &FacetSearchRequest,
        wish: Option<PartialPolicy>,
    ) -> Result<ReadAnswer, EngineError> {
        let shared = self.shared();
        let started = shared.ports.clock.monotonic();
        let snapshot = shared.snapshot.load_full();
        let entry = snapshot.index(uid)?;
        let refusal = facet_search_refusal(&entry.record.settings, &request.facet);
        let mut plan = FacetSearchPlan::new(request, &entry.view);
        let is_partial = shared.config.reads.is_partial(uid.as_str(), wish);
        // A search that mixes finds the documents that count by their words.
        if request.search.mixed_ratio().is_none() {
            let asker = Asker {
                shared,
                snapshot: &snapshot,
                entry,
                affinity: document_hash(&request.facet),
                is_partial,
            };
            if let Some(vector) = Box::pin(asker.vector_of(&request.search)).await? {
                plan = plan.with_vector(vector);
            }
        }
        let scatter = Scatter {
            shared,
            snapshot: &snapshot,
            entry,
            shards: None,
            affinity: document_hash(&request.facet),
            kind: ReadKind::Other,
            request: |part: &CoverPart| NodeRead::Raw {
                path: format!("/indexes/{}/facet-search", entry.record.physical),
                body: Some(plan.node_body(part.filter.as_deref()).into()),
            },
        };
        let Gathered { answers, missing } = match scatter.gather_as(is_partial).await {
            Ok(gathered) => gathered,
            // Nodes count their rules from the hidden one; the client's own are told instead.
            Err(EngineError::Refused { body, .. })
                if refusal.is_some() && body.get("code") == Some(&json!(NOT_SEARCHABLE)) =>
            {
                Gathered::default()
            }
            Err(error) => return Err(error),
        };
        if let Some(message) = refusal {
            return Err(EngineError::Client {
                code: NOT_SEARCHABLE,
                message,
            });
        }
        let hits = if is_reserved(&request.facet) {
            // A wildcard of the client's covers it, and no document of the client's has it.
            Vec::new()
        } else {
            let bodies: Vec<&[u8]> = answers.iter().map(|answer| &answer.body[..]).collect();
            plan.merge(&bodies)
                .map_err(|error| EngineError::Answer(error.to_string()))?
        };
        if !missing.is_empty() {
            shared.metrics.note_degraded();
        }
        let body = body(hits, request.query.clone(), elapsed_ms(shared, started));
        Ok(ReadAnswer::new(body, entry, missing))
    }
}

fn body(hits: Vec<FacetHit>, query: Option<String>, processing_time_ms: u64) -> Vec<u8> {
    let mut body = Map::new();
    let hits = hits
        .into_iter()
        .map(|hit| json!({"value": hit.value, "count": hit.count}));
    body.insert("facetHits".to_owned(), Value::Array(hits.collect()));
    body.insert("facetQuery".to_owned(), query.into());
    body.insert("processingTimeMs".to_owned(), processing_time_ms.into());
    Value::Object(body).to_string().into_bytes()
}
