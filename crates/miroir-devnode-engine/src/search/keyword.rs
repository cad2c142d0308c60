//! Search by words, or by nothing at all.

use super::Found;
use super::kind::by_words;
use super::page::Window;
use super::score::ranking_score;
use crate::error::EngineError;
use crate::query::SearchQuery;
use milli_core::heed::RoTxn;
use milli_core::{Criterion, Index, Search, SearchResult};

pub(super) fn execute(
    index: &Index,
    rtxn: &RoTxn<'_>,
    query: &SearchQuery,
    window: &Window,
) -> Result<Found, EngineError> {
    let mut search = by_words(index, rtxn, query)?;
    search.exhaustive_number_hits(window.is_exhaustive);
    let mut result = match query.ranking_score_threshold {
        None => first(&mut search, window.end())?,
        Some(threshold) if sorts(index, rtxn, query)? => {
            let all = usize::try_from(index.number_of_documents(rtxn)?).unwrap_or(usize::MAX);
            let count = if window.is_exhaustive {
                all
            } else {
                window.end()
            };
            first_above(&mut search, threshold, count, all)?
        }
        // The engine stops scoring once the page is full, and would then count too many.
        Some(_) if window.is_exhaustive => first(&mut search, window.max_total_hits)?,
        Some(_) => first(&mut search, window.end())?,
    };
    window.cut(&mut result);
    Ok(Found {
        result,
        semantic_hit_count: None,
        query_vector: None,
    })
}

/// The first hits. The engine is never asked to skip any: past the last hit it would neither apply
/// `distinct` nor the threshold, and count all.
fn first(search: &mut Search<'_>, count: usize) -> Result<SearchResult, EngineError> {
    Ok(search.offset(0).limit(count).execute()?)
}

/// The first hits at or above a threshold, when rules sort by values. The engine judges by a score
/// that leaves out what comes after a sort rule, so its hits are judged again here, and more are
/// asked for until there are enough.
fn first_above(
    search: &mut Search<'_>,
    threshold: f64,
    count: usize,
    all: usize,
) -> Result<SearchResult, EngineError> {
    let mut asked = count;
    loop {
        let mut result = first(search, asked)?;
        let is_last = result.documents_ids.len() < asked || asked >= all;
        drop_below(&mut result, threshold);
        if is_last || result.documents_ids.len() >= count {
            return Ok(result);
        }
        asked = asked.saturating_mul(2).min(all);
    }
}

/// Whether a rule orders by values instead of relevancy.
fn sorts(index: &Index, rtxn: &RoTxn<'_>, query: &SearchQuery) -> Result<bool, EngineError> {
    let is_sorted = query.sort.as_ref().is_some_and(|sort| !sort.is_empty());
    Ok(index
        .criteria(rtxn)?
        .iter()
        .any(|criterion| match criterion {
            Criterion::Asc(_) | Criterion::Desc(_) => true,
            Criterion::Sort => is_sorted,
            _ => false,
        }))
}

/// Removes the hits below the threshold, from the candidates too.
fn drop_below(result: &mut SearchResult, threshold: f64) {
    let documents_ids = std::mem::take(&mut result.documents_ids);
    let document_scores = std::mem::take(&mut result.document_scores);
    for (docid, scores) in documents_ids.into_iter().zip(document_scores) {
        if ranking_score(&scores) < threshold {
            result.candidates.remove(docid);
        } else {
            result.documents_ids.push(docid);
            result.document_scores.push(scores);
        }
    }
}
