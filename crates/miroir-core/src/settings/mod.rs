//! Virtual settings: clients see what they set, nodes get more.
//!
//! The *logical* settings are what clients set, merged over time: a map without the keys that are
//! at their default. [`to_node_settings`] turns a change of them into what the nodes are sent;
//! [`from_node_settings`] turns what a node shows into what clients see; [`index_view`] and the
//! readers beside it tell a search what it must know.
//!
//! What nodes get differs in this:
//! - `filterableAttributes` begins with a rule for the shard tag, and holds the distinct attribute;
//! - `rankingRules` are always explicit (defaults differ by version) and end with the sequence;
//! - `displayedAttributes` stays `["*"]`: the merge needs fields that clients may not see;
//! - `distinctAttribute` stays unset: it cannot be switched off for one search, and the merge must
//!   see the hits it would hide;
//! - `faceting.maxValuesPerFacet` is larger, so that merged facets are right;
//! - templates of embedders that walk over all fields pass the reserved ones by;
//! - `faceting.sortFacetValuesBy` names one facet more, which no document has: it keeps what else a
//!   lost store could not be rebuilt with;
//! - `foreignKeys` stay here: a node would look for documents that other nodes hold;
//! - `nonSeparatorTokens` and `dictionary` leave out the characters that tags are written with.
//!
//! Settings that are not named here pass as they are, so a newer node's work too.

mod chat;
mod embedders;
mod features;
mod kept;
mod node;
mod read;
mod template;

pub use chat::{CHAT_TEMPLATE, ChatSetting, is_searchable};
pub use features::{FilterFeatures, facet_search_refusal, filter_features};
pub use kept::take_masked_secrets;
pub use node::{from_node_settings, initial_node_settings, recover_logical, to_node_settings};
pub use read::{
    allows_filtering, displayed_attributes, distinct_attribute, exact_embedders,
    filterable_patterns, has_embedders, index_view, is_filterable, is_geo_checked,
    is_geojson_checked, matches_pattern, max_total_hits, max_values_per_facet, ranking_rules,
    sort_facet_values_by,
};
pub use template::{guarded, guarded_value, revealed, revealed_value};

use serde_json::{Map, Value, json};

/// Settings as JSON, by their names in the API.
pub type Settings = Map<String, Value>;

/// What the settings of an index depend on beside themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingsFacts {
    /// The nodes are older than Meilisearch 1.36, which split the rule `attribute` in two.
    pub legacy_ranking: bool,
    /// Documents carry a shard tag; not so in an index of one shard.
    pub has_shard_tag: bool,
    /// Documents carry a sequence number.
    pub has_seq: bool,
}

impl Default for SettingsFacts {
    fn default() -> Self {
        Self {
            legacy_ranking: false,
            has_shard_tag: true,
            has_seq: true,
        }
    }
}

/// The default of every setting that Meilisearch 1.50 shows without experimental features, in its
/// order; with `legacy` those of a node before 1.36.
#[must_use]
pub fn defaults(legacy: bool) -> Settings {
    let rules = default_ranking_rules(legacy);
    let defaults = json!({
        "displayedAttributes": ["*"],
        "searchableAttributes": ["*"],
        "filterableAttributes": [],
        "sortableAttributes": [],
        "rankingRules": rules,
        "stopWords": [],
        "nonSeparatorTokens": [],
        "separatorTokens": [],
        "dictionary": [],
        "synonyms": {},
        "distinctAttribute": null,
        "proximityPrecision": "byWord",
        "typoTolerance": {
            "enabled": true,
            "minWordSizeForTypos": { "oneTypo": 5, "twoTypos": 9 },
            "disableOnWords": [],
            "disableOnAttributes": [],
            "disableOnNumbers": false,
        },
        "faceting": { "maxValuesPerFacet": 100, "sortFacetValuesBy": { "*": "alpha" } },
        "pagination": { "maxTotalHits": 1000 },
        "embedders": {},
        "searchCutoffMs": null,
        "localizedAttributes": null,
        "facetSearch": true,
        "prefixSearch": "indexingTime",
    });
    match defaults {
        Value::Object(defaults) => defaults,
        _ => Map::new(),
    }
}

/// The ranking rules of an index that sets none.
#[must_use]
pub fn default_ranking_rules(legacy: bool) -> &'static [&'static str] {
    if legacy {
        &[
            "words",
            "typo",
            "proximity",
            "attribute",
            "sort",
            "exactness",
        ]
    } else {
        &[
            "words",
            "typo",
            "proximity",
            "attributeRank",
            "sort",
            "wordPosition",
            "exactness",
        ]
    }
}

/// The logical settings after a change: `null` resets, what is absent stays; the settings made of
/// parts (`typoTolerance`, `faceting`, `pagination`, `embedders`, `chat`) are merged part by part.
///
/// ```
/// use miroir_core::settings::merge_patch;
/// use serde_json::json;
/// let map = |value: serde_json::Value| value.as_object().cloned().unwrap();
/// let stored = map(json!({"stopWords": ["a"], "typoTolerance": {"enabled": false}}));
/// let patch = map(json!({"stopWords": null, "typoTolerance": {"disableOnNumbers": true}}));
/// let merged = map(json!({"typoTolerance": {"enabled": false, "disableOnNumbers": true}}));
/// assert_eq!(merge_patch(&stored, &patch), merged);
/// ```
#[must_use]
pub fn merge_patch(stored: &Settings, patch: &Settings) -> Settings {
    let mut merged = stored.clone();
    for (name, value) in patch {
        let mut value = match name.as_str() {
            "typoTolerance" | "faceting" | "pagination" | "chat" => merge_parts(
                merged.get(name),
                value,
                &["minWordSizeForTypos", "searchParameters"],
            ),
            "embedders" => embedders::merge_embedders(merged.get(name), value),
            _ => value.clone(),
        };
        canonicalize(name, &mut value);
        let is_default = value.is_null()
            || (name != "synonyms" && value.as_object().is_some_and(Map::is_empty))
            || (name == "foreignKeys" && value.as_array().is_some_and(Vec::is_empty));
        if is_default {
            merged.shift_remove(name);
        } else {
            merged.insert(name.clone(), value);
        }
    }
    merged
}

/// Merges one level of parts, and those named in `deep` one level further.
fn merge_parts(stored: Option<&Value>, patch: &Value, deep: &[&str]) -> Value {
    let Value::Object(patch) = patch else {
        return patch.clone();
    };
    let mut merged = stored
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for (name, value) in patch {
        let value = if deep.contains(&name.as_str()) {
            merge_parts(merged.get(name), value, &[])
        } else {
            value.clone()
        };
        if value.is_null() {
            merged.shift_remove(name);
        } else {
            merged.insert(name.clone(), value);
        }
    }
    Value::Object(merged)
}

/// Brings a value into the form in which Meilisearch shows it: sets are sorted, lists name nothing
/// twice, a wildcard stands alone, features are spelled out.
fn canonicalize(name: &str, value: &mut Value) {
    match name {
        "sortableAttributes" | "stopWords" | "separatorTokens" | "nonSeparatorTokens"
        | "dictionary" => sort_set(value),
        "displayedAttributes" | "searchableAttributes" => {
            let Value::Array(names) = value else { return };
            if names.iter().any(|name| name == "*") {
                *names = vec![Value::from("*")];
            }
            let mut seen: Vec<Value> = Vec::with_capacity(names.len());
            for name in names.drain(..) {
                if !seen.contains(&name) {
                    seen.push(name);
                }
            }
            *names = seen;
        }
        "filterableAttributes" => {
            let Value::Array(rules) = value else { return };
            rules.iter_mut().for_each(spell_out_features);
        }
        "typoTolerance" => {
            for part in ["disableOnWords", "disableOnAttributes"] {
                if let Some(set) = value.get_mut(part) {
                    sort_set(set);
                }
            }
        }
        "synonyms" => {
            if let Value::Object(words) = value {
                words.sort_keys();
            }
        }
        _ => {}
    }
}

fn sort_set(value: &mut Value) {
    let Value::Array(items) = value else { return };
    items.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    items.dedup();
}

fn spell_out_features(rule: &mut Value) {
    let Value::Object(parts) = rule else { return };
    let features = parts.get("features");
    let feature = |path: &str| {
        features
            .and_then(|f| f.pointer(path))
            .and_then(Value::as_bool)
    };
    let features = json!({
        "facetSearch": feature("/facetSearch").unwrap_or(false),
        "filter": {
            "equality": feature("/filter/equality").unwrap_or(true),
            "comparison": feature("/filter/comparison").unwrap_or(false),
        },
    });
    parts.insert("features".to_owned(), features);
}

/// The settings as a client sees them: the defaults with the logical settings over them, secrets
/// hidden.
#[must_use]
pub fn view(logical: &Settings, facts: &SettingsFacts) -> Settings {
    let mut shown = defaults(facts.legacy_ranking);
    for (name, value) in logical {
        let mut value = match shown.get(name) {
            Some(default) if matches!(name.as_str(), "typoTolerance" | "pagination") => {
                merge_parts(Some(default), value, &["minWordSizeForTypos"])
            }
            Some(default) if name == "faceting" => show_faceting(default, value),
            _ => value.clone(),
        };
        if name == "embedders" {
            hide_secrets(&mut value);
        }
        shown.insert(name.clone(), value);
    }
    shown
}

/// Facet orders are shown with the one of all other facets in front, then by name.
fn show_faceting(default: &Value, value: &Value) -> Value {
    let mut shown = merge_parts(Some(default), value, &[]);
    let orders = shown
        .get_mut("sortFacetValuesBy")
        .and_then(Value::as_object_mut);
    if let Some(orders) = orders {
        orders.entry("*").or_insert_with(|| Value::from("alpha"));
        orders.sort_keys();
    }
    shown
}

/// Hides the API keys of embedders as Meilisearch does: of a longer one some characters stay.
pub fn hide_secrets(embedders: &mut Value) {
    let Value::Object(embedders) = embedders else {
        return;
    };
    embedders.values_mut().for_each(hide_secret_of);
    for embedder in embedders.values_mut() {
        hide_secrets_of_parts(embedder);
    }
}

/// As [`hide_secrets`], of embedders that hide their own.
fn hide_part_secrets(embedders: &mut Value) {
    if let Value::Object(embedders) = embedders {
        embedders.values_mut().for_each(hide_secrets_of_parts);
    }
}

fn hide_secrets_of_parts(embedder: &mut Value) {
    for part in [embedders::SEARCH_PART, embedders::INDEXING_PART] {
        if let Some(part) = embedder.get_mut(part) {
            hide_secret_of(part);
        }
    }
}

fn hide_secret_of(embedder: &mut Value) {
    if let Some(Value::String(secret)) = embedder.get_mut("apiKey") {
        hide_secret(secret);
    }
}

/// Hides a secret: of a longer one some characters stay.
pub fn hide_secret(secret: &mut String) {
    let (kept, mask) = match secret.len() {
        0..10 => (0, "XXX..."),
        10..20 => (2, "XXXX..."),
        20..30 => (3, "XXXXX..."),
        _ => (5, "XXXXXX..."),
    };
    secret.truncate(secret.ceil_char_boundary(kept));
    secret.push_str(mask);
}

#[cfg(test)]
mod tests;
