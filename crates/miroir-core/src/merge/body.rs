//! What each node is asked: the client's search with Miroir's own needs put in.

use super::attribute::{
    is_within, select_cropped, select_highlighted, select_retrieved, split_crop,
};
use super::hit::Extra;
use super::members::write_value;
use super::plan::SearchPlan;
use crate::search::{Paging, SearchRequest};
use serde_json::{Value, json};

impl SearchPlan {
    /// The JSON body of the search request to a node.
    ///
    /// `shard_filter` is a filter expression that keeps the node to its part of the cover; it is
    /// ANDed with the client's own filter, in whatever form that is.
    ///
    /// ```
    /// use miroir_core::merge::{IndexView, SearchPlan};
    /// use miroir_core::search::SearchRequest;
    ///
    /// let filter = Some(serde_json::json!("a = 1 OR b = 2"));
    /// let request = SearchRequest { filter, ..SearchRequest::default() };
    /// let plan = SearchPlan::new(&request, &IndexView::default()).unwrap();
    /// let body: serde_json::Value =
    ///     serde_json::from_slice(&plan.node_body(Some("shard IN [x]"))).unwrap();
    /// assert_eq!(body["filter"], serde_json::json!(["shard IN [x]", "a = 1 OR b = 2"]));
    /// ```
    #[must_use]
    pub fn node_body(&self, shard_filter: Option<&str>) -> Vec<u8> {
        self.node_body_to(shard_filter, self.depth())
    }

    /// The same, asking for no more than `depth` hits; see [`SearchPlan::first_depth`].
    #[must_use]
    pub fn node_body_to(&self, shard_filter: Option<&str>, depth: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        if depth < self.depth() {
            let mut body = self.body.clone();
            for name in ["limit", "hitsPerPage"] {
                if let Some(limit) = body.get_mut(name) {
                    *limit = Value::from(depth);
                }
            }
            write_value(&mut out, &body);
        } else {
            write_value(&mut out, &self.body);
        }
        if let Some(filter) = fuse_filters(shard_filter, self.filter.as_ref()) {
            // An object of at least the paging, so a comma always fits.
            out.pop();
            out.extend_from_slice(br#","filter":"#);
            write_value(&mut out, &filter);
            out.push(b'}');
        }
        out
    }
    /// The body of a `POST /multi-search` to a node for several lists of one index, each as
    /// [`SearchPlan::node_body`] asks for it.
    ///
    /// ```
    /// use miroir_core::{merge::{IndexView, SearchPlan}, search::SearchRequest};
    ///
    /// let view = IndexView { physical: "p".to_owned(), ..IndexView::default() };
    /// let plan = SearchPlan::new(&SearchRequest::default(), &view).unwrap();
    /// let body = String::from_utf8(SearchPlan::lists_body(&[&plan, &plan], None)).unwrap();
    /// assert!(body.starts_with(r#"{"queries":[{"indexUid":"p","attributesToRetrieve""#));
    /// ```
    #[must_use]
    pub fn lists_body(plans: &[&Self], shard_filter: Option<&str>) -> Vec<u8> {
        let mut out = br#"{"queries":["#.to_vec();
        for (at, plan) in plans.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(br#"{"indexUid":"#);
            write_value(&mut out, &plan.view.physical);
            out.push(b',');
            // An object of at least the paging, so its first member follows.
            let body = plan.node_body(shard_filter);
            out.extend_from_slice(body.strip_prefix(b"{").unwrap_or(&body));
        }
        out.extend_from_slice(b"]}");
        out
    }

    /// Fills in the body; the rest of the plan must stand.
    pub(super) fn plan_body(&mut self, request: &SearchRequest) {
        self.filter = request
            .filter
            .clone()
            .filter(|filter| !is_blank_filter(filter));
        self.plan_query(request);
        self.plan_attributes(request);
        self.plan_ranking(request);
        self.plan_paging();
    }

    fn plan_query(&mut self, request: &SearchRequest) {
        let body = &mut self.body;
        // First, so that what is planned below wins over a passed-through name.
        body.clone_from(&request.passthrough);
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        put("q", request.q.clone().map(Value::from));
        put("sort", request.sort.clone().map(Value::from));
        put("hybrid", request.hybrid.clone());
        put("vector", request.vector.clone());
        put("media", request.media.clone());
        put("distinct", self.distinct.clone().map(Value::from));
        let mut facets = self.facets.clone().unwrap_or_default();
        self.view.spell_out(&mut facets);
        facets.extend(
            self.counted_field
                .clone()
                .filter(|field| !facets.contains(field)),
        );
        put("facets", (!facets.is_empty()).then(|| facets.into()));
    }

    fn plan_attributes(&mut self, request: &SearchRequest) {
        let displayed = self.shape.displayed.clone();
        let displayed = displayed.as_deref();
        let crop_length = request
            .passthrough
            .get("cropLength")
            .and_then(Value::as_u64);
        let retrieved = select_retrieved(request.attributes_to_retrieve.as_deref(), displayed);
        let highlighted = request
            .attributes_to_highlight
            .as_ref()
            .map(|a| select_highlighted(a, displayed));
        let cropped = request
            .attributes_to_crop
            .as_ref()
            .map(|a| select_cropped(a, displayed, crop_length));
        let extra: Vec<String> = match &retrieved {
            Some(retrieved) => self
                .merged_fields()
                .filter(|field| !retrieved.iter().any(|name| is_within(field, name)))
                .collect(),
            None => Vec::new(),
        };
        if let Some(retrieved) = retrieved.clone().filter(|_| !extra.is_empty()) {
            self.shape.extra = Some(Extra {
                formatted: formatted_names(&retrieved, highlighted.as_deref(), cropped.as_deref()),
                fields: extra.clone(),
                retrieved,
            });
        }
        let mut retrieved = retrieved.unwrap_or_else(|| vec!["*".to_owned()]);
        if extra.iter().any(|field| field == "*") {
            retrieved = extra;
        } else {
            retrieved.extend(extra);
        }
        let body = &mut self.body;
        body.insert("attributesToRetrieve".to_owned(), retrieved.into());
        for (name, list) in [
            ("attributesToHighlight", highlighted),
            ("attributesToCrop", cropped),
        ] {
            if let Some(list) = list.filter(|list| !list.is_empty()) {
                body.insert(name.to_owned(), list.into());
            }
        }
        for (name, is_set) in [
            ("showMatchesPosition", request.show_matches_position),
            // Also where hits do not show vectors: the answer then still shows the query's.
            ("retrieveVectors", request.retrieve_vectors),
        ] {
            if is_set {
                body.insert(name.to_owned(), true.into());
            }
        }
    }

    /// The fields that the merge looks at: the distinct field, and with it the facets, because a hit
    /// that another one hides is taken out of their counts. A pattern may be any field.
    fn merged_fields(&self) -> impl Iterator<Item = String> {
        let facets = self.facets.iter().flatten();
        let facets = facets.map(|facet| match facet.as_str() {
            pattern if pattern.contains('*') => "*",
            name => name,
        });
        let distinct = self.distinct.as_deref().into_iter();
        let mut fields: Vec<String> = distinct
            .flat_map(|field| std::iter::once(field).chain(facets.clone()))
            .map(str::to_owned)
            .collect();
        if fields.iter().any(|field| field == "*") {
            fields = vec!["*".to_owned()];
        }
        fields.into_iter()
    }

    fn plan_ranking(&mut self, request: &SearchRequest) {
        let body = &mut self.body;
        body.insert("showRankingScoreDetails".to_owned(), true.into());
        if request.show_ranking_score || request.ranking_score_threshold.is_some() {
            body.insert("showRankingScore".to_owned(), true.into());
        }
        // Sent as it is: it decides which documents the nodes count. A node's score may be a little
        // lower than the single node's (see `score`), so a hit just above the threshold can be
        // missing; lowering it for such hits would make every total and every facet too large.
        if let Some(threshold) = request.ranking_score_threshold {
            body.insert("rankingScoreThreshold".to_owned(), threshold.into());
        }
    }

    fn plan_paging(&mut self) {
        let depth = self.window.depth();
        let (first, second) = match self.paging {
            Paging::Offset { .. } => (("offset", 0), ("limit", depth)),
            // Page mode makes the nodes count exhaustively.
            Paging::Page { .. } => (("page", 1), ("hitsPerPage", depth)),
        };
        for (name, value) in [first, second] {
            self.body.insert(name.to_owned(), json!(value));
        }
    }
}

/// What `_formatted` holds: all that is retrieved, highlighted or cropped; `None` is everything.
fn formatted_names(
    retrieved: &[String],
    highlighted: Option<&[String]>,
    cropped: Option<&[String]>,
) -> Option<Vec<String>> {
    let highlighted = highlighted.unwrap_or_default().iter().map(String::as_str);
    let cropped = cropped
        .unwrap_or_default()
        .iter()
        .map(|entry| split_crop(entry).0);
    let names = retrieved
        .iter()
        .map(String::as_str)
        .chain(highlighted)
        .chain(cropped);
    let names: Vec<_> = names.map(str::to_owned).collect();
    names.iter().all(|name| name != "*").then_some(names)
}

pub(super) fn is_blank_filter(filter: &Value) -> bool {
    match filter {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// Both filters as one: the elements of the outer array are ANDed, and each string is parsed by
/// itself, so no precedence is disturbed.
///
/// The shards come first, which leaves nodes less to look at. Only where the client names a place
/// they come last: nodes look at a condition only while documents are left, and that a place is none
/// is to be noticed even where a node has no document in these shards.
pub(super) fn fuse_filters(shards: Option<&str>, client: Option<&Value>) -> Option<Value> {
    let (shards, client) = match (shards, client) {
        (None, client) => return client.cloned(),
        (Some(shards), None) => return Some(shards.into()),
        (Some(shards), Some(client)) => (Value::from(shards), client),
    };
    let mut items = match client {
        Value::Array(items) => items.clone(),
        text @ Value::String(_) => vec![text.clone()],
        // No filter at all; alone, it makes the node say so in its own words.
        other => return Some(other.clone()),
    };
    if names_a_place(client) {
        items.push(shards);
    } else {
        items.insert(0, shards);
    }
    Some(Value::Array(items))
}

fn names_a_place(filter: &Value) -> bool {
    match filter {
        Value::String(text) => text.contains("_geo"),
        Value::Array(items) => items.iter().any(names_a_place),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::IndexView;

    fn body(request: &SearchRequest, view: &IndexView) -> Value {
        let view = &IndexView {
            filterable: vec!["*".to_owned()],
            ..view.clone()
        };
        let plan = SearchPlan::new(request, view).unwrap();
        serde_json::from_slice(&plan.node_body(None)).unwrap()
    }

    fn names(text: &str) -> Option<Vec<String>> {
        Some(text.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn filters_are_anded_whatever_their_form() {
        let shards = Some("s IN [1]");
        for (client, fused) in [
            (
                json!("a = 1 OR b = 2"),
                json!(["s IN [1]", "a = 1 OR b = 2"]),
            ),
            (
                json!([["a = 1", "_geoRadius(91, 2, 3)"]]),
                json!([["a = 1", "_geoRadius(91, 2, 3)"], "s IN [1]"]),
            ),
            (
                json!(["a = 1", ["b = 2", "c = 3"]]),
                json!(["s IN [1]", "a = 1", ["b = 2", "c = 3"]]),
            ),
            (json!(""), json!("s IN [1]")),
            (json!(" \n"), json!("s IN [1]")),
            (json!([]), json!("s IN [1]")),
            (json!(null), json!("s IN [1]")),
            (json!(7), json!(7)),
        ] {
            let request = SearchRequest {
                filter: Some(client.clone()),
                ..Default::default()
            };
            let plan = SearchPlan::new(&request, &IndexView::default()).unwrap();
            let body: Value = serde_json::from_slice(&plan.node_body(shards)).unwrap();
            assert_eq!(body["filter"], fused, "{client}");
        }
    }

    #[test]
    fn without_a_shard_filter_the_clients_filter_is_sent_as_it_is() {
        let filter = Some(json!([["a = 1"]]));
        let request = SearchRequest {
            filter,
            ..Default::default()
        };
        assert_eq!(
            body(&request, &IndexView::default())["filter"],
            json!([["a = 1"]])
        );
        let plain = body(&SearchRequest::default(), &IndexView::default());
        assert_eq!(plain.get("filter"), None);
    }

    #[test]
    fn nodes_are_asked_for_the_ranking_down_to_the_pages_end() {
        let check = |paging, expected: Value| {
            let view = IndexView {
                max_total_hits: 50,
                ..Default::default()
            };
            let body = body(
                &SearchRequest {
                    paging,
                    ..Default::default()
                },
                &view,
            );
            for name in ["offset", "limit", "page", "hitsPerPage"] {
                assert_eq!(body.get(name), expected.get(name), "{name}");
            }
        };
        check(
            Paging::Offset {
                offset: 10,
                limit: 20,
            },
            json!({"offset": 0, "limit": 30}),
        );
        check(
            Paging::Offset {
                offset: 45,
                limit: 20,
            },
            json!({"offset": 0, "limit": 50}),
        );
        check(
            Paging::Offset {
                offset: 10,
                limit: 0,
            },
            json!({"offset": 0, "limit": 0}),
        );
        check(
            Paging::Page {
                page: 2,
                hits_per_page: 7,
            },
            json!({"page": 1, "hitsPerPage": 14}),
        );
        check(
            Paging::Page {
                page: 0,
                hits_per_page: 7,
            },
            json!({"page": 1, "hitsPerPage": 0}),
        );
    }

    #[test]
    fn scores_are_asked_for_only_when_they_are_shown_or_compared() {
        let view = IndexView::default();
        let mut request = SearchRequest::default();
        assert_eq!(body(&request, &view).get("showRankingScore"), None);
        request.ranking_score_threshold = Some(0.3);
        let threshold = body(&request, &view);
        assert_eq!(threshold["showRankingScore"], json!(true));
        assert_eq!(threshold["rankingScoreThreshold"], json!(0.3));
        request.ranking_score_threshold = None;
        request.show_ranking_score = true;
        assert_eq!(body(&request, &view)["showRankingScore"], json!(true));
    }

    #[test]
    fn what_miroir_does_not_know_is_passed_on_and_does_not_win() {
        let passthrough = json!({"matchingStrategy": "all", "newThing": [1], "limit": 9_000});
        let passthrough = passthrough.as_object().unwrap().clone();
        let request = SearchRequest {
            passthrough,
            ..Default::default()
        };
        let body = body(&request, &IndexView::default());
        assert_eq!(body["matchingStrategy"], json!("all"));
        assert_eq!(body["newThing"], json!([1]));
        assert_eq!(body["limit"], json!(20));
    }

    #[test]
    fn the_distinct_field_is_sent_and_retrieved_whether_asked_or_the_indexs_own() {
        let view = IndexView {
            displayed: names("id title"),
            distinct_attribute: Some("group".to_owned()),
            ..Default::default()
        };
        let own = body(&SearchRequest::default(), &view);
        assert_eq!(own["distinct"], json!("group"));
        assert_eq!(own["attributesToRetrieve"], json!(["id", "title", "group"]));
        let request = SearchRequest {
            distinct: Some("id".to_owned()),
            attributes_to_highlight: names("*"),
            ..Default::default()
        };
        let asked = body(&request, &view);
        assert_eq!(asked["distinct"], json!("id"));
        assert_eq!(asked["attributesToRetrieve"], json!(["id", "title"]));
        assert_eq!(asked["attributesToHighlight"], json!(["id", "title"]));
    }

    #[test]
    fn a_page_of_distinct_hits_also_asks_for_the_fields_values() {
        let request = SearchRequest {
            distinct: Some("group".to_owned()),
            paging: Paging::Page {
                page: 1,
                hits_per_page: 5,
            },
            ..Default::default()
        };
        assert_eq!(
            body(&request, &IndexView::default())["facets"],
            json!(["group"])
        );
        let offset = SearchRequest {
            paging: Paging::Offset {
                offset: 0,
                limit: 5,
            },
            ..request
        };
        assert_eq!(body(&offset, &IndexView::default()).get("facets"), None);
    }
}
