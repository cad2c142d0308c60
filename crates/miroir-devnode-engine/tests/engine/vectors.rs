//! Vectors given by the user: stored, shown, searched.

use crate::support::{Fixture, KEY, estimated, ids, query, texts};
use miroir_devnode_engine::{FetchQuery, HybridQuery, SearchQuery, SimilarQuery};
use serde_json::{Value, json};

fn fixture() -> Fixture {
    Fixture::with(
        json!({
            "rankingRules": ["words", "typo", "proximity", "attribute", "sort", "exactness"],
            "filterableAttributes": ["id"],
            "embedders": { "mine": { "source": "userProvided", "dimensions": 2 } },
        }),
        json!([
            { "id": 1, "name": "north", "_vectors": { "mine": [0.0, 1.0] } },
            { "id": 2, "name": "east", "_vectors": { "mine": [1.0, 0.0], "note": [0.5] } },
            { "id": 3, "name": "north east", "_vectors": { "mine": [[0.9, 0.9]] } },
            { "id": 4, "name": "nowhere", "_vectors": { "mine": null } },
        ]),
    )
}

fn semantic(vector: Vec<f32>, semantic_ratio: f32) -> SearchQuery {
    SearchQuery {
        vector: Some(vector),
        hybrid: Some(HybridQuery {
            embedder: "mine".to_owned(),
            semantic_ratio,
        }),
        show_ranking_score: true,
        ..SearchQuery::default()
    }
}

#[test]
fn a_semantic_search_orders_by_similarity() {
    let fixture = fixture();
    let outcome = fixture.search(&semantic(vec![0.1, 1.0], 1.0));
    assert_eq!(ids(&outcome.hits)[..3], [1, 3, 2]);
    assert_eq!(outcome.semantic_hit_count, Some(4));
    assert_eq!(outcome.query_vector, Some(vec![0.1, 1.0]));
    let best = outcome.hits[0]["_rankingScore"].as_f64().unwrap();
    assert!(best > 0.99, "{best}");
}

#[test]
fn a_hybrid_search_mixes_words_and_vectors() {
    let fixture = fixture();
    let with = |ratio| SearchQuery {
        q: Some("east".to_owned()),
        ..semantic(vec![0.0, 1.0], ratio)
    };
    assert_eq!(ids(&fixture.search(&with(0.0)).hits), [2, 3]);
    assert_eq!(fixture.search(&with(0.0)).semantic_hit_count, None);
    let mixed = fixture.search(&with(0.9));
    assert_eq!(ids(&mixed.hits)[0], 1);
    assert!(mixed.semantic_hit_count.unwrap() > 0);
}

#[test]
fn a_vector_without_words_searches_alone() {
    let fixture = fixture();
    for words in [None, Some(""), Some("  ")] {
        let query = SearchQuery {
            q: words.map(str::to_owned),
            ..semantic(vec![0.0, 1.0], 0.1)
        };
        let outcome = fixture.search(&query);
        assert_eq!(ids(&outcome.hits)[..3], [1, 3, 2]);
        assert_eq!(outcome.semantic_hit_count, Some(4));
    }
}

#[test]
fn a_hybrid_search_keeps_distinct_documents_only() {
    let fixture = fixture();
    fixture.set(json!({ "filterableAttributes": ["id", "kind"] }));
    fixture.apply(&[fixture.update(json!([
        { "id": 1, "kind": "Wind" },
        { "id": 2, "kind": "wind" },
        { "id": 3, "kind": "storm" }
    ]))]);
    let query = SearchQuery {
        q: Some("east".to_owned()),
        distinct: Some("kind".to_owned()),
        ..semantic(vec![0.0, 1.0], 0.9)
    };
    let outcome = fixture.search(&query);
    assert_eq!(ids(&outcome.hits), [1, 3, 4]);
    assert_eq!(estimated(&outcome), 3);
}

#[test]
fn wrong_vector_requests_are_refused() {
    let fixture = fixture();
    assert_eq!(
        fixture.code(&semantic(vec![1.0], 1.0)),
        "invalid_vector_dimensions"
    );
    let no_hybrid = SearchQuery {
        hybrid: None,
        ..semantic(vec![1.0, 1.0], 1.0)
    };
    assert_eq!(fixture.code(&no_hybrid), "missing_search_hybrid");
    let mut unknown = semantic(vec![1.0, 1.0], 1.0);
    unknown.hybrid.as_mut().unwrap().embedder = "yours".to_owned();
    assert_eq!(fixture.code(&unknown), "invalid_search_embedder");
    let words_only = SearchQuery {
        vector: None,
        q: Some("x".to_owned()),
        ..semantic(vec![], 1.0)
    };
    assert_eq!(fixture.code(&words_only), "vector_embedding_error");
}

#[test]
fn vectors_are_shown_only_when_asked_for() {
    let fixture = fixture();
    let shown = json!({
        "note": [0.5],
        "mine": { "embeddings": [[1.0, 0.0]], "regenerate": false }
    });
    let get = |fields: Option<Vec<String>>, retrieve_vectors| {
        fixture
            .engine
            .get_document(KEY, "2", fields.as_deref(), retrieve_vectors)
            .unwrap()
            .unwrap()
    };
    assert_eq!(get(None, true)["_vectors"], shown);
    assert!(get(None, false).get("_vectors").is_none());
    let mine = json!({ "mine": shown["mine"] });
    assert_eq!(
        get(texts(&["id"]), true),
        json!({ "id": 2, "_vectors": mine })
    );
    assert_eq!(get(texts(&["id"]), false), json!({ "id": 2 }));

    let fetch = FetchQuery {
        ids: texts(&["4"]),
        limit: 1,
        retrieve_vectors: true,
        ..FetchQuery::default()
    };
    let (documents, _) = fixture.engine.fetch_documents(KEY, &fetch).unwrap();
    assert_eq!(documents[0]["_vectors"]["mine"]["embeddings"], json!([]));

    let found = SearchQuery {
        retrieve_vectors: true,
        ..query("nowhere")
    };
    let hit: &Value = &fixture.search(&found).hits[0];
    assert!(hit["_vectors"]["mine"].is_object());
    assert!(
        fixture.search(&query("nowhere")).hits[0]
            .get("_vectors")
            .is_none()
    );
}

#[test]
fn wrong_vectors_fail_the_whole_transaction() {
    let fixture = fixture();
    let code = |document: Value| {
        let operations = [fixture.replace(json!([document]))];
        fixture
            .engine
            .apply_documents(KEY, &operations, None)
            .unwrap_err()
            .code()
    };
    assert_eq!(
        code(json!({ "id": 9, "_vectors": { "mine": [1.0] } })),
        "invalid_vector_dimensions"
    );
    assert_eq!(code(json!({ "id": 9, "_vectors": 7 })), "internal");
    assert_eq!(
        code(json!({ "id": 9, "_vectors": { "mine": "x" } })),
        "invalid_vectors_type"
    );
    assert_eq!(code(json!({ "id": 9 })), "vector_embedding_error");
    assert_eq!(fixture.count(), 4);
}

#[test]
fn similar_documents_leave_out_the_one_asked_about() {
    let fixture = fixture();
    let like = |id: &str, embedder: &str, filter| SimilarQuery {
        id: id.to_owned(),
        embedder: embedder.to_owned(),
        offset: 0,
        limit: 20,
        filter,
        attributes_to_retrieve: texts(&["id"]),
        retrieve_vectors: false,
        show_ranking_score: true,
        show_ranking_score_details: true,
        ranking_score_threshold: None,
    };
    let similar = |query| fixture.engine.similar(KEY, &query);
    let outcome = similar(like("1", "mine", None)).unwrap();
    assert_eq!(ids(&outcome.hits), [3, 2]);
    assert_eq!(estimated(&outcome), 3);
    assert!(outcome.hits[0]["_rankingScoreDetails"]["vectorSort"]["similarity"].is_number());

    let filtered = similar(like("1", "mine", Some(json!("id = 2")))).unwrap();
    assert_eq!(ids(&filtered.hits), [2]);
    let code = |query| similar(query).unwrap_err().code();
    assert_eq!(code(like("77", "mine", None)), "not_found_similar_id");
    assert_eq!(code(like("1", "yours", None)), "invalid_similar_embedder");
    assert_eq!(
        code(like("1", "mine", Some(json!("name = x")))),
        "invalid_similar_filter"
    );
}

#[test]
fn stats_count_vectors() {
    let stats = fixture().engine.stats(KEY).unwrap();
    assert_eq!(stats.number_of_embeddings, 3);
    assert_eq!(stats.number_of_embedded_documents, 3);
}
