//! A settings patch, checked and typed; no index is needed for it.

use super::NAMES;
use super::value::{At, quoted};
use crate::error::EngineError;
use crate::language;
use milli_core::index::PrefixSearch;
use milli_core::order_by_map::OrderByMap;
use milli_core::proximity::ProximityPrecision;
use milli_core::update::{Setting, validate_embedding_settings};
use milli_core::vector::settings::EmbeddingSettings;
use milli_core::{
    AttributePatterns, Criterion, FilterableAttributesPatterns, FilterableAttributesRule,
    LocalizedAttributesRule, OrderBy,
};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Embedders an index may have.
const EMBEDDERS_MAX: usize = 256;

/// What a patch says about each setting.
#[derive(Default)]
pub(super) struct Patch {
    pub(super) displayed_attributes: Setting<Vec<String>>,
    pub(super) searchable_attributes: Setting<Vec<String>>,
    pub(super) filterable_attributes: Setting<Vec<FilterableAttributesRule>>,
    pub(super) sortable_attributes: Setting<HashSet<String>>,
    pub(super) ranking_rules: Setting<Vec<Criterion>>,
    pub(super) stop_words: Setting<BTreeSet<String>>,
    pub(super) non_separator_tokens: Setting<BTreeSet<String>>,
    pub(super) separator_tokens: Setting<BTreeSet<String>>,
    pub(super) dictionary: Setting<BTreeSet<String>>,
    pub(super) synonyms: Setting<BTreeMap<String, Vec<String>>>,
    pub(super) distinct_attribute: Setting<String>,
    pub(super) proximity_precision: Setting<ProximityPrecision>,
    pub(super) typo_tolerance: Setting<TypoTolerance>,
    pub(super) faceting: Setting<Faceting>,
    pub(super) max_total_hits: Setting<usize>,
    pub(super) embedders: Setting<BTreeMap<String, Setting<EmbeddingSettings>>>,
    pub(super) search_cutoff_ms: Setting<u64>,
    pub(super) localized_attributes: Setting<Vec<LocalizedAttributesRule>>,
    pub(super) facet_search: Setting<bool>,
    pub(super) prefix_search: Setting<PrefixSearch>,
}

#[derive(Default)]
pub(super) struct TypoTolerance {
    pub(super) enabled: Setting<bool>,
    pub(super) one_typo: Setting<u8>,
    pub(super) two_typos: Setting<u8>,
    pub(super) disable_on_words: Setting<BTreeSet<String>>,
    pub(super) disable_on_attributes: Setting<HashSet<String>>,
    pub(super) disable_on_numbers: Setting<bool>,
}

#[derive(Default)]
pub(super) struct Faceting {
    pub(super) max_values_per_facet: Setting<usize>,
    pub(super) sort_facet_values_by: Setting<OrderByMap>,
}

impl Patch {
    pub(super) fn parse(patch: &Map<String, Value>) -> Result<Self, EngineError> {
        let mut parsed = Patch::default();
        for (name, value) in patch {
            parsed.set(name, value)?;
        }
        Ok(parsed)
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), EngineError> {
        let at = |code| At::setting(name, code);
        match name {
            "displayedAttributes" => {
                let at = at("invalid_settings_displayed_attributes");
                self.displayed_attributes = setting(value, |value| at.texts(value))?;
            }
            "searchableAttributes" => {
                let at = at("invalid_settings_searchable_attributes");
                self.searchable_attributes = setting(value, |value| at.texts(value))?;
            }
            "filterableAttributes" => {
                let at = at("invalid_settings_filterable_attributes");
                self.filterable_attributes = setting(value, |value| filterable(&at, value))?;
            }
            "sortableAttributes" => {
                let at = at("invalid_settings_sortable_attributes");
                self.sortable_attributes = setting(value, |value| at.texts(value))?;
            }
            "rankingRules" => {
                let at = at("invalid_settings_ranking_rules");
                self.ranking_rules = setting(value, |value| ranking_rules(&at, value))?;
            }
            "stopWords" => {
                let at = at("invalid_settings_stop_words");
                self.stop_words = setting(value, |value| at.texts(value))?;
            }
            "nonSeparatorTokens" => {
                let at = at("invalid_settings_non_separator_tokens");
                self.non_separator_tokens = setting(value, |value| at.texts(value))?;
            }
            "separatorTokens" => {
                let at = at("invalid_settings_separator_tokens");
                self.separator_tokens = setting(value, |value| at.texts(value))?;
            }
            "dictionary" => {
                let at = at("invalid_settings_dictionary");
                self.dictionary = setting(value, |value| at.texts(value))?;
            }
            "synonyms" => {
                let at = at("invalid_settings_synonyms");
                self.synonyms = setting(value, |value| {
                    let words = at.object(value)?.iter();
                    words
                        .map(|(word, list)| Ok((word.clone(), at.field(word).texts(list)?)))
                        .collect()
                })?;
            }
            "distinctAttribute" => {
                let at = at("invalid_settings_distinct_attribute");
                self.distinct_attribute = setting(value, |value| Ok(at.text(value)?.to_owned()))?;
            }
            "proximityPrecision" => {
                let at = at("invalid_settings_proximity_precision");
                let words = [
                    ("byWord", ProximityPrecision::ByWord),
                    ("byAttribute", ProximityPrecision::ByAttribute),
                ];
                self.proximity_precision = setting(value, |value| one_of(&at, value, &words))?;
            }
            "typoTolerance" => {
                let at = at("invalid_settings_typo_tolerance");
                self.typo_tolerance = setting(value, |value| typo_tolerance(&at, value))?;
            }
            "faceting" => {
                let at = at("invalid_settings_faceting");
                self.faceting = setting(value, |value| faceting(&at, value))?;
            }
            "pagination" => {
                let at = at("invalid_settings_pagination");
                self.max_total_hits = match setting(value, |value| pagination(&at, value))? {
                    Setting::Set(inner) => inner,
                    Setting::Reset => Setting::Reset,
                    Setting::NotSet => Setting::NotSet,
                };
            }
            "embedders" => {
                let at = at("invalid_settings_embedders");
                self.embedders = setting(value, |value| embedders(&at, value))?;
            }
            "searchCutoffMs" => {
                let at = at("invalid_settings_search_cutoff_ms");
                self.search_cutoff_ms = setting(value, |value| at.number(value))?;
            }
            "localizedAttributes" => {
                let at = at("invalid_settings_localized_attributes");
                self.localized_attributes = setting(value, |value| localized(&at, value))?;
            }
            "facetSearch" => {
                let at = at("invalid_settings_facet_search");
                self.facet_search = setting(value, |value| at.flag(value))?;
            }
            "prefixSearch" => {
                let at = at("invalid_settings_prefix_search");
                let words = [
                    ("indexingTime", PrefixSearch::IndexingTime),
                    ("disabled", PrefixSearch::Disabled),
                ];
                self.prefix_search = setting(value, |value| one_of(&at, value, &words))?;
            }
            unknown => {
                let expected = quoted(&NAMES);
                let message = format!("Unknown field `{unknown}`: expected one of {expected}");
                return Err(EngineError::user("bad_request", message));
            }
        }
        Ok(())
    }
}

/// `null` resets.
fn setting<T>(
    value: &Value,
    parse: impl FnOnce(&Value) -> Result<T, EngineError>,
) -> Result<Setting<T>, EngineError> {
    if value.is_null() {
        Ok(Setting::Reset)
    } else {
        parse(value).map(Setting::Set)
    }
}

/// A member of an object; an absent one is unchanged.
fn member<T>(
    object: &Map<String, Value>,
    name: &str,
    parse: impl FnOnce(&Value) -> Result<T, EngineError>,
) -> Result<Setting<T>, EngineError> {
    object
        .get(name)
        .map_or(Ok(Setting::NotSet), |value| setting(value, parse))
}

fn one_of<T: Copy>(at: &At, value: &Value, words: &[(&str, T)]) -> Result<T, EngineError> {
    let text = at.text(value)?;
    words
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, meaning)| *meaning)
        .ok_or_else(|| {
            let expected: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            at.unknown_value(text, &expected)
        })
}

fn filterable(at: &At, value: &Value) -> Result<Vec<FilterableAttributesRule>, EngineError> {
    let rule = |(position, item): (usize, &Value)| {
        let at = at.item(position);
        let Value::Object(_) = item else {
            return Ok(FilterableAttributesRule::Field(at.text(item)?.to_owned()));
        };
        let rule = at.record(item, &["attributePatterns", "features"])?;
        let patterns = rule
            .get("attributePatterns")
            .ok_or_else(|| at.missing_field("attributePatterns"))?;
        at.field("attributePatterns")
            .texts::<Vec<String>>(patterns)?;
        if let Some(features) = rule.get("features") {
            let at = at.field("features");
            let features = at.record(features, &["facetSearch", "filter"])?;
            if let Some(flag) = features.get("facetSearch") {
                at.field("facetSearch").flag(flag)?;
            }
            if let Some(filter) = features.get("filter") {
                let at = at.field("filter");
                for (name, flag) in at.record(filter, &["equality", "comparison"])? {
                    at.field(name).flag(flag)?;
                }
            }
        }
        // The features' fields are private to the engine; its own reader makes them.
        let patterns: FilterableAttributesPatterns =
            serde_json::from_value(item.clone()).map_err(|error| at.invalid(&error.to_string()))?;
        Ok(FilterableAttributesRule::Pattern(patterns))
    };
    at.list(value)?.iter().enumerate().map(rule).collect()
}

fn ranking_rules(at: &At, value: &Value) -> Result<Vec<Criterion>, EngineError> {
    let rule = |(position, item): (usize, &Value)| {
        let at = at.item(position);
        // The rules that are younger than this engine have no form of their own there.
        at.text(item)?
            .parse::<Criterion>()
            .map_err(|error| at.invalid(&error.to_string()))
    };
    at.list(value)?.iter().enumerate().map(rule).collect()
}

fn typo_tolerance(at: &At, value: &Value) -> Result<TypoTolerance, EngineError> {
    let names = [
        "enabled",
        "minWordSizeForTypos",
        "disableOnWords",
        "disableOnAttributes",
        "disableOnNumbers",
    ];
    let typos = at.record(value, &names)?;
    let (one_typo, two_typos) = match typos.get("minWordSizeForTypos") {
        None => (Setting::NotSet, Setting::NotSet),
        Some(Value::Null) => (Setting::Reset, Setting::Reset),
        Some(sizes) => {
            let at = at.field("minWordSizeForTypos");
            let sizes = at.record(sizes, &["oneTypo", "twoTypos"])?;
            let size = |name| member(sizes, name, |value| at.field(name).byte(value));
            (size("oneTypo")?, size("twoTypos")?)
        }
    };
    if let (Setting::Set(one), Setting::Set(two)) = (&one_typo, &two_typos)
        && one > two
    {
        let error = milli_core::UserError::InvalidMinTypoWordLenSetting(*one, *two);
        return Err(at.field("minWordSizeForTypos").invalid(&error.to_string()));
    }
    Ok(TypoTolerance {
        enabled: member(typos, "enabled", |value| at.field("enabled").flag(value))?,
        one_typo,
        two_typos,
        disable_on_words: member(typos, "disableOnWords", |value| {
            at.field("disableOnWords").texts(value)
        })?,
        disable_on_attributes: member(typos, "disableOnAttributes", |value| {
            at.field("disableOnAttributes").texts(value)
        })?,
        disable_on_numbers: member(typos, "disableOnNumbers", |value| {
            at.field("disableOnNumbers").flag(value)
        })?,
    })
}

fn faceting(at: &At, value: &Value) -> Result<Faceting, EngineError> {
    let facets = at.record(value, &["maxValuesPerFacet", "sortFacetValuesBy"])?;
    let orders = [("alpha", OrderBy::Lexicographic), ("count", OrderBy::Count)];
    Ok(Faceting {
        max_values_per_facet: member(facets, "maxValuesPerFacet", |value| {
            at.field("maxValuesPerFacet").size(value)
        })?,
        sort_facet_values_by: member(facets, "sortFacetValuesBy", |value| {
            let at = at.field("sortFacetValuesBy");
            let orders_by = at.object(value)?.iter();
            orders_by
                .map(|(name, order)| Ok((name.clone(), one_of(&at.field(name), order, &orders)?)))
                .collect()
        })?,
    })
}

fn pagination(at: &At, value: &Value) -> Result<Setting<usize>, EngineError> {
    let pages = at.record(value, &["maxTotalHits"])?;
    member(pages, "maxTotalHits", |value| {
        let at = at.field("maxTotalHits");
        match at.size(value)? {
            0 => Err(at.invalid("a non-zero integer value lower than `18446744073709551615` was expected, but found a zero")),
            max => Ok(max),
        }
    })
}

fn embedders(
    at: &At,
    value: &Value,
) -> Result<BTreeMap<String, Setting<EmbeddingSettings>>, EngineError> {
    let embedders = at.object(value)?;
    if embedders.len() > EMBEDDERS_MAX {
        return Err(milli_core::UserError::TooManyEmbedders(embedders.len()).into());
    }
    let embedder = |(name, value): (&String, &Value)| {
        let at = at.field(name);
        let settings = setting(value, |value| {
            at.object(value)?;
            serde_json::from_value::<EmbeddingSettings>(value.clone())
                .map_err(|error| at.invalid(&error.to_string()))
        })?;
        // Whatever is wrong with it, the patch is what must change.
        let settings = validate_embedding_settings(settings, name)
            .map_err(EngineError::from)
            .map_err(|error| error.recoded("vector_embedding_error", at.code))?;
        Ok((name.clone(), settings))
    };
    embedders.iter().map(embedder).collect()
}

fn localized(at: &At, value: &Value) -> Result<Vec<LocalizedAttributesRule>, EngineError> {
    let rule = |(position, item): (usize, &Value)| {
        let at = at.item(position);
        let rule = at.record(item, &["attributePatterns", "locales"])?;
        let list = |name: &str| -> Result<Vec<String>, EngineError> {
            let value = rule.get(name).ok_or_else(|| at.missing_field(name))?;
            at.field(name).texts(value)
        };
        let location = format!(".localizedAttributes[{position}].locales");
        let locales = language::from_codes(&list("locales")?, at.code, &location)?;
        let attribute_patterns = AttributePatterns::from(list("attributePatterns")?);
        Ok(LocalizedAttributesRule {
            attribute_patterns,
            locales,
        })
    };
    at.list(value)?.iter().enumerate().map(rule).collect()
}
