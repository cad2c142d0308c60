//! Several searches in one request, each for itself or as one.

use super::Pair;
use serde_json::{Value, json};

#[test]
fn several_searches_in_one_request_answer_as_one_node_does() {
    let pair = Pair::start();
    let path = "/multi-search";
    pair.check(path, &json!({"queries": []}));
    let body = json!({"queries": [
        {"indexUid": "a", "q": "tea", "limit": 5},
        {"indexUid": "b", "q": "green", "facets": ["group", "price"], "sort": ["price:asc"]},
        {"indexUid": "a", "filter": "price > 20", "page": 2, "hitsPerPage": 3},
        {"indexUid": "a", "q": "moutain", "showRankingScore": true, "offset": 2},
        {"indexUid": "b", "q": "river stone", "attributesToHighlight": ["*"]},
    ]});
    let answer = pair.check(path, &body);
    assert_eq!(answer["results"].as_array().unwrap().len(), 5);
    assert_eq!(answer["results"][1]["indexUid"], "b");
    for body in [
        json!({}),
        json!([]),
        json!({"queries": [{}]}),
        json!({"queries": [{"indexUid": "a b"}]}),
        json!({"queries": [{"indexUid": "a"}, {"indexUid": "none"}]}),
        json!({"queries": [{"indexUid": "a"}, {"indexUid": "a", "filter": "x = 1"}]}),
        json!({"queries": [{"indexUid": "a"}, {"indexUid": "a", "sort": ["x:asc"]}]}),
        json!({"queries": [{"indexUid": "a", "q": 1}]}),
        json!({"queries": [{"indexUid": "a", "federationOptions": {}}]}),
    ] {
        pair.check_refused(path, &body);
    }
}

#[test]
fn a_federated_search_answers_as_one_node_does() {
    check_federated(&Pair::start());
}

#[test]
fn a_node_that_holds_all_answers_a_federated_search_as_one_that_is_alone() {
    check_federated(&Pair::with_copies(3));
}

fn check_federated(pair: &Pair) {
    let path = "/multi-search";
    if !pair.is_real {
        // The bundled node has no federated search to compare with, and needs none to be asked.
        let body = json!({"federation": {"limit": 7}, "queries": [
            {"indexUid": "a", "q": "tea"},
            {"indexUid": "b", "q": "tea", "federationOptions": {"weight": 0.5}},
        ]});
        let answer = pair
            .cluster
            .client()
            .post(path, &body)
            .unwrap()
            .ok()
            .unwrap();
        let alone = pair
            .single
            .client()
            .search("a", &json!({"q": "tea", "limit": 7}))
            .unwrap();
        let ids = |hits: &Value| -> Vec<Value> {
            hits.as_array()
                .unwrap()
                .iter()
                .map(|hit| hit["id"].clone())
                .collect()
        };
        assert_eq!(ids(&answer["hits"]), ids(&alone.body["hits"]));
        assert_eq!(answer["hits"][0]["_federation"]["indexUid"], "a");
        let total = alone.body["estimatedTotalHits"].as_u64().unwrap();
        assert_eq!(answer["estimatedTotalHits"], 2 * total);
        let body = json!({"federation": {}, "queries": [{"indexUid": "a"}, {"indexUid": "a"}]});
        let reply = pair.cluster.client().post(path, &body).unwrap();
        assert_eq!(
            (reply.status, reply.code()),
            (501, Some("feature_not_enabled"))
        );
        return;
    }
    let by_price = json!(["price:asc"]);
    for body in [
        json!({"federation": {}, "queries": []}),
        json!({"federation": {}, "queries": [{"indexUid": "a", "q": "tea"}]}),
        json!({"federation": {"limit": 50}, "queries": [
            {"indexUid": "a", "q": "tea"}, {"indexUid": "b", "q": "moutain river"},
        ]}),
        json!({"federation": {"offset": 5, "limit": 30}, "queries": [
            {"indexUid": "b", "q": "green", "showRankingScore": true, "attributesToHighlight": ["*"]},
            {"indexUid": "a", "q": "stone", "federationOptions": {"weight": 0.9}},
            {"indexUid": "a", "q": "team garden", "showRankingScoreDetails": true},
        ]}),
        json!({"federation": {"page": 2, "hitsPerPage": 9}, "queries": [
            {"indexUid": "a", "q": "tea", "filter": "price > 10"},
            {"indexUid": "a", "q": "tea stone", "federationOptions": {"weight": 2.5}},
            {"indexUid": "b", "q": "garden", "attributesToRetrieve": ["title"]},
        ]}),
        json!({"federation": {"limit": 40}, "queries": [
            {"indexUid": "a", "q": "river", "sort": by_price},
            {"indexUid": "b", "q": "mountain", "sort": by_price},
        ]}),
        json!({"federation": {"limit": 40}, "queries": [
            {"indexUid": "a", "q": "", "sort": by_price}, {"indexUid": "b", "sort": by_price},
        ]}),
        json!({"federation": {"facetsByIndex": {"a": ["group", "price"], "b": ["price"]}}, "queries": [
            {"indexUid": "a", "q": "river"}, {"indexUid": "b", "q": "mountain"},
        ]}),
        json!({"federation": {"facetsByIndex": {"a": ["group", "price"]}}, "queries": [
            {"indexUid": "a", "q": "river"}, {"indexUid": "a", "q": "mountain"},
        ]}),
        json!({
            "federation": {
                "facetsByIndex": {"a": ["group", "price"], "b": ["price"]},
                "mergeFacets": {"maxValuesPerFacet": 4},
            },
            "queries": [{"indexUid": "a", "q": "river"}, {"indexUid": "b", "q": "tea"}],
        }),
        json!({"federation": {"limit": 30}, "queries": [
            {"indexUid": "a", "q": "river"},
            {
                "indexUid": "b", "hybrid": {"embedder": "e", "semanticRatio": 1.0},
                "vector": [1.0, 0.2, 0.4],
            },
        ]}),
        // On one index, by words and by nothing, sorted and not.
        json!({"federation": {"limit": 50}, "queries": [
            {"indexUid": "a", "filter": "price < 5"},
            {"indexUid": "a", "q": "tea", "filter": ["price > 3", ["group = g1", "group = g2"]]},
        ]}),
        json!({"federation": {"limit": 9, "facetsByIndex": {"a": ["group", "price"]}}, "queries": [
            {"indexUid": "a", "filter": ["price < 5", ["group = g1", "group = g2"]]},
            {"indexUid": "a", "q": "tea"}, {"indexUid": "a", "q": "", "filter": "secret = 1"},
        ]}),
        json!({"federation": {"page": 3, "hitsPerPage": 9}, "queries": [
            {"indexUid": "a", "q": "tea"}, {"indexUid": "a"},
        ]}),
        json!({"federation": {"limit": 30}, "queries": [
            {"indexUid": "a", "q": "tea", "sort": by_price}, {"indexUid": "a", "q": "stone"},
        ]}),
        // On one index and by words, so that a node that holds all of it can merge them itself:
        // documents that both find, and equal scores of different queries.
        json!({"federation": {"limit": 60}, "queries": [
            {"indexUid": "a", "q": "tea"}, {"indexUid": "a", "q": "stone"},
        ]}),
        json!({"federation": {"limit": 60}, "queries": [
            {"indexUid": "a", "q": "stone", "showRankingScore": true},
            {"indexUid": "a", "q": "tea", "showRankingScoreDetails": true},
            {"indexUid": "a", "q": "stone tea"},
        ]}),
        json!({"federation": {"offset": 20, "limit": 15}, "queries": [
            {"indexUid": "a", "q": "tea"}, {"indexUid": "a", "q": "green"}, {"indexUid": "a", "q": "tea"},
        ]}),
        json!({"federation": {"page": 3, "hitsPerPage": 12, "facetsByIndex": {"a": ["*"]}}, "queries": [
            {"indexUid": "a", "q": "tea", "filter": "price < 20"},
            {"indexUid": "a", "q": "river", "federationOptions": {"weight": 2.0}},
        ]}),
        json!({
            "federation": {"limit": 0, "facetsByIndex": {"a": ["group"]}, "mergeFacets": {}},
            "queries": [{"indexUid": "a", "q": "tea"}, {"indexUid": "a", "q": "river"}],
        }),
        json!({
            "federation": {"facetsByIndex": {"a": ["group", "price"]}, "mergeFacets": {}},
            "queries": [
                {"indexUid": "a", "q": "tea", "attributesToRetrieve": ["id"], "attributesToHighlight": ["*"]},
                {"indexUid": "a", "q": "moutain", "rankingScoreThreshold": 0.4},
            ],
        }),
        json!({"federation": {"limit": 30}, "queries": [
            {"indexUid": "a", "q": "tea", "federationOptions": {"weight": 0.3}},
            {"indexUid": "a", "q": "garden", "federationOptions": {"weight": 0.1}},
        ]}),
        // By words and meaning.
        json!({"federation": {"limit": 30, "showPerformanceDetails": true}, "queries": [
            {"indexUid": "a", "q": "river"},
            {
                "indexUid": "b", "q": "tea stone", "vector": [1.0, 0.2, 0.4],
                "hybrid": {"embedder": "e", "semanticRatio": 0.6}, "showRankingScore": true,
            },
        ]}),
        json!({"federation": {"limit": 25, "facetsByIndex": {"a": ["price"]}}, "queries": [
            {"indexUid": "a", "q": "river", "filter": "price < 9"},
            {
                "indexUid": "a", "q": "tea stone", "vector": [1.0, 0.2, 0.4],
                "hybrid": {"embedder": "e", "semanticRatio": 0.4}, "filter": "price > 20",
            },
        ]}),
    ] {
        pair.check(path, &body);
    }
    for body in [
        json!({"federation": {}, "queries": [{"indexUid": "a", "limit": 1}]}),
        json!({"federation": {}, "queries": [{"indexUid": "a", "facets": ["group"]}]}),
        json!({"federation": {}, "queries": [{"indexUid": "a"}, {"indexUid": "none"}]}),
        json!({"federation": {}, "queries": [{"indexUid": "a", "filter": "x = 1"}]}),
        json!({"federation": {"zz": 1}, "queries": []}),
        json!({"federation": {}, "queries": [
            {"indexUid": "a", "q": "x"}, {"indexUid": "b", "q": "z"}, {"indexUid": "a", "q": "y", "filter": "x = 1"},
        ]}),
        json!({"federation": {"facetsByIndex": {"a": ["title"]}}, "queries": [
            {"indexUid": "a", "q": "x"}, {"indexUid": "a", "q": "y"}
        ]}),
        json!({"federation": {"facetsByIndex": {"none": []}}, "queries": [{"indexUid": "a"}]}),
        json!({"federation": {"facetsByIndex": {"a": ["title"]}}, "queries": [{"indexUid": "a"}]}),
        json!({"federation": {}, "queries": [
            {"indexUid": "a", "federationOptions": {"queryPosition": 3}}
        ]}),
        json!({"federation": {}, "queries": [
            {"indexUid": "a", "federationOptions": {"remote": "x"}}
        ]}),
    ] {
        pair.check_refused(path, &body);
    }
    let opposed = json!({"federation": {}, "queries": [
        {"indexUid": "a", "sort": ["price:asc"]}, {"indexUid": "b", "sort": ["price:desc"]},
    ]});
    let refused = pair
        .ask(path, &opposed)
        .map(|(status, answer)| (status, answer["code"].clone()));
    assert_eq!(refused[1], refused[0]);
    assert_eq!(refused[0].1, "invalid_multi_search_query_ranking_rules");
}
