//! Facet counts, and the search for facet values.

use crate::support::{Fixture, KEY, films, texts};
use miroir_devnode_engine::{FacetSearchQuery, SearchQuery};
use serde_json::{Value, json};

fn fixture() -> Fixture {
    Fixture::with(
        json!({ "filterableAttributes": ["genre", "year", "price"] }),
        films(),
    )
}

fn distribution(fixture: &Fixture, patterns: &[&str]) -> Value {
    let query = SearchQuery {
        facets: texts(patterns),
        ..SearchQuery::default()
    };
    Value::Object(fixture.search(&query).facet_distribution.unwrap())
}

#[test]
fn counts_and_stats_are_over_all_candidates() {
    let query = SearchQuery {
        facets: texts(&["price", "genre"]),
        filter: Some(json!("year > 1940")),
        page: miroir_devnode_engine::Page::Offset {
            offset: 0,
            limit: 1,
        },
        ..SearchQuery::default()
    };
    let outcome = fixture().search(&query);
    let counts = json!({
        "genre": { "crime": 1, "drama": 2, "short": 1, "western": 1 },
        "price": { "3": 2, "5": 1, "9": 1 }
    });
    let distribution = Value::Object(outcome.facet_distribution.unwrap());
    assert_eq!(distribution.to_string(), counts.to_string());
    let stats = Value::Object(outcome.facet_stats.unwrap());
    assert_eq!(stats, json!({ "price": { "min": 3.0, "max": 9.0 } }));
}

#[test]
fn the_number_of_values_and_their_order_are_settings() {
    let fixture = fixture();
    fixture.set(json!({ "faceting": { "maxValuesPerFacet": 2 } }));
    assert_eq!(
        distribution(&fixture, &["genre"]),
        json!({ "genre": { "crime": 1, "drama": 3 } })
    );
    fixture.set(json!({ "faceting": { "sortFacetValuesBy": { "genre": "count" } } }));
    let by_count = distribution(&fixture, &["genre"]);
    assert_eq!(
        by_count["genre"]
            .as_object()
            .unwrap()
            .iter()
            .next()
            .unwrap()
            .0,
        "drama"
    );
}

#[test]
fn patterns_name_filterable_attributes() {
    let fixture = fixture();
    let names = |patterns: &[&str]| -> Vec<String> {
        distribution(&fixture, patterns)
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(names(&["*"]), ["genre", "price", "year"]);
    assert_eq!(names(&["p*", "year"]), ["price", "year"]);
}

#[test]
fn no_facets_asked_for_means_none_shown() {
    let query = SearchQuery {
        facets: texts(&[]),
        ..SearchQuery::default()
    };
    let outcome = fixture().search(&query);
    assert_eq!(outcome.facet_distribution, None);
    assert_eq!(outcome.facet_stats, None);
}

#[test]
fn an_attribute_that_is_not_filterable_is_refused() {
    let fixture = fixture();
    let query = |name| SearchQuery {
        facets: texts(&[name]),
        ..SearchQuery::default()
    };
    assert_eq!(fixture.code(&query("title")), "invalid_search_facets");
    assert_eq!(fixture.code(&query("tit*")), "invalid_search_facets");
}

#[test]
fn facet_values_are_found_by_their_beginning() {
    let fixture = fixture();
    let search = |facet_query: Option<&str>, filter: Option<Value>| {
        let query = FacetSearchQuery {
            facet_name: "genre".to_owned(),
            facet_query: facet_query.map(str::to_owned),
            filter,
            ..FacetSearchQuery::default()
        };
        fixture.engine.facet_search(KEY, &query).unwrap()
    };
    assert_eq!(search(Some("dr"), None), [("drama".to_owned(), 3)]);
    assert_eq!(
        search(Some("dr"), Some(json!("year < 1940"))),
        [("drama".to_owned(), 1)]
    );
    assert_eq!(search(Some("wesetrn"), None), [("western".to_owned(), 1)]);
    assert_eq!(search(None, None).len(), 4);
}

#[test]
fn facet_search_can_be_off_for_the_index_or_the_attribute() {
    let fixture = fixture();
    let code = |facet_name: &str| {
        let facet_name = facet_name.to_owned();
        let query = FacetSearchQuery {
            facet_name,
            ..FacetSearchQuery::default()
        };
        fixture.engine.facet_search(KEY, &query).unwrap_err().code()
    };
    assert_eq!(code("title"), "invalid_facet_search_facet_name");
    fixture.set(json!({ "facetSearch": false }));
    assert_eq!(code("genre"), "facet_search_disabled");
}
