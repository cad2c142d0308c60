//! How hits of *different* queries compare: by what each query's rules give them, times its weight.
//!
//! Neighbouring relevancy rules are folded into one score; a sort rule stands for itself. This is
//! Meilisearch's own order of federated hits, its oddities kept: distances compare without regard
//! to the direction asked for, and rules that cannot be compared leave the decision to the side
//! with more of them, then to the whole score.
//!
//! **What is not exact**: a fold that a sort rule follows, where a node does not tell the scales
//! of the rules inside. They are computed from the number of matching words, which is right but
//! for phrases and joined words.

use super::detail::{Details, Entry};
use super::hit::Adjusted;
use super::key::{Rank, SortValue, compare_sort};
use std::cmp::Ordering;

/// One element of a hit's standing.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Weighted<'a> {
    /// Folded relevancy rules, or a similarity, times the weight.
    Score(f64),
    /// A sort rule.
    Sort {
        is_descending: bool,
        value: SortValue<'a>,
    },
    /// A geo sort rule.
    Distance {
        is_descending: bool,
        metres: Option<f64>,
    },
}

/// What places a hit among hits of other queries.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Standing<'a> {
    values: Vec<Weighted<'a>>,
    /// The whole ranking score times the weight.
    pub(super) score: f64,
}

impl<'a> Standing<'a> {
    /// The standing of a hit with this ranking score in a query of this weight.
    pub(super) fn new(details: &Details<'a>, score: f64, adjusted: Adjusted, weight: f64) -> Self {
        let folds = fold_ranges(details);
        let mut values = Vec::new();
        let mut at = 0;
        let entries = &details.entries;
        while let Some(entry) = entries.get(at) {
            let mut next = at + 1;
            match &entry.rank {
                Rank::Sort {
                    is_descending,
                    value,
                } => values.push(Weighted::Sort {
                    is_descending: *is_descending,
                    value: value.clone(),
                }),
                Rank::Distance {
                    is_descending,
                    metres,
                } => values.push(Weighted::Distance {
                    is_descending: *is_descending,
                    metres: *metres,
                }),
                Rank::Similarity(similarity) => {
                    values.push(Weighted::Score(similarity.unwrap_or(0.0) * weight));
                }
                Rank::Unknown => {}
                _ => {
                    next = fold_end(entries, at);
                    // The only fold is what the ranking score is made of.
                    let folded = match folds {
                        1 if !details.has_similarity() => score,
                        _ => fold(&entries[at..next], words_of(entries), adjusted).unwrap_or(score),
                    };
                    values.push(Weighted::Score(folded * weight));
                }
            }
            at = next;
        }
        Self {
            values,
            score: score * weight,
        }
    }

    /// The standing of a hit that has its place, with this weighted score.
    pub(super) fn of_score(score: f64) -> Self {
        Self {
            values: Vec::new(),
            score,
        }
    }

    /// `Less` means *ranks first*.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        for (at, (a, b)) in self.values.iter().zip(&other.values).enumerate() {
            match compare_values(a, b) {
                Some(Ordering::Equal) => {}
                Some(ordering) => return ordering,
                None => {
                    let (left, right) = (self.values.len() - at, other.values.len() - at);
                    return right
                        .cmp(&left)
                        .then_with(|| larger_first(self.score, other.score));
                }
            }
        }
        other.values.len().cmp(&self.values.len())
    }

    /// As [`Standing::compare`], between the two lists of one query that mixes words and vectors;
    /// see `hybrid`. `Less` means *ranks first*.
    ///
    /// Both lists sort alike, so sort rules meet in one direction, and distances are compared in
    /// it. A score that meets a sort rule wins unless it is nothing.
    pub(super) fn compare_mixed(&self, other: &Self) -> Ordering {
        for (a, b) in self.values.iter().zip(&other.values) {
            let ordering = match (a, b) {
                (
                    Weighted::Distance {
                        is_descending,
                        metres: a,
                    },
                    Weighted::Distance { metres: b, .. },
                ) => match (a, b) {
                    (Some(a), Some(b)) if *is_descending => larger_first(*a, *b),
                    (Some(a), Some(b)) => larger_first(*b, *a),
                    (a, b) => b.is_some().cmp(&a.is_some()),
                },
                (Weighted::Score(score), Weighted::Sort { .. } | Weighted::Distance { .. }) => {
                    first_unless_nothing(*score)
                }
                (Weighted::Sort { .. } | Weighted::Distance { .. }, Weighted::Score(score)) => {
                    first_unless_nothing(*score).reverse()
                }
                (a, b) => compare_values(a, b).unwrap_or(Ordering::Equal),
            };
            if ordering.is_ne() {
                return ordering;
            }
        }
        other.values.len().cmp(&self.values.len())
    }
}

fn first_unless_nothing(score: f64) -> Ordering {
    if score == 0.0 {
        Ordering::Greater
    } else {
        Ordering::Less
    }
}

fn compare_values(a: &Weighted<'_>, b: &Weighted<'_>) -> Option<Ordering> {
    match (a, b) {
        (Weighted::Score(a), Weighted::Score(b)) => Some(larger_first(*a, *b)),
        (
            Weighted::Sort {
                is_descending: a_descending,
                value: a,
            },
            Weighted::Sort {
                is_descending: b_descending,
                value: b,
            },
        ) => (a_descending == b_descending).then(|| compare_sort(a, b, *a_descending)),
        (
            Weighted::Distance {
                is_descending: a_descending,
                metres: a,
            },
            Weighted::Distance {
                is_descending: b_descending,
                metres: b,
            },
        ) => (a_descending == b_descending).then(|| match (a, b) {
            (Some(a), Some(b)) => larger_first(*a, *b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }),
        _ => None,
    }
}

/// Scores as near as this are one, as in Meilisearch.
pub(super) fn larger_first(a: f64, b: f64) -> Ordering {
    if (a - b).abs() <= f64::EPSILON {
        Ordering::Equal
    } else {
        b.partial_cmp(&a).unwrap_or(Ordering::Equal)
    }
}

fn is_relevancy(rank: &Rank<'_>) -> bool {
    matches!(
        rank,
        Rank::Words { .. }
            | Rank::Typo { .. }
            | Rank::Score(_)
            | Rank::Attribute { .. }
            | Rank::Exactness(_)
            | Rank::Skipped
    )
}

/// Where the run of relevancy rules that begins at `at` ends. Rules that Miroir does not know are
/// within it: what a node does with them is not known either.
fn fold_end(entries: &[Entry<'_>], at: usize) -> usize {
    let is_outside = |rank: &Rank<'_>| !is_relevancy(rank) && !matches!(rank, Rank::Unknown);
    let rest = &entries[at..];
    let length = rest.iter().position(|entry| is_outside(&entry.rank));
    at + length.unwrap_or(rest.len())
}

fn fold_ranges(details: &Details<'_>) -> usize {
    let entries = &details.entries;
    let (mut count, mut at) = (0, 0);
    while at < entries.len() {
        if is_relevancy(&entries[at].rank) {
            count += 1;
            at = fold_end(entries, at);
        } else {
            at += 1;
        }
    }
    count
}

/// The number of words that the rules' scales are made of.
fn words_of(entries: &[Entry<'_>]) -> f64 {
    let words = entries.iter().find_map(|entry| match entry.rank {
        Rank::Words { matching, .. } => Some(f64::from(matching)),
        _ => None,
    });
    words.unwrap_or(1.0).max(1.0)
}

/// The score of a run of relevancy rules: each divides the step of the one before it.
fn fold(entries: &[Entry<'_>], words: f64, adjusted: Adjusted) -> Option<f64> {
    let mut inner = 1.0;
    for entry in entries.iter().rev() {
        let (score, steps) = match entry.rank {
            Rank::Words { matching, max } => {
                let max = f64::from(max).max(1.0);
                (f64::from(matching) / max, max)
            }
            Rank::Typo { count, max } => {
                let steps = f64::from(adjusted.max_typo_count.unwrap_or(max)) + 1.0;
                ((steps - f64::from(count)) / steps, steps)
            }
            Rank::Score(score) => {
                let steps = match entry.name.as_ref() {
                    "proximity" => 3.0 * (words - 1.0) + 1.0,
                    "wordPosition" => 10.0 * words + 1.0,
                    // Its scale is not told; the score alone is within one step of the fold.
                    _ => f64::INFINITY,
                };
                (score, steps)
            }
            Rank::Attribute { .. } | Rank::Exactness(_) => (entry.score()?, f64::INFINITY),
            Rank::Unknown => continue,
            _ => return None,
        };
        inner = score - (1.0 - inner) / steps;
    }
    Some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;

    fn standing(details: &str, score: f64, weight: f64) -> Standing<'static> {
        // Leaked: tests are short, and the borrowed form is what is tested.
        let raw: &'static RawValue = Box::leak(RawValue::from_string(details.to_owned()).unwrap());
        let details = Details::parse(raw).unwrap();
        Standing::new(&details, score, Adjusted::default(), weight)
    }

    const WORDS: &str = r#""words":{"order":0,"matchingWords":1,"maxMatchingWords":1,"score":1.0}"#;

    #[test]
    fn one_run_of_relevancy_rules_is_the_ranking_score_times_the_weight() {
        let a = standing(&format!("{{{WORDS}}}"), 0.8, 0.5);
        assert_eq!(a.values, [Weighted::Score(0.4)]);
        let b = standing(&format!("{{{WORDS}}}"), 0.5, 1.0);
        assert_eq!(b.compare(&a), Ordering::Less);
        assert_eq!(a.compare(&b), Ordering::Greater);
        assert_eq!(a.compare(&a), Ordering::Equal);
    }

    #[test]
    fn a_sort_rule_between_relevancy_rules_parts_their_scores() {
        let details = r#"{
            "words":{"order":0,"matchingWords":2,"maxMatchingWords":2,"score":1.0},
            "typo":{"order":1,"typoCount":1,"maxTypoCount":2,"score":0.6},
            "p:asc":{"order":2,"value":3.0},
            "wordPosition":{"order":3,"score":0.5}
        }"#;
        let standing = standing(details, 0.7, 1.0);
        let [
            Weighted::Score(first),
            Weighted::Sort { .. },
            Weighted::Score(last),
        ] = &standing.values[..]
        else {
            panic!("{standing:?}")
        };
        // Of two ranks the best, and of its three steps of typos the second.
        assert!((first - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12, "{first}");
        assert!((last - 0.5).abs() < 1e-12);
    }

    #[test]
    fn what_cannot_be_compared_is_decided_by_number_of_rules_and_then_by_score() {
        let sorted = standing(r#"{"p:asc":{"order":0,"value":3.0}}"#, 0.9, 1.0);
        let ranked = standing(&format!("{{{WORDS}}}"), 0.8, 1.0);
        assert_eq!(sorted.compare(&ranked), Ordering::Less);
        let both = format!(r#"{{{WORDS},"p:asc":{{"order":1,"value":3.0}}}}"#);
        assert_eq!(standing(&both, 0.1, 1.0).compare(&sorted), Ordering::Less);
        let nothing = standing("{}", 1.0, 1.0);
        assert_eq!(ranked.compare(&nothing), Ordering::Less);
    }

    #[test]
    fn sort_rules_decide_in_their_direction() {
        let by = |value: &str| {
            standing(
                &format!(r#"{{"p:desc":{{"order":0,"value":{value}}}}}"#),
                1.0,
                1.0,
            )
        };
        assert_eq!(by("3").compare(&by("2")), Ordering::Less);
        assert_eq!(by("3").compare(&by("\"a\"")), Ordering::Less);
        assert_eq!(by("null").compare(&by("\"a\"")), Ordering::Greater);
    }
}
