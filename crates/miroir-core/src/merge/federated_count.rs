//! Counting the documents that any of several queries on one index finds.
//!
//! A node counts that for a federated search of its own, and no sum of its answers to the single
//! queries would tell. But it refuses queries that rank by different rules, and the hidden last
//! rule makes queries differ that a client may well ask together: one that searches words and one
//! that only filters. So the sort rules, which do not change what is found, are left out, and
//! where there are queries of both kinds they are counted in two requests: what the filters
//! find, and what the words find besides.

use super::answer::{AnswerFault, FacetCounts, NodeAnswer};
use super::body::fuse_filters;
use super::facet::FieldStats;
use super::members::Members;
use super::plan::SearchPlan;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A query as it is counted, with its position in the client's request.
pub(super) struct CountedQuery<'p> {
    pub(super) position: usize,
    pub(super) plan: &'p SearchPlan,
}

impl CountedQuery<'_> {
    /// Whether what it finds does not hang on how it is ranked.
    pub(super) fn is_by_words(&self) -> bool {
        const BY_MORE: [&str; 3] = ["vector", "media", "hybrid"];
        let is_more = BY_MORE
            .iter()
            .any(|name| self.plan.body.contains_key(*name));
        self.plan.distinct.is_none() && self.plan.score_threshold.is_none() && !is_more
    }
}

/// A request to a node that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountRequest {
    /// The body of a `POST /multi-search`.
    pub body: Vec<u8>,
    /// The positions of its queries in the client's request.
    pub positions: Vec<usize>,
}

/// What a query that only counts must not have: paging and facets are the federation's, sort rules
/// do not change what is found, and the rest is for hits.
const NOT_FOR_COUNTING: &[&str] = &[
    "offset",
    "limit",
    "page",
    "hitsPerPage",
    "facets",
    "sort",
    "showRankingScore",
    "showRankingScoreDetails",
    "attributesToHighlight",
    "attributesToCrop",
    "retrieveVectors",
    "showMatchesPosition",
];

/// The requests that together count what any of `queries` on index `physical` finds, in disjoint
/// parts; see the module's words.
pub(super) fn count_requests(
    physical: &str,
    federation: &Value,
    queries: &[CountedQuery<'_>],
    shard_filter: Option<&str>,
) -> Vec<CountRequest> {
    let (only_filtering, ranking): (Vec<_>, Vec<_>) =
        queries.iter().partition(|query| query.plan.ranks_nothing());
    let request = |queries: &[&CountedQuery<'_>], besides: Option<&str>| {
        let bodies: Vec<Value> = queries
            .iter()
            .map(|query| {
                let client = with_condition(query.plan.filter.as_ref(), besides);
                let filter = fuse_filters(shard_filter, client.as_ref());
                let mut body = counting(query.plan, federation.get("distinct").is_some());
                body.insert("indexUid".to_owned(), json!(physical));
                if let Some(filter) = filter {
                    body.insert("filter".to_owned(), filter);
                }
                Value::Object(body)
            })
            .collect();
        CountRequest {
            body: json!({"federation": federation, "queries": bodies})
                .to_string()
                .into_bytes(),
            positions: queries.iter().map(|query| query.position).collect(),
        }
    };
    if only_filtering.is_empty() || ranking.is_empty() {
        return vec![request(&queries.iter().collect::<Vec<_>>(), None)];
    }
    let mut requests = vec![request(&only_filtering, None)];
    let filters = only_filtering.iter().map(|query| {
        let filter = query.plan.filter.as_ref()?;
        filter_text(filter)
    });
    // A query without a filter finds everything, and nothing is left for the others.
    if let Some(filters) = filters.collect::<Option<Vec<String>>>() {
        let besides = format!("NOT (({}))", filters.join(") OR ("));
        requests.push(request(&ranking, Some(&besides)));
    }
    requests
}

fn counting(plan: &SearchPlan, is_distinct: bool) -> Map<String, Value> {
    let mut body = plan.body.clone();
    for name in NOT_FOR_COUNTING {
        body.shift_remove(*name);
    }
    if is_distinct {
        body.shift_remove("distinct");
    }
    body.insert("attributesToRetrieve".to_owned(), json!([]));
    body
}

/// The client's filter and one more condition, the elements of an array being ANDed.
fn with_condition(filter: Option<&Value>, condition: Option<&str>) -> Option<Value> {
    let Some(condition) = condition else {
        return filter.cloned();
    };
    fuse_filters(Some(condition), filter)
}

/// A filter in one expression; `None` for what is no filter.
fn filter_text(filter: &Value) -> Option<String> {
    match filter {
        Value::String(text) => Some(text.clone()),
        Value::Array(all) => {
            let all: Option<Vec<String>> = all
                .iter()
                .map(|item| match item {
                    Value::String(text) => Some(format!("({text})")),
                    Value::Array(any) => {
                        let any: Option<Vec<String>> = any
                            .iter()
                            .map(|text| text.as_str().map(|text| format!("({text})")))
                            .collect();
                        any.map(|any| format!("({})", any.join(" OR ")))
                    }
                    _ => None,
                })
                .collect();
            all.map(|all| all.join(" AND "))
        }
        _ => None,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CountWire<'a> {
    #[serde(borrow, default)]
    hits: Vec<&'a RawValue>,
    estimated_total_hits: Option<u64>,
    total_hits: Option<u64>,
    #[serde(borrow, default)]
    facets_by_index: BTreeMap<String, FacetsWire<'a>>,
}

#[derive(Deserialize)]
struct FacetsWire<'a> {
    #[serde(borrow)]
    distribution: FacetCounts<'a>,
    #[serde(borrow)]
    stats: Members<'a, FieldStats>,
}

/// The answer to a federated search of one index as the answer to a search.
pub(super) fn read_count(body: &[u8]) -> Result<NodeAnswer<'_>, AnswerFault> {
    let wire: CountWire<'_> = serde_json::from_slice(body).map_err(AnswerFault::Json)?;
    let total = wire
        .estimated_total_hits
        .or(wire.total_hits)
        .ok_or(AnswerFault::NoTotal)?;
    // The request named one index.
    let facets = wire.facets_by_index.into_values().next();
    let (facets, facet_stats) = facets.map(|f| (f.distribution, f.stats)).unzip();
    Ok(NodeAnswer {
        hits: wire.hits,
        total,
        query_vector: None,
        facets,
        facet_stats,
        has_semantic_count: false,
        may_have_more: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::IndexView;
    use crate::search::SearchRequest;

    fn plan(q: &str, filter: Value) -> SearchPlan {
        let request = SearchRequest {
            q: Some(q.to_owned()),
            filter: Some(filter),
            sort: Some(vec!["p:asc".to_owned()]),
            ..SearchRequest::default()
        };
        SearchPlan::new(&request, &IndexView::default()).unwrap()
    }

    fn filters(queries: &[(&str, Value)]) -> Vec<(Vec<usize>, Vec<Value>)> {
        let plans: Vec<_> = queries.iter().map(|(q, f)| plan(q, f.clone())).collect();
        let counted: Vec<_> = plans
            .iter()
            .enumerate()
            .map(|(position, plan)| CountedQuery { position, plan })
            .collect();
        let requests = count_requests("i", &json!({"limit": 1}), &counted, Some("s IN [1]"));
        let read = |request: CountRequest| {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let queries = body["queries"].as_array().unwrap().iter();
            let filters = queries.map(|query| {
                assert_eq!((query.get("sort"), query.get("limit")), (None, None));
                query["filter"].clone()
            });
            (request.positions, filters.collect())
        };
        requests.into_iter().map(read).collect()
    }

    #[test]
    fn queries_of_one_kind_are_counted_together() {
        let found = filters(&[("tea", json!("a = 1")), ("team", json!(null))]);
        let expected = vec![json!(["s IN [1]", "a = 1"]), json!("s IN [1]")];
        assert_eq!(found, [(vec![0, 1], expected)]);
    }

    #[test]
    fn what_words_find_is_counted_besides_what_filters_find() {
        let found = filters(&[
            ("", json!(["a = 1", ["b = 2", "c = 3"]])),
            ("tea", json!("d = 4 OR e = 5")),
            (" ", json!("f = 6")),
        ]);
        let besides = "NOT (((a = 1) AND ((b = 2) OR (c = 3))) OR (f = 6))";
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].0, [0, 2]);
        let expected = vec![json!(["s IN [1]", besides, "d = 4 OR e = 5"])];
        assert_eq!(found[1], (vec![1], expected));
    }

    #[test]
    fn nothing_is_left_to_count_besides_everything() {
        let found = filters(&[("tea", json!("a = 1")), ("", json!(null))]);
        assert_eq!(found, [(vec![1], vec![json!("s IN [1]")])]);
    }
}
