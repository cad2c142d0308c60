//! Search by words, or by nothing at all.

use super::Found;
use super::kind::by_words;
use super::page::Window;
use super::score::ranking_score;
use crate::error::EngineError;
use crate::query::SearchQuery;
use milli_core::heed::RoTxn;
use milli_core::{Criterion, Index, SearchResult};

pub(super) fn execute(
    index: &Index,
    rtxn: &RoTxn<'_>,
    query: &SearchQuery,
    window: &Window,
) -> Result<Found, EngineError> {
    let mut search = by_words(index, rtxn, query)?;
    search.exhaustive_number_hits(window.is_exhaustive);
    let result = match query.ranking_score_threshold {
        None => search.offset(window.offset).limit(window.limit).execute()?,
        Some(threshold) => {
            // The engine judges by a score that leaves out what comes after a sort rule. So with
            // sort rules it must show everything, and the judgement is made here.
            let judges_here = sorts(index, rtxn, query)?;
            if judges_here {
                search.ranking_score_threshold(0.0);
            }
            // It also stops scoring once the page is full, and then counts too many.
            let needs_all = judges_here || window.is_exhaustive;
            let (offset, limit) = if needs_all {
                (0, window.max_total_hits)
            } else {
                (window.offset, window.limit)
            };
            let mut result = search.offset(offset).limit(limit).execute()?;
            if judges_here {
                drop_below(&mut result, threshold);
            }
            if needs_all {
                window.cut(&mut result);
            }
            result
        }
    };
    Ok(Found {
        result,
        semantic_hit_count: None,
        query_vector: None,
    })
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
