//! The fields of an index: the union of what the nodes of a cover know, as the client set them up.
//!
//! What a node says of a field is right but for what Miroir sets differently there: everything is
//! displayed, nothing is distinct, and a hidden rule may make the distinct attribute filterable.

use super::answer::{AnswerFault, MergeError};
use super::attribute::{is_within, matches_pattern};
use crate::reserved::is_reserved;
use crate::settings::{Settings, displayed_attributes, distinct_attribute, filter_features};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Which fields are listed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FieldsRequest {
    /// Fields to skip.
    pub offset: usize,
    /// Fields to show at most.
    pub limit: usize,
    /// Only fields that match one of these.
    pub patterns: Option<Vec<String>>,
    /// Only fields whose capability of this name is on, or off.
    pub capabilities: Vec<(String, bool)>,
}

#[derive(Deserialize)]
struct Wire {
    results: Vec<Map<String, Value>>,
}

/// The whole JSON body `{results, offset, limit, total}`, fields by name.
///
/// # Errors
/// [`MergeError`] with the position of the first answer that cannot be read.
///
/// ```
/// use miroir_core::merge::{FieldsRequest, merge_fields};
///
/// let node = br#"{"results":[{"name":"id"},{"name":"_miroir_shard"}],"total":2}"#.as_slice();
/// let request = FieldsRequest { limit: 9, ..FieldsRequest::default() };
/// let listing = merge_fields(&[node, node], &serde_json::Map::new(), &request).unwrap();
/// assert_eq!(listing["total"], 1);
/// assert_eq!(listing["results"][0]["displayed"]["enabled"], true);
/// ```
pub fn merge_fields(
    answers: &[&[u8]],
    logical: &Settings,
    request: &FieldsRequest,
) -> Result<Value, MergeError> {
    let mut fields: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (node, body) in answers.iter().enumerate() {
        let wire: Wire = serde_json::from_slice(body).map_err(|error| MergeError {
            node,
            fault: AnswerFault::Json(error),
        })?;
        for field in wire.results {
            let name = field.get("name").and_then(Value::as_str).map(str::to_owned);
            if let Some(name) = name.filter(|name| !is_reserved(name)) {
                fields.entry(name).or_insert(field);
            }
        }
    }
    let displayed = displayed_attributes(logical);
    let distinct = distinct_attribute(logical);
    for (name, field) in &mut fields {
        let lies_within = |names: &[String]| names.iter().any(|root| is_within(name, root));
        let is_displayed = displayed.as_deref().is_none_or(lies_within);
        let is_distinct = distinct.is_some_and(|root| is_within(name, root));
        put(field, "displayed", "enabled", is_displayed);
        put(field, "distinct", "enabled", is_distinct);
        if is_distinct {
            let features = filter_features(logical, name).unwrap_or_default().1;
            put(field, "filterable", "enabled", features.is_any());
            put(field, "filterable", "facetSearch", features.facet_search);
            put(field, "filterable", "equality", features.equality);
            put(field, "filterable", "comparison", features.comparison);
        }
    }
    fields.retain(|name, field| request.wants(name, field));
    let total = fields.len();
    let shown: Vec<_> = fields
        .into_values()
        .skip(request.offset)
        .take(request.limit)
        .collect();
    Ok(json!({
        "results": shown, "offset": request.offset, "limit": request.limit, "total": total,
    }))
}

fn put(field: &mut Map<String, Value>, group: &str, name: &str, is_on: bool) {
    let group = field.entry(group).or_insert_with(|| json!({}));
    if let Value::Object(group) = group {
        group.insert(name.to_owned(), is_on.into());
    }
}

impl FieldsRequest {
    fn wants(&self, name: &str, field: &Map<String, Value>) -> bool {
        let is_on = |capability: &str| {
            let enabled = field.get(capability).and_then(|group| group.get("enabled"));
            enabled == Some(&Value::Bool(true))
        };
        let patterns = self.patterns.as_deref();
        patterns.is_none_or(|all| all.iter().any(|pattern| matches_pattern(pattern, name)))
            && self
                .capabilities
                .iter()
                .all(|(capability, wanted)| is_on(capability) == *wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(names: &[&str]) -> String {
        let results: Vec<Value> = names
            .iter()
            .map(|name| {
                json!({
                    "name": name, "displayed": {"enabled": true}, "distinct": {"enabled": false},
                    "filterable": {
                        "enabled": true, "sortBy": "alpha", "facetSearch": false,
                        "equality": true, "comparison": false
                    },
                })
            })
            .collect();
        json!({"results": results, "total": names.len()}).to_string()
    }

    fn listed(nodes: &[String], settings: &Value, request: &FieldsRequest) -> Value {
        let bodies: Vec<&[u8]> = nodes.iter().map(String::as_bytes).collect();
        merge_fields(&bodies, settings.as_object().unwrap(), request).unwrap()
    }

    fn names(listing: &Value) -> Vec<&str> {
        let results = listing["results"].as_array().unwrap();
        results
            .iter()
            .map(|f| f["name"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn the_fields_of_all_nodes_are_listed_once_by_name_without_the_reserved_ones() {
        let nodes = [node(&["id", "_miroir_seq", "b"]), node(&["a", "id"])];
        let request = FieldsRequest {
            limit: 9,
            ..FieldsRequest::default()
        };
        let listing = listed(&nodes, &json!({}), &request);
        assert_eq!(names(&listing), ["a", "b", "id"]);
        assert_eq!(listing["total"], 3);
        let second = FieldsRequest {
            offset: 1,
            limit: 1,
            ..FieldsRequest::default()
        };
        let listing = listed(&nodes, &json!({}), &second);
        assert_eq!((names(&listing), &listing["total"]), (vec!["b"], &json!(3)));
    }

    #[test]
    fn what_miroir_sets_differently_on_nodes_is_shown_as_the_client_set_it() {
        let settings = json!({"displayedAttributes": ["id", "a"], "distinctAttribute": "b"});
        let nodes = [node(&["id", "a.c", "b"])];
        let request = FieldsRequest {
            limit: 9,
            capabilities: vec![("displayed".to_owned(), true)],
            ..FieldsRequest::default()
        };
        assert_eq!(names(&listed(&nodes, &settings, &request)), ["a.c", "id"]);
        let request = FieldsRequest {
            limit: 9,
            patterns: Some(vec!["b*".to_owned()]),
            ..FieldsRequest::default()
        };
        let listing = listed(&nodes, &settings, &request);
        let field = &listing["results"][0];
        assert_eq!(field["distinct"]["enabled"], true);
        assert_eq!(
            field["filterable"],
            json!({
                "enabled": false, "sortBy": "alpha", "facetSearch": false, "equality": false,
                "comparison": false,
            })
        );
    }
}
