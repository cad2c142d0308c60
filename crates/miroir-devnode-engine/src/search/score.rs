//! `_rankingScore` as Meilisearch 1.50 counts it.

use milli_core::score_details::{Rank, ScoreDetails};

/// The score of a hit, from 0 to 1: the vector's similarity if it was found by one, else all
/// relevancy rules nested into each other.
///
/// The engine's own number stops at the first sort rule; Meilisearch 1.50 counts the rules after it
/// as well, and a merger that orders by score must see the same number from both.
pub(crate) fn ranking_score(details: &[ScoreDetails]) -> f64 {
    let similarity = details.iter().find_map(|detail| match detail {
        ScoreDetails::Vector(vector) => Some(vector.similarity.map_or(0.0, f64::from)),
        _ => None,
    });
    similarity.unwrap_or_else(|| Rank::global_score(details.iter().filter_map(ScoreDetails::rank)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use milli_core::score_details::{Sort, Typo, Vector, Words};

    fn words(matching_words: u32) -> ScoreDetails {
        ScoreDetails::Words(Words {
            matching_words,
            max_matching_words: 2,
        })
    }

    fn sort() -> ScoreDetails {
        ScoreDetails::Sort(Sort {
            field_name: "price".to_owned(),
            ascending: true,
            redacted: false,
            value: serde_json::json!(3),
        })
    }

    fn typo(typo_count: u32) -> ScoreDetails {
        ScoreDetails::Typo(Typo {
            typo_count,
            max_typo_count: 1,
        })
    }

    #[test]
    fn no_rule_scores_one() {
        assert_eq!(ranking_score(&[]), 1.0);
        assert_eq!(ranking_score(&[sort()]), 1.0);
    }

    #[test]
    fn rules_after_a_sort_rule_count() {
        let plain = ranking_score(&[words(2), typo(1)]);
        let sorted_first = ranking_score(&[sort(), words(2), typo(1)]);
        let sorted_between = ranking_score(&[words(2), sort(), typo(1)]);
        assert_eq!(plain, 0.75);
        assert_eq!(sorted_first, plain);
        assert_eq!(sorted_between, plain);
    }

    #[test]
    fn a_similarity_is_the_score() {
        let vector = ScoreDetails::Vector(Vector {
            similarity: Some(0.5),
        });
        assert_eq!(ranking_score(&[sort(), vector]), 0.5);
    }
}
