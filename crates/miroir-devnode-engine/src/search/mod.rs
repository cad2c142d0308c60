//! Search: from a query to complete hits.
//!
//! [`kind`] decides by what documents are found, [`keyword`], [`semantic`] and [`hybrid`] find them
//! inside a [`page`] window, [`facet`] counts, [`hit`] and [`format`] show them.

mod facet;
mod format;
mod hit;
mod hybrid;
mod keyword;
mod kind;
mod page;
mod score;
mod semantic;
mod similar;

use crate::engine::{Engine, OpenIndex};
use crate::error::EngineError;
use crate::language;
use crate::query::{SearchOutcome, SearchQuery};
use crate::read::Documents;
use facet::Facets;
use format::{Dictionary, Formatter, Plan};
use hit::{Shown, geo_base};
use kind::Kind;
use milli_core::SearchResult;
use page::{Window, max_total_hits, totals};
use serde_json::Value;

impl Engine {
    /// The hits of a query, complete and in order.
    ///
    /// Unlike Meilisearch, which cuts a search short after 1,500 ms by default, a search runs to
    /// its end unless `searchCutoffMs` is set: on a loaded machine tests must get the same answer.
    ///
    /// # Errors
    /// The `invalid_search_…` codes that depend on the index, `missing_search_hybrid`,
    /// `invalid_vector_dimensions`, `vector_embedding_error`.
    pub fn search(&self, key: &str, query: &SearchQuery) -> Result<SearchOutcome, EngineError> {
        self.with(key, |open| run(open, query))
    }
}

/// What one way of searching found: the hits of the window, all candidates.
struct Found {
    result: SearchResult,
    semantic_hit_count: Option<u32>,
    query_vector: Option<Vec<f32>>,
}

fn run(open: &OpenIndex, query: &SearchQuery) -> Result<SearchOutcome, EngineError> {
    let index = &open.index;
    let rtxn = index.read_txn()?;
    let documents = Documents::load(index, &rtxn)?;
    let window = Window::of(query.page, max_total_hits(index, &rtxn)?);
    let kind = Kind::choose(open, &rtxn, query)?;
    let found = match kind {
        Kind::Keyword => keyword::execute(index, &rtxn, query, &window)?,
        Kind::Semantic(semantic) => semantic::execute(index, &rtxn, query, semantic, &window)?,
        Kind::Hybrid(hybrid) => hybrid::execute(&documents, query, hybrid, &window)?,
    };
    let Found {
        result,
        semantic_hit_count,
        query_vector,
    } = found;
    let SearchResult {
        matching_words,
        candidates,
        documents_ids,
        document_scores,
        ..
    } = result;

    let totals = totals(query.page, candidates.len());
    let facets = match &query.facets {
        Some(patterns) if !patterns.is_empty() => {
            Some(facet::distribution(index, &rtxn, patterns, candidates)?)
        }
        _ => None,
    };
    let (facet_distribution, facet_stats) = facets
        .map(
            |Facets {
                 distribution,
                 stats,
             }| (distribution, stats),
        )
        .unzip();

    let mut shown = Shown::load(
        &documents,
        query.attributes_to_retrieve.as_deref(),
        query.retrieve_vectors,
    )?;
    shown.score = query.show_ranking_score;
    shown.score_details = query.show_ranking_score_details;
    shown.geo_base = query.sort.as_deref().map(geo_base).transpose()?.flatten();

    let plan = Plan::new(query, &documents.fields, &shown.displayed, &shown.retrieved);
    let locales = query
        .locales
        .as_deref()
        .map(language::of_search)
        .transpose()?;
    let dictionary = Dictionary::load(index, &rtxn)?;
    let slices = dictionary.as_slices();
    let formatter = Formatter::new(
        &plan,
        &dictionary,
        &slices,
        query,
        locales.as_deref(),
        matching_words,
    );
    let formatter = (!plan.is_empty()).then_some(&formatter);

    let mut hits = Vec::with_capacity(documents_ids.len());
    for (hit_idx, docid) in documents_ids.into_iter().enumerate() {
        // Scores are left out when nobody asked for them.
        let scores = document_scores.get(hit_idx).map_or(&[][..], Vec::as_slice);
        hits.push(Value::Object(
            shown.hit(&documents, formatter, docid, scores)?,
        ));
    }
    Ok(SearchOutcome {
        hits,
        totals,
        facet_distribution,
        facet_stats,
        semantic_hit_count,
        query_vector,
        degraded: result.degraded,
    })
}
