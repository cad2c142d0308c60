//! What no setting of a node tells, kept there all the same, so that a lost store can be rebuilt from
//! the nodes: the displayed attributes, the distinct attribute, the facet limit, the foreign keys and
//! the setting `chat`, which nodes are given in another form or not at all.
//!
//! It is written as the name of a facet that no document has, among the orders of facets: a part of
//! the settings that nodes keep as it is, that costs them no work on documents, and that clients are
//! always shown from what they set. Nothing is written while all of it is at its default.

use super::Settings;
use crate::reserved::RESERVED_PREFIX;
use serde_json::{Map, Value, json};

/// What is kept, by where it stands in the logical settings.
const KEPT: [(&str, &str); 5] = [
    ("displayedAttributes", "/displayedAttributes"),
    ("distinctAttribute", "/distinctAttribute"),
    ("maxValuesPerFacet", "/faceting/maxValuesPerFacet"),
    ("foreignKeys", "/foreignKeys"),
    ("chat", "/chat"),
];

fn prefix() -> String {
    format!("{RESERVED_PREFIX}kept:")
}

/// A change of this setting changes what is kept.
pub(super) fn is_kept(setting: &str) -> bool {
    matches!(
        setting,
        "displayedAttributes" | "distinctAttribute" | "faceting" | "foreignKeys" | "chat"
    )
}

/// Writes what is kept among the orders of facets that a node is sent.
pub(super) fn write(logical: &Settings, orders: &mut Map<String, Value>) {
    let logical = Value::Object(logical.clone());
    let kept: Map<String, Value> = KEPT
        .iter()
        .filter_map(|(name, path)| Some(((*name).to_owned(), logical.pointer(path)?.clone())))
        .collect();
    if !kept.is_empty() {
        let name = format!("{}{}", prefix(), Value::Object(kept));
        orders.insert(name, json!("alpha"));
    }
}

/// Takes what is kept out of the orders of facets that a node shows.
pub(super) fn take(orders: &mut Map<String, Value>) -> Map<String, Value> {
    let prefix = prefix();
    let found = orders
        .keys()
        .find(|name| name.starts_with(&prefix))
        .cloned();
    let Some(name) = found else {
        return Map::new();
    };
    orders.shift_remove(&name);
    let text = name.get(prefix.len()..).unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

/// Takes the secrets out of recovered settings, which nodes show masked; returns where they belong,
/// as `embedders.{name}.apiKey`.
pub fn take_masked_secrets(logical: &mut Settings) -> Vec<String> {
    let mut found = Vec::new();
    let embedders = logical.get_mut("embedders").and_then(Value::as_object_mut);
    for (name, embedder) in embedders.into_iter().flatten() {
        for part in ["", "searchEmbedder", "indexingEmbedder"] {
            let holder = match part {
                "" => Some(&mut *embedder),
                part => embedder.get_mut(part),
            };
            let holder = holder.and_then(Value::as_object_mut);
            if holder.is_some_and(|holder| holder.shift_remove("apiKey").is_some()) {
                let dot = if part.is_empty() { "" } else { "." };
                found.push(format!("embedders.{name}.{part}{dot}apiKey"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_and_told_by_name() {
        let Value::Object(mut logical) = json!({"embedders": {
            "a": {"source": "rest", "apiKey": "XXX..."},
            "b": {"source": "composite", "searchEmbedder": {"apiKey": "XXX..."}},
            "c": {"source": "userProvided"},
        }}) else {
            unreachable!()
        };
        let found = take_masked_secrets(&mut logical);
        assert_eq!(
            found,
            ["embedders.a.apiKey", "embedders.b.searchEmbedder.apiKey"]
        );
        assert!(!Value::Object(logical).to_string().contains("apiKey"));
    }

    #[test]
    fn defaults_leave_no_trace_and_foreign_text_is_no_setting() {
        let mut orders = Map::new();
        write(&Map::new(), &mut orders);
        assert!(orders.is_empty());
        orders.insert(format!("{}no JSON", prefix()), json!("alpha"));
        assert!(take(&mut orders).is_empty() && orders.is_empty());
    }
}
