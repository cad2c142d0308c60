//! A federated page cut by one node: where one node answers for every shard of the one index that
//! all queries search, it merges their lists itself.
//!
//! The hidden last rule must not come between two queries: it would order equal hits of different
//! queries by their age, where one Meilisearch goes by the queries' positions. So each query's
//! weight is made a trifle smaller than that of the query before it. That decides between equal
//! scores and nothing else: scores are fractions of small numbers, and lie further apart than
//! [`STEP`] or are equal, as long as the weights differ by powers of two (most are 1). Other
//! weights, sort rules between the scores, and queries that rank nothing are merged here instead;
//! so is a page whose hits do not stand as their true weights put them, or whose scores are so
//! small that a node does not tell them apart.

use super::answer::{MergeError, NodeAnswer};
use super::body::fuse_filters;
use super::federated::{FEDERATION, FederatedPage, FederatedPlan, Placed, Planned, QueryPlan};
use super::federated_count::read_count;
use super::hit::{Adjusted, Hit};
use super::page::Totals;
use super::plan::SearchPlan;
use super::walk::RankedHit;
use super::weighted::{Standing, larger_first};
use crate::search::Paging;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// By how much the weight of a query is smaller than that of the one before it, for its own size:
/// far less than two different scores lie apart. (2^-38.)
const STEP: f64 = 1.0 / 274_877_906_944.0;
/// A smaller score times a step is not surely more than 2^-52, which nodes take for nothing.
const SCORE_MIN: f64 = 1.0 / 4_096.0;
/// With more queries the steps might add up to a difference between scores.
const QUERIES_MAX: usize = 8;
/// What only a merge needs, or what is the federation's.
const NOT_FOR_QUERIES: &[&str] = &["offset", "limit", "page", "hitsPerPage", "facets"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Federation {
    queries_position: usize,
}

impl FederatedPlan {
    /// The one index that is searched, if a node that answers for all its shards can cut the page.
    #[must_use]
    pub fn sole_index(&self) -> Option<&str> {
        let first = self.queries.first()?;
        let view = self.views.get(&first.uid)?;
        let depth = self.window.depth();
        let is_page = 0 < depth && depth <= view.max_total_hits;
        let is_simple = |query: &Planned| {
            query.uid == first.uid
                && is_power_of_two(query.weight / first.weight)
                && matches!(&query.plan, QueryPlan::Plain(plan) if is_by_words(plan))
        };
        let is_cut_by_node = is_page
            && self.queries.len() <= QUERIES_MAX
            && self.distinct.is_none()
            && !view.ranks_by_fields
            && self.queries.iter().all(is_simple);
        is_cut_by_node.then_some(first.uid.as_str())
    }

    /// The body of a `POST /multi-search` to a node that answers for every shard;
    /// [`FederatedPlan::sole_index`] must hold.
    #[must_use]
    pub fn sole_body(&self, shard_filter: Option<&str>) -> Vec<u8> {
        let queries = self.queries.iter().zip(0_u32..).filter_map(|(query, at)| {
            let QueryPlan::Plain(plan) = &query.plan else {
                return None;
            };
            let mut body = plan.body.clone();
            for name in NOT_FOR_QUERIES {
                body.shift_remove(*name);
            }
            if !query.shape.shows_details {
                body.shift_remove("showRankingScoreDetails");
            }
            // The score that is shown with the hit's federation is computed from it.
            body.insert("showRankingScore".to_owned(), json!(true));
            body.insert("indexUid".to_owned(), json!(self.physical(&query.uid)));
            let weight = query.weight * f64::from(at).mul_add(-STEP, 1.0);
            body.insert("federationOptions".to_owned(), json!({ "weight": weight }));
            if let Some(filter) = fuse_filters(shard_filter, plan.filter.as_ref()) {
                body.insert("filter".to_owned(), filter);
            }
            Some(Value::Object(body))
        });
        let queries: Vec<Value> = queries.collect();
        let mut federation = match self.paging {
            Paging::Offset { offset, limit } => json!({"offset": offset, "limit": limit}),
            Paging::Page {
                page,
                hits_per_page,
            } => json!({"page": page, "hitsPerPage": hits_per_page}),
        };
        let facets = self.queries.first().and_then(|query| {
            let facets = self.facets.get(&query.uid)?;
            Some(json!({ self.physical(&query.uid): facets }))
        });
        if let Some(facets) = facets {
            federation["facetsByIndex"] = facets;
        }
        json!({"federation": federation, "queries": queries})
            .to_string()
            .into_bytes()
    }

    /// The page, from the answer to [`FederatedPlan::sole_body`]; `None` if the node's order may not
    /// be that of the true weights, so that the queries' lists are to be merged.
    ///
    /// # Errors
    /// [`MergeError`] when the answer cannot be read.
    pub fn sole_page<'a>(
        &'a self,
        answer: &'a [u8],
    ) -> Result<Option<FederatedPage<'a>>, MergeError> {
        let wrong = |fault| MergeError { node: 0, fault };
        let answer = read_count(answer).map_err(wrong)?;
        let length = self.window.end - self.window.start;
        let mut hits = Vec::with_capacity(answer.hits.len());
        for (at, raw) in answer.hits.iter().take(length).enumerate() {
            let hit = Hit::parse_placed(raw, at).map_err(wrong)?;
            let federation = hit.members().find(|(name, _)| *name == FEDERATION);
            let text = federation.map_or("null", |(_, raw)| raw.get());
            let query = serde_json::from_str(text)
                .map(|Federation { queries_position }| queries_position)
                .map_err(|source| wrong(super::AnswerFault::Hit { hit: at, source }))?;
            let Some(Planned { weight, .. }) = self.queries.get(query) else {
                continue;
            };
            let score = hit.score.unwrap_or(1.0);
            hits.push(Placed {
                query,
                standing: Standing::of_score(score * weight),
                ranked: RankedHit {
                    hit,
                    adjusted: Adjusted::default(),
                },
            });
        }
        if !is_in_order(&hits) {
            return Ok(None);
        }
        let mut facets = BTreeMap::new();
        let mut total = answer.total;
        if let Some(Planned { uid, plan, .. }) = self.queries.first() {
            let answers: [NodeAnswer<'_>; 1] = [answer];
            let (_, counted) = self.sum_counts(uid, &answers, None);
            facets.extend(counted.map(|counted| (uid.clone(), counted)));
            if let (1, QueryPlan::Plain(plan)) = (self.queries.len(), plan) {
                total = plan.capped(total);
            }
        }
        let merged_facets = self.merged_facets(&facets);
        Ok(Some(FederatedPage {
            plan: self,
            hits,
            query_vectors: Vec::new(),
            totals: Totals::new(self.paging, total),
            facets,
            merged_facets,
            semantic_hit_count: None,
        }))
    }
}

/// Whether neighbours of different queries stand as their scores and positions say. (A query's own
/// hits may have rising scores: its rules place them.)
fn is_in_order(hits: &[Placed<'_>]) -> bool {
    let is_large = |placed: &Placed<'_>| placed.standing.score >= SCORE_MIN;
    let stands = |pair: &[Placed<'_>]| match pair {
        [a, b] if a.query != b.query => {
            let by_score = larger_first(a.standing.score, b.standing.score);
            by_score.then(a.query.cmp(&b.query)).is_lt()
        }
        _ => true,
    };
    hits.iter().all(is_large) && hits.windows(2).all(stands)
}

/// Whether a query finds by words, ranks by relevancy alone, and shows all that it finds.
fn is_by_words(plan: &SearchPlan) -> bool {
    const BY_MORE: [&str; 4] = ["vector", "media", "hybrid", "sort"];
    let is_more = BY_MORE.iter().any(|name| plan.body.contains_key(*name));
    plan.distinct.is_none() && !plan.ranks_nothing() && !is_more
}

fn is_power_of_two(ratio: f64) -> bool {
    const FRACTION: u64 = (1 << 52) - 1;
    ratio.is_normal() && ratio > 0.0 && ratio.to_bits() & FRACTION == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::{FederatedQuery, FederatedRequest, IndexView};
    use crate::search::SearchRequest;

    fn plan_with(
        queries: &[(&str, f64)],
        change: impl Fn(&mut SearchRequest),
        view: IndexView,
    ) -> FederatedPlan {
        let queries = queries.iter().map(|(q, weight)| {
            let mut request = SearchRequest {
                q: Some((*q).to_owned()),
                ..SearchRequest::default()
            };
            change(&mut request);
            FederatedQuery {
                uid: "i".to_owned(),
                request,
                weight: *weight,
            }
        });
        let request = FederatedRequest {
            queries: queries.collect(),
            paging: Paging::Offset {
                offset: 2,
                limit: 3,
            },
            facets: BTreeMap::from([("i".to_owned(), vec!["f".to_owned()])]),
            merge_facets: None,
            distinct: None,
        };
        let views = BTreeMap::from([("i".to_owned(), view)]);
        FederatedPlan::new(request, views).unwrap()
    }

    fn view() -> IndexView {
        IndexView {
            physical: "p".to_owned(),
            filterable: vec!["f".to_owned()],
            ..IndexView::default()
        }
    }

    #[test]
    fn the_node_is_asked_for_the_page_alone_with_weights_that_break_ties() {
        let plan = plan_with(&[("tea", 1.0), ("pot", 0.5)], |_| (), view());
        assert_eq!(plan.sole_index(), Some("i"));
        let body: Value = serde_json::from_slice(&plan.sole_body(Some("s IN [1]"))).unwrap();
        let federation = json!({"offset": 2, "limit": 3, "facetsByIndex": {"p": ["f"]}});
        assert_eq!(body["federation"], federation);
        let queries = body["queries"].as_array().unwrap();
        let weight = |at: usize| queries[at]["federationOptions"]["weight"].as_f64().unwrap();
        assert!(weight(0) >= 1.0 && weight(1) < 0.5 && weight(1) > 0.499_999);
        for query in queries {
            assert_eq!(
                (&query["indexUid"], &query["filter"]),
                (&json!("p"), &json!("s IN [1]"))
            );
            assert_eq!(
                (query.get("limit"), query.get("showRankingScoreDetails")),
                (None, None)
            );
        }
    }

    #[test]
    fn what_a_hidden_rule_may_decide_is_merged_here() {
        let is_cut = |queries: &[(&str, f64)], change: fn(&mut SearchRequest), view: IndexView| {
            plan_with(queries, change, view).sole_index().is_some()
        };
        assert!(is_cut(&[("tea", 1.0)], |_| (), view()));
        assert!(!is_cut(&[("tea", 1.0), ("", 1.0)], |_| (), view()));
        assert!(!is_cut(&[("tea", 1.0), ("pot", 0.7)], |_| (), view()));
        assert!(!is_cut(&[("tea", 0.0), ("pot", 0.0)], |_| (), view()));
        let sorts = |request: &mut SearchRequest| request.sort = Some(vec!["a:asc".to_owned()]);
        assert!(!is_cut(&[("tea", 1.0)], sorts, view()));
        let distinct = |request: &mut SearchRequest| request.distinct = Some("f".to_owned());
        assert!(!is_cut(&[("tea", 1.0)], distinct, view()));
        let ranks = IndexView {
            ranks_by_fields: true,
            ..view()
        };
        assert!(!is_cut(&[("tea", 1.0)], |_| (), ranks));
        let short = IndexView {
            max_total_hits: 4,
            ..view()
        };
        assert!(!is_cut(&[("tea", 1.0)], |_| (), short));
    }

    #[test]
    fn the_page_of_a_node_is_shown_in_the_clients_words() {
        let plan = plan_with(&[("tea", 1.0), ("pot", 0.5)], |_| (), view());
        let answer = json!({
            "hits": [
                {"id": 1, "_miroir_seq": "!", "_federation": {"indexUid": "p", "queriesPosition": 1,
                    "weightedRankingScore": 0.123}, "_rankingScore": 0.5},
            ],
            "processingTimeMs": 1, "limit": 3, "offset": 2, "estimatedTotalHits": 9,
            "facetsByIndex": {"p": {"distribution": {"f": {"x": 2}}, "stats": {}}},
        });
        let answer = answer.to_string();
        let page = plan.sole_page(answer.as_bytes()).unwrap().unwrap();
        let mut out = Vec::new();
        page.write_response(&mut out, 7, "u", b"");
        let shown: Value = serde_json::from_slice(&out).unwrap();
        let federation = json!({
            "indexUid": "i", "queriesPosition": 1, "weightedRankingScore": 0.25,
        });
        assert_eq!(
            shown,
            json!({
                "hits": [{"id": 1, "_federation": federation}],
                "processingTimeMs": 7, "limit": 3, "offset": 2, "estimatedTotalHits": 9,
                "facetsByIndex": {"i": {"distribution": {"f": {"x": 2}}, "stats": {}}},
                "requestUid": "u",
            })
        );
        assert!(
            plan.sole_page(br#"{"hits":[{"id":1}],"estimatedTotalHits":1}"#)
                .is_err()
        );
    }

    #[test]
    fn a_page_that_is_not_in_the_order_of_the_true_weights_is_no_page() {
        let plan = plan_with(&[("tea", 1.0), ("pot", 0.5)], |_| (), view());
        let is_page = |hits: &[(usize, f64)]| {
            let hits: Vec<Value> = hits
                .iter()
                .map(|(query, score)| {
                    json!({"_federation": {"queriesPosition": query}, "_rankingScore": score})
                })
                .collect();
            let answer = json!({"hits": hits, "estimatedTotalHits": 9}).to_string();
            plan.sole_page(answer.as_bytes()).unwrap().is_some()
        };
        assert!(is_page(&[(0, 0.25), (1, 0.5), (1, 0.4)]));
        // A query's own rules place its hits.
        assert!(is_page(&[(0, 0.25), (1, 0.4), (1, 0.5)]));
        // Equal scores stand by the position of their query.
        assert!(!is_page(&[(1, 0.5), (0, 0.25)]));
        assert!(!is_page(&[(1, 0.5), (0, 0.3)]));
        assert!(!is_page(&[(0, 0.0001)]));
    }
}
