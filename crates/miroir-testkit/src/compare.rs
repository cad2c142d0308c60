//! Two answers to one search: what differs between them.
//!
//! Left out is what cannot be equal (times, request ids). Numbers count as equal within 1e-9:
//! scores are quotients of small integers, computed in more than one way.

use crate::Reply;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use unicode_normalization::UnicodeNormalization as _;

/// The largest difference of two numbers that count as equal.
const TOLERANCE: f64 = 1e-9;
/// Members of an answer that differ from one request to the next.
const MASKED: &[&str] = &["processingTimeMs", "requestUid"];
/// Members that say where in the result the page lies.
const PAGING: &[&str] = &["offset", "limit", "page", "hitsPerPage", "query"];
/// Members that say how much there is.
const TOTALS: &[&str] = &["estimatedTotalHits", "totalHits", "totalPages"];
/// Members compared one by one below.
const COMPARED: &[&str] = &["hits", "facetDistribution", "facetStats"];

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One answer is an error, or another error.
    Status,
    /// Other hits, or the same ones in another order.
    Order,
    /// How many there are.
    Total,
    /// Where the page lies.
    Paging,
    /// The values or counts of a facet.
    FacetCounts,
    /// The same counts in another order.
    FacetOrder,
    /// The same counts under another spelling.
    FacetSpelling,
    /// The least or greatest value of a facet.
    FacetStats,
    /// A field of a document.
    Document,
    /// `_formatted`.
    Formatted,
    /// `_matchesPosition`.
    Positions,
    /// `_rankingScore`.
    Score,
    /// `_rankingScoreDetails`.
    Details,
    /// `_geoDistance`.
    Distance,
    /// A member that only one answer has, or one unknown here.
    Shape,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Status => "status",
            Self::Order => "order",
            Self::Total => "total",
            Self::Paging => "paging",
            Self::FacetCounts => "facet counts",
            Self::FacetOrder => "facet order",
            Self::FacetSpelling => "facet spelling",
            Self::FacetStats => "facet stats",
            Self::Document => "document",
            Self::Formatted => "_formatted",
            Self::Positions => "_matchesPosition",
            Self::Score => "_rankingScore",
            Self::Details => "_rankingScoreDetails",
            Self::Distance => "_geoDistance",
            Self::Shape => "shape",
        };
        f.pad(name)
    }
}

/// One way in which two answers differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What differs.
    pub kind: Kind,
    /// Both sides of it, for a reader.
    pub note: String,
}

/// What is known about a search before its answers are compared.
#[derive(Debug, Clone)]
pub struct Expectations<'a> {
    /// The field that holds the primary key.
    pub key_field: &'a str,
    /// Whether totals and facets are determined by the documents. They are not under a score
    /// threshold: a server counts what it happened to score.
    pub totals: bool,
    /// Facets ordered by count: values of equal count come in no particular order.
    pub facets_by_count: &'a [&'a str],
}

/// Returns every difference, none if the answers say the same.
#[must_use]
pub fn compare(
    expected: &Reply,
    found: &Reply,
    expectations: &Expectations<'_>,
) -> Vec<Difference> {
    let mut differences = Differences(Vec::new());
    if expected.status != found.status
        || (expected.status != 200 && expected.code() != found.code())
    {
        differences.add(Kind::Status, "", &expected.body, &found.body);
        return differences.0;
    }
    if expected.status == 200 {
        compare_members(&expected.body, &found.body, expectations, &mut differences);
        compare_hits(
            &expected.body,
            &found.body,
            expectations.key_field,
            &mut differences,
        );
        if expectations.totals {
            compare_facets(&expected.body, &found.body, expectations, &mut differences);
        }
    }
    differences.0
}

/// The keys of the hits, in order.
pub(crate) fn keys(body: &Value, key_field: &str) -> Vec<String> {
    let hits = body["hits"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    hits.iter().map(|hit| key_of(hit, key_field)).collect()
}

pub(crate) fn key_of(hit: &Value, key_field: &str) -> String {
    hit[key_field]
        .as_str()
        .map_or_else(|| hit[key_field].to_string(), str::to_owned)
}

/// Whether two values are equal, numbers within the tolerance, members in any order.
pub(crate) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right
                || match (left.as_f64(), right.as_f64()) {
                    (Some(left), Some(right)) => (left - right).abs() <= TOLERANCE,
                    _ => false,
                }
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| same(l, r))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(name, l)| right.get(name).is_some_and(|r| same(l, r)))
        }
        _ => left == right,
    }
}

struct Differences(Vec<Difference>);

impl Differences {
    fn add(&mut self, kind: Kind, place: &str, expected: &Value, found: &Value) {
        // One line of a terminal or two: enough to see what it is about.
        let short = |value: &Value| value.to_string().chars().take(300).collect::<String>();
        let note = format!("{place}: {} ≠ {}", short(expected), short(found));
        self.0.push(Difference { kind, note });
    }
}

fn compare_members(
    expected: &Value,
    found: &Value,
    expectations: &Expectations<'_>,
    differences: &mut Differences,
) {
    let empty = Map::new();
    let expected = expected.as_object().unwrap_or(&empty);
    let found = found.as_object().unwrap_or(&empty);
    let mut names: Vec<&String> = expected.keys().chain(found.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let name = name.as_str();
        if MASKED.contains(&name) {
            continue;
        }
        let (left, right) = (expected.get(name), found.get(name));
        let (left, right) = match (left, right) {
            (Some(left), Some(right)) => (left, right),
            _ => {
                let null = Value::Null;
                let (left, right) = (left.unwrap_or(&null), right.unwrap_or(&null));
                differences.add(Kind::Shape, name, left, right);
                continue;
            }
        };
        let kind = match name {
            _ if COMPARED.contains(&name) => continue,
            _ if TOTALS.contains(&name) && !expectations.totals => continue,
            _ if TOTALS.contains(&name) => Kind::Total,
            _ if PAGING.contains(&name) => Kind::Paging,
            _ => Kind::Shape,
        };
        if !same(left, right) {
            differences.add(kind, name, left, right);
        }
    }
}

fn compare_hits(expected: &Value, found: &Value, key_field: &str, differences: &mut Differences) {
    let (left, right) = (keys(expected, key_field), keys(found, key_field));
    if left != right {
        differences.add(Kind::Order, "ids", &Value::from(left), &Value::from(right));
    }
    let none = Vec::new();
    let by_key: BTreeMap<String, &Value> = expected["hits"]
        .as_array()
        .unwrap_or(&none)
        .iter()
        .map(|hit| (key_of(hit, key_field), hit))
        .collect();
    for hit in found["hits"].as_array().unwrap_or(&none) {
        let key = key_of(hit, key_field);
        if let Some(expected) = by_key.get(&key) {
            compare_hit(&key, expected, hit, differences);
        }
    }
}

fn compare_hit(key: &str, expected: &Value, found: &Value, differences: &mut Differences) {
    let empty = Map::new();
    let expected = expected.as_object().unwrap_or(&empty);
    let found = found.as_object().unwrap_or(&empty);
    let mut names: Vec<&String> = expected.keys().chain(found.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let left = expected.get(name).unwrap_or(&Value::Null);
        let right = found.get(name).unwrap_or(&Value::Null);
        // An absent member and a null one are two things.
        let both = expected.contains_key(name) == found.contains_key(name);
        if both && same(left, right) {
            continue;
        }
        let kind = match name.as_str() {
            "_formatted" => Kind::Formatted,
            "_matchesPosition" => Kind::Positions,
            "_rankingScore" => Kind::Score,
            "_rankingScoreDetails" => Kind::Details,
            "_geoDistance" => Kind::Distance,
            _ => Kind::Document,
        };
        differences.add(kind, &format!("{key}.{name}"), left, right);
    }
}

fn compare_facets(
    expected: &Value,
    found: &Value,
    expectations: &Expectations<'_>,
    differences: &mut Differences,
) {
    let (left, right) = (&expected["facetStats"], &found["facetStats"]);
    if !same(left, right) {
        differences.add(Kind::FacetStats, "facetStats", left, right);
    }
    let (left, right) = (&expected["facetDistribution"], &found["facetDistribution"]);
    let (Some(left), Some(right)) = (left.as_object(), right.as_object()) else {
        return;
    };
    if left.keys().collect::<Vec<_>>() != right.keys().collect::<Vec<_>>() {
        let names = |facets: &Map<String, Value>| facets.keys().cloned().collect::<Vec<_>>().into();
        differences.add(Kind::FacetCounts, "facets", &names(left), &names(right));
    }
    for (field, left) in left {
        let Some(right) = right.get(field) else {
            continue;
        };
        let by_count = expectations.facets_by_count.contains(&field.as_str());
        if let Some(kind) = compare_facet(left, right, by_count) {
            differences.add(kind, field, left, right);
        }
    }
}

/// What a server regards as one facet value: upper or lower case, marks apart from their letters or
/// not, with or without spaces around.
pub(crate) fn folded_value(value: &str) -> String {
    value.trim().nfkd().collect::<String>().to_lowercase()
}

/// Compares the values and counts of one facet, in their order.
fn compare_facet(left: &Value, right: &Value, by_count: bool) -> Option<Kind> {
    let empty = Map::new();
    let (left, right) = (
        left.as_object().unwrap_or(&empty),
        right.as_object().unwrap_or(&empty),
    );
    let listed = |facet: &Map<String, Value>, spelt: fn(&str) -> String| {
        facet
            .iter()
            .map(|(value, count)| (spelt(value), count.as_u64()))
            .collect::<Vec<_>>()
    };
    let sorted = |mut list: Vec<(String, Option<u64>)>| {
        list.sort();
        list
    };
    let exact = |value: &str| value.to_owned();
    let folded = folded_value;
    if listed(left, exact) == listed(right, exact) {
        return None;
    }
    let same_values = sorted(listed(left, exact)) == sorted(listed(right, exact));
    let counts = |facet: &Map<String, Value>| {
        facet
            .values()
            .map(|count| count.as_u64())
            .collect::<Vec<_>>()
    };
    if same_values {
        return (!by_count || counts(left) != counts(right)).then_some(Kind::FacetOrder);
    }
    if sorted(listed(left, folded)) == sorted(listed(right, folded)) {
        return Some(Kind::FacetSpelling);
    }
    Some(Kind::FacetCounts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kinds(expected: Value, found: Value) -> Vec<Kind> {
        let reply = |body| Reply {
            status: 200,
            headers: Vec::new(),
            body,
        };
        let expectations = Expectations {
            key_field: "id",
            totals: true,
            facets_by_count: &["tags"],
        };
        let mut kinds: Vec<_> = compare(&reply(expected), &reply(found), &expectations)
            .into_iter()
            .map(|difference| difference.kind)
            .collect();
        kinds.sort();
        kinds
    }

    #[test]
    fn times_and_member_order_and_the_last_digits_do_not_matter() {
        let left =
            json!({"hits": [{"id": 1, "a": 2, "_rankingScore": 0.1}], "processingTimeMs": 3});
        let right = json!({
            "processingTimeMs": 9,
            "hits": [{"_rankingScore": 0.100_000_000_000_1, "a": 2, "id": 1}]
        });
        assert_eq!(kinds(left, right), []);
    }

    #[test]
    fn swapped_hits_are_a_difference_of_order_and_nothing_else() {
        let left = json!({"hits": [{"id": 1}, {"id": 2}]});
        let right = json!({"hits": [{"id": 2}, {"id": 1}]});
        assert_eq!(kinds(left, right), [Kind::Order]);
    }

    #[test]
    fn each_member_of_a_hit_has_its_own_kind() {
        let left = json!({"hits": [{"id": 1, "t": "a", "_formatted": {"t": "a"}}]});
        let right =
            json!({"hits": [{"id": 1, "t": "b", "_formatted": {"t": "b"}, "_rankingScore": 1}]});
        assert_eq!(
            kinds(left, right),
            [Kind::Document, Kind::Formatted, Kind::Score]
        );
    }

    #[test]
    fn facets_differ_by_count_by_order_or_by_spelling() {
        let facets = |value| json!({"hits": [], "facetDistribution": {"f": value}});
        let check = |left, right| kinds(facets(left), facets(right));
        assert_eq!(check(json!({"a": 1, "b": 2}), json!({"a": 1, "b": 2})), []);
        assert_eq!(
            check(json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1})),
            [Kind::FacetOrder]
        );
        assert_eq!(check(json!({"a": 1}), json!({"a": 2})), [Kind::FacetCounts]);
        assert_eq!(
            check(json!({"Red": 1}), json!({" red": 1})),
            [Kind::FacetSpelling]
        );
    }

    #[test]
    fn equal_counts_may_change_places_in_a_facet_ordered_by_count() {
        let facets = |value| json!({"hits": [], "facetDistribution": {"tags": value}});
        let left = || facets(json!({"a": 2, "b": 1, "c": 1}));
        assert_eq!(kinds(left(), facets(json!({"a": 2, "c": 1, "b": 1}))), []);
        assert_eq!(
            kinds(left(), facets(json!({"b": 1, "a": 2, "c": 1}))),
            [Kind::FacetOrder]
        );
    }

    #[test]
    fn a_member_that_one_side_lacks_is_noticed() {
        assert_eq!(
            kinds(json!({"hits": []}), json!({"hits": [], "extra": 1})),
            [Kind::Shape]
        );
    }
}
