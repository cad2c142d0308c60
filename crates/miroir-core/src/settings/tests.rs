use super::*;
use crate::merge::FacetOrder;
use crate::reserved::{SEQ_FIELD, SEQ_RULE, SHARD_FIELD};

fn map(value: Value) -> Settings {
    value.as_object().expect("settings are an object").clone()
}

/// The logical settings after these changes.
fn after(patches: &[Value]) -> Settings {
    patches.iter().fold(Map::new(), |stored, patch| {
        merge_patch(&stored, &map(patch.clone()))
    })
}

fn shown(patches: &[Value]) -> Settings {
    view(&after(patches), &SettingsFacts::default())
}

fn sent(patch: Value) -> Settings {
    let patch = map(patch);
    to_node_settings(
        &patch,
        &merge_patch(&Map::new(), &patch),
        &SettingsFacts::default(),
    )
}

fn shard_rule() -> Value {
    json!({
        "attributePatterns": [SHARD_FIELD, SEQ_FIELD],
        "features": {"facetSearch": false, "filter": {"equality": true, "comparison": false}},
    })
}

#[test]
fn a_new_index_shows_the_defaults() {
    assert_eq!(shown(&[]), defaults(false));
    let legacy = SettingsFacts {
        legacy_ranking: true,
        ..SettingsFacts::default()
    };
    assert_eq!(view(&Map::new(), &legacy)["rankingRules"][3], "attribute");
}

/// The changes and answers were recorded from Meilisearch 1.50.
#[test]
fn changes_show_as_meilisearch_shows_them() {
    let first = json!({
        "filterableAttributes": [
            "a",
            {"attributePatterns": ["b"]},
            {"attributePatterns": ["c*"], "features": {"facetSearch": true}},
        ],
        "sortableAttributes": ["z", "a"],
        "faceting": {"sortFacetValuesBy": {"b": "count"}},
        "typoTolerance": {"minWordSizeForTypos": {"oneTypo": 4}},
        "displayedAttributes": [],
        "searchableAttributes": ["b"],
        "synonyms": {"a": ["d"], "B": ["c"]},
        "stopWords": ["the", "a"],
        "embedders": {"e": {"source": "userProvided", "dimensions": 2}},
    });
    let features = |facet_search: bool, equality: bool| json!({"facetSearch": facet_search, "filter": {"equality": equality, "comparison": false}});
    let one = shown(std::slice::from_ref(&first));
    assert_eq!(
        one["filterableAttributes"],
        json!([
            "a",
            {"attributePatterns": ["b"], "features": features(false, true)},
            {"attributePatterns": ["c*"], "features": features(true, true)},
        ])
    );
    assert_eq!(one["sortableAttributes"], json!(["a", "z"]));
    assert_eq!(one["stopWords"], json!(["a", "the"]));
    assert_eq!(one["displayedAttributes"], json!([]));
    assert_eq!(
        one["typoTolerance"]["minWordSizeForTypos"],
        json!({"oneTypo": 4, "twoTypos": 9})
    );
    assert_eq!(
        one["faceting"]["sortFacetValuesBy"],
        json!({"*": "alpha", "b": "count"})
    );
    assert_eq!(one["synonyms"].to_string(), r#"{"B":["c"],"a":["d"]}"#);

    let second = json!({
        "sortableAttributes": ["z", "_geo", "z"],
        "faceting": {"sortFacetValuesBy": {"c": "count"}},
        "typoTolerance": {"minWordSizeForTypos": null, "disableOnWords": ["b", "a"]},
        "embedders": {
            "e": {"binaryQuantized": true},
            "f": {"source": "userProvided", "dimensions": 3},
        },
    });
    let two = shown(&[first.clone(), second.clone()]);
    assert_eq!(two["sortableAttributes"], json!(["_geo", "z"]));
    assert_eq!(
        two["faceting"]["sortFacetValuesBy"],
        json!({"*": "alpha", "c": "count"})
    );
    assert_eq!(
        two["typoTolerance"]["minWordSizeForTypos"],
        json!({"oneTypo": 5, "twoTypos": 9})
    );
    assert_eq!(two["typoTolerance"]["disableOnWords"], json!(["a", "b"]));
    assert_eq!(
        two["embedders"],
        json!({
            "e": {"source": "userProvided", "dimensions": 2, "binaryQuantized": true},
            "f": {"source": "userProvided", "dimensions": 3},
        })
    );

    let third = json!({
        "faceting": {"sortFacetValuesBy": null},
        "typoTolerance": {"enabled": false},
        "displayedAttributes": ["b", "a", "b"],
        "pagination": {"maxTotalHits": 7},
        "searchableAttributes": ["*", "b"],
        "embedders": {"e": null},
        "filterableAttributes": [
            "a", "a", "_geo",
            {"attributePatterns": ["z"], "features": {"filter": {"equality": false}}},
        ],
    });
    let three = shown(&[first, second, third]);
    assert_eq!(three["faceting"], defaults(false)["faceting"]);
    assert_eq!(three["typoTolerance"]["enabled"], false);
    assert_eq!(three["displayedAttributes"], json!(["b", "a"]));
    assert_eq!(three["pagination"], json!({"maxTotalHits": 7}));
    assert_eq!(three["searchableAttributes"], json!(["*"]));
    assert_eq!(
        three["embedders"],
        json!({"f": {"source": "userProvided", "dimensions": 3}})
    );
    assert_eq!(
        three["filterableAttributes"],
        json!(["a", "a", "_geo", {"attributePatterns": ["z"], "features": features(false, false)}])
    );
}

#[test]
fn null_brings_every_default_back() {
    let set = json!({
        "stopWords": ["a"], "typoTolerance": {"enabled": false}, "pagination": {"maxTotalHits": 1},
        "embedders": {"e": {"source": "userProvided", "dimensions": 2}}, "distinctAttribute": "a",
        "somethingNewer": {"x": 1},
    });
    let reset: Settings = map(set.clone())
        .into_iter()
        .map(|(k, _)| (k, Value::Null))
        .collect();
    assert_eq!(after(&[set, Value::Object(reset)]), Map::new());
}

#[test]
fn another_source_forgets_what_the_old_one_needed() {
    let old = json!({"embedders": {"e": {"source": "openAi", "apiKey": "secret", "model": "m"}}});
    let new = json!({"embedders": {"e": {"source": "userProvided", "dimensions": 3}}});
    let kept = json!({"embedders": {"e": {
        "source": "userProvided", "dimensions": 3, "apiKey": "secret",
    }}});
    assert_eq!(after(&[old, new]), map(kept));
}

#[test]
fn secrets_are_kept_and_never_shown() {
    let secret = json!({"embedders": {"e": {"source": "openAi", "apiKey": "sk-0123456789"}}});
    assert_eq!(
        shown(std::slice::from_ref(&secret))["embedders"]["e"]["apiKey"],
        "skXXXX..."
    );
    assert_eq!(after(std::slice::from_ref(&secret)), map(secret.clone()));
    assert_eq!(sent(secret)["embedders"]["e"]["apiKey"], "sk-0123456789");
    for (secret, hidden) in [
        ("short", "XXX..."),
        (&"a".repeat(25), "aaaXXXXX..."),
        ("", "XXX..."),
    ] {
        let mut embedders = json!({"e": {"apiKey": secret}});
        hide_secrets(&mut embedders);
        assert_eq!(embedders["e"]["apiKey"], hidden);
    }
}

#[test]
fn a_new_index_on_a_node_is_ready_for_tags_and_order() {
    let initial = initial_node_settings(&SettingsFacts::default());
    assert_eq!(initial["filterableAttributes"], json!([shard_rule()]));
    assert_eq!(
        initial["rankingRules"].as_array().unwrap().last().unwrap(),
        SEQ_RULE
    );
    assert_eq!(initial["faceting"]["maxValuesPerFacet"], 3000);
    let plain = SettingsFacts {
        has_shard_tag: false,
        has_seq: false,
        ..SettingsFacts::default()
    };
    let initial = initial_node_settings(&plain);
    assert_eq!(initial["filterableAttributes"], json!([]));
    assert_eq!(initial["rankingRules"], json!(default_ranking_rules(false)));
}

#[test]
fn nodes_get_the_hidden_rules_around_the_clients() {
    let node =
        sent(json!({"filterableAttributes": ["a", "*"], "rankingRules": ["sort", "b:desc"]}));
    assert_eq!(
        node["filterableAttributes"],
        json!([shard_rule(), "a", "*"])
    );
    assert_eq!(node["rankingRules"], json!(["sort", "b:desc", SEQ_RULE]));
    let reset = sent(json!({"filterableAttributes": null, "rankingRules": null}));
    assert_eq!(reset["filterableAttributes"], json!([shard_rule()]));
    assert_eq!(reset["rankingRules"].as_array().unwrap().len(), 8);
}

#[test]
fn what_only_miroir_applies_is_not_sent() {
    let displayed = sent(json!({"displayedAttributes": ["a"]}));
    // What a lost store could not be rebuilt without is kept, where no document has it.
    assert_eq!(displayed.keys().collect::<Vec<_>>(), ["faceting"]);
    assert_eq!(
        displayed["faceting"]["sortFacetValuesBy"],
        json!({"*": "alpha", r#"_miroir_kept:{"displayedAttributes":["a"]}"#: "alpha"})
    );
    assert!(!sent(json!({"distinctAttribute": "a"})).contains_key("distinctAttribute"));
    let other = map(json!({"stopWords": ["a"], "somethingNewer": 1, "synonyms": null}));
    assert_eq!(sent(Value::Object(other.clone())), other);
}

#[test]
fn the_distinct_attribute_becomes_filterable() {
    let rules = sent(json!({"distinctAttribute": "sku", "filterableAttributes": ["a"]}));
    let rules = rules["filterableAttributes"].as_array().unwrap();
    assert_eq!(rules[1]["attributePatterns"][0], "sku");
    assert_eq!(rules[2], "a");
    for filterable in [json!(["sku"]), json!([{"attributePatterns": ["s*"]}])] {
        let patch = json!({"distinctAttribute": "sku", "filterableAttributes": filterable});
        assert_eq!(
            sent(patch)["filterableAttributes"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
    }
    let unfit = json!([{"attributePatterns": ["*"], "features": {"filter": {"equality": false}}}]);
    let patch = json!({"distinctAttribute": "sku", "filterableAttributes": unfit});
    assert_eq!(
        sent(patch)["filterableAttributes"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn the_distinct_attributes_values_can_be_searched_where_the_client_says_so() {
    let filter = json!({"equality": false, "comparison": false});
    for is_searchable in [true, false] {
        let features = json!({"facetSearch": is_searchable, "filter": filter});
        let rule = json!({"attributePatterns": ["s*"], "features": features});
        let patch = json!({"distinctAttribute": "sku", "filterableAttributes": [rule]});
        let hidden = &sent(patch)["filterableAttributes"][1];
        assert_eq!(hidden["attributePatterns"][0], "sku");
        assert_eq!(hidden["features"]["facetSearch"], is_searchable);
        assert_eq!(hidden["features"]["filter"]["equality"], true);
    }
}

#[test]
fn nodes_keep_more_facet_values_than_clients_see() {
    let limit = |faceting: Value| sent(json!({"faceting": faceting}))["faceting"].clone();
    assert_eq!(
        limit(json!({"maxValuesPerFacet": 5}))["maxValuesPerFacet"],
        3000
    );
    assert_eq!(
        limit(json!({"maxValuesPerFacet": 5000}))["maxValuesPerFacet"],
        5000
    );
    let by_count = limit(json!({"sortFacetValuesBy": {"a": "count"}}));
    assert_eq!(by_count["maxValuesPerFacet"], 20_000);
    assert_eq!(
        by_count["sortFacetValuesBy"],
        json!({"*": "alpha", "a": "count"})
    );
    let many = json!({"sortFacetValuesBy": {"*": "count"}, "maxValuesPerFacet": 5000});
    assert_eq!(limit(many)["maxValuesPerFacet"], 50_000);
}

#[test]
fn the_characters_of_tags_stay_separators() {
    let node = sent(json!({"nonSeparatorTokens": ["#", "⊰", "⋕"], "dictionary": ["a⊰", "⊰⊰⊱"]}));
    assert_eq!(node["nonSeparatorTokens"], json!(["#"]));
    assert_eq!(node["dictionary"], json!(["a⊰"]));
}

#[test]
fn what_was_sent_to_a_node_shows_as_the_client_set_it() {
    let patch = json!({
        "filterableAttributes": ["a", {"attributePatterns": ["b*"]}],
        "distinctAttribute": "sku",
        "displayedAttributes": ["a"],
        "rankingRules": ["words", "a:asc"],
        "faceting": {"maxValuesPerFacet": 7, "sortFacetValuesBy": {"a": "count"}},
        "nonSeparatorTokens": ["#", "⊰"],
        "stopWords": ["the"],
    });
    let (logical, facts) = (
        after(std::slice::from_ref(&patch)),
        SettingsFacts::default(),
    );
    let mut node = defaults(false);
    node.extend(initial_node_settings(&facts));
    node.extend(to_node_settings(&map(patch), &logical, &facts));
    node.insert("somethingNewer".to_owned(), json!(1));
    let mut expected = view(&logical, &facts);
    expected.insert("somethingNewer".to_owned(), json!(1));
    assert_eq!(from_node_settings(&node, &logical, &facts), expected);
    let text = Value::Object(from_node_settings(&node, &logical, &facts)).to_string();
    assert!(!text.contains("_miroir"), "{text}");

    // Without the store, all but the odd tokens comes back.
    let recovered = recover_logical(&node, &facts);
    let mut seen = view(&recovered, &facts);
    seen.insert("nonSeparatorTokens".to_owned(), json!(["#", "⊰"]));
    assert_eq!(seen, expected);
}

#[test]
fn no_node_is_told_of_foreign_keys_in_a_way_it_would_act_on() {
    let patch = json!({"foreignKeys": [{"foreignIndexUid": "b", "fieldName": "f"}]});
    let logical = after(std::slice::from_ref(&patch));
    let facts = SettingsFacts::default();
    let sent = to_node_settings(&map(patch.clone()), &logical, &facts);
    assert_eq!(sent.keys().collect::<Vec<_>>(), ["faceting"]);
    assert!(sent["faceting"].to_string().contains("foreignIndexUid"));
    assert_eq!(view(&logical, &facts)["foreignKeys"], patch["foreignKeys"]);
    let cleared = after(&[patch, json!({"foreignKeys": []})]);
    assert!(cleared.is_empty());
}

#[test]
fn what_clients_set_is_recovered_from_what_nodes_show() {
    for patch in [
        json!({"displayedAttributes": ["a", "b"], "filterableAttributes": ["sku"], "distinctAttribute": "sku"}),
        json!({"distinctAttribute": "other", "faceting": {"maxValuesPerFacet": 40}}),
        json!({"foreignKeys": [{"foreignIndexUid": "b", "fieldName": "f"}], "stopWords": ["a"]}),
        json!({"chat": {"description": "films", "documentTemplate": "{{ doc.title }}", "searchParameters": {"limit": 4}}}),
        json!({"faceting": {"sortFacetValuesBy": {"a": "count"}}, "pagination": {"maxTotalHits": 7}}),
        json!({"typoTolerance": {"enabled": false}, "synonyms": {"a": ["b"]}, "searchCutoffMs": 9}),
        json!({}),
    ] {
        let facts = SettingsFacts::default();
        let logical = after(std::slice::from_ref(&patch));
        let mut node = view(&logical, &facts);
        node.extend(initial_node_settings(&facts));
        node.extend(to_node_settings(&map(patch), &logical, &facts));
        node.insert("displayedAttributes".to_owned(), json!(["*"]));
        node.insert("distinctAttribute".to_owned(), Value::Null);
        let recovered = recover_logical(&node, &facts);
        assert_eq!(view(&recovered, &facts), view(&logical, &facts));
        assert_eq!(recovered.get("chat"), logical.get("chat"));
    }
}

#[test]
fn an_untouched_index_recovers_to_nothing_set() {
    for facts in [
        SettingsFacts::default(),
        SettingsFacts {
            legacy_ranking: true,
            ..SettingsFacts::default()
        },
    ] {
        let mut node = defaults(facts.legacy_ranking);
        node.extend(initial_node_settings(&facts));
        assert_eq!(recover_logical(&node, &facts), Map::new());
        assert_eq!(
            from_node_settings(&node, &Map::new(), &facts),
            defaults(facts.legacy_ranking)
        );
    }
}

#[test]
fn a_search_reads_what_it_needs() {
    let logical = after(&[json!({
        "displayedAttributes": ["a", "b"],
        "pagination": {"maxTotalHits": 50},
        "faceting": {"maxValuesPerFacet": 9, "sortFacetValuesBy": {"a": "count"}},
        "filterableAttributes": ["a", {"attributePatterns": ["b*", "c"]}, "_geo"],
        "distinctAttribute": "a",
    })]);
    let seen = index_view(&logical);
    assert_eq!(seen.displayed, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!((seen.max_total_hits, seen.max_values_per_facet), (50, 9));
    assert_eq!(seen.sort_facet_values_by["a"], FacetOrder::Count);
    assert_eq!(seen.filterable, ["a", "b*", "c", "_geo"]);
    assert_eq!(seen.distinct_attribute.as_deref(), Some("a"));
    assert!(is_geo_checked(&logical) && !is_geojson_checked(&logical) && !has_embedders(&logical));
    let nothing = index_view(&Map::new());
    assert_eq!((nothing.displayed, nothing.max_total_hits), (None, 1000));
    assert!(!is_geo_checked(&Map::new()));
    assert!(is_geo_checked(&after(&[
        json!({"sortableAttributes": ["_geo"]})
    ])));
}

#[test]
fn patterns_match_as_the_engine_matches_them() {
    for (pattern, field, is_match) in [
        ("*", "a", true),
        ("a*", "ab", true),
        ("*b", "ab", true),
        ("*b*", "abc", true),
        ("**", "abc", true),
        ("a", "ab", false),
        ("a*", "ba", false),
        ("a", "a.b", false),
    ] {
        assert_eq!(
            matches_pattern(pattern, field),
            is_match,
            "{pattern} {field}"
        );
    }
    let logical = after(&[json!({"filterableAttributes": ["a"]})]);
    assert!(is_filterable(&logical, "a.b") && !is_filterable(&logical, "ab"));
}
