use crate::node::Node;
use http::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn settings_are_changed_shown_and_reset() {
    let node = Node::start().await;
    let patch = json!({ "stopWords": ["the"], "rankingRules": ["words", "typo"] });
    let task = node
        .write_well(Method::PATCH, "/indexes/a/settings", patch.clone())
        .await;
    assert_eq!(
        (&task["type"], &task["details"]),
        (&json!("settingsUpdate"), &patch)
    );
    let settings = node.get("/indexes/a/settings").await;
    assert_eq!(settings["stopWords"], json!(["the"]));
    assert_eq!(settings["searchableAttributes"], json!(["*"]));
    node.write_well(Method::DELETE, "/indexes/a/settings", Value::Null)
        .await;
    assert_eq!(
        node.get("/indexes/a/settings").await["stopWords"],
        json!([])
    );
}

/// Every sub-route with a value that is not its default.
#[tokio::test]
async fn every_setting_has_a_route_of_its_own() {
    let node = Node::start().await;
    node.add("a", json!([{ "id": 1, "x": 1 }])).await;
    let initial = node.get("/indexes/a/settings").await;
    let cases = [
        (
            "displayed-attributes",
            "displayedAttributes",
            Method::PUT,
            json!(["id"]),
        ),
        (
            "searchable-attributes",
            "searchableAttributes",
            Method::PUT,
            json!(["id"]),
        ),
        (
            "filterable-attributes",
            "filterableAttributes",
            Method::PUT,
            json!(["id"]),
        ),
        (
            "sortable-attributes",
            "sortableAttributes",
            Method::PUT,
            json!(["id"]),
        ),
        (
            "ranking-rules",
            "rankingRules",
            Method::PUT,
            json!(["words", "id:asc"]),
        ),
        ("stop-words", "stopWords", Method::PUT, json!(["a"])),
        (
            "non-separator-tokens",
            "nonSeparatorTokens",
            Method::PUT,
            json!(["#"]),
        ),
        (
            "separator-tokens",
            "separatorTokens",
            Method::PUT,
            json!(["&"]),
        ),
        ("dictionary", "dictionary", Method::PUT, json!(["J. R."])),
        ("synonyms", "synonyms", Method::PUT, json!({ "a": ["b"] })),
        (
            "distinct-attribute",
            "distinctAttribute",
            Method::PUT,
            json!("id"),
        ),
        (
            "proximity-precision",
            "proximityPrecision",
            Method::PUT,
            json!("byAttribute"),
        ),
        (
            "search-cutoff-ms",
            "searchCutoffMs",
            Method::PUT,
            json!(100),
        ),
        ("facet-search", "facetSearch", Method::PUT, json!(false)),
        (
            "prefix-search",
            "prefixSearch",
            Method::PUT,
            json!("disabled"),
        ),
        (
            "pagination",
            "pagination",
            Method::PATCH,
            json!({ "maxTotalHits": 5 }),
        ),
    ];
    for (path, name, method, value) in cases {
        let path = format!("/indexes/a/settings/{path}");
        let task = node.write_well(method, &path, value.clone()).await;
        assert_eq!(task["details"], json!({ name: value }));
        assert_eq!(node.get(&path).await, value, "{name}");
        assert_eq!(node.get("/indexes/a/settings").await[name], value, "{name}");
        node.write_well(Method::DELETE, &path, Value::Null).await;
        assert_eq!(node.get(&path).await, initial[name], "{name}");
    }
    let partial = json!({ "minWordSizeForTypos": { "oneTypo": 3 } });
    node.write_well(Method::PATCH, "/indexes/a/settings/typo-tolerance", partial)
        .await;
    let sizes = &node.get("/indexes/a/settings/typo-tolerance").await["minWordSizeForTypos"];
    assert_eq!(*sizes, json!({ "oneTypo": 3, "twoTypos": 9 }));
    let partial = json!({ "maxValuesPerFacet": 7 });
    node.write_well(Method::PATCH, "/indexes/a/settings/faceting", partial)
        .await;
    assert_eq!(
        node.get("/indexes/a/settings/faceting").await["maxValuesPerFacet"],
        7
    );
    let locales = json!([{ "attributePatterns": ["*"], "locales": ["fra"] }]);
    node.write_well(
        Method::PUT,
        "/indexes/a/settings/localized-attributes",
        locales,
    )
    .await;
    assert_eq!(
        node.get("/indexes/a/settings/localized-attributes").await[0]["locales"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // A document without vectors would not go with an embedder that makes none.
    node.write_well(Method::DELETE, "/indexes/a/documents", Value::Null)
        .await;
    let embedders = json!({ "e": { "source": "userProvided", "dimensions": 2 } });
    node.write_well(Method::PATCH, "/indexes/a/settings/embedders", embedders)
        .await;
    assert_eq!(
        node.get("/indexes/a/settings/embedders").await["e"]["dimensions"],
        2
    );
}

#[tokio::test]
async fn wrong_settings_are_refused_at_once_and_impossible_ones_fail_their_task() {
    let node = Node::start().await;
    let path = "/indexes/a/settings";
    let patch = async |body: Value, expected| {
        node.refuses(Method::PATCH, path, body, expected).await;
    };
    patch(json!({ "x": 1 }), (400, "bad_request")).await;
    patch(
        json!({ "stopWords": 1 }),
        (400, "invalid_settings_stop_words"),
    )
    .await;
    patch(
        json!({ "rankingRules": ["nonsense"] }),
        (400, "invalid_settings_ranking_rules"),
    )
    .await;
    node.refuses(Method::GET, path, Value::Null, (404, "index_not_found"))
        .await;
    let task = node.write(Method::DELETE, path, Value::Null).await;
    assert_eq!(task["error"]["code"], "index_not_found");
    node.add("a", json!([{ "id": 1, "_geo": { "lat": "x", "lng": 1 } }]))
        .await;
    let body = json!({ "filterableAttributes": ["_geo"] });
    let task = node.write(Method::PATCH, path, body).await;
    assert_eq!(task["status"], "failed");
    assert!(
        task["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("Index `a`: "),
        "{task}"
    );
}
