//! Which spelling of a facet value is shown: that of the oldest document found.
//!
//! Texts that differ in case, accents or spaces are one facet value. Each node shows the spelling
//! of its oldest document found; where nodes show several, they are asked for their oldest
//! documents with that value, and the oldest of all decides. Until then, and where nobody can tell,
//! the spelling of the node with the highest count stands.

use super::body::fuse_filters;
use super::distinct::texts_of;
use super::facet::normalize_facet;
use super::plan::SearchPlan;
use super::response::MergedPage;
use crate::reserved::SEQ_FIELD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Values of one answer that are asked for. Data with more of them is careless of spelling.
const VALUES_MAX: usize = 32;
/// Documents with one value that are looked at on each node: where words rank them, the oldest may
/// be any of them. With more documents than these the answer is the best guess.
const DOCUMENTS_MAX: u64 = 100;
/// Longer values are cut by the nodes, so a filter does not find them.
const VALUE_BYTES_MAX: usize = 400;

/// A facet value that nodes spell differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisputedValue {
    /// The facet.
    pub field: String,
    /// The spelling that is shown until the oldest document is known.
    pub spelling: String,
    /// How many documents have it.
    pub count: u64,
}

#[derive(Deserialize)]
struct Wire {
    results: Vec<Hits>,
}

#[derive(Deserialize)]
struct Hits {
    hits: Vec<Map<String, Value>>,
}

/// Keeps the values that can be asked for.
pub(super) fn askable(mut disputed: Vec<DisputedValue>) -> Vec<DisputedValue> {
    disputed.retain(|value| {
        quoted(&value.field).is_some()
            && quoted(&value.spelling).is_some()
            && value.spelling.len() <= VALUE_BYTES_MAX
    });
    disputed.truncate(VALUES_MAX);
    disputed
}

impl SearchPlan {
    /// The body of the `POST /multi-search` that asks a node for its oldest documents with each of
    /// these values.
    #[must_use]
    pub fn spelling_body(&self, disputed: &[DisputedValue], shard_filter: Option<&str>) -> Vec<u8> {
        // Where nothing ranks them they come by their age.
        let is_by_age = self.ranks_nothing() && !self.view.ranks_by_fields;
        let documents_max = if is_by_age { 1 } else { DOCUMENTS_MAX };
        let queries: Vec<Value> = disputed
            .iter()
            .filter_map(|value| {
                let condition = format!("{} = {}", quoted(&value.field)?, quoted(&value.spelling)?);
                let filter = fuse_filters(Some(&condition), self.filter.as_ref());
                let filter = fuse_filters(shard_filter, filter.as_ref());
                let mut query = Map::new();
                for name in PASSED_ON {
                    if let Some(value) = self.body.get(*name) {
                        query.insert((*name).to_owned(), value.clone());
                    }
                }
                query.insert("indexUid".to_owned(), json!(self.view.physical));
                query.insert("limit".to_owned(), json!(value.count.min(documents_max)));
                let retrieved = json!([SEQ_FIELD, value.field]);
                query.insert("attributesToRetrieve".to_owned(), retrieved);
                query.extend(filter.map(|filter| ("filter".to_owned(), filter)));
                Some(Value::Object(query))
            })
            .collect();
        json!({ "queries": queries }).to_string().into_bytes()
    }
}

/// What decides which documents are found.
const PASSED_ON: &[&str] = &[
    "q",
    "vector",
    "hybrid",
    "media",
    "matchingStrategy",
    "attributesToSearchOn",
    "rankingScoreThreshold",
    "locales",
];

impl MergedPage<'_> {
    /// Shows each of its disputed values as the oldest document found spells it, of those in the
    /// nodes' answers to [`SearchPlan::spelling_body`]. Answers that cannot be read decide nothing.
    pub fn respell(&mut self, answers: &[&[u8]]) {
        let answers: Vec<Wire> = answers
            .iter()
            .filter_map(|body| serde_json::from_slice(body).ok())
            .collect();
        let Some(distribution) = &mut self.facet_distribution else {
            return;
        };
        for (at, value) in self.disputed.iter().enumerate() {
            let found = answers.iter().filter_map(|answer| answer.results.get(at));
            let normal = normalize_facet(&value.spelling);
            let spellings = found.flat_map(|found| &found.hits).filter_map(|hit| {
                let seq = hit.get(SEQ_FIELD)?.as_str()?;
                let mut texts = texts_of(hit, &value.field).into_iter();
                let own = texts.rfind(|text| normalize_facet(text) == normal)?;
                Some((seq, own))
            });
            let oldest = spellings.min_by(|a, b| a.0.cmp(b.0));
            let counts = distribution.get_mut(&value.field);
            if let (Some((_, oldest)), Some(Value::Object(counts))) = (oldest, counts) {
                *counts = std::mem::take(counts)
                    .into_iter()
                    .map(|(name, count)| {
                        let is_it = name == value.spelling;
                        (if is_it { oldest.clone() } else { name }, count)
                    })
                    .collect();
            }
        }
    }
}

/// A name or a value as a filter takes it; `None` for one that it cannot be sure to take.
fn quoted(text: &str) -> Option<String> {
    if text.contains('\\') || text.contains('\n') {
        return None;
    }
    ['"', '\'']
        .into_iter()
        .find(|quote| !text.contains(*quote))
        .map(|quote| format!("{quote}{text}{quote}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::IndexView;
    use crate::search::SearchRequest;

    fn answer(values: Value) -> String {
        json!({"hits": [], "estimatedTotalHits": 3, "facetDistribution": {"f": values}}).to_string()
    }

    fn plan(q: &str) -> SearchPlan {
        let request = SearchRequest {
            q: Some(q.to_owned()),
            facets: Some(vec!["f".to_owned()]),
            filter: Some(json!("a = 1")),
            sort: Some(vec!["a:asc".to_owned()]),
            ..SearchRequest::default()
        };
        let view = IndexView {
            physical: "p".to_owned(),
            filterable: vec!["f".to_owned()],
            ..IndexView::default()
        };
        SearchPlan::new(&request, &view).unwrap()
    }

    #[test]
    fn nodes_are_asked_for_the_values_that_they_spell_differently() {
        let plan = plan("tea");
        let answers = [
            answer(json!({"Web": 2, "same": 1})),
            answer(json!({"same": 2, "web": 1})),
        ];
        let bodies = answers.each_ref().map(|text| text.as_bytes());
        let page = plan.merge(&bodies).unwrap();
        let disputed = DisputedValue {
            field: "f".to_owned(),
            spelling: "Web".to_owned(),
            count: 3,
        };
        assert_eq!(page.disputed, [disputed]);
        let body = plan.spelling_body(&page.disputed, Some("s IN [1]"));
        let body: Value = serde_json::from_slice(&body).unwrap();
        let expected = json!({"queries": [{
            "indexUid": "p", "q": "tea", "limit": 3, "attributesToRetrieve": ["_miroir_seq", "f"],
            "filter": ["s IN [1]", "\"f\" = \"Web\"", "a = 1"],
        }]});
        assert_eq!(body, expected);
    }

    #[test]
    fn the_oldest_document_decides_and_the_order_of_the_values_stays() {
        let plan = plan("");
        let answers = [
            answer(json!({"Web": 2, "z": 1})),
            answer(json!({"a": 2, "wéb": 1, "web": 1})),
        ];
        let bodies = answers.each_ref().map(|text| text.as_bytes());
        let mut page = plan.merge(&bodies).unwrap();
        let found = |hits: Value| json!({"results": [{"hits": hits}]}).to_string();
        let replies = [
            found(json!([{"_miroir_seq": "⊵", "f": "Web"}])),
            found(json!([{"_miroir_seq": "⊳", "f": ["x", "WEB "]}, {"f": "web"}])),
            "no JSON".to_owned(),
        ];
        page.respell(&replies.each_ref().map(|text| text.as_bytes()));
        let shown = Value::Object(page.facet_distribution.unwrap()).to_string();
        assert_eq!(shown, r#"{"f":{"a":2,"WEB ":3,"wéb":1,"z":1}}"#);
    }

    #[test]
    fn what_a_filter_cannot_name_is_not_asked_for() {
        assert_eq!(quoted("a b").as_deref(), Some("\"a b\""));
        assert_eq!(quoted("a\"b").as_deref(), Some("'a\"b'"));
        assert_eq!(quoted("a\\b"), None);
        assert_eq!(quoted("a'b\"c"), None);
    }
}
