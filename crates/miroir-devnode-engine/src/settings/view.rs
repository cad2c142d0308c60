//! All settings of an index as the API shows them.

use super::NAMES;
use crate::error::EngineError;
use milli_core::heed::RoTxn;
use milli_core::index::{IndexEmbeddingConfig, PrefixSearch};
use milli_core::proximity::ProximityPrecision;
use milli_core::vector::settings::EmbeddingSettings;
use milli_core::{Criterion, DEFAULT_VALUES_PER_FACET, Index, OrderBy};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Hits that can be reached by paging, unless set.
const MAX_TOTAL_HITS: u64 = 1000;

/// Values in the order of [`NAMES`].
pub(super) fn view(index: &Index, rtxn: &RoTxn<'_>) -> Result<Map<String, Value>, EngineError> {
    let sortable: BTreeSet<String> = index.sortable_fields(rtxn)?.into_iter().collect();
    let rules: Vec<String> = index
        .criteria(rtxn)?
        .iter()
        .map(Criterion::to_string)
        .collect();
    let stop_words = match index.stop_words(rtxn)? {
        Some(words) => words.stream().into_strs().map_err(EngineError::internal)?,
        None => Vec::new(),
    };
    let synonyms: BTreeMap<_, _> = index.user_defined_synonyms(rtxn)?.into_iter().collect();
    let proximity_precision = match index.proximity_precision(rtxn)?.unwrap_or_default() {
        ProximityPrecision::ByWord => "byWord",
        ProximityPrecision::ByAttribute => "byAttribute",
    };
    let max_total_hits = index
        .pagination_max_total_hits(rtxn)?
        .unwrap_or(MAX_TOTAL_HITS);
    let prefix_search = match index.prefix_search(rtxn)?.unwrap_or_default() {
        PrefixSearch::IndexingTime => "indexingTime",
        PrefixSearch::Disabled => "disabled",
    };
    let values = [
        star_or(index.displayed_fields(rtxn)?),
        star_or(index.user_defined_searchable_fields(rtxn)?),
        json!(index.filterable_attributes_rules(rtxn)?),
        json!(sortable),
        json!(rules),
        json!(stop_words),
        json!(index.non_separator_tokens(rtxn)?.unwrap_or_default()),
        json!(index.separator_tokens(rtxn)?.unwrap_or_default()),
        json!(index.dictionary(rtxn)?.unwrap_or_default()),
        json!(synonyms),
        json!(index.distinct_field(rtxn)?),
        json!(proximity_precision),
        typo_tolerance(index, rtxn)?,
        faceting(index, rtxn)?,
        json!({ "maxTotalHits": max_total_hits }),
        embedders(index.embedding_configs(rtxn)?)?,
        json!(index.search_cutoff(rtxn)?),
        localized(index, rtxn)?,
        json!(index.facet_search(rtxn)?),
        json!(prefix_search),
    ];
    Ok(NAMES.map(str::to_owned).into_iter().zip(values).collect())
}

fn star_or(names: Option<Vec<&str>>) -> Value {
    names.map_or_else(|| json!(["*"]), |names| json!(names))
}

fn typo_tolerance(index: &Index, rtxn: &RoTxn<'_>) -> Result<Value, EngineError> {
    let exact_words = match index.exact_words(rtxn)? {
        Some(words) => words.stream().into_strs().map_err(EngineError::internal)?,
        None => Vec::new(),
    };
    let exact_attributes: BTreeSet<&str> = index.exact_attributes(rtxn)?.into_iter().collect();
    Ok(json!({
        "enabled": index.authorize_typos(rtxn)?,
        "minWordSizeForTypos": {
            "oneTypo": index.min_word_len_one_typo(rtxn)?,
            "twoTypos": index.min_word_len_two_typos(rtxn)?,
        },
        "disableOnWords": exact_words,
        "disableOnAttributes": exact_attributes,
        "disableOnNumbers": index.disabled_typos_terms(rtxn)?.disable_on_numbers,
    }))
}

fn faceting(index: &Index, rtxn: &RoTxn<'_>) -> Result<Value, EngineError> {
    let max = index
        .max_values_per_facet(rtxn)?
        .unwrap_or(DEFAULT_VALUES_PER_FACET as u64);
    let orders: BTreeMap<String, &str> = index
        .sort_facet_values_by(rtxn)?
        .into_iter()
        .map(|(name, order)| {
            let order = match order {
                OrderBy::Lexicographic => "alpha",
                OrderBy::Count => "count",
            };
            (name, order)
        })
        .collect();
    Ok(json!({ "maxValuesPerFacet": max, "sortFacetValuesBy": orders }))
}

fn localized(index: &Index, rtxn: &RoTxn<'_>) -> Result<Value, EngineError> {
    let Some(rules) = index.localized_attributes_rules(rtxn)? else {
        return Ok(Value::Null);
    };
    let rules = rules.iter().map(|rule| {
        let codes: Vec<&str> = rule
            .locales
            .iter()
            .map(|language| language.code())
            .collect();
        json!({ "attributePatterns": rule.attribute_patterns.patterns, "locales": codes })
    });
    Ok(rules.collect())
}

fn embedders(configs: Vec<IndexEmbeddingConfig>) -> Result<Value, EngineError> {
    let mut sorted = BTreeMap::new();
    for entry in configs {
        let mut settings = serde_json::to_value(EmbeddingSettings::from(entry.config))?;
        obfuscate(&mut settings);
        sorted.insert(entry.name, settings);
    }
    Ok(json!(sorted))
}

/// Makes keys of services unreadable, also in the parts of a composite embedder.
fn obfuscate(settings: &mut Value) {
    let Value::Object(settings) = settings else {
        return;
    };
    for (name, value) in settings {
        match (name.as_str(), &mut *value) {
            ("apiKey", Value::String(secret)) => *secret = obfuscated(secret),
            ("searchEmbedder" | "indexingEmbedder", nested) => obfuscate(nested),
            _ => (),
        }
    }
}

/// The first characters, the more of them the longer the secret, then a mark.
fn obfuscated(secret: &str) -> String {
    let (shown, mark) = match secret.len() {
        0..10 => (0, "XXX..."),
        10..20 => (2, "XXXX..."),
        20..30 => (3, "XXXXX..."),
        _ => (5, "XXXXXX..."),
    };
    secret.chars().take(shown).chain(mark.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown_whole() {
        assert_eq!(obfuscated("short"), "XXX...");
        assert_eq!(obfuscated("0123456789"), "01XXXX...");
        assert_eq!(obfuscated("ééééééééééééééééé"), "éééééXXXXXX...");
    }

    #[test]
    fn secrets_of_nested_embedders_are_hidden() {
        let mut settings = json!({ "searchEmbedder": { "apiKey": "0123456789", "model": "m" } });
        obfuscate(&mut settings);
        assert_eq!(
            settings,
            json!({ "searchEmbedder": { "apiKey": "01XXXX...", "model": "m" } })
        );
    }
}
