//! Whatever a client sends, it is read or refused: nothing panics, and nothing takes more time or
//! memory than what was sent deserves.

use miroir_api::action::Action;
use miroir_api::error::{Code, ResponseError};
use miroir_api::key::KeyValue;
use miroir_api::settings::{OpenFeatures, SETTINGS, check_embedders, check_settings};
use miroir_api::task::TaskAction;
use miroir_api::{
    document, facet_search, field, filter, index, key, multi_search, query, search, similar, task,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};
use time::OffsetDateTime;

/// The names that bodies and query strings know, so that mutations go deeper than the first check.
const NAMES: &[&str] = &[
    "q",
    "offset",
    "limit",
    "page",
    "hitsPerPage",
    "filter",
    "sort",
    "facets",
    "fields",
    "ids",
    "attributesToRetrieve",
    "attributesToCrop",
    "cropLength",
    "showRankingScore",
    "vector",
    "hybrid",
    "embedder",
    "semanticRatio",
    "rankingScoreThreshold",
    "locales",
    "distinct",
    "matchingStrategy",
    "retrieveVectors",
    "queries",
    "indexUid",
    "federation",
    "federationOptions",
    "weight",
    "mergeFacets",
    "maxValuesPerFacet",
    "facetsByIndex",
    "facetName",
    "facetQuery",
    "id",
    "uid",
    "primaryKey",
    "actions",
    "indexes",
    "expiresAt",
    "name",
    "description",
    "csvDelimiter",
    "customMetadata",
    "uids",
    "statuses",
    "types",
    "indexUids",
    "canceledBy",
    "from",
    "reverse",
    "batchUids",
    "beforeEnqueuedAt",
    "afterFinishedAt",
    "attributePatterns",
    "typoTolerance",
    "minWordSizeForTypos",
    "oneTypo",
    "embedders",
    "synonyms",
    "rankingRules",
    "filterableAttributes",
    "features",
    "stopWords",
    "localizedAttributes",
    "pagination",
    "maxTotalHits",
    "faceting",
    "sortFacetValuesBy",
];

/// Values that are near something that is meant.
const TEXTS: &[&str] = &[
    "*",
    "",
    "a",
    "a,b",
    "a = 1",
    "-1",
    "0",
    "1",
    "18446744073709551616",
    "1e400",
    "NaN",
    "true",
    "null",
    "[]",
    "[[\"a\"]]",
    "2026-01-01",
    "2026-01-01T00:00:00Z",
    "9999-12-31T23:59:59.9Z",
    "+999999-01-01",
    "\u{0}",
    "é",
    "\u{10ffff}",
    "_geoPoint(1,2):asc",
    "a:asc",
    "[\"",
    "words",
    "doggo",
    "movies*",
    "6062abda-a5aa-4414-ac91-ecd7944c0f8d",
    "succeeded",
    "fra",
    "%",
    "alpha",
];

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(NAMES).prop_map(str::to_owned),
        1 => "\\PC{0,12}",
        1 => (prop::sample::select(NAMES), any::<prop::sample::Index>()).prop_map(|(name, at)| {
            let mut name = name.to_owned();
            name.remove(at.index(name.len()));
            name
        }),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(TEXTS).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..30_i64).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(name(), inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn body() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => json_value(),
        4 => btree_map(name(), json_value(), 0..4)
            .prop_map(|members| Value::Object(members.into_iter().collect())),
    ]
}

/// A query string: pairs that are meant, or anything.
fn query_string() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => vec((name(), text()), 0..4).prop_map(|pairs| {
            let pairs: Vec<String> =
                pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            pairs.join("&")
        }),
        1 => any::<String>(),
        1 => "[a-z%&=+*0-9,]{0,40}",
    ]
}

/// A refusal is a client's mistake with a message, never a failure of ours.
fn check<T>(result: Result<T, ResponseError>) {
    if let Err(error) = result {
        let status = error.status();
        assert!((400..500).contains(&status), "{status}: {}", error.message);
        assert!(!error.message.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_body_is_read_or_refused(body in body()) {
        check(document::read_listing_body(&body));
        check(document::read_deletion_filter(&body));
        check(key::read_creation(&body, OffsetDateTime::UNIX_EPOCH));
        check(key::read_change(&body));
        check(index::read_creation(&body));
        check(index::read_change(&body));
        check(field::read_body(&body));
        check(facet_search::read_body(&body));
        check(search::read_body(&body));
        check(similar::read_body(&body));
        let open = OpenFeatures {
            composite_embedders: true,
            multimodal: true,
        };
        check(check_settings(&body, open));
        check(check_embedders(&body));
        for setting in SETTINGS {
            check(setting.check(&body, open));
        }
        if let Ok(request) = multi_search::read_body(&body) {
            for query in &request.queries {
                check(query.check_alone());
                if let Some(federation) = &request.federation {
                    check(query.check_federated(federation));
                }
            }
        }
    }

    #[test]
    fn every_query_string_is_read_or_refused(raw in query_string()) {
        let decoded: usize =
            query::parameters(&raw).iter().map(|(name, value)| name.len() + value.len()).sum();
        // A byte that is no UTF-8 becomes a character of three.
        prop_assert!(decoded <= 3 * raw.len());
        check(document::read_listing_parameters(&raw));
        check(document::read_view(&raw));
        check(document::read_addition(&raw));
        check(document::read_custom_metadata(&raw));
        check(key::read_paging(&raw));
        check(index::read_paging(&raw));
        check(search::read_parameters(&raw));
        check(similar::read_parameters(&raw));
        check(task::read_listing(&raw));
        check(task::read_choice(&raw, TaskAction::Cancel));
        check(task::read_choice(&raw, TaskAction::Delete));
    }

    #[test]
    fn every_filter_is_taken_or_refused(value in json_value(), raw in text()) {
        check(filter::check_filter(&value, Code::InvalidSearchFilter));
        check(filter::check_filter(&filter::filter_from_text(&raw), Code::InvalidSearchFilter));
    }

    #[test]
    fn a_pattern_covers_what_begins_as_it_does(
        start in "[a-zA-Z0-9_-]{0,8}", rest in "[a-zA-Z0-9_*-]{0,8}", other in text(),
    ) {
        let uid = format!("{start}{rest}");
        let pattern = format!("{start}*");
        prop_assert!(key::is_covered(&pattern, &uid));
        prop_assert_eq!(key::is_covered(&pattern, &other), other.starts_with(&start));
        prop_assert_eq!(key::is_covered(&start, &uid), rest.is_empty());
        prop_assert!(key::covers_all(&[&*pattern]) == start.is_empty());
    }

    #[test]
    fn every_uid_key_and_path_is_read_or_refused(text in prop_oneof![text(), "[0-9a-fA-F]{60,68}"]) {
        check(task::read_uid(&text));
        if let Some(value) = KeyValue::from_hex(&text) {
            prop_assert_eq!(value.to_hex(), text.to_ascii_lowercase());
        }
        let _ = Action::from_name(&text);
        prop_assert!(key::is_covered(&text, &text) || text.ends_with('*'));
        prop_assert!(query::decode_path(&text).len() <= 3 * text.len());
    }
}

/// A name of megabytes once was compared, letter by letter, with every name that it might have been
/// meant to be: gigabytes and minutes for one small mistake.
#[test]
fn a_name_of_megabytes_is_refused_at_once() {
    let long = "a".repeat(20_000_000);
    let body = Value::Object([(long.clone(), Value::Null)].into_iter().collect());
    check(search::read_body(&body));
    assert!(search::read_body(&body).is_err());
    assert!(search::read_parameters(&format!("{long}=1")).is_err());
    let action = json!({"actions": [long], "indexes": ["*"], "expiresAt": null});
    assert!(key::read_creation(&action, OffsetDateTime::UNIX_EPOCH).is_err());
}
