//! Documents whose vectors are near that of one document.

use super::hit::Shown;
use super::page::{Window, max_total_hits, totals};
use crate::engine::{Engine, OpenIndex};
use crate::error::EngineError;
use crate::query::{Page, SearchOutcome, SimilarQuery};
use crate::read::Documents;
use milli_core::{Filter, Similar, UserError};
use serde_json::Value;

/// Neighbours asked for at least; see the same number of a semantic search.
const NEIGHBOURS_MIN: usize = 1000;

impl Engine {
    /// Documents whose vectors are near that of one document.
    ///
    /// # Errors
    /// `not_found_similar_id`, `invalid_similar_embedder`, `invalid_similar_filter`.
    pub fn similar(&self, key: &str, query: &SimilarQuery) -> Result<SearchOutcome, EngineError> {
        self.with(key, |open| {
            run(open, query)
                .map_err(|error| error.recoded("invalid_search_filter", "invalid_similar_filter"))
        })
    }
}

fn run(open: &OpenIndex, query: &SimilarQuery) -> Result<SearchOutcome, EngineError> {
    let index = &open.index;
    let rtxn = index.read_txn()?;
    let page = Page::Offset {
        offset: query.offset,
        limit: query.limit,
    };
    let window = Window::of(page, max_total_hits(index, &rtxn)?);

    let Some((embedder, _, quantized)) = open.embedders.one(index, &rtxn, &query.embedder)? else {
        return Err(UserError::InvalidSimilarEmbedder(query.embedder.clone()).into());
    };
    let Some(docid) = index.external_documents_ids().get(&rtxn, &query.id)? else {
        return Err(EngineError::user(
            "not_found_similar_id",
            format!("Document `{}` not found.", query.id),
        ));
    };
    let mut similar = Similar::new(
        docid,
        0,
        window.end().max(NEIGHBOURS_MIN),
        index,
        &rtxn,
        query.embedder.clone(),
        embedder,
        quantized,
    );
    if let Some(filter) = query
        .filter
        .as_ref()
        .map(Filter::from_json)
        .transpose()?
        .flatten()
    {
        similar.filter(filter);
    }
    if let Some(threshold) = query.ranking_score_threshold {
        similar.ranking_score_threshold(threshold);
    }
    let mut result = similar.execute()?;
    window.cut(&mut result);

    let documents = Documents::load(index, &rtxn)?;
    let mut shown = Shown::load(
        &documents,
        query.attributes_to_retrieve.as_deref(),
        query.retrieve_vectors,
    )?;
    shown.score = query.show_ranking_score;
    shown.score_details = query.show_ranking_score_details;
    let mut hits = Vec::with_capacity(result.documents_ids.len());
    for (docid, scores) in result
        .documents_ids
        .into_iter()
        .zip(&result.document_scores)
    {
        hits.push(Value::Object(shown.hit(&documents, None, docid, scores)?));
    }
    Ok(SearchOutcome {
        hits,
        totals: totals(page, result.candidates.len()),
        facet_distribution: None,
        facet_stats: None,
        semantic_hit_count: None,
        query_vector: None,
        degraded: result.degraded,
    })
}
