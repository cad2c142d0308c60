//! One mistake in a request: the refusal must be the same, word for word.

use super::Route;
use crate::Rng;
use serde_json::{Map, Value, json};

/// Puts one mistake into a body.
pub(super) fn add_mistake(rng: &mut Rng, route: Route, body: &mut Map<String, Value>) {
    let mistakes: &[(&str, Value)] = &match route {
        Route::Search | Route::SearchByGet => searches(),
        Route::Fetch => fetches(),
        Route::FacetSearch => facet_searches(),
    };
    let (name, value) = rng.pick(mistakes);
    if *value == Value::Null {
        body.remove(*name);
    } else {
        body.insert((*name).to_owned(), value.clone());
    }
}

fn searches() -> Vec<(&'static str, Value)> {
    let mut mistakes = vec![
        ("nonsense", json!(1)),
        ("q", json!(12)),
        ("limit", json!(-1)),
        ("limit", json!("ten")),
        ("offset", json!(1.5)),
        ("page", json!("x")),
        ("hitsPerPage", json!(-3)),
        ("sort", json!(["nobody:asc"])),
        ("sort", json!(["year"])),
        ("sort", json!(["year:up"])),
        ("sort", json!("year:asc")),
        ("sort", json!(["_geoPoint(100, 200):asc"])),
        ("sort", json!(["_geoRadius(1,2,3):asc"])),
        ("sort", json!(["_miroir_seq:asc"])),
        ("facets", json!(["nobody"])),
        ("facets", json!("year")),
        ("distinct", json!("nobody")),
        ("distinct", json!("body")),
        ("attributesToSearchOn", json!(["nobody"])),
        ("attributesToSearchOn", json!("title")),
        ("attributesToRetrieve", json!("title")),
        ("attributesToCrop", json!(["body:x"])),
        ("cropLength", json!(-1)),
        ("matchingStrategy", json!("some")),
        ("rankingScoreThreshold", json!(1.5)),
        ("rankingScoreThreshold", json!("high")),
        ("showRankingScore", json!("yes")),
        ("locales", json!(["xx"])),
        (
            "hybrid",
            json!({"embedder": "nobody", "semanticRatio": 1.0}),
        ),
        ("hybrid", json!({"semanticRatio": 0.0})),
        ("vector", json!([1, 2])),
    ];
    mistakes.extend(filters());
    mistakes
}

fn filters() -> Vec<(&'static str, Value)> {
    [
        json!("nobody = 1"),
        json!("year ="),
        json!("year = 1 AND"),
        json!("(year = 1"),
        json!("year @ 1"),
        json!("_geoRadius(1, 2)"),
        json!("_geoRadius(91, 2, 3)"),
        json!("_geoBoundingBox([1, 2], [3, 4])"),
        json!("_geo = 1"),
        json!("_geoDistance < 3"),
        json!("year TO 3"),
        json!("year IN 3"),
        json!("label CONTAINS \"e\""),
        json!("year > abc"),
        json!(12),
        json!([[["year = 1"]]]),
        json!([1]),
        json!({"year": 1}),
    ]
    .into_iter()
    .map(|filter| ("filter", filter))
    .collect()
}

fn fetches() -> Vec<(&'static str, Value)> {
    let mut mistakes = vec![
        ("nonsense", json!(1)),
        ("limit", json!(-1)),
        ("offset", json!("x")),
        ("fields", json!("title")),
        ("ids", json!("1")),
        ("ids", json!(["not an id"])),
        ("ids", json!([true])),
        ("retrieveVectors", json!(1)),
        ("sort", json!(["nobody:asc"])),
        ("sort", json!(["year"])),
        ("sort", json!("year:asc")),
    ];
    mistakes.extend(filters());
    mistakes
}

fn facet_searches() -> Vec<(&'static str, Value)> {
    let mut mistakes = vec![
        ("facetName", json!("nobody")),
        ("facetName", Value::Null),
        ("facetName", json!(1)),
        ("facetName", json!("body")),
        ("facetQuery", json!(1)),
        ("q", json!([])),
        ("matchingStrategy", json!("some")),
        ("attributesToSearchOn", json!(["nobody"])),
        ("rankingScoreThreshold", json!(-1)),
    ];
    mistakes.extend(filters());
    mistakes
}
