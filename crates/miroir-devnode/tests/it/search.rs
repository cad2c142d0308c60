use crate::node::Node;
use http::Method;
use serde_json::{Value, json};

async fn node_with_films() -> Node {
    let node = Node::start().await;
    let settings = json!({
        "filterableAttributes": ["genre", "year"],
        "sortableAttributes": ["year"],
        "rankingRules": ["words", "typo", "proximity", "attribute", "sort", "exactness"],
    });
    node.write_well(Method::PATCH, "/indexes/films/settings", settings)
        .await;
    let films = json!([
        { "id": 1, "title": "The quiet river", "genre": "drama", "year": 1990 },
        { "id": 2, "title": "River of stars", "genre": "space", "year": 2001 },
        { "id": 3, "title": "Stars and dust", "genre": "space", "year": 1977 },
    ]);
    node.add("films", films).await;
    node
}

fn ids(answer: &Value) -> Vec<u64> {
    answer["hits"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hit| hit["id"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn a_search_takes_all_its_parameters() {
    let node = node_with_films().await;
    let body = json!({
        "q": "river", "filter": ["year > 1980", ["genre = space", "genre = drama"]],
        "sort": ["year:desc"], "facets": ["genre", "year"], "attributesToHighlight": ["title"],
        "attributesToRetrieve": ["id", "title"], "showMatchesPosition": true,
        "showRankingScore": true, "showRankingScoreDetails": true, "limit": 5,
    });
    let (status, answer) = node.post("/indexes/films/search", body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["query"], "river");
    assert_eq!(
        (&answer["limit"], &answer["offset"]),
        (&json!(5), &json!(0))
    );
    assert_eq!(answer["estimatedTotalHits"], 2);
    assert_eq!(
        answer["facetDistribution"]["genre"],
        json!({ "drama": 1, "space": 1 })
    );
    assert_eq!(
        answer["facetStats"]["year"],
        json!({ "min": 1990.0, "max": 2001.0 })
    );
    let hit = &answer["hits"][0];
    assert!(
        hit["_formatted"]["title"]
            .as_str()
            .unwrap()
            .contains("<em>"),
        "{hit}"
    );
    assert!(hit["_matchesPosition"]["title"].is_array() && hit["_rankingScore"].is_number());
    assert!(hit["_rankingScoreDetails"]["words"].is_object());
    assert!(hit.get("genre").is_none());
    assert!(answer["requestUid"].is_string() && answer["processingTimeMs"].is_u64());
}

#[tokio::test]
async fn a_search_by_query_string_is_the_same_search() {
    let node = node_with_films().await;
    let path = "/indexes/films/search?q=stars&filter=genre%20%3D%20space&sort=year:asc&limit=1\
                &attributesToRetrieve=id,year";
    let answer = node.get(path).await;
    assert_eq!(answer["hits"].as_array().unwrap().len(), 1);
    assert_eq!(answer["estimatedTotalHits"], 2);
    let page = node.get("/indexes/films/search?page=2&hitsPerPage=2").await;
    assert_eq!(
        (ids(&page), &page["totalHits"], &page["totalPages"]),
        (vec![3], &json!(3), &json!(2))
    );
    assert!(page.get("limit").is_none());
}

#[tokio::test]
async fn several_searches_go_in_one_request() {
    let node = node_with_films().await;
    let queries = json!({ "queries": [
        { "indexUid": "films", "q": "dust" }, { "indexUid": "films", "limit": 1 },
    ] });
    let (status, answer) = node.post("/multi-search", queries).await;
    assert_eq!(
        (status, ids(&answer["results"][0])),
        (200, vec![3]),
        "{answer}"
    );
    assert_eq!(answer["results"][1]["indexUid"], "films");
    let missing = json!({ "queries": [{ "indexUid": "films" }, { "indexUid": "nothing" }] });
    let (status, answer) = node.post("/multi-search", missing).await;
    assert_eq!((status, &answer["code"]), (400, &json!("index_not_found")));
    assert_eq!(
        answer["message"],
        "Inside `.queries[1]`: Index `nothing` not found."
    );
    let federated = json!({ "federation": {}, "queries": [] });
    let expected = (400, "invalid_multi_search_federated");
    node.refuses(Method::POST, "/multi-search", federated, expected)
        .await;
}

#[tokio::test]
async fn facet_values_are_searched() {
    let node = node_with_films().await;
    let body = json!({ "facetName": "genre", "facetQuery": "sp", "unknown": "ignored" });
    let (status, answer) = node.post("/indexes/films/facet-search", body).await;
    assert_eq!(
        (status, &answer["facetHits"]),
        (200, &json!([{ "value": "space", "count": 2 }]))
    );
    assert_eq!(answer["facetQuery"], "sp");
    let path = "/indexes/films/facet-search";
    let expected = (400, "missing_facet_search_facet_name");
    node.refuses(Method::POST, path, json!({}), expected).await;
    let body = json!({ "facetName": "title" });
    node.refuses(
        Method::POST,
        path,
        body,
        (400, "invalid_facet_search_facet_name"),
    )
    .await;
}

#[tokio::test]
async fn vectors_find_neighbours() {
    let node = Node::start().await;
    let embedders = json!({ "embedders": { "e": { "source": "userProvided", "dimensions": 2 } } });
    node.write_well(Method::PATCH, "/indexes/v/settings", embedders)
        .await;
    let vector = |id: u64, x: f64, y: f64| json!({ "id": id, "_vectors": { "e": [x, y] } });
    let documents = json!([
        vector(1, 1.0, 0.0),
        vector(2, 0.9, 0.1),
        vector(3, 0.0, 1.0)
    ]);
    node.add("v", documents).await;
    let body = json!({
        "vector": [1.0, 0.0], "hybrid": { "embedder": "e", "semanticRatio": 1.0 }, "limit": 2,
        "retrieveVectors": true,
    });
    let (status, answer) = node.post("/indexes/v/search", body).await;
    assert_eq!((status, ids(&answer)), (200, vec![1, 2]), "{answer}");
    assert_eq!(answer["semanticHitCount"], 2);
    assert!(answer["hits"][0]["_vectors"]["e"]["embeddings"].is_array());
    let similar = node.get("/indexes/v/similar?id=1&embedder=e&limit=1").await;
    assert_eq!((ids(&similar), &similar["id"]), (vec![2], &json!("1")));
    let path = "/indexes/v/similar";
    let body = json!({ "id": 9, "embedder": "e" });
    node.refuses(Method::POST, path, body, (400, "not_found_similar_id"))
        .await;
    let body = json!({ "id": 1, "embedder": "x" });
    node.refuses(Method::POST, path, body, (400, "invalid_similar_embedder"))
        .await;
    let body = json!({ "vector": [1.0] });
    node.refuses(
        Method::POST,
        "/indexes/v/search",
        body,
        (400, "missing_search_hybrid"),
    )
    .await;
}

#[tokio::test]
async fn wrong_searches_are_refused_with_the_code_of_their_parameter() {
    let node = node_with_films().await;
    let path = "/indexes/films/search";
    let cases = [
        (json!({ "x": 1 }), "bad_request"),
        (json!({ "q": 1 }), "invalid_search_q"),
        (json!({ "limit": -1 }), "invalid_search_limit"),
        (json!({ "limit": null }), "invalid_search_limit"),
        (json!({ "filter": 1 }), "invalid_search_filter"),
        (json!({ "filter": "title = 1" }), "invalid_search_filter"),
        (json!({ "sort": ["title:asc"] }), "invalid_search_sort"),
        (json!({ "facets": ["title"] }), "invalid_search_facets"),
        (json!({ "distinct": "title" }), "invalid_search_distinct"),
        (
            json!({ "attributesToRetrieve": ["a", 1] }),
            "invalid_search_attributes_to_retrieve",
        ),
        (
            json!({ "matchingStrategy": "some" }),
            "invalid_search_matching_strategy",
        ),
        (
            json!({ "rankingScoreThreshold": 2 }),
            "invalid_search_ranking_score_threshold",
        ),
        (
            json!({ "q": "x", "hybrid": { "embedder": "e" } }),
            "invalid_search_embedder",
        ),
    ];
    for (body, code) in cases {
        node.refuses(Method::POST, path, body, (400, code)).await;
    }
    node.refuses(
        Method::POST,
        "/indexes/b/search",
        json!({}),
        (404, "index_not_found"),
    )
    .await;
    let long = "/indexes/films/search?limit=x";
    node.refuses(
        Method::GET,
        long,
        Value::Null,
        (400, "invalid_search_limit"),
    )
    .await;
    let (_, answer) = node.post(path, json!({ "filter": "title = 1" })).await;
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .starts_with("Index `films`: "),
        "{answer}"
    );
}
