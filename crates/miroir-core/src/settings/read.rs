//! Reading logical settings: what a search or a check of documents needs of them.
//!
//! A value of the wrong type counts as not set: settings are checked at the edge before they are
//! stored.

use super::{Settings, default_ranking_rules};
use crate::merge::{FacetOrder, IndexView};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The displayed attributes; `None` when all are.
#[must_use]
pub fn displayed_attributes(logical: &Settings) -> Option<Vec<String>> {
    let names = texts(logical.get("displayedAttributes"))?;
    (!names.iter().any(|name| name == "*")).then_some(names)
}

/// The attribute of which hits show each value once.
#[must_use]
pub fn distinct_attribute(logical: &Settings) -> Option<&str> {
    logical.get("distinctAttribute").and_then(Value::as_str)
}

/// The ranking rules, set or by default, without the hidden last one.
#[must_use]
pub fn ranking_rules(logical: &Settings, legacy: bool) -> Vec<String> {
    let rules = default_ranking_rules(legacy);
    texts(logical.get("rankingRules"))
        .unwrap_or_else(|| rules.iter().copied().map(str::to_owned).collect())
}

/// The deepest rank that a page can show.
#[must_use]
pub fn max_total_hits(logical: &Settings) -> usize {
    number(logical, "/pagination/maxTotalHits").unwrap_or(1000)
}

/// The most values shown for one facet.
#[must_use]
pub fn max_values_per_facet(logical: &Settings) -> usize {
    number(logical, "/faceting/maxValuesPerFacet").unwrap_or(100)
}

/// The order of the values by facet; `*` is that of all others.
#[must_use]
pub fn sort_facet_values_by(logical: &Settings) -> BTreeMap<String, FacetOrder> {
    let mut orders = BTreeMap::from([("*".to_owned(), FacetOrder::Alpha)]);
    let set = logical
        .get("faceting")
        .and_then(|f| f.get("sortFacetValuesBy"));
    for (facet, order) in set.and_then(Value::as_object).into_iter().flatten() {
        let order = if order == "count" {
            FacetOrder::Count
        } else {
            FacetOrder::Alpha
        };
        orders.insert(facet.clone(), order);
    }
    orders
}

/// The patterns of all attributes that may be filtered in some way, in the order of the rules.
#[must_use]
pub fn filterable_patterns(logical: &Settings) -> Vec<String> {
    let rules = logical
        .get("filterableAttributes")
        .and_then(Value::as_array);
    let of_rule = |rule: &Value| match rule {
        Value::String(name) => vec![name.clone()],
        _ => texts(rule.get("attributePatterns")).unwrap_or_default(),
    };
    rules
        .into_iter()
        .flatten()
        .filter(|rule| allows_filtering(rule))
        .flat_map(of_rule)
        .collect()
}

/// Whether what a rule of `filterableAttributes` covers may be filtered in any way.
#[must_use]
pub fn allows_filtering(rule: &Value) -> bool {
    let allows = |path: &str, default: bool| {
        rule.pointer(path)
            .and_then(Value::as_bool)
            .unwrap_or(default)
    };
    rule.is_string()
        || allows("/features/filter/equality", true)
        || allows("/features/filter/comparison", false)
}

/// Whether the rules let a field be filtered in any way: the first rule that matches decides.
#[must_use]
pub fn is_filterable(logical: &Settings, field: &str) -> bool {
    let rules = logical
        .get("filterableAttributes")
        .and_then(Value::as_array);
    for rule in rules.into_iter().flatten() {
        if let Value::String(name) = rule {
            if is_field_or_below(name, field) {
                return true;
            }
            continue;
        }
        let patterns = texts(rule.get("attributePatterns")).unwrap_or_default();
        if patterns
            .iter()
            .any(|pattern| matches_pattern(pattern, field))
        {
            return allows_filtering(rule);
        }
    }
    false
}

/// Whether `field` is `name` or nested in it: `a` stands for `a.b` too.
pub(super) fn is_field_or_below(name: &str, field: &str) -> bool {
    field
        .strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether an attribute pattern matches a field: equal, or with `*` at its start, its end or both.
///
/// ```
/// use miroir_core::settings::matches_pattern;
/// assert!(matches_pattern("*_date", "end_date") && matches_pattern("user.*", "user.name"));
/// assert!(!matches_pattern("user", "user.name"));
/// ```
#[must_use]
pub fn matches_pattern(pattern: &str, field: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(""), _) => true,
        (Some(tail), Some(_)) => field.contains(&tail[..tail.len() - 1]),
        (Some(tail), None) => field.ends_with(tail),
        (None, Some(head)) => field.starts_with(head),
        (None, None) => pattern == field,
    }
}

/// Whether documents must hold a sound `_geo`: it is filterable by its plain name, or sortable.
#[must_use]
pub fn is_geo_checked(logical: &Settings) -> bool {
    has_text(logical.get("filterableAttributes"), "_geo")
        || has_text(logical.get("sortableAttributes"), "_geo")
}

/// Whether documents must hold a sound `_geojson`.
#[must_use]
pub fn is_geojson_checked(logical: &Settings) -> bool {
    has_text(logical.get("filterableAttributes"), "_geojson")
}

/// Whether the index has an embedder.
#[must_use]
pub fn has_embedders(logical: &Settings) -> bool {
    logical
        .get("embedders")
        .and_then(Value::as_object)
        .is_some_and(|e| !e.is_empty())
}

/// The embedders whose vectors every node shows as it was given them, to the bits that it keeps. Of
/// binary quantised ones nodes of different versions show signs differently.
#[must_use]
pub fn exact_embedders(logical: &Settings) -> BTreeSet<String> {
    let embedders = logical.get("embedders").and_then(Value::as_object);
    let is_exact = |embedder: &Value| {
        embedder.is_object() && embedder.get("binaryQuantized") != Some(&true.into())
    };
    let exact = embedders.into_iter().flatten();
    exact
        .filter(|(_, embedder)| is_exact(embedder))
        .map(|(name, _)| name.clone())
        .collect()
}

/// What the merge must know of an index. The names, the primary key and the node's way to count
/// are not settings and are left for the caller to fill in.
#[must_use]
pub fn index_view(logical: &Settings) -> IndexView {
    IndexView {
        displayed: displayed_attributes(logical),
        max_total_hits: max_total_hits(logical),
        max_values_per_facet: max_values_per_facet(logical),
        sort_facet_values_by: sort_facet_values_by(logical),
        filterable: filterable_patterns(logical),
        distinct_attribute: distinct_attribute(logical).map(str::to_owned),
        ranks_by_fields: texts(logical.get("rankingRules"))
            .is_some_and(|rules| rules.iter().any(|rule| rule.contains(':'))),
        stop_words: stop_words(logical),
        ..IndexView::default()
    }
}

/// Rules that rank by words; before the first of them a node counts the words that match.
const WORD_RULES: &[&str] = &[
    "words",
    "typo",
    "proximity",
    "attribute",
    "attributeRank",
    "wordPosition",
    "exactness",
];

/// The stop words in small letters; `None` where words are told apart in a way of the client's or
/// do not count first.
fn stop_words(logical: &Settings) -> Option<BTreeSet<String>> {
    let is_set = |name: &&str| texts(logical.get(*name)).is_some_and(|texts| !texts.is_empty());
    let tokenizing = ["dictionary", "separatorTokens", "nonSeparatorTokens"];
    let first_rule = texts(logical.get("rankingRules")).and_then(|r| r.into_iter().next());
    let is_plain = first_rule.is_none_or(|rule| WORD_RULES.contains(&rule.as_str()));
    (is_plain && !tokenizing.iter().any(is_set)).then(|| {
        let words = texts(logical.get("stopWords")).unwrap_or_default();
        words.iter().map(|word| word.to_lowercase()).collect()
    })
}

fn texts(value: Option<&Value>) -> Option<Vec<String>> {
    let items = value?.as_array()?;
    Some(
        items
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
    )
}

fn has_text(list: Option<&Value>, text: &str) -> bool {
    list.and_then(Value::as_array)
        .is_some_and(|items| items.iter().any(|item| item == text))
}

fn number(logical: &Settings, path: &str) -> Option<usize> {
    let (setting, part) = path.strip_prefix('/')?.split_once('/')?;
    let number = logical.get(setting)?.get(part)?.as_u64()?;
    usize::try_from(number).ok()
}
