//! Facet values, similar documents, fields.

use super::{Pair, masked};
use miroir_testkit::Rng;
use serde_json::{Value, json};

#[test]
fn facet_values_are_found_as_in_one_node() {
    let pair = Pair::start();
    for index in ["a", "b"] {
        let path = format!("/indexes/{index}/facet-search");
        for body in [
            json!({"facetName": "group"}),
            json!({"facetName": "group", "facetQuery": "g1"}),
            json!({"facetName": "group", "facetQuery": "g", "q": "tea"}),
            json!({"facetName": "group", "filter": "price < 10 AND genre = drama"}),
            json!({"facetName": "group", "q": "green", "matchingStrategy": "all"}),
            json!({"facetName": "group", "q": "stone", "exhaustiveFacetCount": true}),
            json!({"facetName": "group", "filter": ["price < 0"]}),
            json!({"facetName": "price"}),
            json!({"facetName": "secret", "facetQuery": "1", "limit": "ignored"}),
        ] {
            pair.check(&path, &body);
        }
        // Of several spellings of a value, which one is shown is not determined.
        for body in [
            json!({"facetName": "genre"}),
            json!({"facetName": "genre", "facetQuery": "d"}),
            json!({"facetName": "genre", "facetQuery": "ete"}),
            json!({"facetName": "genre", "q": "river", "filter": "price > 3"}),
        ] {
            let counts = pair.ask(&path, &body).map(|(status, answer)| {
                assert_eq!(status, 200, "{body} {answer}");
                let hits = answer["facetHits"].as_array().unwrap().clone();
                assert!(!hits.is_empty(), "{body}");
                hits.into_iter()
                    .map(|hit| {
                        let value = hit["value"].as_str().unwrap().trim().to_lowercase();
                        (value, hit["count"].as_u64().unwrap())
                    })
                    .collect::<Vec<_>>()
            });
            assert_eq!(counts[1], counts[0], "{index} {body}");
        }
        for body in [
            json!({}),
            json!({"facetName": 1}),
            json!({"facetName": "title"}),
            json!({"facetName": "group", "filter": "title = x"}),
        ] {
            pair.check_refused(&path, &body);
        }
    }
    pair.check_refused("/indexes/none/facet-search", &json!({"facetName": "a"}));
}

#[test]
fn similar_documents_are_those_of_one_node() {
    let pair = Pair::start();
    let path = "/indexes/a/similar";
    for id in [1, 2, 9, 17, 100, 239] {
        for body in [
            json!({"id": id, "embedder": "e"}),
            json!({"id": id.to_string(), "embedder": "e", "offset": 3, "limit": 4}),
            json!({"id": id, "embedder": "e", "filter": "price < 15", "showRankingScore": true}),
            json!({"id": id, "embedder": "e", "filter": ["price > 25"], "limit": 200}),
            json!({"id": id, "embedder": "e", "rankingScoreThreshold": 0.9, "limit": 100}),
            json!({
                "id": id, "embedder": "e", "attributesToRetrieve": ["id", "secret"],
                "showRankingScoreDetails": true, "showRankingScore": true,
            }),
        ] {
            pair.check(path, &body);
        }
        if pair.is_real {
            // The bundled node's older engine counts otherwise when the page ends above the bar.
            let body =
                json!({"id": id, "embedder": "e", "rankingScoreThreshold": 0.95, "offset": 2});
            pair.check(path, &body);
        }
    }
    let [expected, found] = pair.clients().map(|client| {
        let target = "/indexes/a/similar?id=5&embedder=e&limit=3&attributesToRetrieve=id";
        masked(client.get(target).unwrap().ok().unwrap())
    });
    assert_eq!(found, expected);
    if pair.is_real {
        // The bundled node has another code for a missing field.
        pair.check_refused(path, &json!({"id": 1}));
        pair.check_refused(path, &json!({"embedder": "e"}));
    }
    for body in [
        json!({"id": 1000, "embedder": "e"}),
        json!({"id": "a b", "embedder": "e"}),
        json!({"id": 1, "embedder": "x"}),
        json!({"id": 1, "embedder": "e", "filter": "title = x"}),
        json!({"id": 1, "embedder": "e", "limit": "x"}),
    ] {
        pair.check_refused(path, &body);
    }
    pair.check_refused("/indexes/none/similar", &json!({"id": 1, "embedder": "e"}));
    if !pair.is_real {
        // The bundled node shows no more similar documents than a search does.
        return;
    }
    // Deeper than a search may look: the parts of the index are asked for one by one.
    for client in pair.clients() {
        let change = json!({"pagination": {"maxTotalHits": 40}});
        client
            .write("PATCH", "/indexes/a/settings", Some(&change))
            .unwrap();
    }
    for (offset, limit) in [(0, 90), (70, 30), (50, 300)] {
        let body = json!({"id": 5, "embedder": "e", "offset": offset, "limit": limit});
        pair.check(path, &body);
    }
}

/// A document of index `v`, with as many vectors of each embedder as chance gives it.
fn document_of_vectors(id: u64) -> Value {
    let mut rng = Rng::new(id * 13 + 5);
    let mut vectors = |dimensions: usize| -> Vec<Vec<f64>> {
        let count = rng.below(4);
        let numbers = (0..count).map(|_| (0..dimensions).map(|_| rng.unit() - 0.5).collect());
        numbers.collect()
    };
    let (plain, shifted, quantized) = (vectors(3), vectors(5), vectors(70));
    json!({
        "id": id, "price": id % 7,
        "_vectors": {"plain": plain, "shifted": shifted, "quantized": quantized},
    })
}

#[test]
fn vectors_of_similar_documents_are_compared_by_position_as_on_one_node() {
    let pair = Pair::start();
    if !pair.is_real {
        // The bundled node's older engine compares vectors otherwise.
        return;
    }
    let settings = json!({"filterableAttributes": ["price"], "embedders": {
        "plain": {"source": "userProvided", "dimensions": 3},
        "shifted": {
            "source": "userProvided", "dimensions": 5,
            // So wide that nothing is cut off, for what is cut off is shown as equally near.
            "distribution": {"mean": 0.6, "sigma": 0.7},
        },
        "quantized": {"source": "userProvided", "dimensions": 70, "binaryQuantized": true},
    }});
    for client in pair.clients() {
        let documents: Value = (0..90).map(document_of_vectors).collect();
        client
            .write("PATCH", "/indexes/v/settings", Some(&settings))
            .unwrap();
        client
            .write(
                "POST",
                "/indexes/v/documents?primaryKey=id",
                Some(&documents),
            )
            .unwrap();
    }
    let path = "/indexes/v/similar";
    for id in 0..30 {
        for embedder in ["plain", "shifted"] {
            for body in [
                json!({"id": id, "embedder": embedder}),
                json!({
                    "id": id, "embedder": embedder, "limit": 90, "showRankingScore": true,
                    "showRankingScoreDetails": true,
                }),
                json!({
                    "id": id, "embedder": embedder, "offset": 2, "limit": 4,
                    "filter": "price < 4", "attributesToRetrieve": ["id"],
                }),
                json!({"id": id, "embedder": embedder, "rankingScoreThreshold": 0.8}),
                json!({"id": id, "embedder": embedder, "limit": 2, "retrieveVectors": true}),
            ] {
                pair.check(path, &body);
            }
        }
        // Many are equally near, and one node shows those in no order.
        let body =
            json!({"id": id, "embedder": "quantized", "limit": 90, "showRankingScore": true});
        let [(_, mut expected), (status, mut found)] = pair.ask(path, &body);
        assert_eq!(status, 200);
        for answer in [&mut expected, &mut found] {
            let hits = answer["hits"].as_array_mut().unwrap();
            hits.sort_by_key(|hit| hit["id"].as_u64());
        }
        assert_eq!(found, expected, "{body}");
    }
}

#[test]
fn the_fields_of_an_index_are_listed_as_by_one_node() {
    let pair = Pair::start();
    let path = "/indexes/a/fields";
    if !pair.is_real {
        // The bundled node is of a version that cannot list fields, and stays healthy though asked.
        let reply = pair.cluster.client().post(path, &json!({})).unwrap();
        assert_eq!(
            (reply.status, reply.code()),
            (501, Some("feature_not_enabled"))
        );
        return;
    }
    for client in pair.clients() {
        let change = json!({"distinctAttribute": "group", "localizedAttributes": [
            {"attributePatterns": ["ti*"], "locales": ["eng"]}
        ]});
        client
            .write("PATCH", "/indexes/a/settings", Some(&change))
            .unwrap();
    }
    for body in [
        json!({}),
        json!({"limit": 2, "offset": 1}),
        json!({"filter": {"attributePatterns": ["g*", "price"]}}),
        json!({"filter": {"displayed": false}}),
        json!({"filter": {"distinct": true}}),
        json!({"filter": {"filterable": true, "sortable": false}}),
    ] {
        pair.check(path, &body);
    }
    for body in [
        json!({"zz": 1}),
        json!({"limit": null}),
        json!({"filter": {"displayed": 1}}),
    ] {
        pair.check_refused(path, &body);
    }
    pair.check_refused("/indexes/none/fields", &json!({}));
}
