//! Media, fragments and embedders of two parts.

use super::*;

/// Settings and features as both show them, whatever the address of the service.
#[track_caller]
fn check_shown(pair: &Pair, path: &str) {
    let shown = pair.clients().into_iter().zip(&pair.services);
    let shown = shown.map(|(client, service)| {
        let text = client.get(path).unwrap().body.to_string();
        // One node shows the secrets of parts.
        let text = text.replace("a-secret", "XXX...");
        text.replace(&service.address.to_string(), "service")
    });
    let [expected, found] = <[String; 2]>::try_from(Vec::from_iter(shown)).unwrap();
    assert_eq!(found, expected, "{path}");
}

fn switch(pair: &Pair, features: &Value) {
    for client in pair.clients() {
        let reply = client.patch("/experimental-features", features).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
}

/// What is found by media, by words, and by both.
fn check_media(pair: &Pair) {
    let search = "/indexes/e/search";
    let media = json!({"about": "green tea"});
    for body in [
        json!({"media": media, "hybrid": {"embedder": "several"}}),
        json!({"media": media, "hybrid": {"embedder": "several", "semanticRatio": 1}}),
        json!({"media": media, "hybrid": {"embedder": "several", "semanticRatio": 0}}),
        json!({"q": "river", "hybrid": {"embedder": "several", "semanticRatio": 1}}),
        json!({"q": "river stone", "hybrid": {"embedder": "several", "semanticRatio": 0.7}}),
        // Both of its fragments could be made of this.
        json!({"q": "river", "media": media, "hybrid": {"embedder": "several", "semanticRatio": 1}}),
        json!({"q": "river", "media": media, "hybrid": {"embedder": "several", "semanticRatio": 0.5}}),
        json!({"q": "river", "media": media, "hybrid": {"embedder": "one", "semanticRatio": 1}}),
        json!({"q": "river", "media": media, "hybrid": {"embedder": "one", "semanticRatio": 0.6}}),
        json!({"q": "", "media": media, "hybrid": {"embedder": "one"}}),
        json!({"media": media, "hybrid": {"embedder": "one"}}),
        json!({"media": {"other": 1}, "hybrid": {"embedder": "several"}}),
        json!({"media": media, "hybrid": {"embedder": "two"}}),
        json!({"q": "tea garden", "hybrid": {"embedder": "two", "semanticRatio": 1}}),
        json!({"q": "tea garden", "hybrid": {"embedder": "two", "semanticRatio": 0.5}}),
    ] {
        for more in [
            json!({"limit": 9, "showRankingScore": true}),
            json!({"filter": "price > 2", "facets": ["price"], "limit": 5}),
            json!({"page": 2, "hitsPerPage": 4, "retrieveVectors": true}),
        ] {
            let mut body = body.clone();
            for (name, value) in more.as_object().unwrap() {
                body[name] = value.clone();
            }
            pair.check(search, &body);
        }
        let mut query = body.clone();
        query["indexUid"] = json!("e");
        let words = json!({"indexUid": "e", "q": "mountain"});
        pair.check(
            "/multi-search",
            &json!({"federation": {"limit": 8}, "queries": [query, words]}),
        );
        let mut query = body;
        query["facetName"] = json!("price");
        pair.check("/indexes/e/facet-search", &query);
    }
    pair.check_texts();

    // A picture is embedded once, however many nodes answer.
    let once = json!({"media": {"about": "a quiet garden"}, "hybrid": {"embedder": "several"}});
    pair.check(search, &once);
    assert_eq!(pair.services[1].take(), [r#"{"of":"a quiet garden"}"#]);
    let mut facets =
        json!({"media": {"about": "a loud garden"}, "hybrid": {"embedder": "several"}});
    facets["facetName"] = json!("price");
    pair.check("/indexes/e/facet-search", &facets);
    assert_eq!(pair.services[1].take(), [r#"{"of":"a loud garden"}"#]);
    pair.services[0].take();
}

/// What a node would send for a document and for a search can be seen.
fn check_rendered_fragments(pair: &Pair) {
    switch(pair, &json!({"renderRoute": true}));
    let of = |kind: &str, fragment: &str| json!({"kind": kind, "indexUid": "e", "embedder": "several", "fragment": fragment});
    let input = json!({"kind": "indexDocument", "indexUid": "e", "id": "7"});
    for fragment in ["title", "whole"] {
        let template = of("indexingFragment", fragment);
        let answer = pair.check(
            "/render-template",
            &json!({"template": template, "input": input}),
        );
        assert!(answer.get("rendered").is_some(), "{answer}");
        pair.check("/render-template", &json!({ "template": template }));
    }
    let input = json!({"kind": "inlineSearch", "inline": {"q": "a", "media": {"about": "b"}}});
    for fragment in ["words", "picture"] {
        let template = of("searchFragment", fragment);
        pair.check(
            "/render-template",
            &json!({"template": template, "input": input}),
        );
    }
    let template = json!({"kind": "documentTemplate", "indexUid": "e", "embedder": "two"});
    let input = json!({"kind": "indexDocument", "indexUid": "e", "id": "8"});
    let answer = pair.check(
        "/render-template",
        &json!({"template": template, "input": input}),
    );
    assert!(answer["rendered"].is_string(), "{answer}");
}

/// A node that lost its disk gets the index back, though the features are off that it needs.
fn refill_a_node(pair: &mut Pair) {
    pair.nodes[1].kill_and_wipe().unwrap();
    pair.nodes[1].restart().unwrap();
    let client = pair.proxy.client();
    poll("a node that was filled again", PATIENCE, || {
        let held = pair.nodes[1].client().get("/stats")?.ok()?;
        let has_index = held["indexes"]
            .as_object()
            .is_some_and(|all| !all.is_empty());
        let topology = client.get("/_miroir/topology")?.ok()?;
        let nodes = topology["nodes"].as_array().cloned().unwrap_or_default();
        let is_well = |node: &Value| node["inSync"] == true && node["state"] == "up";
        Ok((has_index && nodes.iter().all(is_well)).then_some(()))
    })
    .unwrap();
}

#[test]
fn media_and_embedders_of_parts_are_those_of_one_meilisearch() {
    if !Programs::new(env!("CARGO_BIN_EXE_miroir")).has_real_nodes() {
        // The bundled node knows neither.
        return;
    }
    let mut pair = Pair::start();
    let features = json!({"multimodal": true, "compositeEmbedders": true});
    switch(&pair, &features);
    for (client, service) in pair.clients().into_iter().zip(&pair.services) {
        let settings =
            json!({"embedders": service.other_settings(), "filterableAttributes": ["price"]});
        client
            .write("PATCH", "/indexes/e/settings", Some(&settings))
            .unwrap();
    }
    check_shown(&pair, "/indexes/e/settings");
    let documents: Value = (0..DOCUMENT_COUNT).map(document).collect();
    pair.write("POST", "/indexes/e/documents?primaryKey=id", &documents);
    let texts = pair.check_texts();
    for start in [r#"{"list":[".... "#, r#"{"text":"#, "id: "] {
        assert!(
            texts.iter().any(|text| text.starts_with(start)),
            "{start}: {texts:?}"
        );
    }
    assert!(
        texts.iter().all(|text| !text.contains("_miroir")),
        "{texts:?}"
    );
    check_media(&pair);
    check_rendered_fragments(&pair);

    // The part for searches is replaced by a change, that for documents is merged.
    for (client, service) in pair.clients().into_iter().zip(&pair.services) {
        let mut plain = service.settings()["whole"].clone();
        plain["headers"] = json!({"x-part": "1"});
        let change = json!({"two": {"searchEmbedder": plain, "indexingEmbedder": {
            "source": "rest", "documentTemplate": "about {{ doc.title }}", "apiKey": "a-secret",
        }}});
        client
            .write("PATCH", "/indexes/e/settings/embedders", Some(&change))
            .unwrap();
    }
    pair.check_texts();
    let shown = pair
        .proxy
        .client()
        .get("/indexes/e/settings/embedders")
        .unwrap();
    let part = &shown.body["two"]["indexingEmbedder"];
    assert_eq!(part["documentTemplate"], "about {{ doc.title }}");
    assert_eq!(part["apiKey"], "XXX...");

    // A change makes anew what it touches, and so does one of the fragments.
    let change = json!([{"id": 5, "title": "river song"}, {"id": 6, "price": 6}]);
    pair.write("PUT", "/indexes/e/documents", &change);
    pair.check_texts();
    let fragments = json!({"several": {"indexingFragments": {
        "title": null, "text": {"value": {"words": "{{ doc.text }}"}},
    }}});
    pair.write("PATCH", "/indexes/e/settings/embedders", &fragments);
    pair.check_texts();
    check_shown(&pair, "/indexes/e/settings/embedders");
    let by_media =
        json!({"media": {"about": "river song"}, "hybrid": {"embedder": "several"}, "limit": 8});
    pair.check("/indexes/e/search", &by_media);
    for filter in [
        "_vectors.several.fragments.text EXISTS",
        "_vectors.two EXISTS",
    ] {
        let found = pair.check("/indexes/e/search", &json!({"filter": filter}));
        assert_eq!(found["estimatedTotalHits"], DOCUMENT_COUNT, "{filter}");
    }
    pair.check(
        "/indexes/e/similar",
        &json!({"id": 5, "embedder": "one", "limit": 5}),
    );
    check_media(&pair);

    // Switched off it is refused, and what is there goes on.
    switch(
        &pair,
        &json!({"multimodal": false, "compositeEmbedders": false}),
    );
    assert_eq!(
        pair.check("/indexes/e/search", &by_media)["code"],
        "feature_not_enabled"
    );
    let vectors = json!({"filter": "price = 1 AND _vectors EXISTS"});
    assert_eq!(
        pair.check("/indexes/e/search", &vectors)["code"],
        "feature_not_enabled"
    );
    let by_words = json!({"q": "river", "hybrid": {"embedder": "several", "semanticRatio": 1}});
    pair.check("/indexes/e/search", &by_words);
    let more: Value = (DOCUMENT_COUNT..DOCUMENT_COUNT + 9).map(document).collect();
    pair.write("POST", "/indexes/e/documents", &more);
    pair.check_texts();
    refill_a_node(&mut pair);
    pair.nodes[0].kill();
    pair.check("/indexes/e/search", &by_words);
    check_shown(&pair, "/indexes/e/settings/embedders");
    pair.nodes[0].restart().unwrap();
    switch(&pair, &features);
    for (q, ratio) in [("", 0.5), ("river", 0.7), ("river", 1.0)] {
        let hybrid = json!({"embedder": "one", "semanticRatio": ratio});
        let media = json!({"about": "green tea"});
        let body = json!({"q": q, "media": media, "hybrid": hybrid, "limit": 12});
        pair.check("/indexes/e/search", &body);
    }
    pair.check("/indexes/e/search", &by_media);
}
