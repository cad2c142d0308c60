//! One test for each feature of a search.

use crate::support::{Fixture, estimated, films, ids, query, texts};
use miroir_devnode_engine::{MatchingStrategy, Page, SearchQuery, Totals};
use serde_json::{Value, json};

/// The rules on which this engine and newer servers agree.
fn rules() -> Value {
    json!([
        "words",
        "typo",
        "proximity",
        "attribute",
        "sort",
        "exactness"
    ])
}

fn fixture() -> Fixture {
    Fixture::with(
        json!({
            "rankingRules": rules(),
            "searchableAttributes": ["title", "genre"],
            "filterableAttributes": ["year", "genre", "price"],
            "sortableAttributes": ["year", "price"],
        }),
        films(),
    )
}

#[test]
fn a_placeholder_search_shows_documents_in_insertion_order() {
    let fixture = fixture();
    let outcome = fixture.search(&SearchQuery::default());
    assert_eq!(ids(&outcome.hits), [1, 2, 3, 4, 5]);
    assert_eq!(estimated(&outcome), 5);
    assert_eq!(outcome.hits[0], films()[0]);
}

#[test]
fn words_match_with_typos_and_prefixes() {
    let fixture = fixture();
    assert_eq!(fixture.ids(&query("ballon")), [1]);
    assert_eq!(fixture.ids(&query("velv")), [4]);
    assert_eq!(fixture.ids(&query("\"blue angel\"")), [5]);
    assert_eq!(fixture.ids(&query("blue -angel")), [4]);
}

#[test]
fn the_matching_strategy_decides_which_words_may_be_missing() {
    let fixture = fixture();
    let with = |matching_strategy| SearchQuery {
        matching_strategy,
        ..query("red velvet")
    };
    assert_eq!(fixture.ids(&with(MatchingStrategy::Last)).len(), 3);
    assert!(fixture.ids(&with(MatchingStrategy::All)).is_empty());
    assert_eq!(fixture.ids(&with(MatchingStrategy::Frequency)), [4]);
}

#[test]
fn filters_narrow_and_wrong_ones_are_refused() {
    let fixture = fixture();
    let with = |filter| SearchQuery {
        filter: Some(filter),
        ..SearchQuery::default()
    };
    assert_eq!(
        fixture.ids(&with(json!("year > 1950 AND genre = drama"))),
        [1, 3]
    );
    assert_eq!(
        fixture.ids(&with(json!(["price = 3", ["year = 1948", "year = 1"]]))),
        [2]
    );
    assert_eq!(fixture.ids(&with(json!("price NOT EXISTS"))), [5]);
    assert_eq!(fixture.ids(&with(json!("genre CONTAINS est"))), [2]);
    assert_eq!(fixture.ids(&with(json!([]))).len(), 5);
    assert_eq!(
        fixture.code(&with(json!("title = x"))),
        "invalid_search_filter"
    );
    assert_eq!(
        fixture.code(&with(json!("year >"))),
        "invalid_search_filter"
    );
    assert_eq!(fixture.code(&with(json!({}))), "invalid_search_filter");
}

#[test]
fn sorting_orders_equal_documents_and_puts_missing_values_last() {
    let fixture = fixture();
    let with = |sort| SearchQuery {
        sort: texts(sort),
        ..SearchQuery::default()
    };
    assert_eq!(
        fixture.ids(&with(&["price:asc", "year:desc"])),
        [4, 2, 1, 3, 5]
    );
    assert_eq!(fixture.ids(&with(&["price:desc"])), [3, 1, 2, 4, 5]);
    assert_eq!(fixture.code(&with(&["title:asc"])), "invalid_search_sort");
    assert_eq!(fixture.code(&with(&["price"])), "invalid_search_sort");
}

#[test]
fn sorting_needs_its_ranking_rule() {
    let fixture = fixture();
    fixture.set(json!({ "rankingRules": ["words"] }));
    let sorted = SearchQuery {
        sort: texts(&["price:asc"]),
        ..SearchQuery::default()
    };
    assert_eq!(fixture.code(&sorted), "invalid_search_sort");
}

#[test]
fn distinct_keeps_one_document_of_each_value() {
    let fixture = fixture();
    let with = |field: &str| SearchQuery {
        distinct: Some(field.to_owned()),
        page: Page::Numbered {
            page: 1,
            hits_per_page: 20,
        },
        ..SearchQuery::default()
    };
    let outcome = fixture.search(&with("price"));
    assert_eq!(ids(&outcome.hits), [1, 2, 3, 5]);
    assert!(matches!(
        outcome.totals,
        Totals::Exhaustive { total_hits: 4, .. }
    ));
    assert_eq!(fixture.code(&with("title")), "invalid_search_distinct");
}

#[test]
fn only_the_named_attributes_are_searched() {
    let fixture = fixture();
    let on = |names| SearchQuery {
        attributes_to_search_on: texts(names),
        ..query("drama")
    };
    assert_eq!(fixture.ids(&query("drama")).len(), 3);
    assert!(fixture.ids(&on(&["title"])).is_empty());
    assert_eq!(fixture.ids(&on(&["genre"])).len(), 3);
    assert_eq!(
        fixture.code(&on(&["year"])),
        "invalid_search_attributes_to_search_on"
    );
}

#[test]
fn only_displayed_and_asked_for_attributes_are_shown() {
    let fixture = fixture();
    let with = |names| SearchQuery {
        attributes_to_retrieve: names,
        ..query("velvet")
    };
    let hit = |names| fixture.search(&with(names)).hits[0].clone();
    assert_eq!(
        hit(texts(&["title", "nothing"])),
        json!({ "title": "Blue Velvet" })
    );
    assert_eq!(hit(texts(&["*"])), films()[3]);
    assert_eq!(hit(texts(&[])), json!({}));
    fixture.set(json!({ "displayedAttributes": ["id", "year"] }));
    assert_eq!(hit(None), json!({ "id": 4, "year": 1986 }));
    assert_eq!(hit(texts(&["title", "year"])), json!({ "year": 1986 }));
}

#[test]
fn pages_by_offset_reach_as_far_as_max_total_hits_and_count_all() {
    let fixture = fixture();
    let with = |offset, limit| SearchQuery {
        page: Page::Offset { offset, limit },
        ..SearchQuery::default()
    };
    assert_eq!(fixture.ids(&with(3, 20)), [4, 5]);
    fixture.set(json!({ "pagination": { "maxTotalHits": 3 } }));
    let outcome = fixture.search(&with(2, 20));
    assert_eq!(ids(&outcome.hits), [3]);
    let expected = Totals::Estimated {
        offset: 2,
        limit: 20,
        estimated_total_hits: 5,
    };
    assert_eq!(outcome.totals, expected);
    assert!(fixture.ids(&with(7, 20)).is_empty());
}

#[test]
fn numbered_pages_count_all() {
    let fixture = fixture();
    let totals = |page, hits_per_page| {
        let query = SearchQuery {
            page: Page::Numbered {
                page,
                hits_per_page,
            },
            ..SearchQuery::default()
        };
        let outcome = fixture.search(&query);
        let Totals::Exhaustive {
            total_pages,
            total_hits,
            ..
        } = outcome.totals
        else {
            panic!("the total is an estimate");
        };
        (ids(&outcome.hits), total_pages, total_hits)
    };
    assert_eq!(totals(1, 2), (vec![1, 2], 3, 5));
    assert_eq!(totals(3, 2), (vec![5], 3, 5));
    assert_eq!(totals(0, 2), (vec![], 3, 5));
    assert_eq!(totals(1, 0), (vec![], 0, 5));
}

#[test]
fn scores_and_their_details_come_when_asked_for() {
    let fixture = fixture();
    let plain = fixture.search(&query("red"));
    assert!(plain.hits[0].get("_rankingScore").is_none());
    let scored = fixture.search(&SearchQuery {
        show_ranking_score: true,
        show_ranking_score_details: true,
        ..query("red balloon")
    });
    let score = scored.hits[0]["_rankingScore"].as_f64().unwrap();
    assert!(score > 0.9 && score <= 1.0, "{score}");
    let details = scored.hits[0]["_rankingScoreDetails"].as_object().unwrap();
    let names: Vec<&str> = details.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["words", "typo", "proximity", "attribute", "exactness"]
    );
    assert_eq!(details["words"]["matchingWords"], 2);
}

#[test]
fn a_score_counts_the_rules_after_a_sort() {
    let fixture = fixture();
    fixture.set(json!({
        "rankingRules": ["sort", "words", "typo", "proximity", "attribute", "exactness"]
    }));
    let score = |sort| {
        let query = SearchQuery {
            sort,
            show_ranking_score: true,
            ..query("balloon")
        };
        fixture.search(&query).hits[0]["_rankingScore"]
            .as_f64()
            .unwrap()
    };
    let sorted = score(texts(&["price:asc"]));
    assert!(sorted < 1.0);
    assert_eq!(sorted, score(None));
}

#[test]
fn a_score_threshold_removes_hits_and_counts() {
    let fixture = fixture();
    let with = |threshold| SearchQuery {
        ranking_score_threshold: Some(threshold),
        page: Page::Numbered {
            page: 1,
            hits_per_page: 1,
        },
        ..query("red balloon")
    };
    let all = fixture.search(&with(0.0));
    let best = fixture.search(&with(0.9));
    assert!(
        matches!(all.totals, Totals::Exhaustive { total_hits: 3, .. }),
        "{:?}",
        all.totals
    );
    assert!(
        matches!(best.totals, Totals::Exhaustive { total_hits: 1, .. }),
        "{:?}",
        best.totals
    );
    assert_eq!(ids(&best.hits), [1]);
}

#[test]
fn a_score_threshold_judges_by_the_shown_score_even_with_a_sort() {
    let fixture = fixture();
    let query = SearchQuery {
        ranking_score_threshold: Some(0.9),
        sort: texts(&["price:asc"]),
        facets: texts(&["price"]),
        show_ranking_score: true,
        ..query("red balloon")
    };
    fixture.set(json!({ "rankingRules": ["sort", "words", "typo"] }));
    let outcome = fixture.search(&query);
    assert_eq!(ids(&outcome.hits), [1]);
    assert_eq!(estimated(&outcome), 1);
    let counts = Value::Object(outcome.facet_distribution.unwrap());
    assert_eq!(counts, json!({ "price": { "5": 1 } }));
}

#[test]
fn places_are_filtered_sorted_and_measured() {
    let fixture = Fixture::with(
        json!({
            "rankingRules": rules(),
            "filterableAttributes": ["_geo"],
            "sortableAttributes": ["_geo"],
        }),
        json!([
            { "id": 1, "_geo": { "lat": 48.8566, "lng": 2.3522 } },
            { "id": 2, "_geo": { "lat": "45.7640", "lng": "4.8357" } },
            { "id": 3 },
        ]),
    );
    let near_lyon = SearchQuery {
        sort: texts(&["_geoPoint(45.7640, 4.8357):asc"]),
        ..SearchQuery::default()
    };
    let outcome = fixture.search(&near_lyon);
    assert_eq!(ids(&outcome.hits), [2, 1, 3]);
    assert_eq!(outcome.hits[0]["_geoDistance"], 0);
    let metres = outcome.hits[1]["_geoDistance"].as_u64().unwrap();
    assert!((390_000..395_000).contains(&metres), "{metres}");
    assert!(outcome.hits[2].get("_geoDistance").is_none());

    let around_paris = SearchQuery {
        filter: Some(json!("_geoRadius(48.85, 2.35, 2000)")),
        ..SearchQuery::default()
    };
    assert_eq!(fixture.ids(&around_paris), [1]);
}

#[test]
fn locales_are_iso_codes() {
    let fixture = fixture();
    let with = |codes| SearchQuery {
        locales: texts(codes),
        ..query("velvet")
    };
    assert_eq!(fixture.ids(&with(&["en", "fra"])), [4]);
    assert_eq!(fixture.code(&with(&["klingon"])), "invalid_search_locales");
}

#[test]
fn synonyms_stop_words_and_typo_settings_are_heeded() {
    let fixture = fixture();
    fixture.set(json!({
        "synonyms": { "crimson": ["red"] },
        "stopWords": ["the"],
        "typoTolerance": { "disableOnWords": ["ballon"] },
    }));
    assert_eq!(fixture.ids(&query("crimson")).len(), 3);
    assert_eq!(fixture.ids(&query("the angel")), [5]);
    assert!(fixture.ids(&query("ballon")).is_empty());
}
