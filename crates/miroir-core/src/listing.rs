//! Listings of documents over several nodes: which comes before which.
//!
//! One node lists by the sort asked for, then in insertion order. The nodes do the same with the
//! reserved sequence field as last criterion, and the lists are merged by the same key, taken from
//! the documents themselves.

use crate::merge::normalize_facet;
use crate::reserved::SEQ_FIELD;
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// The radius of the earth that the engine uses, in metres.
const EARTH_RADIUS_M: f64 = 6_371_000.0;

/// One criterion of a listing.
#[derive(Debug, Clone, PartialEq)]
pub enum Criterion {
    /// By the value of a field, dots reaching into objects.
    Field {
        /// The field.
        name: String,
        /// Ascending.
        is_ascending: bool,
    },
    /// By distance from a point.
    Distance {
        /// Degrees.
        lat: f64,
        /// Degrees.
        lng: f64,
        /// Nearest first.
        is_ascending: bool,
    },
}

impl Criterion {
    /// The criterion that `field:asc`, `field:desc` or `_geoPoint(lat,lng):asc|desc` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, direction) = text.rsplit_once(':')?;
        let is_ascending = match direction {
            "asc" => true,
            "desc" => false,
            _ => return None,
        };
        let Some(point) = name
            .trim()
            .strip_prefix("_geoPoint(")
            .and_then(|t| t.strip_suffix(')'))
        else {
            return Some(Self::Field {
                name: name.to_owned(),
                is_ascending,
            });
        };
        let (lat, lng) = point.split_once(',')?;
        let (lat, lng) = (lat.trim().parse().ok()?, lng.trim().parse().ok()?);
        Some(Self::Distance {
            lat,
            lng,
            is_ascending,
        })
    }

    /// The top-level field that must be at hand to judge a document.
    #[must_use]
    pub fn field(&self) -> &str {
        match self {
            Self::Field { name, .. } => name,
            Self::Distance { .. } => "_geo",
        }
    }
}

/// What a document ranks by under one criterion.
#[derive(Debug, Clone, PartialEq)]
enum Rank {
    Number(f64),
    Text(String),
    Missing,
}

/// What a document ranks by: the criteria in order, then its sequence text.
#[derive(Debug, Clone, PartialEq)]
pub struct ListingKey {
    ranks: Vec<(Rank, bool)>,
    seq: String,
}

impl ListingKey {
    /// The key of a document that has the criteria's fields and the sequence field.
    #[must_use]
    pub fn new(document: &Map<String, Value>, criteria: &[Criterion]) -> Self {
        let ranks = criteria
            .iter()
            .map(|criterion| match criterion {
                Criterion::Field { name, is_ascending } => {
                    let mut values = Vec::new();
                    collect(document, name, &mut values);
                    (rank(&values, *is_ascending), *is_ascending)
                }
                Criterion::Distance {
                    lat,
                    lng,
                    is_ascending,
                } => {
                    let distance = document
                        .get("_geo")
                        .and_then(|geo| distance(geo, *lat, *lng));
                    (distance.map_or(Rank::Missing, Rank::Number), *is_ascending)
                }
            })
            .collect();
        let seq = document
            .get(SEQ_FIELD)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned();
        Self { ranks, seq }
    }

    /// Numbers, then strings, then missing ones, whichever the direction; then insertion order.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        for ((a, is_ascending), (b, _)) in self.ranks.iter().zip(&other.ranks) {
            let direct = |ordering: Ordering| {
                if *is_ascending {
                    ordering
                } else {
                    ordering.reverse()
                }
            };
            let ordering = match (a, b) {
                (Rank::Number(a), Rank::Number(b)) => direct(a.total_cmp(b)),
                (Rank::Text(a), Rank::Text(b)) => direct(a.cmp(b)),
                _ => class(a).cmp(&class(b)),
            };
            if ordering.is_ne() {
                return ordering;
            }
        }
        self.seq.cmp(&other.seq)
    }
}

fn class(rank: &Rank) -> u8 {
    match rank {
        Rank::Number(_) => 0,
        Rank::Text(_) => 1,
        Rank::Missing => 2,
    }
}

fn rank(values: &[&Value], is_ascending: bool) -> Rank {
    let numbers = values.iter().filter_map(|value| value.as_f64());
    let number = if is_ascending {
        numbers.min_by(f64::total_cmp)
    } else {
        numbers.max_by(f64::total_cmp)
    };
    if let Some(number) = number {
        // -0.0 and 0.0 are one value.
        return Rank::Number(number + 0.0);
    }
    let texts = values.iter().filter_map(|value| match value {
        Value::String(text) => Some(normalize_facet(text)).filter(|text| !text.is_empty()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    });
    let text = if is_ascending {
        texts.min()
    } else {
        texts.max()
    };
    text.map_or(Rank::Missing, Rank::Text)
}

/// The scalars under a possibly dotted name, through arrays.
fn collect<'v>(object: &'v Map<String, Value>, name: &str, out: &mut Vec<&'v Value>) {
    for (field, value) in object {
        if field == name {
            scalars(value, out);
        } else if let Some(rest) = name
            .strip_prefix(field.as_str())
            .and_then(|r| r.strip_prefix('.'))
        {
            objects(value, rest, out);
        }
    }
}

fn objects<'v>(value: &'v Value, rest: &str, out: &mut Vec<&'v Value>) {
    match value {
        Value::Object(object) => collect(object, rest, out),
        Value::Array(items) => items.iter().for_each(|item| objects(item, rest, out)),
        _ => {}
    }
}

fn scalars<'v>(value: &'v Value, out: &mut Vec<&'v Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| scalars(item, out)),
        Value::Object(_) | Value::Null => {}
        scalar => out.push(scalar),
    }
}

fn distance(geo: &Value, lat: f64, lng: f64) -> Option<f64> {
    let degrees = |name: &str| match geo.get(name)? {
        Value::String(text) => text.parse().ok(),
        value => value.as_f64(),
    };
    let (a, b) = (degrees("lat")?.to_radians(), lat.to_radians());
    let half_lat = libm::sin((b - a) / 2.0);
    let half_lng = libm::sin((lng - degrees("lng")?).to_radians() / 2.0);
    let h = half_lat * half_lat + libm::cos(a) * libm::cos(b) * half_lng * half_lng;
    Some(2.0 * EARTH_RADIUS_M * libm::asin(libm::sqrt(h.min(1.0))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn order(values: &[Value], criterion: &str) -> Vec<usize> {
        let criteria = [Criterion::parse(criterion).unwrap()];
        let mut keys: Vec<(usize, ListingKey)> = values
            .iter()
            .enumerate()
            .map(|(i, value)| {
                let document = json!({"price": value, SEQ_FIELD: format!("{i:03}")});
                (i, ListingKey::new(document.as_object().unwrap(), &criteria))
            })
            .collect();
        keys.sort_by(|a, b| a.1.compare(&b.1));
        keys.into_iter().map(|(i, _)| i).collect()
    }

    #[test]
    fn numbers_come_before_strings_before_missing_in_both_directions() {
        let values = [
            json!("Abc "),
            json!([9, 2]),
            json!(null),
            json!([3, "zz"]),
            json!(true),
            json!(5),
            json!({"k": 1}),
        ];
        assert_eq!(order(&values, "price:asc"), [1, 3, 5, 0, 4, 2, 6]);
        assert_eq!(order(&values, "price:desc"), [1, 5, 3, 4, 0, 2, 6]);
    }

    #[test]
    fn equal_documents_keep_their_insertion_order() {
        assert_eq!(
            order(&[json!(1), json!(1.0), json!(1)], "price:desc"),
            [0, 1, 2]
        );
    }

    #[test]
    fn a_dotted_name_reaches_through_objects_and_arrays() {
        let document = json!({"a": [{"b": 3}, {"b": 1}], "a.b": 2});
        let mut values = Vec::new();
        collect(document.as_object().unwrap(), "a.b", &mut values);
        assert_eq!(values, [&json!(3), &json!(1), &json!(2)]);
    }

    #[test]
    fn a_point_is_parsed_and_measured() {
        let criterion = Criterion::parse("_geoPoint(48.85, 2.35):asc");
        let expected = Criterion::Distance {
            lat: 48.85,
            lng: 2.35,
            is_ascending: true,
        };
        assert_eq!(criterion, Some(expected));
        let metres = distance(&json!({"lat": 51.5, "lng": "-0.12"}), 48.85, 2.35).unwrap();
        assert!(
            (340_000.0..346_000.0).contains(&metres),
            "Paris to London is {metres} m"
        );
        assert_eq!(Criterion::parse("price"), None);
    }
}
