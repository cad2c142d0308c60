//! Search by words and by a vector, the two rankings merged.
//!
//! The engine can do this itself, but forgets `distinct` while it merges. The rules are its own:
//! words alone answer if all their hits are good enough; else the rankings are merged rule by rule,
//! relevancy being weighed by the ratio.

use super::Found;
use super::kind::{Hybrid, by_vector, by_words};
use super::page::Window;
use super::score::ranking_score;
use super::semantic::nearest;
use crate::error::EngineError;
use crate::query::SearchQuery;
use crate::read::Documents;
use milli_core::score_details::{ScoreDetails, ScoreValue, ScoringStrategy};
use milli_core::{DocumentId, SearchResult, normalize_facet};
use roaring::RoaringBitmap;
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::HashSet;

/// A page of hits that all score at least this, weighed, needs no vector.
const GOOD_ENOUGH: f64 = 0.45;

pub(super) fn execute(
    documents: &Documents<'_>,
    query: &SearchQuery,
    hybrid: Hybrid,
    window: &Window,
) -> Result<Found, EngineError> {
    let (index, rtxn) = (documents.index, documents.rtxn);
    let Hybrid {
        embedder,
        words,
        vector,
        ratio,
    } = hybrid;
    let mut search = by_words(index, rtxn, query)?;
    search
        .scoring_strategy(ScoringStrategy::Detailed)
        .exhaustive_number_hits(window.is_exhaustive)
        .offset(0)
        .limit(window.end());
    let mut by_words = search.execute()?;

    let words_alone = |mut result: SearchResult, query_vector| {
        window.cut(&mut result);
        Ok(Found {
            result,
            semantic_hit_count: Some(0),
            query_vector,
        })
    };
    let words_weight = f64::from(1.0 - ratio);
    let is_full = by_words.documents_ids.len() >= window.end();
    let is_good = |scores: &Vec<ScoreDetails>| ranking_score(scores) * words_weight >= GOOD_ENOUGH;
    if is_full && by_words.document_scores.iter().all(is_good) {
        return words_alone(by_words, vector);
    }
    let vector = match vector {
        Some(vector) => vector,
        // A service that does not answer leaves the words to answer alone, as in Meilisearch.
        None => match embedder.embed(&words) {
            Ok(vector) => vector,
            Err(_) => return words_alone(by_words, None),
        },
    };

    let mut search = by_vector(index, rtxn, query, &embedder, vector.clone())?;
    search
        .scoring_strategy(ScoringStrategy::Detailed)
        .exhaustive_number_hits(window.is_exhaustive);
    let by_vector = nearest(&mut search, window.end())?;

    let matching_words = std::mem::take(&mut by_words.matching_words);
    let mut distinct = Distinct::load(documents, query)?;
    let candidates = &by_words.candidates | &by_vector.candidates;
    let degraded = by_words.degraded || by_vector.degraded;
    let merged = merge(
        Ranked {
            result: by_vector,
            weight: f64::from(ratio),
            is_semantic: true,
        },
        Ranked {
            result: by_words,
            weight: words_weight,
            is_semantic: false,
        },
    );

    let mut result = SearchResult {
        matching_words,
        candidates,
        degraded,
        ..Default::default()
    };
    let mut seen = RoaringBitmap::new();
    let mut kept_count = 0;
    let mut semantic_hit_count = 0;
    for Merged {
        docid,
        scores,
        is_semantic,
    } in merged
    {
        if !seen.insert(docid) {
            continue;
        }
        if !distinct.keeps(documents, docid)? {
            result.candidates.remove(docid);
            continue;
        }
        if (window.offset..window.end()).contains(&kept_count) {
            semantic_hit_count += u32::from(is_semantic);
            result.documents_ids.push(docid);
            result.document_scores.push(scores);
        }
        kept_count += 1;
    }
    let semantic_hit_count = Some(semantic_hit_count);
    Ok(Found {
        result,
        semantic_hit_count,
        query_vector: Some(vector),
    })
}

/// One of the two rankings.
struct Ranked {
    result: SearchResult,
    weight: f64,
    is_semantic: bool,
}

struct Merged {
    docid: DocumentId,
    scores: Vec<ScoreDetails>,
    is_semantic: bool,
}

/// Both rankings as one, best first; on a tie the first ranking goes first. A document that is in
/// both comes twice.
fn merge(first: Ranked, second: Ranked) -> Vec<Merged> {
    let weights = [first.weight, second.weight];
    let entries = |ranked: Ranked| {
        let Ranked {
            result,
            is_semantic,
            ..
        } = ranked;
        let scored = result.documents_ids.into_iter().zip(result.document_scores);
        scored
            .map(move |(docid, scores)| Merged {
                docid,
                scores,
                is_semantic,
            })
            .peekable()
    };
    let (mut first, mut second) = (entries(first), entries(second));
    let mut merged = Vec::new();
    loop {
        let next = match (first.peek(), second.peek()) {
            (Some(left), Some(right)) => {
                match compare(&left.scores, weights[0], &right.scores, weights[1]) {
                    Ordering::Less => second.next(),
                    Ordering::Equal | Ordering::Greater => first.next(),
                }
            }
            (Some(_), None) => first.next(),
            (None, _) => second.next(),
        };
        match next {
            Some(entry) => merged.push(entry),
            None => return merged,
        }
    }
}

/// Compares two hits rule by rule; greater is better.
fn compare(
    left: &[ScoreDetails],
    left_weight: f64,
    right: &[ScoreDetails],
    right_weight: f64,
) -> Ordering {
    let mut left = ScoreDetails::score_values(left.iter());
    let mut right = ScoreDetails::score_values(right.iter());
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(ScoreValue::Score(left)), Some(ScoreValue::Score(right))) => {
                let (left, right) = (left * left_weight, right * right_weight);
                if (left - right).abs() <= f64::EPSILON {
                    Ordering::Equal
                } else {
                    left.total_cmp(&right)
                }
            }
            (Some(ScoreValue::Sort(left)), Some(ScoreValue::Sort(right))) => {
                left.partial_cmp(right).unwrap_or(Ordering::Equal)
            }
            (Some(ScoreValue::GeoSort(left)), Some(ScoreValue::GeoSort(right))) => {
                left.partial_cmp(right).unwrap_or(Ordering::Equal)
            }
            // Relevancy wins over a value, unless there is none of it.
            (Some(ScoreValue::Score(score)), Some(_)) => {
                if score == 0.0 {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            (Some(_), Some(ScoreValue::Score(score))) => {
                if score == 0.0 {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
            // Both lists follow the same rules, so two kinds of values never meet.
            (Some(_), Some(_)) => Ordering::Equal,
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// The values of the distinct attribute that are taken by kept documents.
struct Distinct {
    attribute: Option<String>,
    taken: HashSet<String>,
}

impl Distinct {
    fn load(documents: &Documents<'_>, query: &SearchQuery) -> Result<Self, EngineError> {
        let attribute = match &query.distinct {
            Some(attribute) => Some(attribute.clone()),
            None => documents
                .index
                .distinct_field(documents.rtxn)?
                .map(str::to_owned),
        };
        Ok(Distinct {
            attribute,
            taken: HashSet::new(),
        })
    }

    /// Whether none of the document's values is taken; if so they all are from now on.
    fn keeps(&mut self, documents: &Documents<'_>, docid: DocumentId) -> Result<bool, EngineError> {
        let Some(attribute) = &self.attribute else {
            return Ok(true);
        };
        let mut values = Vec::new();
        documents.collect(docid, attribute, &mut values)?;
        let keys: Vec<String> = values.iter().filter_map(distinct_key).collect();
        if keys.iter().any(|key| self.taken.contains(key)) {
            return Ok(false);
        }
        self.taken.extend(keys);
        Ok(true)
    }
}

/// Equal for values that count as the same facet: texts without case and accents, numbers by value.
fn distinct_key(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => number.as_f64().map(|number| format!("n{number}")),
        Value::String(text) => Some(format!("t{}", normalize_facet(text))),
        Value::Bool(flag) => Some(format!("t{flag}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use milli_core::score_details::{Vector, Words};

    fn by_words(matching_words: u32) -> Vec<ScoreDetails> {
        vec![ScoreDetails::Words(Words {
            matching_words,
            max_matching_words: 4,
        })]
    }

    fn by_vector(similarity: f32) -> Vec<ScoreDetails> {
        vec![ScoreDetails::Vector(Vector {
            similarity: Some(similarity),
        })]
    }

    #[test]
    fn relevancy_and_similarity_are_weighed() {
        let order = |weight| compare(&by_vector(0.5), weight, &by_words(4), 1.0 - weight);
        assert_eq!(order(0.5), Ordering::Less);
        assert_eq!(order(0.8), Ordering::Greater);
    }

    #[test]
    fn on_a_tie_the_first_ranking_goes_first() {
        let ranked = |docid, scores, is_semantic| {
            let (documents_ids, document_scores) = (vec![docid], vec![scores]);
            let result = SearchResult {
                documents_ids,
                document_scores,
                ..Default::default()
            };
            Ranked {
                result,
                weight: 0.5,
                is_semantic,
            }
        };
        let merged = merge(
            ranked(1, by_vector(0.5), true),
            ranked(2, by_words(2), false),
        );
        let order: Vec<_> = merged
            .iter()
            .map(|entry| (entry.docid, entry.is_semantic))
            .collect();
        assert_eq!(order, [(1, true), (2, false)]);
    }

    #[test]
    fn facet_values_are_the_same_without_case_and_accents() {
        let key = |value: Value| distinct_key(&value).unwrap();
        assert_eq!(key("Café".into()), key(" cafe\u{301} ".into()));
        assert_eq!(key(1.into()), key(1.0.into()));
        assert_ne!(key(1.into()), key("1".into()));
        assert_eq!(distinct_key(&Value::Null), None);
    }
}
