//! A search for the values of a facet: each node counts its part, the sums are ordered and cut as
//! one node does it.
//!
//! **Laws.** The merge of a partition is what one node holding all documents shows; the order of
//! the answers does not matter. Nodes show far more values than the client's limit, so that
//! the first ones of the whole are among those of each part.
//!
//! **What is not exact**: which spelling of a value is shown when nodes show several, and counts
//! in an index with a distinct attribute, where one node leaves out the duplicates it happened to
//! meet.

use super::answer::{AnswerFault, MergeError};
use super::body::{fuse_filters, is_blank_filter};
use super::facet::normalize_facet;
use super::members::Text;
use super::view::{FacetOrder, IndexView};
use crate::search::SearchRequest;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use unicode_normalization::char::is_combining_mark;

/// A search for facet values, as the client asked it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FacetSearchRequest {
    /// The facet.
    pub facet: String,
    /// What its values begin with.
    pub query: Option<String>,
    /// Counts all documents found, not only those that were ranked.
    pub exhaustive_count: Option<bool>,
    /// Which documents count.
    pub search: SearchRequest,
}

/// A value and the number of documents that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FacetHit {
    /// As one of the documents spells it.
    pub value: String,
    /// The documents.
    pub count: u64,
}

/// A search for facet values, ready to be sent to nodes and to merge what they answer.
#[derive(Debug, Clone, PartialEq)]
pub struct FacetSearchPlan {
    body: Map<String, Value>,
    filter: Option<Value>,
    order: FacetOrder,
    limit: usize,
    has_query: bool,
    /// Each value counts once: the facet is the distinct attribute, and the count is exhaustive.
    counts_once: bool,
}

impl FacetSearchPlan {
    /// Plans `request` on the index that `view` describes.
    #[must_use]
    pub fn new(request: &FacetSearchRequest, view: &IndexView) -> Self {
        let search = &request.search;
        let mut body = search.passthrough.clone();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        put("facetName", Some(request.facet.clone().into()));
        put("facetQuery", request.query.clone().map(Value::from));
        put(
            "exhaustiveFacetCount",
            request.exhaustive_count.map(Value::from),
        );
        put("q", search.q.clone().map(Value::from));
        put("hybrid", search.hybrid.clone());
        put("vector", search.vector.clone());
        put("media", search.media.clone());
        let threshold = search.ranking_score_threshold;
        put("rankingScoreThreshold", threshold.map(Value::from));
        let is_distinct = view.distinct_attribute.as_deref() == Some(&*request.facet);
        Self {
            body,
            filter: search.filter.clone().filter(|f| !is_blank_filter(f)),
            order: view.facet_order(&request.facet),
            limit: view.max_values_per_facet,
            has_query: request.query.is_some(),
            counts_once: is_distinct && request.exhaustive_count == Some(true),
        }
    }

    /// The same search with this vector in place of what the client gave to be embedded.
    #[must_use]
    pub fn with_vector(mut self, vector: Value) -> Self {
        self.body.shift_remove("media");
        self.body.insert("vector".to_owned(), vector);
        self
    }

    /// The JSON body of the request to a node, kept to its part of the cover by `shard_filter`.
    #[must_use]
    pub fn node_body(&self, shard_filter: Option<&str>) -> Vec<u8> {
        let mut body = self.body.clone();
        if let Some(filter) = fuse_filters(shard_filter, self.filter.as_ref()) {
            body.insert("filter".to_owned(), filter);
        }
        Value::Object(body).to_string().into_bytes()
    }

    /// Merges the bodies that the nodes answered with.
    ///
    /// # Errors
    /// [`MergeError`] with the position of the first answer that cannot be read.
    ///
    /// ```
    /// use miroir_core::merge::{FacetSearchPlan, FacetSearchRequest, IndexView};
    ///
    /// let plan = FacetSearchPlan::new(&FacetSearchRequest::default(), &IndexView::default());
    /// let a = br#"{"facetHits":[{"value":"drama","count":2}]}"#.as_slice();
    /// let b = br#"{"facetHits":[{"value":"action","count":1},{"value":"Drama","count":1}]}"#;
    /// let hits = plan.merge(&[a, b]).unwrap();
    /// let shown: Vec<_> = hits.iter().map(|hit| (&*hit.value, hit.count)).collect();
    /// assert_eq!(shown, [("action", 1), ("drama", 3)]);
    /// ```
    pub fn merge(&self, answers: &[&[u8]]) -> Result<Vec<FacetHit>, MergeError> {
        let mut sums: BTreeMap<String, Sum<'_>> = BTreeMap::new();
        for (node, body) in answers.iter().enumerate() {
            let wire: Wire<'_> = serde_json::from_slice(body).map_err(|error| MergeError {
                node,
                fault: AnswerFault::Json(error),
            })?;
            for WireHit { value, count } in wire.facet_hits {
                let sum = sums.entry(normalize_facet(&value.0)).or_default();
                sum.count += count;
                // As in a facet distribution: the spelling of the node with most such documents.
                let current = (sum.spelling_count, Reverse(&sum.spelling));
                if (count, Reverse(&value.0)) > current {
                    (sum.spelling, sum.spelling_count) = (value.0, count);
                }
            }
        }
        let mut found: Vec<(String, FacetHit)> = sums
            .into_iter()
            .map(|(key, sum)| {
                let count = if self.counts_once {
                    sum.count.min(1)
                } else {
                    sum.count
                };
                (
                    key,
                    FacetHit {
                        value: sum.spelling.into_owned(),
                        count,
                    },
                )
            })
            .collect();
        match self.order {
            // By normalised value, as the map holds them.
            FacetOrder::Alpha if !self.has_query => {}
            // With a query a node walks its dictionary of words, where marks are taken off.
            FacetOrder::Alpha => found.sort_by_cached_key(|(key, _)| without_marks(key)),
            FacetOrder::Count => found.sort_by(|(_, a), (_, b)| {
                b.count.cmp(&a.count).then_with(|| b.value.cmp(&a.value))
            }),
        }
        Ok(found
            .into_iter()
            .map(|(_, hit)| hit)
            .take(self.limit)
            .collect())
    }
}

#[derive(Debug, Default)]
struct Sum<'a> {
    spelling: Cow<'a, str>,
    /// The count of the node whose spelling is shown.
    spelling_count: u64,
    count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow)]
    facet_hits: Vec<WireHit<'a>>,
}

#[derive(Deserialize)]
struct WireHit<'a> {
    #[serde(borrow)]
    value: Text<'a>,
    count: u64,
}

fn without_marks(text: &str) -> String {
    text.chars().filter(|c| !is_combining_mark(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// What a node answers that holds documents with these values.
    fn answer(values: &[&str], order: FacetOrder) -> String {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for value in values {
            *counts.entry(value).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        if order == FacetOrder::Count {
            counts.sort_by_key(|(value, count)| Reverse((*count, *value)));
        }
        let hits: Vec<Value> = counts
            .into_iter()
            .map(|(value, count)| json!({"value": value, "count": count}))
            .collect();
        json!({"facetHits": hits, "facetQuery": null, "processingTimeMs": 0}).to_string()
    }

    fn plan(order: FacetOrder, limit: usize) -> FacetSearchPlan {
        let view = IndexView {
            max_values_per_facet: limit,
            sort_facet_values_by: BTreeMap::from([("*".to_owned(), order)]),
            ..IndexView::default()
        };
        FacetSearchPlan::new(&FacetSearchRequest::default(), &view)
    }

    fn merged(plan: &FacetSearchPlan, answers: &[String]) -> Vec<FacetHit> {
        let bodies: Vec<&[u8]> = answers.iter().map(String::as_bytes).collect();
        plan.merge(&bodies).unwrap()
    }

    proptest! {
        #[test]
        fn merging_the_parts_is_counting_the_whole(
            documents in proptest::collection::vec(("[a-d]{1,2}", 0_usize..4), 0..60),
            by_count: bool,
            limit in 0_usize..12,
        ) {
            let order = if by_count { FacetOrder::Count } else { FacetOrder::Alpha };
            let plan = plan(order, limit);
            let values_of = |wanted: Option<usize>| -> Vec<&str> {
                let kept = documents.iter().filter(|(_, node)| wanted.is_none_or(|w| w == *node));
                kept.map(|(value, _)| value.as_str()).collect()
            };
            let mut parts: Vec<String> =
                (0..4).map(|node| answer(&values_of(Some(node)), order)).collect();
            let whole = merged(&plan, &[answer(&values_of(None), order)]);
            prop_assert_eq!(merged(&plan, &parts), whole.clone());
            parts.reverse();
            prop_assert_eq!(merged(&plan, &parts), whole);
        }
    }

    #[test]
    fn spellings_are_one_value() {
        let parts = [
            answer(&["Web", "Web", " ÀB"], FacetOrder::Alpha),
            answer(&["web", "àb", "z"], FacetOrder::Alpha),
        ];
        let hits = merged(&plan(FacetOrder::Alpha, 9), &parts);
        let shown: Vec<_> = hits.iter().map(|h| (h.value.as_str(), h.count)).collect();
        assert_eq!(shown, [(" ÀB", 2), ("Web", 3), ("z", 1)]);
    }

    #[test]
    fn equal_counts_come_by_descending_value() {
        let parts = [
            answer(&["a", "b", "c", "c"], FacetOrder::Count),
            answer(&["a", "b"], FacetOrder::Count),
        ];
        let hits = merged(&plan(FacetOrder::Count, 2), &parts);
        let shown: Vec<_> = hits.iter().map(|h| (h.value.as_str(), h.count)).collect();
        assert_eq!(shown, [("c", 2), ("b", 2)]);
    }

    #[test]
    fn nodes_are_asked_for_the_same_documents_of_their_part() {
        let request = FacetSearchRequest {
            facet: "genre".to_owned(),
            query: Some("dr".to_owned()),
            exhaustive_count: None,
            search: SearchRequest {
                q: Some("tea".to_owned()),
                filter: Some(json!("a = 1")),
                ..SearchRequest::default()
            },
        };
        let plan = FacetSearchPlan::new(&request, &IndexView::default());
        let body: Value = serde_json::from_slice(&plan.node_body(Some("s IN [1]"))).unwrap();
        let expected = json!({
            "facetName": "genre", "facetQuery": "dr", "q": "tea", "filter": ["s IN [1]", "a = 1"],
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn the_distinct_attributes_values_count_once_in_an_exhaustive_count() {
        let view = IndexView {
            distinct_attribute: Some("g".to_owned()),
            ..IndexView::default()
        };
        let request = FacetSearchRequest {
            facet: "g".to_owned(),
            exhaustive_count: Some(true),
            ..FacetSearchRequest::default()
        };
        let plan = FacetSearchPlan::new(&request, &view);
        let parts = [
            answer(&["a", "a"], FacetOrder::Alpha),
            answer(&["a"], FacetOrder::Alpha),
        ];
        assert_eq!(merged(&plan, &parts)[0].count, 1);
    }

    #[test]
    fn an_answer_of_another_shape_is_refused() {
        let plan = plan(FacetOrder::Alpha, 9);
        for body in ["{}", "[]", r#"{"facetHits":[{"value":1,"count":1}]}"#] {
            assert!(plan.merge(&[body.as_bytes()]).is_err(), "{body}");
        }
    }
}
