//! Logical settings → what nodes are sent, and back.

use super::kept;
use super::read::{distinct_attribute, is_filterable, max_values_per_facet};
use super::template::{guard_embedders, reveal_embedders};
use super::{
    Settings, SettingsFacts, default_ranking_rules, filter_features, hide_part_secrets, view,
};
use crate::reserved::{
    DISTINCT_MARK, RESERVED_PREFIX, SEQ_FIELD, SEQ_RULE, SHARD_FIELD, is_reserved,
    is_reserved_character,
};
use serde_json::{Map, Value, json};

/// The facet limit on nodes for facets in alphabetical order. Up to 3,000 candidates a node sorts
/// numbers as text, above by value; a node in the first regime must cut nothing, or the merge of
/// the two orders would lack values. The default client limit of 100 would cut.
const ALPHA_FACET_VALUES: u64 = 3_000;
/// The facet limit on nodes as soon as some facet is sorted by count: the most frequent values of
/// all are not the most frequent ones of each node.
const COUNT_FACET_VALUES: u64 = 20_000;
/// And at least so many times what the client wants to see.
const COUNT_FACET_FACTOR: u64 = 10;

/// What to send to the nodes for a change: `patch` is what the client sent, `logical` the logical
/// settings after it. For a new replica pass `logical` as both, after [`initial_node_settings`].
///
/// Empty if the change concerns no node.
#[must_use]
pub fn to_node_settings(patch: &Settings, logical: &Settings, facts: &SettingsFacts) -> Settings {
    let mut sent = Map::new();
    for (name, value) in patch {
        if kept::is_kept(name) {
            sent.insert("faceting".to_owned(), faceting(logical, facts));
        }
        let (name, value) = match name.as_str() {
            // Miroir itself puts foreign documents in, for a node has only some of them, and holds the
            // chats. Older nodes know neither.
            "displayedAttributes" | "faceting" | "chat" | "foreignKeys" => continue,
            "filterableAttributes" | "distinctAttribute" => {
                ("filterableAttributes", filterable(logical, facts))
            }
            "rankingRules" => ("rankingRules", ranking(logical, facts)),
            "sortableAttributes" => ("sortableAttributes", sortable(logical, facts)),
            "nonSeparatorTokens" | "dictionary" if facts.has_shard_tag || facts.has_seq => {
                (name.as_str(), without_reserved_characters(value))
            }
            "embedders" if facts.has_shard_tag || facts.has_seq => (
                "embedders",
                guard_embedders(value, logical.get("embedders")),
            ),
            other => (other, value.clone()),
        };
        sent.insert(name.to_owned(), value);
    }
    sent
}

/// The settings that every index on a node has from its first moment.
#[must_use]
pub fn initial_node_settings(facts: &SettingsFacts) -> Settings {
    let nothing = Map::new();
    let mut initial = Map::new();
    initial.insert("displayedAttributes".to_owned(), json!(["*"]));
    initial.insert(
        "filterableAttributes".to_owned(),
        filterable(&nothing, facts),
    );
    initial.insert("sortableAttributes".to_owned(), sortable(&nothing, facts));
    initial.insert("rankingRules".to_owned(), ranking(&nothing, facts));
    initial.insert("faceting".to_owned(), faceting(&nothing, facts));
    initial
}

/// What a client sees of an index whose node shows `node`.
///
/// What Miroir changes on nodes is taken from the logical settings; all else is the node's answer,
/// so that what a node fills in (an embedder's dimensions, a newer version's settings) shows.
#[must_use]
pub fn from_node_settings(node: &Settings, logical: &Settings, facts: &SettingsFacts) -> Settings {
    let mut shown = node.clone();
    let logical_view = view(logical, facts);
    for name in [
        "displayedAttributes",
        "filterableAttributes",
        "sortableAttributes",
        "rankingRules",
        "distinctAttribute",
        "faceting",
        "nonSeparatorTokens",
        "dictionary",
        "foreignKeys",
    ] {
        if let Some(value) = logical_view.get(name) {
            shown.insert(name.to_owned(), value.clone());
        }
    }
    if let Some(embedders) = shown.get_mut("embedders") {
        reveal_embedders(embedders);
        // Nodes hide those of parts of embedders not.
        hide_part_secrets(embedders);
    }
    shown
}

/// The logical settings as a node's own tell them, for rebuilding a lost store. Secrets come back
/// hidden. Of an index whose settings were last sent by a version that kept nothing on nodes (see
/// `kept`), the displayed attributes and the facet limit cannot be told.
#[must_use]
pub fn recover_logical(node: &Settings, facts: &SettingsFacts) -> Settings {
    let mut logical = Map::new();
    let defaults = super::defaults(facts.legacy_ranking);
    for (name, value) in node {
        let value = match name.as_str() {
            "displayedAttributes" | "distinctAttribute" => continue,
            "filterableAttributes" => {
                let rules: Vec<&Value> = value.as_array().into_iter().flatten().collect();
                if let Some(attribute) = rules.iter().find_map(|rule| marked_distinct(rule)) {
                    logical
                        .entry("distinctAttribute")
                        .or_insert_with(|| Value::from(attribute));
                }
                rules
                    .into_iter()
                    .filter(|rule| !is_hidden_rule(rule))
                    .cloned()
                    .collect()
            }
            "sortableAttributes" => {
                let names = value.as_array().into_iter().flatten();
                names.filter(|name| *name != SEQ_FIELD).cloned().collect()
            }
            "rankingRules" => {
                let rules = value.as_array().into_iter().flatten();
                rules.filter(|rule| *rule != SEQ_RULE).cloned().collect()
            }
            "embedders" => {
                let mut embedders = value.clone();
                reveal_embedders(&mut embedders);
                embedders
            }
            "faceting" => {
                let orders = value.get("sortFacetValuesBy").and_then(Value::as_object);
                let mut orders = orders.cloned().unwrap_or_default();
                let mut kept = kept::take(&mut orders);
                let shown = kept.shift_remove("maxValuesPerFacet").unwrap_or(json!(100));
                logical.extend(kept);
                json!({ "maxValuesPerFacet": shown, "sortFacetValuesBy": orders })
            }
            _ => value.clone(),
        };
        if defaults.get(name) != Some(&value) {
            logical.insert(name.clone(), value);
        }
    }
    logical
}

/// The shard tag's rule, the distinct attribute's if the client's rules do not make it filterable,
/// then the client's.
///
/// The first rule that matches a field decides, so a client's wildcard behind cannot change the
/// tag's.
fn filterable(logical: &Settings, facts: &SettingsFacts) -> Value {
    let mut rules = Vec::new();
    if facts.has_shard_tag {
        // By its place in the insertion order a single document can be chosen.
        rules.push(hidden_rule(&[SHARD_FIELD, SEQ_FIELD], false));
    }
    if let Some(attribute) = distinct_attribute(logical)
        && !is_filterable(logical, attribute)
    {
        // The client's own rule may allow to search its values, and is never reached behind this.
        let own = filter_features(logical, attribute);
        let is_searchable = own.is_some_and(|(_, features)| features.facet_search);
        rules.push(hidden_rule(&[attribute, DISTINCT_MARK], is_searchable));
    }
    let clients = logical
        .get("filterableAttributes")
        .and_then(Value::as_array);
    rules.extend(clients.into_iter().flatten().cloned());
    Value::Array(rules)
}

/// A rule that allows `=` and `IN` and hardly anything else: it costs nodes the least.
fn hidden_rule(patterns: &[&str], is_searchable: bool) -> Value {
    json!({
        "attributePatterns": patterns,
        "features": { "facetSearch": is_searchable, "filter": { "equality": true, "comparison": false } },
    })
}

fn patterns_of(rule: &Value) -> impl Iterator<Item = &str> {
    let patterns = rule.get("attributePatterns").and_then(Value::as_array);
    patterns.into_iter().flatten().filter_map(Value::as_str)
}

fn is_hidden_rule(rule: &Value) -> bool {
    rule.as_str().is_some_and(is_reserved) || patterns_of(rule).any(is_reserved)
}

/// The distinct attribute that a hidden rule was made for.
fn marked_distinct(rule: &Value) -> Option<&str> {
    let is_marked = patterns_of(rule).any(|pattern| pattern == DISTINCT_MARK);
    let attribute = patterns_of(rule).find(|pattern| !pattern.starts_with(RESERVED_PREFIX))?;
    is_marked.then_some(attribute)
}

/// Always explicit, because a node's defaults depend on its version.
fn ranking(logical: &Settings, facts: &SettingsFacts) -> Value {
    let mut rules: Vec<Value> = match logical.get("rankingRules") {
        Some(Value::Array(rules)) => rules.clone(),
        _ => {
            let rules = default_ranking_rules(facts.legacy_ranking);
            rules.iter().copied().map(Value::from).collect()
        }
    };
    if facts.has_seq {
        rules.push(Value::from(SEQ_RULE));
    }
    Value::Array(rules)
}

/// The client's, and the sequence number: listings are sorted by it last, so that they come in one
/// order from every replica. As a ranking rule it is indexed for sorting anyway.
fn sortable(logical: &Settings, facts: &SettingsFacts) -> Value {
    let names = logical.get("sortableAttributes").and_then(Value::as_array);
    let mut names: Vec<Value> = names.into_iter().flatten().cloned().collect();
    if facts.has_seq {
        names.push(Value::from(SEQ_FIELD));
    }
    Value::Array(names)
}

fn faceting(logical: &Settings, facts: &SettingsFacts) -> Value {
    let mut faceting = view(logical, facts)
        .shift_remove("faceting")
        .unwrap_or(json!({}));
    let orders = faceting.get("sortFacetValuesBy").and_then(Value::as_object);
    let sorts_by_count = orders.is_some_and(|orders| orders.values().any(|order| order == "count"));
    let shown = max_values_per_facet(logical) as u64;
    let fetched = if sorts_by_count {
        COUNT_FACET_VALUES.max(shown.saturating_mul(COUNT_FACET_FACTOR))
    } else {
        ALPHA_FACET_VALUES.max(shown)
    };
    faceting["maxValuesPerFacet"] = Value::from(fetched);
    if let Some(Value::Object(orders)) = faceting.get_mut("sortFacetValuesBy") {
        kept::write(logical, orders);
    }
    faceting
}

/// A character of the tags that became part of words would make every document answer to it.
fn without_reserved_characters(tokens: &Value) -> Value {
    let Value::Array(tokens) = tokens else {
        return tokens.clone();
    };
    let is_reserved = |token: &&Value| {
        token.as_str().is_some_and(|text| {
            !text.is_empty()
                && text
                    .chars()
                    .all(|c| is_reserved_character(c.encode_utf8(&mut [0; 4])))
        })
    };
    tokens
        .iter()
        .filter(|token| !is_reserved(token))
        .cloned()
        .collect()
}
