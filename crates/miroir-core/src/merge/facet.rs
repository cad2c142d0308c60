//! Facets of the parts added up to the facets of the whole, ordered and cut as one node does it.
//!
//! Nodes are set to show far more values than the client's limit, because the most frequent values
//! of the whole need not be among the most frequent of a part.

use super::answer::NodeAnswer;
use super::distinct::{FacetValue, values_of};
use super::hit::Hit;
use super::key::compare_numbers;
use super::spelling::DisputedValue;
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
    numbers: BTreeMap<Cow<'a, str>, u64>,
    texts: BTreeMap<Cow<'a, str>, TextSum<'a>>,
}

#[derive(Debug)]
struct TextSum<'a> {
    spelling: &'a str,
    /// The count of the node whose spelling is shown.
    spelling_count: u64,
    /// Nodes show different spellings.
    is_disputed: bool,
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

/// The facets of the nodes added up, and what was taken out of the sums again.
#[derive(Debug, Default)]
pub(super) struct FacetSums<'a> {
    fields: BTreeMap<&'a str, FieldSum<'a>>,
    ranges: BTreeMap<&'a str, FieldStats>,
    /// All candidates: they decide how values are sorted.
    candidates: u64,
    has_counts: bool,
    has_ranges: bool,
}

impl<'a> FacetSums<'a> {
    /// The sums of the fields for which `is_shown` holds.
    pub(super) fn new(answers: &'a [NodeAnswer<'_>], is_shown: impl Fn(&str) -> bool) -> Self {
        let mut sums = Self {
            // The regime is that of the whole: a part below the threshold says nothing about it.
            candidates: answers.iter().map(|answer| answer.total).sum(),
            ..Self::default()
        };
        for answer in answers {
            if let Some(facets) = &answer.facets {
                sums.has_counts = true;
                for (field, values) in facets.0.iter().filter(|(field, _)| is_shown(field)) {
                    let numbers = count_numbers(answer, field, &values.0);
                    let sum = sums.fields.entry(field).or_default();
                    sum.add(&values.0, numbers);
                }
            }
            if let Some(stats) = &answer.facet_stats {
                sums.has_ranges = true;
                for (field, stats) in stats.0.iter().filter(|(field, _)| is_shown(field)) {
                    sums.ranges.entry(field).or_insert(*stats).widen(stats);
                }
            }
        }
        sums
    }

    /// Of this field each value is counted once: every node counted it once, and only one of those
    /// hits is in the whole.
    pub(super) fn count_once(&mut self, field: &str) {
        if let Some(sum) = self.fields.get_mut(field) {
            sum.count_once();
        }
    }

    /// Takes a hit that nodes counted out of all fields but those for which `is_done` holds.
    pub(super) fn remove(&mut self, hit: &Hit<'_>, is_done: impl Fn(&str) -> bool) {
        self.candidates = self.candidates.saturating_sub(1);
        let fields = self.fields.iter_mut();
        for (field, sum) in fields.filter(|(field, _)| !is_done(field)) {
            let has_lost_numbers = sum.remove(values_of(hit, field));
            if !has_lost_numbers || !self.ranges.contains_key(field) {
                continue;
            }
            match sum.range() {
                Some(range) => self.ranges.insert(*field, range),
                None => self.ranges.remove(field),
            };
        }
    }

    /// Counts these hits, which are all there are, in place of what the nodes counted.
    pub(super) fn recount<'h>(&mut self, hits: impl Iterator<Item = &'h Hit<'h>> + Clone) {
        self.candidates = hits.clone().count() as u64;
        for (field, sum) in &mut self.fields {
            sum.numbers.values_mut().for_each(|count| *count = 0);
            sum.texts.values_mut().for_each(|text| text.count = 0);
            for hit in hits.clone() {
                sum.count(values_of(hit, field));
            }
            sum.numbers.retain(|_, count| *count > 0);
            sum.texts.retain(|_, text| text.count > 0);
            if self.ranges.contains_key(field) {
                match sum.range() {
                    Some(range) => self.ranges.insert(*field, range),
                    None => self.ranges.remove(field),
                };
            }
        }
    }

    /// The values that nodes spell differently.
    pub(super) fn disputed(&self) -> Vec<DisputedValue> {
        let mut disputed = Vec::new();
        for (field, sum) in &self.fields {
            let values = sum.texts.values().filter(|value| value.is_disputed);
            disputed.extend(values.map(|value| DisputedValue {
                field: (*field).to_owned(),
                spelling: value.spelling.to_owned(),
                count: value.count,
            }));
        }
        disputed
    }

    /// The merged number ranges by field name; `None` when no node showed any.
    pub(super) fn stats(&self) -> Option<Map<String, Value>> {
        let shown = self.ranges.iter();
        let shown = shown.map(|(field, range)| ((*field).to_owned(), range.to_value()));
        self.has_ranges.then(|| shown.collect())
    }

    /// The merged distribution by field name; `None` when no node showed one.
    pub(super) fn distribution(
        self,
        order_of: impl Fn(&str) -> FacetOrder,
        value_limit: usize,
    ) -> Option<Map<String, Value>> {
        let show = |(field, sum): (&str, FieldSum<'_>)| {
            let shown = sum.show(order_of(field), self.candidates, value_limit);
            (field.to_owned(), Value::Object(shown))
        };
        self.has_counts
            .then(|| self.fields.into_iter().map(show).collect())
    }
}

impl FieldStats {
    fn widen(&mut self, other: &Self) {
        // As facets order numbers, so that the answers' order does not matter for two zeroes.
        if compare_numbers(other.min, self.min).is_lt() {
            self.min = other.min;
        }
        if compare_numbers(other.max, self.max).is_gt() {
            self.max = other.max;
        }
    }

    fn to_value(self) -> Value {
        let mut object = Map::new();
        object.insert("min".to_owned(), self.min.into());
        object.insert("max".to_owned(), self.max.into());
        Value::Object(object)
    }
}

/// Takes a hit out of a distribution as it is shown; values that nobody has any more vanish.
pub(super) fn remove_shown(distribution: &mut Map<String, Value>, hit: &Hit<'_>) {
    for (field, values) in distribution {
        let Value::Object(values) = values else {
            continue;
        };
        let mut gone: Vec<FacetValue> = values_of(hit, field);
        gone.sort_unstable();
        gone.dedup();
        for value in gone {
            let is_it = |shown: &&String| match &value {
                FacetValue::Number(number) => *number == **shown,
                FacetValue::Text(text) => *text == normalize(shown),
            };
            let Some(name) = values.keys().find(is_it).cloned() else {
                continue;
            };
            match values.get(&name).and_then(Value::as_u64) {
                Some(count) if count > 1 => values.insert(name, (count - 1).into()),
                _ => values.shift_remove(&name),
            };
        }
    }
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
            let number = Cow::Borrowed(value.as_ref());
            *self.numbers.entry(number).or_default() += count;
        }
        for (value, count) in &values[numbers..] {
            let sum = self.texts.entry(normalize(value)).or_insert(TextSum {
                spelling: value,
                spelling_count: 0,
                is_disputed: false,
                count: 0,
            });
            sum.count += count;
            sum.is_disputed |= sum.spelling != value;
            // One node shows the spelling of its oldest document with the value. Which node holds
            // the oldest of all is not known here (see `spelling`); the one with most such
            // documents is the best guess, and does not depend on the order of the answers.
            let current = (sum.spelling_count, Reverse(sum.spelling));
            if (*count, Reverse(value.as_ref())) > current || sum.spelling_count == 0 {
                (sum.spelling, sum.spelling_count) = (value, *count);
            }
        }
    }

    /// Counts one document with these values, of which nodes showed at least the texts.
    fn count(&mut self, mut values: Vec<FacetValue>) {
        values.sort_unstable();
        values.dedup();
        for value in values {
            match value {
                FacetValue::Number(number) => {
                    *self.numbers.entry(number.into()).or_default() += 1;
                }
                FacetValue::Text(text) => {
                    if let Some(sum) = self.texts.get_mut(&*text) {
                        sum.count += 1;
                    }
                }
            }
        }
    }

    /// Takes one document with these values out; whether a number is nobody's any more.
    fn remove(&mut self, mut values: Vec<FacetValue>) -> bool {
        values.sort_unstable();
        values.dedup();
        let mut has_lost_numbers = false;
        for value in values {
            match value {
                FacetValue::Number(number) => {
                    if let Some(count) = self.numbers.get_mut(&*number) {
                        *count = count.saturating_sub(1);
                        if *count == 0 {
                            self.numbers.remove(&*number);
                            has_lost_numbers = true;
                        }
                    }
                }
                FacetValue::Text(text) => {
                    if let Some(sum) = self.texts.get_mut(&*text) {
                        sum.count = sum.count.saturating_sub(1);
                        if sum.count == 0 {
                            self.texts.remove(&*text);
                        }
                    }
                }
            }
        }
        has_lost_numbers
    }

    /// The range of its numbers.
    fn range(&self) -> Option<FieldStats> {
        let numbers = self.numbers.keys().filter_map(|text| text.parse().ok());
        let ranges = numbers.map(|number: f64| FieldStats {
            min: number,
            max: number,
        });
        ranges.reduce(|mut range, other| {
            range.widen(&other);
            range
        })
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
        let mut numbers: Vec<(Cow<'_, str>, u64)> = self.numbers.into_iter().collect();
        // By normalised bytes, as the map holds them.
        let mut texts: Vec<(Cow<'_, str>, u64)> = self
            .texts
            .into_values()
            .map(|sum| (Cow::Borrowed(sum.spelling), sum.count))
            .collect();
        if !is_gathered {
            let value = |text: &str| text.parse().unwrap_or(0.0);
            numbers.sort_by(|a, b| compare_numbers(value(&a.0), value(&b.0)));
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
                shown.insert(value.into_owned(), count.into());
            }
            return shown;
        }
        // A node stops a kind when the list *reaches* the limit; numbers that fill it do not stop
        // the strings, which then all follow (observed, and kept).
        for values in [numbers, texts] {
            for (value, count) in values {
                shown.insert(value.into_owned(), count.into());
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
mod tests;
