//! `distinct`: of the hits that share a value, only the first is shown.
//!
//! Each node has already done this among its own documents. A hit is kept if none of its values
//! was taken by a kept hit; only kept hits take values; a hit without a value is always kept.
//! Exact for fields with one value. For arrays a hit that loses here may have hidden others on its
//! node, so fewer hits than one node's may be shown.
//!
//! A hit that is not kept is no candidate of the whole: it is taken out of the total and of the
//! facets, which are sums over the nodes. So both are exact where the lists that came hold all
//! candidates that the nodes kept; else they are estimates, as one node's are.

use super::facet::{canonical_number, normalize_facet};
use super::hit::Hit;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// The values that kept hits have taken.
#[derive(Debug)]
pub(super) struct Taken<'p> {
    field: &'p str,
    values: HashSet<FacetValue>,
}

/// A value of a field, as facets compare it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum FacetValue {
    /// The one text that stands for the number.
    Number(String),
    /// Normalised.
    Text(String),
}

impl<'p> Taken<'p> {
    pub(super) fn new(field: &'p str) -> Self {
        Self {
            field,
            values: HashSet::new(),
        }
    }

    /// Whether the hit is kept; if so it takes its values.
    pub(super) fn take(&mut self, hit: &Hit<'_>) -> bool {
        let values = values_of(hit, self.field);
        if values.iter().any(|value| self.values.contains(value)) {
            return false;
        }
        self.values.extend(values);
        true
    }
}

/// The hit's values of a field, as facets see them.
pub(super) fn values_of(hit: &Hit<'_>, field: &str) -> Vec<FacetValue> {
    let mut values = Vec::new();
    for (name, raw) in hit.members() {
        let Some(rest) = rest_of_path(field, name) else {
            continue;
        };
        // Deeper than the JSON reader goes: no value, as for any object.
        if let Ok(value) = serde_json::from_str::<Value>(raw.get()) {
            collect_within(&value, rest, &mut values);
        }
    }
    values
}

/// The texts of a document's field, as they are written.
pub(super) fn texts_of(document: &Map<String, Value>, field: &str) -> Vec<String> {
    fn collect(value: &Value, path: &str, texts: &mut Vec<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| collect(item, path, texts)),
            Value::String(text) if path.is_empty() => texts.push(text.clone()),
            Value::Bool(value) if path.is_empty() => texts.push(value.to_string()),
            Value::Object(members) if !path.is_empty() => {
                for (name, value) in members {
                    if let Some(rest) = rest_of_path(path, name) {
                        collect(value, rest, texts);
                    }
                }
            }
            _ => {}
        }
    }
    let mut texts = Vec::new();
    for (name, value) in document {
        if let Some(rest) = rest_of_path(field, name) {
            collect(value, rest, &mut texts);
        }
    }
    texts
}

/// What is left of the path `field` inside member `name`; empty if the member is the field.
fn rest_of_path<'f>(field: &'f str, name: &str) -> Option<&'f str> {
    let rest = field.strip_prefix(name)?;
    if rest.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix('.')
    }
}

fn collect_within(value: &Value, path: &str, values: &mut Vec<FacetValue>) {
    match value {
        _ if path.is_empty() => collect_values(value, values),
        Value::Object(members) => {
            for (name, value) in members {
                if let Some(rest) = rest_of_path(path, name) {
                    collect_within(value, rest, values);
                }
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| collect_within(item, path, values)),
        _ => {}
    }
}

fn collect_values(value: &Value, values: &mut Vec<FacetValue>) {
    match value {
        Value::Bool(value) => values.push(FacetValue::Text(value.to_string())),
        Value::Number(number) => {
            // The two zeroes are one value here (observed).
            let number = number
                .as_f64()
                .map(|number| if number == 0.0 { 0.0 } else { number });
            values.extend(number.map(|number| FacetValue::Number(canonical_number(number))));
        }
        Value::String(text) if !text.is_empty() => {
            values.push(FacetValue::Text(normalize_facet(text)));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_values(item, values)),
        Value::String(_) | Value::Null | Value::Object(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use serde_json::value::RawValue;

    fn kept(field: &str, documents: &[Value]) -> Vec<usize> {
        let mut taken = Taken::new(field);
        let is_kept = |document: &Value| {
            let mut document = document.clone();
            document["_rankingScoreDetails"] = json!({});
            let raw = RawValue::from_string(document.to_string()).unwrap();
            taken.take(&Hit::parse(&raw, 0).unwrap())
        };
        let kept: Vec<_> = documents.iter().map(is_kept).collect();
        (0..documents.len()).filter(|i| kept[*i]).collect()
    }

    #[test]
    fn the_first_hit_of_each_normalised_value_is_kept() {
        let documents = [
            json!({"c": "Web"}),
            json!({"c": " web "}),
            json!({"c": 5}),
            json!({"c": 5.0}),
            json!({"c": "5"}),
            json!({"c": true}),
            json!({"c": "TRUE"}),
            json!({"c": 0.0}),
            json!({"c": -0.0}),
        ];
        assert_eq!(kept("c", &documents), [0, 2, 4, 5, 7]);
    }

    #[test]
    fn hits_without_a_value_are_all_kept() {
        let documents = [
            json!({}),
            json!({"c": null}),
            json!({"c": ""}),
            json!({"c": []}),
            json!({"c": {}}),
        ];
        assert_eq!(kept("c", &documents), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn only_kept_hits_take_values_and_arrays_take_all_of_theirs() {
        let documents = [
            json!({"c": ["a", "b"]}),
            json!({"c": ["b", "d"]}),
            json!({"c": "d"}),
            json!({"c": "a"}),
        ];
        assert_eq!(kept("c", &documents), [0, 2]);
    }

    #[test]
    fn nested_fields_are_found_through_objects_and_arrays() {
        let documents = [
            json!({"a": {"b": 1}}),
            json!({"a": [{"b": 1}]}),
            json!({"a.b": 1}),
            json!({"a": {"c": 1}}),
            json!({"ab": 1}),
        ];
        assert_eq!(kept("a.b", &documents), [0, 3, 4]);
    }
}
