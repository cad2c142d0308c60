//! The total order over ranking details, rule by rule.
//!
//! `Less` means *ranks first*. The key is absolute: it compares counts and values, which are facts
//! of the document, and never a rule's `score` where a node's other documents have a say in its
//! scale. `_rankingScore` itself is not compared: it leaves sort rules out, and on the queries
//! where it knows more than the details (exact words of an exact match) it never decided.

use super::detail::{Details, Entry};
use std::borrow::Cow;
use std::cmp::Ordering;

/// What one rule says about one hit.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rank<'a> {
    /// `words`: more matching words first.
    Words { matching: u32, max: u32 },
    /// `typo`: fewer typos first; `max` is the node's own scale.
    Typo { count: u32, max: u32 },
    /// `proximity`, `attributeRank`, `wordPosition`: larger score first.
    Score(f64),
    /// `attribute`, which holds two rules in one entry: larger first, in this order.
    Attribute { rank: f64, position: f64 },
    /// `exactness`.
    Exactness(Exactness),
    /// `<field>:asc` or `<field>:desc`.
    Sort {
        is_descending: bool,
        value: SortValue<'a>,
    },
    /// `_geoPoint(..):asc` or `:desc`; without a point last in both directions.
    Distance {
        is_descending: bool,
        metres: Option<f64>,
    },
    /// `vectorSort`: larger first, none last.
    Similarity(Option<f64>),
    /// A rule that Miroir does not know: orders nothing.
    Unknown,
    /// The node ran out of time before this rule: last.
    Skipped,
}

/// How exactly a hit matches, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exactness {
    /// An attribute is exactly the query.
    ExactMatch,
    /// An attribute begins with the query.
    MatchesStart,
    /// Only so many of the words match exactly.
    Words(u32),
}

/// A normalised facet value, as a node sorted by it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum SortValue<'a> {
    /// Before all strings, in both directions.
    Number(f64),
    /// Compared by bytes.
    Text(Cow<'a, str>),
    /// Last in both directions.
    #[default]
    Missing,
}

/// Compares the whole details of two hits of one search, the sequence last.
pub(super) fn compare_details(a: &Details<'_>, b: &Details<'_>) -> Ordering {
    compare_entries(&a.entries, &b.entries).then_with(|| compare_sort(&a.seq, &b.seq, false))
}

fn compare_entries(a: &[Entry<'_>], b: &[Entry<'_>]) -> Ordering {
    for (a, b) in a.iter().zip(b) {
        let ordering = compare_rank(&a.rank, &b.rank);
        if ordering.is_ne() {
            return ordering;
        }
    }
    // Lists differ in length only where rules were skipped; more is known of the longer one.
    b.len().cmp(&a.len())
}

/// Compares what one rule says about two hits.
pub(super) fn compare_rank(a: &Rank<'_>, b: &Rank<'_>) -> Ordering {
    match (a, b) {
        (Rank::Words { matching: a, .. }, Rank::Words { matching: b, .. }) => b.cmp(a),
        (Rank::Typo { count: a, .. }, Rank::Typo { count: b, .. }) => a.cmp(b),
        (Rank::Score(a), Rank::Score(b)) => larger_first(*a, *b),
        (
            Rank::Attribute {
                rank: a,
                position: a_position,
            },
            Rank::Attribute {
                rank: b,
                position: b_position,
            },
        ) => larger_first(*a, *b).then_with(|| larger_first(*a_position, *b_position)),
        (Rank::Exactness(a), Rank::Exactness(b)) => compare_exactness(*a, *b),
        (
            Rank::Sort {
                is_descending,
                value: a,
            },
            Rank::Sort { value: b, .. },
        ) => compare_sort(a, b, *is_descending),
        (
            Rank::Distance {
                is_descending,
                metres: a,
            },
            Rank::Distance { metres: b, .. },
        ) => compare_known(*a, *b, |a, b| {
            if *is_descending {
                larger_first(a, b)
            } else {
                larger_first(b, a)
            }
        }),
        (Rank::Similarity(a), Rank::Similarity(b)) => compare_known(*a, *b, larger_first),
        // Rules of one search stand in one order, so kinds differ only where one was skipped; any
        // fixed order of the kinds that puts `Skipped` last keeps this a preorder.
        _ => a.kind().cmp(&b.kind()),
    }
}

impl Rank<'_> {
    fn kind(&self) -> u8 {
        match self {
            Rank::Words { .. } => 0,
            Rank::Typo { .. } => 1,
            Rank::Score(_) => 2,
            Rank::Attribute { .. } => 3,
            Rank::Exactness(_) => 4,
            Rank::Sort { .. } => 5,
            Rank::Distance { .. } => 6,
            Rank::Similarity(_) => 7,
            Rank::Unknown => 8,
            Rank::Skipped => 9,
        }
    }
}

fn compare_exactness(a: Exactness, b: Exactness) -> Ordering {
    let class = |exactness| match exactness {
        Exactness::ExactMatch => (0, 0),
        Exactness::MatchesStart => (1, 0),
        Exactness::Words(matching) => (2, matching),
    };
    let ((a_class, a_words), (b_class, b_words)) = (class(a), class(b));
    a_class.cmp(&b_class).then(b_words.cmp(&a_words))
}

pub(super) fn compare_sort(a: &SortValue<'_>, b: &SortValue<'_>, is_descending: bool) -> Ordering {
    let ascending = match (a, b) {
        (SortValue::Number(a), SortValue::Number(b)) => compare_numbers(*a, *b),
        (SortValue::Text(a), SortValue::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        // Numbers, strings, missing: in this order for both directions.
        _ => return sort_class(a).cmp(&sort_class(b)),
    };
    if is_descending {
        ascending.reverse()
    } else {
        ascending
    }
}

fn sort_class(value: &SortValue<'_>) -> u8 {
    match value {
        SortValue::Number(_) => 0,
        SortValue::Text(_) => 1,
        SortValue::Missing => 2,
    }
}

/// The order of numbers in Meilisearch's facet keys: by value, and `0` before `-0` (observed).
pub(super) fn compare_numbers(a: f64, b: f64) -> Ordering {
    let by_value = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
    by_value.then(a.is_sign_negative().cmp(&b.is_sign_negative()))
}

// JSON holds no NaN, so the comparison is always defined.
fn larger_first(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or(Ordering::Equal)
}

fn compare_known(
    a: Option<f64>,
    b: Option<f64>,
    compare: impl Fn(f64, f64) -> Ordering,
) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => compare(a, b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> SortValue<'static> {
        SortValue::Text(Cow::Owned(text.to_owned()))
    }

    fn sorted(mut values: Vec<SortValue<'static>>, is_descending: bool) -> Vec<SortValue<'static>> {
        values.sort_by(|a, b| compare_sort(a, b, is_descending));
        values
    }

    #[test]
    fn sort_values_come_as_numbers_then_strings_then_missing_in_both_directions() {
        let accented = text("a\u{300}b");
        let ascending = vec![
            SortValue::Number(2.0),
            SortValue::Number(3.0),
            SortValue::Number(5.0),
            text("abc"),
            accented.clone(),
            text("true"),
            SortValue::Missing,
        ];
        let mut shuffled = ascending.clone();
        shuffled.reverse();
        shuffled.swap(0, 3);
        assert_eq!(sorted(shuffled.clone(), false), ascending);
        let descending = vec![
            SortValue::Number(5.0),
            SortValue::Number(3.0),
            SortValue::Number(2.0),
            text("true"),
            accented,
            text("abc"),
            SortValue::Missing,
        ];
        assert_eq!(sorted(shuffled, true), descending);
    }

    #[test]
    fn the_two_zeroes_are_two_values() {
        let numbers = [-1.0, 0.0, -0.0, 5e-324];
        for pair in numbers.windows(2) {
            assert_eq!(
                compare_numbers(pair[0], pair[1]),
                Ordering::Less,
                "{pair:?}"
            );
        }
    }

    #[test]
    fn each_rule_puts_the_better_hit_first() {
        let distance = |is_descending, metres| Rank::Distance {
            is_descending,
            metres,
        };
        let pairs = [
            (
                Rank::Words {
                    matching: 2,
                    max: 3,
                },
                Rank::Words {
                    matching: 1,
                    max: 3,
                },
            ),
            (
                Rank::Typo { count: 0, max: 1 },
                Rank::Typo { count: 1, max: 9 },
            ),
            (Rank::Score(0.9), Rank::Score(0.8)),
            (
                Rank::Attribute {
                    rank: 0.5,
                    position: 0.9,
                },
                Rank::Attribute {
                    rank: 0.5,
                    position: 0.8,
                },
            ),
            (
                Rank::Attribute {
                    rank: 0.6,
                    position: 0.1,
                },
                Rank::Attribute {
                    rank: 0.5,
                    position: 0.8,
                },
            ),
            (
                Rank::Exactness(Exactness::ExactMatch),
                Rank::Exactness(Exactness::MatchesStart),
            ),
            (
                Rank::Exactness(Exactness::MatchesStart),
                Rank::Exactness(Exactness::Words(7)),
            ),
            (
                Rank::Exactness(Exactness::Words(2)),
                Rank::Exactness(Exactness::Words(1)),
            ),
            (distance(false, Some(1.0)), distance(false, Some(2.0))),
            (distance(true, Some(2.0)), distance(true, Some(1.0))),
            (distance(true, Some(0.0)), distance(true, None)),
            (distance(false, Some(9.0)), distance(false, None)),
            (Rank::Similarity(Some(0.2)), Rank::Similarity(Some(0.1))),
            (Rank::Similarity(Some(-0.5)), Rank::Similarity(None)),
            (
                Rank::Words {
                    matching: 0,
                    max: 1,
                },
                Rank::Skipped,
            ),
        ];
        for (better, worse) in pairs {
            assert_eq!(
                compare_rank(&better, &worse),
                Ordering::Less,
                "{better:?} {worse:?}"
            );
            assert_eq!(compare_rank(&worse, &better), Ordering::Greater);
        }
    }

    #[test]
    fn the_nodes_own_typo_scale_does_not_matter() {
        let (narrow, wide) = (
            Rank::Typo { count: 1, max: 1 },
            Rank::Typo { count: 1, max: 4 },
        );
        assert_eq!(compare_rank(&narrow, &wide), Ordering::Equal);
    }

    fn any_rank() -> impl Strategy<Value = Rank<'static>> {
        let number = prop_oneof![Just(0.0), Just(-0.0), -2.0..2.0];
        let score = prop_oneof![Just(0.5), 0.0..1.0];
        let value = prop_oneof![
            number.prop_map(SortValue::Number),
            "[a-b]{0,2}".prop_map(|t| SortValue::Text(Cow::Owned(t))),
            Just(SortValue::Missing),
        ];
        prop_oneof![
            (0_u32..4).prop_map(|matching| Rank::Words { matching, max: 4 }),
            (0_u32..4, 4_u32..6).prop_map(|(count, max)| Rank::Typo { count, max }),
            score.clone().prop_map(Rank::Score),
            (score.clone(), score.clone())
                .prop_map(|(rank, position)| Rank::Attribute { rank, position }),
            Just(Rank::Exactness(Exactness::ExactMatch)),
            Just(Rank::Exactness(Exactness::MatchesStart)),
            (0_u32..3).prop_map(|words| Rank::Exactness(Exactness::Words(words))),
            value.prop_map(|value| Rank::Sort {
                is_descending: true,
                value
            }),
            proptest::option::of(0.0..3.0).prop_map(|metres| Rank::Distance {
                is_descending: false,
                metres
            }),
            proptest::option::of(0.0..1.0).prop_map(Rank::Similarity),
            Just(Rank::Unknown),
            Just(Rank::Skipped),
        ]
    }

    proptest! {
        #[test]
        fn the_order_is_a_total_preorder(a in any_rank(), b in any_rank(), c in any_rank()) {
            prop_assert_eq!(compare_rank(&a, &a), Ordering::Equal);
            prop_assert_eq!(compare_rank(&a, &b), compare_rank(&b, &a).reverse());
            if compare_rank(&a, &b).is_le() && compare_rank(&b, &c).is_le() {
                prop_assert!(compare_rank(&a, &c).is_le());
            }
        }
    }
}
