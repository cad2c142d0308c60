//! Embedders after a change, merged as a node merges them.
//!
//! A node shows its embedders itself, so what is merged here is shown to nobody. It decides what a
//! node is sent: which template is in force (see [`template`](super::template)), and all of it when
//! an index is built anew on another node. Where nodes refuse a change the record is left alone.

use serde_json::{Map, Value};

/// The parts of an embedder that depend on its source: another source begins without them.
const OF_SOURCE: &[&str] = &[
    "model",
    "revision",
    "pooling",
    "dimensions",
    "url",
    "indexingFragments",
    "searchFragments",
    "request",
    "response",
    "headers",
    "searchEmbedder",
    "indexingEmbedder",
];
const TEMPLATE: &str = "documentTemplate";
pub(super) const TEMPLATE_BYTES: &str = "documentTemplateMaxBytes";
/// The fragments of an embedder: named pieces of what it is asked with.
pub(super) const FRAGMENTS: [&str; 2] = ["indexingFragments", "searchFragments"];
/// The part that embeds searches. It replaces the one before as a whole.
pub(super) const SEARCH_PART: &str = "searchEmbedder";
/// The part that embeds documents.
pub(super) const INDEXING_PART: &str = "indexingEmbedder";

/// All embedders after `patch`; a `null` one goes.
pub(super) fn merge_embedders(stored: Option<&Value>, patch: &Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch.clone();
    };
    let mut merged = stored
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for (name, value) in patch {
        match value {
            Value::Object(change) => {
                let before = merged.get(name).and_then(Value::as_object);
                let embedder = merge_embedder(before.cloned().unwrap_or_default(), change);
                merged.insert(name.clone(), Value::Object(embedder));
            }
            Value::Null => drop(merged.shift_remove(name)),
            other => drop(merged.insert(name.clone(), other.clone())),
        }
    }
    Value::Object(merged)
}

fn merge_embedder(
    mut merged: Map<String, Value>,
    change: &Map<String, Value>,
) -> Map<String, Value> {
    let new = change.get("source").filter(|source| !source.is_null());
    if let (Some(old), Some(new)) = (merged.get("source"), new)
        && old != new
    {
        for name in OF_SOURCE {
            merged.shift_remove(*name);
        }
        // The others render documents too, by the template that is there.
        if matches!(new.as_str(), Some("userProvided" | "composite")) {
            merged.shift_remove(TEMPLATE);
            merged.shift_remove(TEMPLATE_BYTES);
        }
    }
    for (name, value) in change {
        let before = merged.get(name);
        let value = match (name.as_str(), value) {
            (INDEXING_PART, Value::Object(change)) => {
                let before = before.and_then(Value::as_object);
                Value::Object(merge_embedder(before.cloned().unwrap_or_default(), change))
            }
            // It cannot be taken away.
            (INDEXING_PART, Value::Null) => continue,
            (SEARCH_PART, Value::Object(change)) => {
                Value::Object(merge_embedder(Map::new(), change))
            }
            (name, Value::Object(change)) if FRAGMENTS.contains(&name) => {
                merge_fragments(before, change)
            }
            // As if it were not set, but not to be sent with a template.
            (TEMPLATE_BYTES, value) if value.as_u64() == Some(0) => Value::Null,
            _ => value.clone(),
        };
        if value.is_null() {
            merged.shift_remove(name);
        } else {
            merged.insert(name.clone(), value);
        }
    }
    if has_fragments(&merged) {
        merged.shift_remove(TEMPLATE);
        merged.shift_remove(TEMPLATE_BYTES);
    }
    merged
}

/// Fragments by name; a `null` one goes, and where none is left there is no such setting.
fn merge_fragments(before: Option<&Value>, change: &Map<String, Value>) -> Value {
    let mut merged = before
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for (name, fragment) in change {
        if fragment.is_null() {
            merged.shift_remove(name);
        } else {
            merged.insert(name.clone(), fragment.clone());
        }
    }
    if merged.is_empty() {
        Value::Null
    } else {
        Value::Object(merged)
    }
}

/// Whether what is embedded is made of fragments, and no document template is used.
pub(super) fn has_fragments(embedder: &Map<String, Value>) -> bool {
    FRAGMENTS.iter().any(|name| {
        let fragments = embedder.get(*name).and_then(Value::as_object);
        fragments.is_some_and(|fragments| !fragments.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn after(changes: &[Value]) -> Value {
        let merged = changes.iter().fold(json!({}), |stored, change| {
            merge_embedders(Some(&stored), &json!({ "e": change }))
        });
        merged["e"].clone()
    }

    #[test]
    fn another_source_keeps_what_does_not_depend_on_it() {
        let open = json!({
            "source": "openAi", "model": "m", "apiKey": "k", "documentTemplate": "t",
            "distribution": {"mean": 0.5, "sigma": 0.1}, "dimensions": 3,
        });
        let rest = json!({"source": "rest", "url": "u"});
        assert_eq!(
            after(&[open.clone(), rest]),
            json!({
                "source": "rest", "apiKey": "k", "documentTemplate": "t", "url": "u",
                "distribution": {"mean": 0.5, "sigma": 0.1},
            })
        );
        let manual = json!({"source": "userProvided", "dimensions": 2});
        assert_eq!(
            after(&[open, manual]),
            json!({
                "source": "userProvided", "apiKey": "k", "dimensions": 2,
                "distribution": {"mean": 0.5, "sigma": 0.1},
            })
        );
    }

    #[test]
    fn fragments_are_merged_by_name_and_take_the_place_of_a_template() {
        let first = json!({"source": "rest", "documentTemplate": "t", "url": "u"});
        let parts = json!({
            "indexingFragments": {"a": {"value": 1}, "b": {"value": 2}},
            "searchFragments": {"s": {"value": 3}},
        });
        let change = json!({"indexingFragments": {"a": null, "c": {"value": 4}}});
        assert_eq!(
            after(&[first.clone(), parts.clone(), change]),
            json!({
                "source": "rest", "url": "u", "searchFragments": {"s": {"value": 3}},
                "indexingFragments": {"b": {"value": 2}, "c": {"value": 4}},
            })
        );
        let none = json!({
            "indexingFragments": {"a": null, "b": null}, "searchFragments": null,
        });
        assert_eq!(
            after(&[first, parts, none]),
            json!({"source": "rest", "url": "u"})
        );
    }

    #[test]
    fn the_part_that_embeds_documents_is_merged_and_that_of_searches_replaced() {
        let whole = json!({
            "source": "composite",
            "searchEmbedder": {"source": "rest", "url": "s", "headers": {"a": "b"}},
            "indexingEmbedder": {"source": "rest", "url": "i", "documentTemplate": "t"},
        });
        let change = json!({
            "searchEmbedder": {"source": "rest", "url": "s2"},
            "indexingEmbedder": {"source": "rest", "url": "i2"},
        });
        let expected = json!({
            "source": "composite",
            "searchEmbedder": {"source": "rest", "url": "s2"},
            "indexingEmbedder": {"source": "rest", "url": "i2", "documentTemplate": "t"},
        });
        assert_eq!(after(&[whole.clone(), change]), expected);
        assert_eq!(
            after(&[whole.clone(), json!({"indexingEmbedder": null})]),
            whole
        );
        assert_eq!(
            merge_embedders(Some(&json!({"e": {}})), &json!({"e": null})),
            json!({})
        );
    }
}
