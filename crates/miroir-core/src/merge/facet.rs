//! Facets of the parts added up to the facets of the whole, ordered and cut as one node does it.
//!
//! Nodes are set to show far more values than the client's limit, because the most frequent values
//! of the whole need not be among the most frequent of a part.

use super::answer::NodeAnswer;
use super::distinct::FacetValue;
use super::key::compare_numbers;
use super::view::FacetOrder;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use unicode_normalization::UnicodeNormalization;

/// Up to so many candidates a node gathers values from the documents (numbers then sort as text
/// and the limit holds for both kinds together), above it walks its facet tree. Meilisearch's own.
const GATHER_CANDIDATES_MAX: u64 = 3_000;

/// The longest facet value in bytes; longer ones are cut by the node. Meilisearch's own.
const FACET_BYTES_MAX: usize = 468;

/// The smallest and the largest number of a field.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct FieldStats {
    min: f64,
    max: f64,
}

/// The counts of one field, summed over the nodes.
#[derive(Debug, Default)]
struct FieldSum<'a> {
    numbers: BTreeMap<&'a str, u64>,
    texts: BTreeMap<Cow<'a, str>, TextSum<'a>>,
}

#[derive(Debug)]
struct TextSum<'a> {
    spelling: &'a str,
    /// The count of the node whose spelling is shown.
    spelling_count: u64,
    count: u64,
}

/// The form in which Meilisearch compares facet strings: trimmed, compatibility-decomposed, lower
/// case, cut to 468 bytes.
///
/// ```
/// use miroir_core::merge::normalize_facet;
///
/// assert_eq!(normalize_facet("  ÀB "), "a\u{300}b");
/// ```
#[must_use]
pub fn normalize_facet(text: &str) -> String {
    normalize(text).into_owned()
}

/// The text that stands for a number in a facet.
pub(super) fn canonical_number(number: f64) -> String {
    number.to_string()
}

/// The merged distribution of the fields for which `is_shown` holds, by field name; `None` when no
/// node showed one.
///
/// Of the field `distinct` each value is counted once: every node counted it once, and only one of
/// those hits is in the whole.
pub(super) fn merge_distribution(
    answers: &[NodeAnswer<'_>],
    is_shown: impl Fn(&str) -> bool,
    order_of: impl Fn(&str) -> FacetOrder,
    value_limit: usize,
    distinct: Option<&str>,
) -> Option<Map<String, Value>> {
    let mut sums: BTreeMap<&str, FieldSum<'_>> = BTreeMap::new();
    let mut is_present = false;
    for answer in answers {
        let Some(facets) = &answer.facets else {
            continue;
        };
        is_present = true;
        for (field, values) in facets.0.iter().filter(|(field, _)| is_shown(field)) {
            let numbers = count_numbers(answer, field, &values.0);
            let sum = sums.entry(field).or_default();
            sum.add(&values.0, numbers);
        }
    }
    // The regime is that of the whole: a part below the threshold says nothing about it.
    let candidates: u64 = answers.iter().map(|answer| answer.total).sum();
    let show = |(field, mut sum): (&str, FieldSum<'_>)| {
        if distinct == Some(field) {
            sum.count_once();
        }
        let shown = sum.show(order_of(field), candidates, value_limit);
        (field.to_owned(), Value::Object(shown))
    };
    is_present.then(|| sums.into_iter().map(show).collect())
}

/// The merged number ranges of the shown fields, by field name; `None` when no node showed any.
pub(super) fn merge_stats(
    answers: &[NodeAnswer<'_>],
    is_shown: impl Fn(&str) -> bool,
) -> Option<Map<String, Value>> {
    let mut merged: BTreeMap<&str, FieldStats> = BTreeMap::new();
    let mut is_present = false;
    for answer in answers {
        let Some(stats) = &answer.facet_stats else {
            continue;
        };
        is_present = true;
        for (field, stats) in stats.0.iter().filter(|(field, _)| is_shown(field)) {
            let range = merged.entry(field).or_insert(*stats);
            // As facets order numbers, so that the answers' order does not matter for two zeroes.
            if compare_numbers(stats.min, range.min).is_lt() {
                range.min = stats.min;
            }
            if compare_numbers(stats.max, range.max).is_gt() {
                range.max = stats.max;
            }
        }
    }
    let to_value = |stats: FieldStats| {
        let mut object = Map::new();
        object.insert("min".to_owned(), stats.min.into());
        object.insert("max".to_owned(), stats.max.into());
        Value::Object(object)
    };
    is_present.then(|| {
        merged
            .into_iter()
            .map(|(f, stats)| (f.to_owned(), to_value(stats)))
            .collect()
    })
}

/// How many values of `field` are shown by more than one node, counted once less than shown.
///
/// Under `distinct` each node counts each of its values once, so the sum of the nodes' totals is
/// too large by just this.
pub(super) fn count_shared_values(answers: &[NodeAnswer<'_>], field: &str) -> u64 {
    let mut shown = 0;
    let mut values = BTreeSet::new();
    for answer in answers {
        let of_field = answer.facets.as_ref().and_then(|facets| facets.get(field));
        let Some(of_field) = of_field else { continue };
        let numbers = count_numbers(answer, field, &of_field.0);
        shown += of_field.0.len();
        values.extend(of_field.0.iter().enumerate().map(|(at, (value, _))| {
            if at < numbers {
                FacetValue::Number(value.clone().into_owned())
            } else {
                FacetValue::Text(normalize_facet(value))
            }
        }));
    }
    (shown - values.len()) as u64
}

/// How many of a node's values are numbers. They stand first, but `"10"` may be a number or a
/// string: the field's number range on that node tells most of it.
fn count_numbers(answer: &NodeAnswer<'_>, field: &str, values: &[(Cow<'_, str>, u64)]) -> usize {
    let Some(stats) = answer
        .facet_stats
        .as_ref()
        .and_then(|stats| stats.get(field))
    else {
        return 0;
    };
    let is_number = |(value, _): &&(Cow<'_, str>, u64)| {
        parse_canonical(value).is_some_and(|number| (stats.min..=stats.max).contains(&number))
    };
    values.iter().take_while(is_number).count()
}

fn parse_canonical(value: &str) -> Option<f64> {
    // Anything else that parses as a float (`inf`, `+1`, `1e3`) is not how a node shows a number.
    if !matches!(value.as_bytes().first()?, b'-' | b'0'..=b'9') {
        return None;
    }
    let number: f64 = value.parse().ok()?;
    (canonical_number(number) == value).then_some(number)
}

impl<'a> FieldSum<'a> {
    fn add(&mut self, values: &'a [(Cow<'a, str>, u64)], numbers: usize) {
        for (value, count) in &values[..numbers] {
            *self.numbers.entry(value).or_default() += count;
        }
        for (value, count) in &values[numbers..] {
            let sum = self.texts.entry(normalize(value)).or_insert(TextSum {
                spelling: value,
                spelling_count: 0,
                count: 0,
            });
            sum.count += count;
            // One node shows the spelling of its oldest document with the value. Which node holds
            // the oldest of all is not known; the one with most such documents is the best guess,
            // and does not depend on the order of the answers.
            let current = (sum.spelling_count, Reverse(sum.spelling));
            if (*count, Reverse(value.as_ref())) > current || sum.spelling_count == 0 {
                (sum.spelling, sum.spelling_count) = (value, *count);
            }
        }
    }

    fn count_once(&mut self) {
        let texts = self.texts.values_mut().map(|sum| &mut sum.count);
        for count in self.numbers.values_mut().chain(texts) {
            *count = (*count).min(1);
        }
    }

    /// The values in display order, at most `limit` long as one node understands it.
    fn show(self, order: FacetOrder, candidates: u64, limit: usize) -> Map<String, Value> {
        let is_gathered = order == FacetOrder::Alpha && candidates <= GATHER_CANDIDATES_MAX;
        // By text, as the map holds them.
        let mut numbers: Vec<(&str, u64)> = self.numbers.into_iter().collect();
        // By normalised bytes, as the map holds them.
        let mut texts: Vec<(&str, u64)> = self
            .texts
            .into_values()
            .map(|sum| (sum.spelling, sum.count))
            .collect();
        if !is_gathered {
            let value = |text: &str| text.parse().unwrap_or(0.0);
            numbers.sort_by(|a, b| compare_numbers(value(a.0), value(b.0)));
        }
        if order == FacetOrder::Count {
            // Equal counts come by descending value; both sorts are stable.
            for values in [&mut numbers, &mut texts] {
                values.reverse();
                values.sort_by_key(|(_, count)| Reverse(*count));
            }
        }
        let mut shown = Map::new();
        if is_gathered {
            for (value, count) in numbers.into_iter().chain(texts).take(limit) {
                shown.insert(value.to_owned(), count.into());
            }
            return shown;
        }
        // A node stops a kind when the list *reaches* the limit; numbers that fill it do not stop
        // the strings, which then all follow (observed, and kept).
        for values in [numbers, texts] {
            for (value, count) in values {
                shown.insert(value.to_owned(), count.into());
                if shown.len() == limit {
                    break;
                }
            }
        }
        shown
    }
}

fn normalize(text: &str) -> Cow<'_, str> {
    let trimmed = text.trim();
    let is_plain = |b: u8| b.is_ascii() && !b.is_ascii_uppercase();
    let mut normalized = if trimmed.bytes().all(is_plain) {
        Cow::Borrowed(trimmed)
    } else {
        Cow::Owned(trimmed.nfkd().collect::<String>().to_lowercase())
    };
    if normalized.len() > FACET_BYTES_MAX {
        let end = normalized.floor_char_boundary(FACET_BYTES_MAX);
        normalized = match normalized {
            Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
            Cow::Owned(mut text) => {
                text.truncate(end);
                Cow::Owned(text)
            }
        };
    }
    normalized
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn merged(bodies: &[Value], order: FacetOrder, limit: usize) -> String {
        let texts: Vec<_> = bodies.iter().map(ToString::to_string).collect();
        let answers: Vec<_> = texts
            .iter()
            .map(|text| NodeAnswer::parse(text.as_bytes()).unwrap())
            .collect();
        let shown = merge_distribution(&answers, |_| true, |_| order, limit, None);
        Value::Object(shown.unwrap()).to_string()
    }

    fn body(total: u64, values: Value, stats: Value) -> Value {
        json!({
            "hits": [], "totalHits": total,
            "facetDistribution": {"f": values}, "facetStats": stats,
        })
    }

    fn range(min: f64, max: f64) -> Value {
        json!({"f": {"min": min, "max": max}})
    }

    #[test]
    fn values_are_added_by_their_normalised_form() {
        let a = body(5, json!({"ÀB": 1, "Web": 2}), json!({}));
        let b = body(5, json!({"web": 3, "z": 1}), json!({}));
        let expected = r#"{"f":{"ÀB":1,"web":5,"z":1}}"#;
        assert_eq!(
            merged(&[a.clone(), b.clone()], FacetOrder::Alpha, 100),
            expected
        );
        assert_eq!(merged(&[b, a], FacetOrder::Alpha, 100), expected);
    }

    #[test]
    fn few_candidates_sort_numbers_as_text_and_cut_both_kinds_together() {
        let a = body(5, json!({"10": 1, "9.5": 1, "a": 1}), range(9.5, 10.0));
        let b = body(5, json!({"3": 1, "b": 1}), range(3.0, 3.0));
        let shown = merged(&[a.clone(), b.clone()], FacetOrder::Alpha, 100);
        assert_eq!(shown, r#"{"f":{"10":1,"3":1,"9.5":1,"a":1,"b":1}}"#);
        assert_eq!(
            merged(&[a.clone(), b.clone()], FacetOrder::Alpha, 2),
            r#"{"f":{"10":1,"3":1}}"#
        );
        assert_eq!(merged(&[a, b], FacetOrder::Alpha, 0), r#"{"f":{}}"#);
    }

    #[test]
    fn many_candidates_in_all_sort_numbers_by_value() {
        let a = body(2_000, json!({"10": 1, "9": 1}), range(9.0, 10.0));
        let b = body(2_000, json!({"-1": 1, "a": 1}), range(-1.0, -1.0));
        let both = [a, b];
        assert_eq!(
            merged(&both, FacetOrder::Alpha, 100),
            r#"{"f":{"-1":1,"9":1,"10":1,"a":1}}"#
        );
        assert_eq!(
            merged(&both, FacetOrder::Alpha, 4),
            r#"{"f":{"-1":1,"9":1,"10":1,"a":1}}"#
        );
        // Numbers that fill the limit let all strings follow.
        assert_eq!(
            merged(&both, FacetOrder::Alpha, 3),
            r#"{"f":{"-1":1,"9":1,"10":1,"a":1}}"#
        );
        assert_eq!(
            merged(&both, FacetOrder::Alpha, 2),
            r#"{"f":{"-1":1,"9":1,"a":1}}"#
        );
    }

    #[test]
    fn counts_come_first_by_frequency_and_then_by_descending_value() {
        let a = body(9, json!({"a": 1, "b": 2, "c": 2}), json!({}));
        let b = body(9, json!({"d": 4, "a": 1}), json!({}));
        let both = [a, b];
        assert_eq!(
            merged(&both, FacetOrder::Count, 100),
            r#"{"f":{"d":4,"c":2,"b":2,"a":2}}"#
        );
        assert_eq!(
            merged(&both, FacetOrder::Count, 2),
            r#"{"f":{"d":4,"c":2}}"#
        );
    }

    #[test]
    fn digits_are_text_where_the_field_holds_no_numbers() {
        let a = body(5_000, json!({"10": 1, "9": 1}), json!({}));
        assert_eq!(
            merged(&[a], FacetOrder::Alpha, 100),
            r#"{"f":{"10":1,"9":1}}"#
        );
    }

    #[test]
    fn ranges_span_the_ranges_of_the_nodes() {
        let texts =
            [range(3.0, 4.0), range(-1.0, 3.5)].map(|stats| body(1, json!({}), stats).to_string());
        let answers = texts
            .each_ref()
            .map(|t| NodeAnswer::parse(t.as_bytes()).unwrap());
        let stats = Value::Object(merge_stats(&answers, |_| true).unwrap());
        assert_eq!(stats, json!({"f": {"min": -1.0, "max": 4.0}}));
        assert_eq!(merge_stats(&answers, |_| false), Some(Map::new()));
    }

    #[test]
    fn values_on_several_nodes_are_counted_once() {
        let texts = [
            json!({"1": 1, "a": 1}),
            json!({"A": 1, "b": 1}),
            json!({"1": 1}),
        ]
        .map(|values| body(9, values, range(1.0, 1.0)).to_string());
        let answers = texts
            .each_ref()
            .map(|t| NodeAnswer::parse(t.as_bytes()).unwrap());
        assert_eq!(count_shared_values(&answers, "f"), 2);
        assert_eq!(count_shared_values(&answers, "g"), 0);
    }

    #[test]
    fn values_of_the_distinct_field_count_once() {
        let text = body(9, json!({"1": 1, "a": 1}), range(1.0, 1.0)).to_string();
        let answers = [&text, &text].map(|t| NodeAnswer::parse(t.as_bytes()).unwrap());
        let alpha = |_: &str| FacetOrder::Alpha;
        let shown = merge_distribution(&answers, |_| true, alpha, 100, Some("f"));
        assert_eq!(
            Value::Object(shown.unwrap()),
            json!({"f": {"1": 1, "a": 1}})
        );
    }

    #[test]
    fn long_values_are_cut_at_a_character() {
        let text = "é".repeat(300);
        let normal = normalize_facet(&text);
        assert!(normal.len() <= FACET_BYTES_MAX && normal.len() > FACET_BYTES_MAX - 4);
        assert_eq!(normalize_facet(&"x".repeat(500)).len(), FACET_BYTES_MAX);
    }

    /// The distribution that one node would answer for these values of its documents.
    fn counted(documents: &[Vec<u8>], total: u64) -> Value {
        let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
        let mut texts: BTreeMap<String, u64> = BTreeMap::new();
        for value in documents.iter().flatten() {
            // Even ones are numbers, odd ones are words.
            if value % 2 == 0 {
                *numbers.entry(value.to_string()).or_default() += 1;
            } else {
                *texts.entry(format!("w{value:03}")).or_default() += 1;
            }
        }
        let by_value = |text: &String| text.parse::<u8>().unwrap();
        let stats = match (
            numbers.keys().map(by_value).min(),
            numbers.keys().map(by_value).max(),
        ) {
            (Some(min), Some(max)) => range(f64::from(min), f64::from(max)),
            _ => json!({}),
        };
        let values: Map<String, Value> = numbers
            .into_iter()
            .chain(texts)
            .map(|(value, count)| (value, count.into()))
            .collect();
        body(total, Value::Object(values), stats)
    }

    proptest! {
        #[test]
        fn facets_of_the_parts_are_the_facets_of_the_whole(
            documents in proptest::collection::vec((proptest::collection::vec(0_u8..30, 0..4), 0_usize..4), 0..40),
            limit in 0_usize..20,
            is_large in any::<bool>(),
            by_count in any::<bool>(),
        ) {
            let order = if by_count { FacetOrder::Count } else { FacetOrder::Alpha };
            let size = if is_large { 10_000 } else { 10 };
            let part = |part: usize| -> Vec<Vec<u8>> {
                documents.iter().filter(|d| d.1 == part).map(|d| d.0.clone()).collect()
            };
            let parts: Vec<_> = (0..4).map(|p| counted(&part(p), size / 4)).collect();
            let all: Vec<_> = documents.iter().map(|d| d.0.clone()).collect();
            let whole = [counted(&all, size)];
            prop_assert_eq!(merged(&parts, order, limit), merged(&whole, order, limit));
        }
    }
}
