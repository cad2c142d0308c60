//! Settings in, settings out.

use crate::support::{Fixture, object};
use miroir_devnode_engine::Engine;
use serde_json::{Value, json};

fn defaults() -> Value {
    json!({
        "displayedAttributes": ["*"],
        "searchableAttributes": ["*"],
        "filterableAttributes": [],
        "sortableAttributes": [],
        "rankingRules": ["words", "typo", "proximity", "attribute", "sort", "exactness"],
        "stopWords": [],
        "nonSeparatorTokens": [],
        "separatorTokens": [],
        "dictionary": [],
        "synonyms": {},
        "distinctAttribute": null,
        "proximityPrecision": "byWord",
        "typoTolerance": {
            "enabled": true,
            "minWordSizeForTypos": { "oneTypo": 5, "twoTypos": 9 },
            "disableOnWords": [],
            "disableOnAttributes": [],
            "disableOnNumbers": false
        },
        "faceting": { "maxValuesPerFacet": 100, "sortFacetValuesBy": { "*": "alpha" } },
        "pagination": { "maxTotalHits": 1000 },
        "embedders": {},
        "searchCutoffMs": null,
        "localizedAttributes": null,
        "facetSearch": true,
        "prefixSearch": "indexingTime"
    })
}

fn full() -> Value {
    json!({
        "displayedAttributes": ["title", "id"],
        "searchableAttributes": ["title", "text"],
        "filterableAttributes": [
            "genre",
            {
                "attributePatterns": ["tag*"],
                "features": {
                    "facetSearch": false,
                    "filter": { "equality": true, "comparison": false }
                }
            }
        ],
        "sortableAttributes": ["price", "year"],
        "rankingRules": ["words", "sort", "typo", "year:desc"],
        "stopWords": ["a", "the"],
        "nonSeparatorTokens": ["#"],
        "separatorTokens": ["&sep"],
        "dictionary": ["J. R. R."],
        "synonyms": { "car": ["auto"], "tv": ["television", "box"] },
        "distinctAttribute": "genre",
        "proximityPrecision": "byAttribute",
        "typoTolerance": {
            "enabled": false,
            "minWordSizeForTypos": { "oneTypo": 3, "twoTypos": 6 },
            "disableOnWords": ["exact"],
            "disableOnAttributes": ["text"],
            "disableOnNumbers": true
        },
        "faceting": {
            "maxValuesPerFacet": 7,
            "sortFacetValuesBy": { "*": "alpha", "genre": "count" }
        },
        "pagination": { "maxTotalHits": 50 },
        "embedders": { "mine": { "source": "userProvided", "dimensions": 3 } },
        "searchCutoffMs": 900,
        "localizedAttributes": [{ "attributePatterns": ["*_ja"], "locales": ["jpn"] }],
        "facetSearch": false,
        "prefixSearch": "disabled"
    })
}

fn all(fixture: &Fixture) -> Value {
    Value::Object(fixture.engine.settings(crate::support::KEY).unwrap())
}

#[test]
fn a_new_index_shows_the_defaults_in_their_order() {
    let fixture = Fixture::new();
    assert_eq!(all(&fixture).to_string(), defaults().to_string());
}

#[test]
fn every_setting_makes_the_round_trip_and_null_resets_it() {
    let fixture = Fixture::new();
    fixture.set(full());
    assert_eq!(all(&fixture), full());

    let mut nulls = full();
    for (_, value) in nulls.as_object_mut().unwrap() {
        *value = Value::Null;
    }
    fixture.set(nulls);
    assert_eq!(all(&fixture), defaults());
}

#[test]
fn what_a_patch_does_not_name_stays() {
    let fixture = Fixture::new();
    fixture.set(full());
    fixture.set(json!({
        "typoTolerance": { "minWordSizeForTypos": { "twoTypos": 8 }, "disableOnWords": null },
        "faceting": { "maxValuesPerFacet": 3 },
        "embedders": { "other": { "source": "userProvided", "dimensions": 2 } },
    }));
    let mut expected = full();
    expected["typoTolerance"]["minWordSizeForTypos"]["twoTypos"] = json!(8);
    expected["typoTolerance"]["disableOnWords"] = json!([]);
    expected["faceting"]["maxValuesPerFacet"] = json!(3);
    expected["embedders"]["other"] = json!({ "source": "userProvided", "dimensions": 2 });
    assert_eq!(all(&fixture), expected);
}

#[test]
fn sets_are_shown_sorted_and_stars_swallow_their_list() {
    let fixture = Fixture::new();
    fixture.set(json!({
        "stopWords": ["b", "a", "b"],
        "sortableAttributes": ["y", "x"],
        "displayedAttributes": ["x", "*"],
    }));
    assert_eq!(fixture.setting("stopWords"), json!(["a", "b"]));
    assert_eq!(fixture.setting("sortableAttributes"), json!(["x", "y"]));
    assert_eq!(fixture.setting("displayedAttributes"), json!(["*"]));
}

fn check_refused(patch: Value, code: &str) {
    let error = Engine::check_settings(object(&patch)).unwrap_err();
    assert_eq!(error.code(), code, "{patch}: {}", error.message);
}

#[test]
fn a_patch_of_wrong_form_is_refused_with_the_code_of_its_setting() {
    check_refused(json!({ "nonsense": 1 }), "bad_request");
    check_refused(
        json!({ "displayedAttributes": "title" }),
        "invalid_settings_displayed_attributes",
    );
    check_refused(
        json!({ "searchableAttributes": [1] }),
        "invalid_settings_searchable_attributes",
    );
    check_refused(
        json!({ "filterableAttributes": [{ "attributePatterns": "x" }] }),
        "invalid_settings_filterable_attributes",
    );
    check_refused(
        json!({ "filterableAttributes": [{ "attributePatterns": ["x"], "features": { "f": 1 } }] }),
        "invalid_settings_filterable_attributes",
    );
    check_refused(
        json!({ "sortableAttributes": {} }),
        "invalid_settings_sortable_attributes",
    );
    check_refused(
        json!({ "rankingRules": ["quality"] }),
        "invalid_settings_ranking_rules",
    );
    check_refused(
        json!({ "rankingRules": ["attributeRank"] }),
        "invalid_settings_ranking_rules",
    );
    check_refused(
        json!({ "rankingRules": ["wordPosition"] }),
        "invalid_settings_ranking_rules",
    );
    check_refused(
        json!({ "rankingRules": ["_geoPoint(1,2):asc"] }),
        "invalid_settings_ranking_rules",
    );
    check_refused(json!({ "stopWords": "the" }), "invalid_settings_stop_words");
    check_refused(
        json!({ "synonyms": { "a": "b" } }),
        "invalid_settings_synonyms",
    );
    check_refused(
        json!({ "distinctAttribute": [] }),
        "invalid_settings_distinct_attribute",
    );
    check_refused(
        json!({ "proximityPrecision": "x" }),
        "invalid_settings_proximity_precision",
    );
    check_refused(
        json!({ "typoTolerance": { "x": 1 } }),
        "invalid_settings_typo_tolerance",
    );
    check_refused(
        json!({ "typoTolerance": { "minWordSizeForTypos": { "oneTypo": 300 } } }),
        "invalid_settings_typo_tolerance",
    );
    check_refused(
        json!({ "typoTolerance": { "minWordSizeForTypos": { "oneTypo": 9, "twoTypos": 3 } } }),
        "invalid_settings_typo_tolerance",
    );
    check_refused(
        json!({ "faceting": { "sortFacetValuesBy": { "a": "size" } } }),
        "invalid_settings_faceting",
    );
    check_refused(
        json!({ "pagination": { "maxTotalHits": 0 } }),
        "invalid_settings_pagination",
    );
    check_refused(
        json!({ "pagination": { "maxTotalHits": -1 } }),
        "invalid_settings_pagination",
    );
    check_refused(
        json!({ "embedders": { "e": { "source": "x" } } }),
        "invalid_settings_embedders",
    );
    check_refused(
        json!({ "embedders": { "e": { "source": "userProvided" } } }),
        "invalid_settings_embedders",
    );
    check_refused(
        json!({ "embedders": { "e": { "source": "userProvided", "dimensions": 0 } } }),
        "invalid_settings_embedders",
    );
    check_refused(
        json!({ "searchCutoffMs": "1s" }),
        "invalid_settings_search_cutoff_ms",
    );
    check_refused(
        json!({ "localizedAttributes": [{ "attributePatterns": ["a"], "locales": ["xx"] }] }),
        "invalid_settings_localized_attributes",
    );
    check_refused(json!({ "facetSearch": 1 }), "invalid_settings_facet_search");
    check_refused(
        json!({ "prefixSearch": "never" }),
        "invalid_settings_prefix_search",
    );
}

#[test]
fn the_form_check_accepts_all_that_is_legal() {
    assert_eq!(Engine::check_settings(object(&full())), Ok(()));
    assert_eq!(Engine::check_settings(object(&defaults())), Ok(()));
    assert_eq!(Engine::check_settings(object(&json!({}))), Ok(()));
}

#[test]
fn a_partial_typo_setting_is_checked_against_what_holds() {
    let fixture = Fixture::new();
    let error = fixture
        .try_set(json!({ "typoTolerance": { "minWordSizeForTypos": { "oneTypo": 10 } } }))
        .unwrap_err();
    assert_eq!(error.code(), "invalid_settings_typo_tolerance");
    assert_eq!(all(&fixture), defaults());
}

#[test]
fn places_are_checked_when_they_become_filterable() {
    let fixture = Fixture::new();
    fixture.add(json!([{ "id": 1, "_geo": { "lat": "north", "lng": 1 } }]));
    let error = fixture
        .try_set(json!({ "filterableAttributes": ["_geo"] }))
        .unwrap_err();
    assert_eq!(error.code(), "invalid_document_geo_field");
    assert_eq!(fixture.setting("filterableAttributes"), json!([]));
}

#[test]
fn a_model_that_would_run_here_is_refused() {
    let fixture = Fixture::new();
    fixture.add(json!([{ "id": 1, "a": "x" }]));
    let error = fixture
        .try_set(json!({ "embedders": { "local": { "source": "huggingFace" } } }))
        .unwrap_err();
    assert!(
        error.message.contains("not part of this build"),
        "{}",
        error.message
    );
    assert_eq!(fixture.setting("embedders"), json!({}));
}

#[test]
fn keys_of_services_are_not_shown() {
    let fixture = Fixture::new();
    fixture.set(json!({ "embedders": { "remote": {
        "source": "openAi",
        "apiKey": "sk-0123456789abcdef",
        "documentTemplate": "{{doc.title}}",
        "dimensions": 1536,
    } } }));
    let shown = fixture.setting("embedders");
    assert_eq!(shown["remote"]["apiKey"], "sXXXX...".replacen('s', "sk", 1));
    assert_eq!(shown["remote"]["documentTemplate"], "{{doc.title}}");
}
