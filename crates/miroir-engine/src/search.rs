//! A search: plan, scatter, merge.

use crate::engine::{Engine, SearchAnswer};
use crate::error::EngineError;
use crate::port::NodeRead;
use crate::scatter::Scatter;
use bytes::Bytes;
use miroir_core::id::IndexUid;
use miroir_core::merge::{SearchPlan, SearchPlanError};
use miroir_core::search::SearchRequest;
use xxhash_rust::xxh3::Xxh3;

impl Engine {
    /// The answer one Meilisearch holding all documents would give.
    ///
    /// # Errors
    /// [`EngineError::IndexNotFound`], [`EngineError::Refused`] for what nodes find wrong with the
    /// request, [`EngineError::Unavailable`] rather than an answer without some shard.
    pub async fn search(
        &self,
        uid: &IndexUid,
        request: SearchRequest,
    ) -> Result<SearchAnswer, EngineError> {
        let shared = self.shared();
        let started = shared.ports.clock.monotonic();
        let snapshot = shared.snapshot.load_full();
        let entry = snapshot.index(uid)?;
        let plan = SearchPlan::new(&request, &entry.view).map_err(plan_error)?;
        let scatter = Scatter {
            shared,
            snapshot: &snapshot,
            entry,
            shards: None,
            affinity: affinity(uid, &request),
            request: |part: &miroir_core::cover::CoverPart| NodeRead::Search {
                index: entry.record.physical.clone(),
                body: Bytes::from(plan.node_body(part.filter.as_deref())),
            },
        };
        let answers = scatter.gather().await?;
        let bodies: Vec<&[u8]> = answers.iter().map(|answer| &answer.body[..]).collect();
        let page = plan
            .merge(&bodies)
            .map_err(|error| EngineError::Answer(error.to_string()))?;
        let elapsed = shared.ports.clock.monotonic().saturating_sub(started);
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let mut body = Vec::with_capacity(bodies.iter().map(|body| body.len()).sum::<usize>() / 2);
        page.write_response(&mut body, elapsed_ms, &uuid::Uuid::now_v7().to_string());
        Ok(SearchAnswer {
            body: body.into(),
            missing_shards: Vec::new(),
            node_count: answers.len(),
        })
    }
}

fn plan_error(error: SearchPlanError) -> EngineError {
    match error {
        SearchPlanError::Unsupported(what) => EngineError::Unsupported(what.to_string()),
        SearchPlanError::Reserved { parameter, .. } => EngineError::Client {
            code: reserved_code(parameter),
            message: error.to_string(),
        },
    }
}

/// The Meilisearch code for a wrong value of a search parameter.
fn reserved_code(parameter: &str) -> &'static str {
    match parameter {
        "filter" => "invalid_search_filter",
        "sort" => "invalid_search_sort",
        "facets" => "invalid_search_facets",
        "distinct" => "invalid_search_distinct",
        "attributesToSearchOn" => "invalid_search_attributes_to_search_on",
        "attributesToRetrieve" => "invalid_search_attributes_to_retrieve",
        "attributesToHighlight" => "invalid_search_attributes_to_highlight",
        "attributesToCrop" => "invalid_search_attributes_to_crop",
        _ => "bad_request",
    }
}

/// A hash of what is searched without the page shown, so that the pages of one query come from the
/// same replicas.
fn affinity(uid: &IndexUid, request: &SearchRequest) -> u64 {
    let mut hash = Xxh3::new();
    let mut add = |text: &str| {
        hash.update(text.as_bytes());
        hash.update(&[0]);
    };
    add(uid.as_str());
    add(request.q.as_deref().unwrap_or(""));
    for value in [&request.filter, &request.vector, &request.hybrid].into_iter().flatten() {
        add(&value.to_string());
    }
    for text in request.sort.iter().flatten() {
        add(text);
    }
    hash.digest()
}
