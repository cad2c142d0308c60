//! The other ways to search (several at once, facet values, similar documents, fields): the same
//! documents in one node and in Miroir over three nodes answer alike.
//!
//! `MIROIR_TEST_NODE` runs it on real servers.

#![expect(clippy::unwrap_used, reason = "a step that fails shall fail its test")]

use miroir_testkit::{Client, Cluster, ClusterOptions, NodeOptions, NodeProcess, Programs, Rng};
use serde_json::{Map, Value, json};

const GENRES: [&str; 7] = [
    "Action",
    "action ",
    "Drama",
    "Documentary",
    "Été",
    "ete",
    "Dräma",
];
const WORDS: [&str; 8] = [
    "tea", "team", "green", "greens", "garden", "mountain", "river", "stone",
];
const DOCUMENT_COUNT: u64 = 240;

/// A document of index `a` or `b`. Several share a vector, and some have none; vectors lie in no
/// regular pattern, because a node shows distances rounded, and mirrored ones would look equal.
fn document(id: u64) -> Value {
    let mut rng = Rng::new(id * 7 + 1);
    let title = [(); 3].map(|()| WORDS[rng.below(WORDS.len())]).join(" ");
    let genre_count = rng.between(1, 4);
    let genres: Vec<&str> = (0..genre_count)
        .map(|_| GENRES[rng.below(GENRES.len())])
        .collect();
    let mut place = Rng::of(&[rng.below(80) as u64]);
    let vector = if id.is_multiple_of(9) {
        Value::Null
    } else {
        json!([place.unit() - 0.5, place.unit() - 0.5, place.unit() - 0.5])
    };
    json!({
        "id": id, "title": title, "genre": genres, "price": rng.below(30),
        "group": format!("g{}", id % 11), "secret": id % 5, "_vectors": {"e": vector},
    })
}

fn settings(facet_order: &str) -> Value {
    json!({
        "searchableAttributes": ["title"],
        "displayedAttributes": ["id", "title", "genre", "price", "group"],
        "filterableAttributes": ["genre", "price", "group", "secret"],
        "sortableAttributes": ["price"],
        "rankingRules": ["words", "typo", "proximity", "attribute", "sort", "exactness"],
        "faceting": {"maxValuesPerFacet": 6, "sortFacetValuesBy": {"genre": facet_order}},
        "embedders": {"e": {"source": "userProvided", "dimensions": 3}},
    })
}

/// One node and Miroir, which hold the same two indexes.
struct Pair {
    single: NodeProcess,
    cluster: Cluster,
    is_real: bool,
}

impl Pair {
    fn start() -> Self {
        let programs = Programs::new(env!("CARGO_BIN_EXE_miroir"));
        let single = NodeProcess::start(&programs.node, NodeOptions::default()).unwrap();
        let cluster = Cluster::start(&programs, &ClusterOptions::new(3, 2, 7)).unwrap();
        for client in [single.client(), cluster.client()] {
            for (index, order) in [("a", "alpha"), ("b", "count")] {
                let documents: Value = (0..DOCUMENT_COUNT).map(document).collect();
                let path = format!("/indexes/{index}");
                client
                    .write("PATCH", &format!("{path}/settings"), Some(&settings(order)))
                    .unwrap();
                client
                    .write(
                        "POST",
                        &format!("{path}/documents?primaryKey=id"),
                        Some(&documents),
                    )
                    .unwrap();
            }
        }
        let is_real = programs.has_real_nodes();
        Self {
            single,
            cluster,
            is_real,
        }
    }

    fn clients(&self) -> [&Client; 2] {
        [self.single.client(), self.cluster.client()]
    }

    /// Both answers to one request, without what no two answers share.
    fn ask(&self, path: &str, body: &Value) -> [(u16, Value); 2] {
        self.clients().map(|client| {
            let reply = client.post(path, body).unwrap();
            (reply.status, masked(reply.body))
        })
    }

    #[track_caller]
    fn check(&self, path: &str, body: &Value) -> Value {
        let [(status, expected), (found_status, found)] = self.ask(path, body);
        assert_eq!(
            found_status, status,
            "{path} {body}\nfound {found}\nexpected {expected}"
        );
        assert_eq!(found, expected, "{path} {body}");
        assert_eq!(
            found.to_string(),
            expected.to_string(),
            "the order of members: {path} {body}"
        );
        found
    }

    /// A refusal has the same status and code; its message is the same on a server of today.
    #[track_caller]
    fn check_refused(&self, path: &str, body: &Value) {
        let [(status, expected), (found_status, found)] = self.ask(path, body);
        assert!(status >= 400, "{path} {body} is accepted: {expected}");
        assert_eq!(
            (found_status, &found["code"]),
            (status, &expected["code"]),
            "{path} {body}\nfound {found}\nexpected {expected}"
        );
        if self.is_real {
            assert_eq!(found, expected, "{path} {body}");
        }
    }
}

/// Takes out what differs from answer to answer, and rounds numbers to nine digits: scores that
/// are put together from parts may differ in the last bits.
fn masked(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members
                .into_iter()
                .filter(|(name, _)| !["processingTimeMs", "requestUid"].contains(&name.as_str()));
            let mask = |(name, value): (String, Value)| {
                let value = match name.as_str() {
                    "performanceDetails" => json!(value["search"].is_string()),
                    _ => masked(value),
                };
                (name, value)
            };
            Value::Object(kept.map(mask).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.into_iter().map(masked).collect(),
        Value::Number(number) if number.is_f64() => {
            let rounded = (number.as_f64().unwrap() * 1e9).round() / 1e9;
            json!(rounded)
        }
        other => other,
    }
}

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
    let pair = Pair::start();
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

#[test]
fn a_search_by_words_and_meaning_answers_as_one_node_does() {
    let pair = Pair::start();
    let path = "/indexes/a/search";
    let vector = json!([0.3, -0.2, 0.4]);
    let mut mixed = 0;
    for ratio in [0.1, 0.5, 0.9] {
        for q in [
            "tea",
            "green tea",
            "moutain rivr",
            "stone -tea",
            "zzz",
            "\"green tea\" team",
        ] {
            for change in [
                json!({}),
                json!({"limit": 3}),
                json!({"offset": 5, "limit": 20}),
                json!({"page": 2, "hitsPerPage": 7}),
                json!({"limit": 0}),
                json!({"limit": 300, "filter": "price < 12"}),
                json!({"filter": ["group = g3"], "limit": 5, "facets": ["group", "price"]}),
                json!({"facets": ["price"], "limit": 2, "showRankingScore": true}),
                // To the end: at the end of a page, one node cuts among equal vectors before it
                // sorts them.
                json!({"sort": ["price:desc"], "limit": 250}),
                json!({"rankingScoreThreshold": 0.7, "limit": 250}),
                json!({"attributesToHighlight": ["title"], "showMatchesPosition": true}),
                json!({"showRankingScore": true, "showRankingScoreDetails": true}),
                json!({"matchingStrategy": "all", "attributesToRetrieve": ["id"], "offset": 2}),
            ] {
                let mut body = json!({
                    "q": q, "vector": vector, "hybrid": {"embedder": "e", "semanticRatio": ratio},
                });
                if !pair.is_real && change.get("sort").is_some() {
                    // The bundled node's older engine does not sort documents with equal vectors.
                    continue;
                }
                let members = change.as_object().unwrap().clone();
                body.as_object_mut().unwrap().extend(members);
                let answer = pair.check(path, &body);
                let semantic = answer["semanticHitCount"].as_u64().unwrap();
                let hits = answer["hits"].as_array().unwrap().len() as u64;
                mixed += usize::from(0 < semantic && semantic < hits);
            }
        }
    }
    assert!(
        mixed > 20,
        "both lists are to be seen, not only in {mixed} pages"
    );
    // Nothing embeds the words, so that they alone decide.
    let alone = json!({"q": "tea", "hybrid": {"embedder": "e"}, "limit": 250});
    pair.check(path, &alone);
    let distinct = json!({
        "q": "tea stone", "vector": vector, "hybrid": {"embedder": "e"}, "distinct": "group",
    });
    let hits = pair
        .ask(path, &distinct)
        .map(|(_, answer)| answer["hits"].clone());
    assert_eq!(hits[1], hits[0]);
    for body in [
        json!({"q": "tea", "hybrid": {"embedder": "x"}}),
        json!({"q": "tea", "hybrid": {"embedder": "e"}, "vector": [1.0]}),
        json!({"q": "tea", "hybrid": {"embedder": "e"}, "vector": vector, "filter": "x = 1"}),
        json!({"q": "tea", "hybrid": {"embedder": "e"}, "vector": vector, "sort": ["x:asc"]}),
        json!({"q": "tea", "hybrid": {"embedder": "e"}, "vector": vector, "facets": ["title"]}),
    ] {
        pair.check_refused(path, &body);
    }
}

#[test]
fn words_are_dropped_by_how_often_they_occur_on_all_nodes() {
    let pair = Pair::start();
    let queries = [
        "green tea garden",
        "tea stone",
        "gren montain rivers",
        "nowhere tea garden",
        "river stone mountain tea",
        "stone river gar",
        "team greens ",
        "tea tea mountain",
    ];
    let ways = [
        json!({}),
        json!({"limit": 7, "offset": 12}),
        json!({"page": 2, "hitsPerPage": 15}),
        json!({"limit": 0}),
        json!({"sort": ["price:desc"], "filter": "price < 20", "facets": ["genre", "price"]}),
        json!({"limit": 200, "attributesToRetrieve": ["id"]}),
    ];
    for q in queries {
        for way in &ways {
            let mut body = way.clone();
            body["q"] = json!(q);
            body["matchingStrategy"] = json!("frequency");
            let [(_, mut expected), (status, mut found)] = pair.ask("/indexes/a/search", &body);
            assert_eq!(status, 200, "{body} {found}");
            // The spelling of a value is the oldest document's.
            for answer in [&mut expected, &mut found] {
                answer["facetDistribution"]["genre"].take();
            }
            assert_eq!(found, expected, "{body}");
        }
    }
    for refused in [
        json!({"q": "tea garden", "matchingStrategy": "frequency", "filter": "nothing = 1"}),
        json!({"q": "tea garden", "matchingStrategy": "frequency", "sort": ["title:asc"]}),
    ] {
        pair.check_refused("/indexes/a/search", &refused);
    }
}

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
