//! Search by a vector alone.

use super::Found;
use super::kind::{Semantic, by_vector};
use super::page::Window;
use crate::error::EngineError;
use crate::query::SearchQuery;
use milli_core::heed::RoTxn;
use milli_core::{Index, Search, SearchResult};

/// Neighbours asked for at least. The engine's vector store looks at more candidates the more
/// neighbours it is asked for; asked for few it misses near ones, where Meilisearch 1.50 (a linear
/// scan up to 300,000 documents) is exact.
const NEIGHBOURS_MIN: usize = 1000;

pub(super) fn execute(
    index: &Index,
    rtxn: &RoTxn<'_>,
    query: &SearchQuery,
    semantic: Semantic,
    window: &Window,
) -> Result<Found, EngineError> {
    let Semantic { embedder, vector } = semantic;
    let mut search = by_vector(index, rtxn, query, &embedder, vector.clone())?;
    search.exhaustive_number_hits(window.is_exhaustive);
    let mut result = nearest(&mut search, window.end())?;
    window.cut(&mut result);
    let semantic_hit_count = Some(u32::try_from(result.documents_ids.len()).unwrap_or(u32::MAX));
    Ok(Found {
        result,
        semantic_hit_count,
        query_vector: Some(vector),
    })
}

/// The first `count` hits of a search by vector.
pub(super) fn nearest(search: &mut Search<'_>, count: usize) -> Result<SearchResult, EngineError> {
    let mut result = search
        .offset(0)
        .limit(count.max(NEIGHBOURS_MIN))
        .execute()?;
    result.documents_ids.truncate(count);
    result.document_scores.truncate(count);
    Ok(result)
}
