//! By what documents are found, and the engine's search for it.

use crate::embedder::Ready;
use crate::engine::OpenIndex;
use crate::error::EngineError;
use crate::language;
use crate::query::{MatchingStrategy, SearchQuery};
use crate::read::parse_sort;
use milli_core::heed::RoTxn;
use milli_core::score_details::ScoringStrategy;
use milli_core::{Filter, Index, Search, TermsMatchingStrategy, TimeBudget, UserError};
use std::time::{Duration, Instant};

/// How long a service may take to embed the words of a query.
const EMBEDDING_TIME_MAX: Duration = Duration::from_secs(3);

/// By what documents are found.
pub(super) enum Kind {
    Keyword,
    Semantic(Semantic),
    Hybrid(Hybrid),
}

/// A search by a vector alone.
pub(super) struct Semantic {
    pub(super) embedder: NamedEmbedder,
    pub(super) vector: Vec<f32>,
}

/// A search by words and by a vector; the vector is made of the words if it is not given.
pub(super) struct Hybrid {
    pub(super) embedder: NamedEmbedder,
    pub(super) words: String,
    pub(super) vector: Option<Vec<f32>>,
    pub(super) ratio: f32,
}

pub(super) struct NamedEmbedder {
    name: String,
    ready: Ready,
}

impl NamedEmbedder {
    pub(super) fn embed(&self, words: &str) -> Result<Vec<f32>, EngineError> {
        let deadline = Instant::now() + EMBEDDING_TIME_MAX;
        let (embedder, _, _) = &self.ready;
        let vector = embedder
            .embed_search(words, Some(deadline))
            .map_err(milli_core::vector::Error::from)
            .map_err(milli_core::Error::from)?;
        Ok(vector)
    }
}

impl Kind {
    /// Words alone decide at ratio 0 and when there is nothing to make a vector of; the vector
    /// alone at ratio 1 and when there are no words.
    ///
    /// # Errors
    /// `missing_search_hybrid`, `invalid_search_embedder`, `invalid_vector_dimensions`,
    /// `vector_embedding_error`.
    pub(super) fn choose(
        open: &OpenIndex,
        rtxn: &RoTxn<'_>,
        query: &SearchQuery,
    ) -> Result<Self, EngineError> {
        let Some(hybrid) = &query.hybrid else {
            if query.vector.is_some() {
                return Err(EngineError::user(
                    "missing_search_hybrid",
                    "Invalid request: missing `hybrid` parameter when `vector` or `media` are \
                     present.",
                ));
            }
            return Ok(Kind::Keyword);
        };
        let words = query.q.as_deref().filter(|words| !words.trim().is_empty());
        let vector = query.vector.clone();
        if hybrid.semantic_ratio == 0.0 || (words.is_none() && vector.is_none()) {
            return Ok(Kind::Keyword);
        }
        let name = hybrid.embedder.clone();
        let ready = open
            .embedders
            .one(&open.index, rtxn, &name)?
            .ok_or_else(|| UserError::InvalidSearchEmbedder(name.clone()))?;
        if let Some(vector) = &vector {
            let (expected, found) = (ready.0.dimensions(), vector.len());
            if expected != found {
                return Err(UserError::InvalidVectorDimensions { expected, found }.into());
            }
        }
        let embedder = NamedEmbedder { name, ready };
        Ok(match (words, vector) {
            (Some(words), vector) if hybrid.semantic_ratio < 1.0 => {
                let words = words.to_owned();
                Kind::Hybrid(Hybrid {
                    embedder,
                    words,
                    vector,
                    ratio: hybrid.semantic_ratio,
                })
            }
            (_, Some(vector)) => Kind::Semantic(Semantic { embedder, vector }),
            (words, None) => {
                let vector = embedder.embed(words.unwrap_or_default())?;
                Kind::Semantic(Semantic { embedder, vector })
            }
        })
    }
}

/// The search by words, without a window.
pub(super) fn by_words<'t>(
    index: &'t Index,
    rtxn: &'t RoTxn<'t>,
    query: &'t SearchQuery,
) -> Result<Search<'t>, EngineError> {
    let mut search = index.search(rtxn);
    if let Some(cutoff) = index.search_cutoff(rtxn)? {
        search.time_budget(TimeBudget::new(Duration::from_millis(cutoff)));
    }
    if let Some(threshold) = query.ranking_score_threshold {
        search.ranking_score_threshold(threshold);
    }
    let needs_scores = query.show_ranking_score
        || query.show_ranking_score_details
        || query.ranking_score_threshold.is_some();
    if needs_scores {
        search.scoring_strategy(ScoringStrategy::Detailed);
    }
    if let Some(words) = &query.q {
        search.query(words);
    }
    if let Some(attributes) = &query.attributes_to_search_on {
        search.searchable_attributes(attributes);
    }
    if let Some(filter) = query
        .filter
        .as_ref()
        .map(Filter::from_json)
        .transpose()?
        .flatten()
    {
        search.filter(filter);
    }
    if let Some(sort) = &query.sort {
        search.sort_criteria(parse_sort(sort)?);
    }
    if let Some(distinct) = &query.distinct {
        search.distinct(distinct.clone());
    }
    if let Some(codes) = &query.locales {
        search.locales(language::of_search(codes)?);
    }
    search.terms_matching_strategy(match query.matching_strategy {
        MatchingStrategy::Last => TermsMatchingStrategy::Last,
        MatchingStrategy::All => TermsMatchingStrategy::All,
        MatchingStrategy::Frequency => TermsMatchingStrategy::Frequency,
    });
    Ok(search)
}

/// The search by a vector, without a window.
pub(super) fn by_vector<'t>(
    index: &'t Index,
    rtxn: &'t RoTxn<'t>,
    query: &'t SearchQuery,
    embedder: &NamedEmbedder,
    vector: Vec<f32>,
) -> Result<Search<'t>, EngineError> {
    let mut search = by_words(index, rtxn, query)?;
    let (ready, _, quantized) = embedder.ready.clone();
    search.semantic(embedder.name.clone(), ready, quantized, Some(vector));
    Ok(search)
}
