//! Searches whose ranking needs more than the words of one node: by meaning, by frequency.

use super::Pair;
use serde_json::json;

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
