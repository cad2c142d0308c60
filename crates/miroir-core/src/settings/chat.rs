//! The setting `chat`, read: how an index is described to an LLM, and how it is searched for one.
//!
//! Nodes do not have it: Miroir itself searches and renders what was found.

use super::Settings;
use super::read::is_field_or_below;
use crate::search::{Paging, SearchRequest};
use serde_json::{Map, Value, json};

/// The template of an index that sets none.
pub const CHAT_TEMPLATE: &str = "{% for field in fields %}{% if field.is_searchable and \
    field.value != nil %}{{ field.name }}: {{ field.value }}\n{% endif %}{% endfor %}";

/// Bytes that a rendered document is expected to have, where an index does not say.
const TEMPLATE_BYTES: u64 = 400;

/// The setting with its defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatSetting {
    /// What is in the index, in the words of its owner.
    pub description: String,
    /// What the LLM is shown of a document.
    pub template: String,
    /// How long that is expected to be.
    pub template_bytes: u64,
    /// What every search holds, under its wire names.
    pub parameters: Map<String, Value>,
}

impl ChatSetting {
    /// The setting of an index.
    #[must_use]
    pub fn of(logical: &Settings) -> Self {
        let set = logical.get("chat");
        let part = |name: &str| set.and_then(|set| set.get(name));
        let text = |name: &str| part(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            description: text("description").unwrap_or_default(),
            template: text("documentTemplate").unwrap_or_else(|| CHAT_TEMPLATE.to_owned()),
            template_bytes: part("documentTemplateMaxBytes")
                .and_then(Value::as_u64)
                .unwrap_or(TEMPLATE_BYTES),
            parameters: part("searchParameters")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
        }
    }

    /// The setting as it is shown.
    #[must_use]
    pub fn view(&self) -> Value {
        json!({
            "description": self.description,
            "documentTemplate": self.template,
            "documentTemplateMaxBytes": self.template_bytes,
            "searchParameters": self.parameters,
        })
    }

    /// A search of an LLM.
    #[must_use]
    pub fn request(&self, q: Option<String>, filter: Option<Value>) -> SearchRequest {
        let part = |name: &str| self.parameters.get(name);
        let passed = ["matchingStrategy", "attributesToSearchOn"].into_iter();
        let passed = passed.filter_map(|name| Some((name.to_owned(), part(name)?.clone())));
        let limit = part("limit").and_then(Value::as_u64);
        let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let sort = part("sort").and_then(Value::as_array);
        let texts = |list: &Vec<Value>| -> Vec<String> {
            let texts = list.iter().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        };
        SearchRequest {
            q,
            filter,
            paging: Paging::Offset {
                offset: 0,
                limit: limit.unwrap_or(20),
            },
            sort: sort.map(texts),
            distinct: part("distinct").and_then(Value::as_str).map(str::to_owned),
            ranking_score_threshold: part("rankingScoreThreshold").and_then(Value::as_f64),
            hybrid: part("hybrid").cloned(),
            passthrough: passed.collect(),
            ..SearchRequest::default()
        }
    }
}

/// Whether words are searched for in a field of the documents' first level.
#[must_use]
pub fn is_searchable(logical: &Settings, field: &str) -> bool {
    let Some(Value::Array(names)) = logical.get("searchableAttributes") else {
        return true;
    };
    let mut names = names.iter().filter_map(Value::as_str);
    names.any(|name| name == "*" || is_field_or_below(name, field))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(value: Value) -> Settings {
        value.as_object().cloned().expect("an object")
    }

    #[test]
    fn an_index_that_sets_nothing_has_the_defaults() {
        let view = ChatSetting::of(&Map::new()).view();
        assert_eq!(view["description"], "");
        assert_eq!(view["documentTemplateMaxBytes"], 400);
        assert_eq!(view["searchParameters"], json!({}));
    }

    #[test]
    fn a_search_holds_what_the_index_sets() {
        let set = settings(json!({"chat": {"searchParameters": {
            "limit": 3, "sort": ["a:asc"], "matchingStrategy": "all", "rankingScoreThreshold": 0.5,
        }}}));
        let request = ChatSetting::of(&set).request(Some("q".into()), Some(json!("a = 1")));
        let expected = SearchRequest {
            q: Some("q".into()),
            filter: Some(json!("a = 1")),
            paging: Paging::Offset {
                offset: 0,
                limit: 3,
            },
            sort: Some(vec!["a:asc".into()]),
            ranking_score_threshold: Some(0.5),
            passthrough: settings(json!({"matchingStrategy": "all"})),
            ..SearchRequest::default()
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn parts_of_searchable_attributes_are_searchable() {
        let set = settings(json!({"searchableAttributes": ["a", "b.c"]}));
        assert!(is_searchable(&set, "a"));
        assert!(!is_searchable(&set, "b") && !is_searchable(&set, "ab"));
        assert!(is_searchable(&Map::new(), "a"));
        assert!(is_searchable(
            &settings(json!({"searchableAttributes": ["*"]})),
            "a"
        ));
    }
}
