//! Facet counts of a search, and the search for facet values.

use super::kind::{Kind, by_vector, by_words};
use crate::engine::{Engine, OpenIndex};
use crate::error::EngineError;
use crate::language;
use crate::query::{FacetSearchQuery, SearchQuery};
use milli_core::heed::RoTxn;
use milli_core::{
    DEFAULT_VALUES_PER_FACET, FieldsIdsMap, FilterableAttributesRule, Index, PatternMatch,
    SearchForFacetValues,
};
use roaring::RoaringBitmap;
use serde_json::{Map, Value, json};

impl Engine {
    /// Values of a facet that begin with the query, typos allowed, and how many documents have
    /// them; at most `maxValuesPerFacet`, in the order of `sortFacetValuesBy`.
    ///
    /// # Errors
    /// `facet_search_disabled`, `invalid_facet_search_facet_name`, and those of a search.
    pub fn facet_search(
        &self,
        key: &str,
        query: &FacetSearchQuery,
    ) -> Result<Vec<(String, u64)>, EngineError> {
        self.with(key, |open| run(open, query))
    }
}

fn run(open: &OpenIndex, query: &FacetSearchQuery) -> Result<Vec<(String, u64)>, EngineError> {
    let index = &open.index;
    let rtxn = index.read_txn()?;
    if !index.facet_search(&rtxn)? {
        return Err(EngineError::user(
            "facet_search_disabled",
            "The facet search is disabled for this index",
        ));
    }
    let as_search = SearchQuery {
        q: query.q.clone(),
        vector: query.vector.clone(),
        hybrid: query.hybrid.clone(),
        filter: query.filter.clone(),
        matching_strategy: query.matching_strategy,
        attributes_to_search_on: query.attributes_to_search_on.clone(),
        ranking_score_threshold: query.ranking_score_threshold,
        locales: query.locales.clone(),
        ..SearchQuery::default()
    };
    let (mut search, is_hybrid) = match Kind::choose(open, &rtxn, &as_search)? {
        Kind::Keyword => (by_words(index, &rtxn, &as_search)?, false),
        Kind::Semantic(semantic) => {
            let vector = semantic.vector;
            (
                by_vector(index, &rtxn, &as_search, &semantic.embedder, vector)?,
                false,
            )
        }
        // Every document is a candidate then, whatever its vector.
        Kind::Hybrid(_) => (by_words(index, &rtxn, &as_search)?, true),
    };
    search.exhaustive_number_hits(query.exhaustive_facet_count);
    let mut values = SearchForFacetValues::new(query.facet_name.clone(), search, is_hybrid);
    if let Some(text) = &query.facet_query {
        values.query(text);
    }
    if let Some(codes) = &query.locales {
        values.locales(language::from_codes(
            codes,
            "invalid_search_locales",
            ".locales",
        )?);
    } else if let Some(rule) = index
        .localized_attributes_rules(&rtxn)?
        .unwrap_or_default()
        .iter()
        .find(|rule| rule.match_str(&query.facet_name) == PatternMatch::Match)
    {
        values.locales(rule.locales().to_vec());
    }
    values.max_values(max_values_per_facet(index, &rtxn)?);
    let hits = values.execute()?;
    Ok(hits.into_iter().map(|hit| (hit.value, hit.count)).collect())
}

/// What the candidates' facets show, attributes in alphabetical order.
pub(super) struct Facets {
    /// `facetDistribution`.
    pub(super) distribution: Map<String, Value>,
    /// `facetStats`.
    pub(super) stats: Map<String, Value>,
}

/// Counts the values of the attributes that match the patterns.
pub(super) fn distribution(
    index: &Index,
    rtxn: &RoTxn<'_>,
    patterns: &[String],
    candidates: RoaringBitmap,
) -> Result<Facets, EngineError> {
    let order_by = index.sort_facet_values_by(rtxn)?;
    let names = expand(index, rtxn, patterns)?;
    let mut facets = index.facets_distribution(rtxn);
    facets
        .facets(names.iter().map(|name| (name, order_by.get(name))))
        .default_order_by(order_by.get("*"))
        .max_values_per_facet(max_values_per_facet(index, rtxn)?)
        .candidates(candidates);

    let mut distribution = Map::new();
    for (attribute, values) in facets.execute()? {
        let values: Map<String, Value> = values
            .into_iter()
            .map(|(value, count)| (value, Value::from(count)))
            .collect();
        distribution.insert(attribute, Value::Object(values));
    }
    let mut stats = Map::new();
    for (attribute, (min, max)) in facets.compute_stats()? {
        stats.insert(attribute, json!({ "min": min, "max": max }));
    }
    Ok(Facets {
        distribution,
        stats,
    })
}

fn max_values_per_facet(index: &Index, rtxn: &RoTxn<'_>) -> Result<usize, EngineError> {
    let max = index.max_values_per_facet(rtxn)?;
    Ok(max.map_or(DEFAULT_VALUES_PER_FACET, |max| {
        usize::try_from(max).unwrap_or(usize::MAX)
    }))
}

/// Patterns replaced by the filterable attributes they match; plain names stay, so that the engine
/// refuses those that are not filterable.
fn expand(
    index: &Index,
    rtxn: &RoTxn<'_>,
    patterns: &[String],
) -> Result<Vec<String>, EngineError> {
    let fields: FieldsIdsMap = index.fields_ids_map(rtxn)?;
    let rules = index.filterable_attributes_rules(rtxn)?;
    let mut names = Vec::new();
    for pattern in patterns {
        if !pattern.contains('*') {
            names.push(pattern.clone());
            continue;
        }
        let matching: Vec<String> = fields
            .names()
            .filter(|name| is_filterable(name, &rules) && matches(pattern, name))
            .map(str::to_owned)
            .collect();
        // `*` may match nothing; another pattern that matches nothing is a mistake to report.
        if matching.is_empty() && pattern != "*" {
            names.push(pattern.clone());
        }
        names.extend(matching);
    }
    Ok(names)
}

/// The first rule that matches an attribute decides.
fn is_filterable(attribute: &str, rules: &[FilterableAttributesRule]) -> bool {
    rules
        .iter()
        .find(|rule| rule.match_str(attribute) == PatternMatch::Match)
        .is_some_and(|rule| rule.features().is_filterable())
}

/// A star stands for anything at either end of a pattern.
fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(_), Some(_)) => name.contains(pattern.trim_matches('*')),
        (Some(end), None) => name.ends_with(end),
        (None, Some(start)) => name.starts_with(start),
        (None, None) => name == pattern,
    }
}
