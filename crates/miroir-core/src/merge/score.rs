//! The `_rankingScore` that one node holding all documents would give.
//!
//! A node scales its typo rule by the most typos that any document of *its* bucket could have, so
//! the same document scores higher beside documents with more typos. The score is nested,
//! `((rank - 1) + rest) / ranks` from the first relevancy rule inwards, so the typo rule can be
//! taken off, scaled anew, and put on again.

use super::detail::Details;
use super::key::Rank;

/// The score of a hit when the scale of its typo rule is `max_typo_count`.
///
/// `None` when the node's own score stands: the scale is the same, there is no typo rule, the
/// score is a similarity, or a rule whose scale the details do not tell comes before the typo rule.
pub(super) fn adjust_score(details: &Details<'_>, score: f64, max_typo_count: u32) -> Option<f64> {
    let mut words = None;
    for entry in &details.entries {
        match entry.rank {
            Rank::Words { matching, max } if matching > 0 && max > 0 => {
                words = Some((f64::from(matching), f64::from(max)));
            }
            Rank::Sort { .. } | Rank::Distance { .. } | Rank::Unknown => {}
            Rank::Typo { count, max } => {
                if max == max_typo_count || details.has_similarity() {
                    return None;
                }
                let (matching, all) = words.unwrap_or((1.0, 1.0));
                let typos = f64::from(count);
                let (narrow, wide) = (f64::from(max) + 1.0, f64::from(max_typo_count) + 1.0);
                let rest = (score * all - (matching - 1.0)) * narrow - (narrow - typos - 1.0);
                let typo_score = ((wide - typos - 1.0) + rest) / wide;
                let adjusted = ((matching - 1.0) + typo_score) / all;
                // Scores of very long queries overflow in the node and mean nothing.
                return (0.0..=1.0).contains(&adjusted).then_some(adjusted);
            }
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;

    fn adjusted(details: &str, score: f64, max_typo_count: u32) -> Option<f64> {
        let raw = RawValue::from_string(details.to_owned()).unwrap();
        adjust_score(&Details::parse(&raw).unwrap(), score, max_typo_count)
    }

    #[test]
    fn the_worked_example_gives_the_single_nodes_score() {
        let details = r#"{"words":{"order":0,"matchingWords":3,"maxMatchingWords":4},
            "typo":{"order":1,"typoCount":0,"maxTypoCount":3},"proximity":{"order":2,"score":0.5}}"#;
        // Query `Material design for django`; 0.72043 and 0.726344 were measured.
        let score = adjusted(details, 0.720_430_1, 4).unwrap();
        assert!((score - 0.726_344).abs() < 1e-6, "{score}");
        assert_eq!(adjusted(details, 0.720_430_1, 3), None);
    }

    #[test]
    fn sort_rules_do_not_count_and_other_rules_before_typo_leave_the_score_alone() {
        let typo = r#""typo":{"order":5,"typoCount":1,"maxTypoCount":1}"#;
        let with = |before: &str| format!("{{{before}{typo}}}");
        let plain = adjusted(&with(""), 0.4, 2).unwrap();
        // One of two ranks with 0.8 inside becomes one of three with 0.8 inside.
        assert!((plain - (1.0 + 0.8) / 3.0).abs() < 1e-12, "{plain}");
        assert_eq!(
            adjusted(&with(r#""p:asc":{"order":0,"value":1},"#), 0.4, 2),
            Some(plain)
        );
        assert_eq!(
            adjusted(&with(r#""proximity":{"order":0,"score":1.0},"#), 0.4, 2),
            None
        );
        assert_eq!(adjusted("{}", 0.4, 2), None);
    }

    #[test]
    fn scores_that_mean_nothing_stay_as_they_are() {
        let details = r#"{"typo":{"order":0,"typoCount":0,"maxTypoCount":1}}"#;
        assert_eq!(adjusted(details, 17.64, 4), None);
    }
}
