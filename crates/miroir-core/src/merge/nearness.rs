//! How near a document is to one that has several vectors, or has several itself.
//!
//! A node keeps the vectors of an embedder by their position: the first of each document, the
//! second of each, and so on. Asked for documents like one, it compares the first vectors with
//! the first, the second with the second, and the nearest pair counts. A search by one of these
//! vectors compares it with *every* vector of a document, so what it answers is the nearness of
//! the document only where the nearest of its vectors stands at the same position. Else it is
//! computed here, as a node computes it.
//!
//! **What is not exact**: the last digits of what is computed here. Nodes add in 32 bits, in an
//! order that depends on their processor.

use super::hit::VECTORS;
use crate::settings::Settings;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ops::Range;

/// Below this number of dimensions a node adds up one product after the other.
const PLAIN_SUM_BELOW: usize = 16;
/// Two vectors whose computed similarities differ by less may stand the other way round on a node.
const SIMILARITY_TOLERANCE: f32 = 2e-6;
/// The bits of the words in which a node packs quantized vectors; what is left of the last counts.
const QUANTIZED_WORD_BITS: usize = 64;
/// Where the embedder's distribution is shifted to.
const TARGET_MEAN: f32 = 0.5;
const TARGET_SIGMA: f32 = 0.4;
/// Sources whose models bring a distribution that no setting shows.
const SHIFTED_SOURCES: &[&str] = &["openAi", "huggingFace"];

/// Why how near a document is cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NearnessUnknown {
    /// An embedder with several fragments: a document that lacks some does not say which.
    #[error("documents that lack some fragments of their embedder")]
    Fragments,
    /// The model's own distribution, which is not in the settings, would have to be known.
    #[error(
        "documents with several vectors of an embedder whose `distribution` is its model's own"
    )]
    Distribution,
}

/// A document to which others are compared: its vectors of one embedder, and what that embedder
/// makes of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Target {
    /// As they are sent.
    vectors: Vec<Value>,
    numbers: Vec<Vec<f32>>,
    is_quantized: bool,
    /// The mean and the sigma that similarities are shifted from.
    distribution: Option<(f32, f32)>,
    has_hidden_distribution: bool,
    fragment_count: usize,
}

/// A similarity as a node tells it, in a hit's details and as its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Nearness {
    pub(super) similarity: f64,
    pub(super) score: f64,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    embeddings: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Embeddings {
    Several(Vec<Vec<f32>>),
    One(Vec<f32>),
}

impl Target {
    /// The document's vectors of `embedder`, in an index with these settings.
    ///
    /// # Errors
    /// The document is no JSON object, or its vectors are none.
    ///
    /// ```
    /// use miroir_core::merge::Target;
    /// use serde_json::json;
    ///
    /// let document = br#"{"id":1,"_vectors":{"e":{"embeddings":[[1.0,0.5],[0.0,1.0]]}}}"#;
    /// let target = Target::read(document, "e", &serde_json::Map::new()).unwrap();
    /// assert_eq!(target.vectors(), [json!([1.0, 0.5]), json!([0.0, 1.0])]);
    /// ```
    pub fn read(
        document: &[u8],
        embedder: &str,
        settings: &Settings,
    ) -> Result<Self, serde_json::Error> {
        let document: BTreeMap<String, &RawValue> = serde_json::from_slice(document)?;
        let raw = document.get(VECTORS).copied();
        let numbers = match raw {
            Some(raw) => embeddings_of(raw, embedder)?,
            None => Vec::new(),
        };
        let no_settings = Map::new();
        let embedders = settings.get("embedders").and_then(Value::as_object);
        let of_embedder = embedders.and_then(|all| all.get(embedder)?.as_object());
        let of_embedder = of_embedder.unwrap_or(&no_settings);
        let distribution = of_embedder.get("distribution").and_then(read_distribution);
        let source = of_embedder.get("source").and_then(Value::as_str);
        let fragments = of_embedder
            .get("indexingFragments")
            .and_then(Value::as_object);
        let vectors = numbers.iter().map(|vector| Value::from(vector.clone()));
        Ok(Self {
            vectors: vectors.collect(),
            is_quantized: of_embedder.get("binaryQuantized") == Some(&Value::Bool(true)),
            has_hidden_distribution: distribution.is_none()
                && source.is_none_or(|source| SHIFTED_SOURCES.contains(&source)),
            distribution,
            fragment_count: fragments.map_or(0, Map::len),
            numbers,
        })
    }

    /// The vectors, as they are sent; none if nothing is similar to the document.
    #[must_use]
    pub fn vectors(&self) -> &[Value] {
        &self.vectors
    }

    /// How near a document is of which a search by the vector at each position told this much, if
    /// it told of it; `None` if the document has no vector at a position of the target's.
    pub(super) fn nearness(
        &self,
        listed: &[Option<Nearness>],
        vectors: Option<&RawValue>,
        embedder: &str,
    ) -> Result<Result<Option<Nearness>, NearnessUnknown>, serde_json::Error> {
        if let ([Some(only)], 0 | 1) = (listed, self.fragment_count)
            && vectors.is_none_or(|raw| has_one(raw, embedder))
        {
            return Ok(Ok(Some(*only)));
        }
        let others = match vectors {
            Some(raw) => embeddings_of(raw, embedder)?,
            None => Vec::new(),
        };
        if others.is_empty() {
            return Ok(Ok(None));
        }
        let is_placed = |count: usize| self.fragment_count < 2 || count == self.fragment_count;
        if !is_placed(self.numbers.len()) || !is_placed(others.len()) {
            return Ok(Err(NearnessUnknown::Fragments));
        }
        let mut best: Option<Nearness> = None;
        for (at, (own, other)) in self.numbers.iter().zip(&others).enumerate() {
            let computed = self.similarity(own, other);
            let is_nearest = others.iter().enumerate().all(|(position, rival)| {
                position == at
                    || rival == other
                    || self.similarity(own, rival) < computed - SIMILARITY_TOLERANCE
            });
            let told = listed.get(at).copied().flatten();
            let nearness = match told.filter(|_| is_nearest) {
                Some(told) => told,
                None if self.has_hidden_distribution => {
                    return Ok(Err(NearnessUnknown::Distribution));
                }
                None => Nearness::of(self.shifted(computed)),
            };
            if best.is_none_or(|best| nearness.score > best.score) {
                best = Some(nearness);
            }
        }
        Ok(Ok(best))
    }

    /// The similarity of two vectors before it is shifted, 0.0 to 1.0.
    fn similarity(&self, own: &[f32], other: &[f32]) -> f32 {
        let distance = if self.is_quantized {
            quantized_distance(own, other)
        } else {
            cosine_distance(own, other)
        };
        1.0 - distance
    }

    fn shifted(&self, similarity: f32) -> f32 {
        let Some((mean, sigma)) = self.distribution else {
            return similarity;
        };
        let factor = TARGET_SIGMA / sigma;
        let moved = factor * similarity + (TARGET_MEAN - factor * mean);
        if moved <= 0.0 {
            return f32::EPSILON;
        }
        moved.min(1.0)
    }
}

impl Nearness {
    fn of(similarity: f32) -> Self {
        let similarity = f64::from(similarity);
        Self {
            similarity,
            score: similarity,
        }
    }
}

fn read_distribution(distribution: &Value) -> Option<(f32, f32)> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "nodes keep it in 32 bits, too"
    )]
    let number = |name: &str| Some(distribution.get(name)?.as_f64()? as f32);
    Some((number("mean")?, number("sigma")?)).filter(|(_, sigma)| *sigma > 0.0)
}

fn embeddings_raw<'a>(
    vectors: &'a RawValue,
    embedder: &str,
) -> Result<Option<&'a RawValue>, serde_json::Error> {
    let all: BTreeMap<String, &RawValue> = serde_json::from_str(vectors.get())?;
    let Some(raw) = all.get(embedder) else {
        return Ok(None);
    };
    let entry: Entry<'a> = serde_json::from_str(raw.get())?;
    Ok(entry.embeddings)
}

fn embeddings_of(vectors: &RawValue, embedder: &str) -> Result<Vec<Vec<f32>>, serde_json::Error> {
    let Some(raw) = embeddings_raw(vectors, embedder)? else {
        return Ok(Vec::new());
    };
    Ok(match serde_json::from_str(raw.get())? {
        // An empty array is read as no vectors.
        Embeddings::Several(several) => several,
        Embeddings::One(one) => vec![one],
    })
}

/// Whether these are one vector, told without reading its numbers, which are many.
fn has_one(vectors: &RawValue, embedder: &str) -> bool {
    let Ok(Some(raw)) = embeddings_raw(vectors, embedder) else {
        return false;
    };
    let opened = raw.get().bytes().filter(|byte| *byte == b'[').count();
    let inner: Range<usize> = 1..3;
    inner.contains(&opened) && raw.get().bytes().any(|byte| byte.is_ascii_digit())
}

fn cosine_distance(own: &[f32], other: &[f32]) -> f32 {
    let norms = dot(own, own).sqrt() * dot(other, other).sqrt();
    if norms > f32::EPSILON {
        let cosine = (dot(own, other) / norms).clamp(-1.0, 1.0);
        (1.0 - cosine) / 2.0
    } else {
        0.0
    }
}

fn dot(own: &[f32], other: &[f32]) -> f32 {
    let pairs = own.iter().zip(other);
    if own.len() < PLAIN_SUM_BELOW {
        return pairs.map(|(a, b)| a * b).sum();
    }
    #[expect(clippy::cast_possible_truncation, reason = "rounded once, at the end")]
    let sum = pairs
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum::<f64>() as f32;
    sum
}

fn quantized_distance(own: &[f32], other: &[f32]) -> f32 {
    let differing = own
        .iter()
        .zip(other)
        .filter(|(a, b)| (**a > 0.0) != (**b > 0.0));
    let bits = own.len().next_multiple_of(QUANTIZED_WORD_BITS).max(1);
    #[expect(clippy::cast_precision_loss, reason = "dimensions are few")]
    let distance = differing.count() as f32 / bits as f32;
    distance
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn target(vectors: &Value, settings: Value) -> Target {
        let document = json!({"id": 1, "_vectors": {"e": {"embeddings": vectors}}});
        let settings = json!({"embedders": {"e": settings}});
        let settings = settings.as_object().unwrap();
        Target::read(document.to_string().as_bytes(), "e", settings).unwrap()
    }

    fn provided() -> Value {
        json!({"source": "userProvided", "dimensions": 2})
    }

    fn told(score: f64) -> Option<Nearness> {
        Some(Nearness {
            similarity: score,
            score,
        })
    }

    fn near(
        target: &Target,
        listed: &[Option<Nearness>],
        vectors: &Value,
    ) -> Result<Option<f64>, NearnessUnknown> {
        let raw = json!({"e": {"embeddings": vectors, "regenerate": false}}).to_string();
        let raw = RawValue::from_string(raw).unwrap();
        let nearness = target.nearness(listed, Some(&raw), "e").unwrap()?;
        Ok(nearness.map(|nearness| nearness.score))
    }

    #[test]
    fn a_documents_vectors_are_found_in_either_form() {
        let vectors = |embeddings: Value| target(&embeddings, provided()).vectors().to_vec();
        assert_eq!(vectors(json!([[1.0, 0.5]])), [json!([1.0, 0.5])]);
        assert_eq!(vectors(json!([1.0, 0.5])), [json!([1.0, 0.5])]);
        assert_eq!(vectors(json!([[1.0], [2.0]])).len(), 2);
        assert!(vectors(json!([])).is_empty());
        let without = Target::read(br#"{"id":1}"#, "e", &Map::new()).unwrap();
        assert!(without.vectors().is_empty());
    }

    #[test]
    fn vectors_are_compared_with_those_at_their_position() {
        let one = target(&json!([[1.0, 0.0]]), provided());
        // Its second vector is the very same, and does not count.
        let other = json!([[0.0, 1.0], [1.0, 0.0]]);
        assert_eq!(near(&one, &[told(1.0)], &other), Ok(Some(0.5)));
        assert_eq!(
            near(&one, &[told(0.25)], &json!([[0.0, 1.0]])),
            Ok(Some(0.25))
        );
        let two = target(&json!([[1.0, 0.0], [1.0, 0.0]]), provided());
        assert_eq!(near(&two, &[told(1.0), told(1.0)], &other), Ok(Some(1.0)));
        // A document with one vector has none at the second position.
        let crossed = target(&json!([[-1.0, 0.0], [0.0, 1.0]]), provided());
        let single = json!([[0.0, 1.0]]);
        assert_eq!(near(&crossed, &[None, told(1.0)], &single), Ok(Some(0.5)));
        assert_eq!(near(&crossed, &[None, None], &json!([])), Ok(None));
    }

    #[test]
    fn what_a_node_told_is_taken_where_it_is_of_the_right_pair() {
        let one = target(&json!([[1.0, 0.0]]), provided());
        let other = json!([[1.0, 1.0], [0.0, 1.0]]);
        assert_eq!(near(&one, &[told(0.123)], &other), Ok(Some(0.123)));
    }

    #[test]
    fn quantized_vectors_are_compared_by_their_signs() {
        let settings = json!({"source": "userProvided", "binaryQuantized": true});
        let one = target(&json!([[1.0, -0.5, 0.5]]), settings);
        let other = json!([[-1.0, -0.5, 0.5], [1.0, -1.0, 1.0]]);
        assert_eq!(near(&one, &[told(1.0)], &other), Ok(Some(1.0 - 1.0 / 64.0)));
    }

    #[test]
    fn similarities_are_shifted_as_the_embedder_says() {
        let settings = json!({"source": "rest", "distribution": {"mean": 0.5, "sigma": 0.2}});
        let one = target(&json!([[1.0, 0.0]]), settings);
        let other = json!([[0.0, 1.0], [1.0, 0.0]]);
        assert_eq!(near(&one, &[told(1.0)], &other), Ok(Some(0.5)));
        let opposite = json!([[-1.0, 0.0], [1.0, 0.0]]);
        let least = Ok(Some(f64::from(f32::EPSILON)));
        assert_eq!(near(&one, &[told(1.0)], &opposite), least);
    }

    #[test]
    fn what_cannot_be_told_is_said() {
        let other = json!([[0.0, 1.0], [1.0, 0.0]]);
        let by_model = target(&json!([[1.0, 0.0]]), json!({"source": "openAi"}));
        let hidden = Err(NearnessUnknown::Distribution);
        assert_eq!(near(&by_model, &[told(1.0)], &other), hidden);
        let fragments = json!({"source": "rest", "indexingFragments": {"a": {}, "b": {}}});
        let by_fragments = target(&json!([[1.0, 0.0]]), fragments.clone());
        let lacking = Err(NearnessUnknown::Fragments);
        assert_eq!(near(&by_fragments, &[told(1.0)], &other), lacking);
        let whole = target(&json!([[1.0, 0.0], [1.0, 0.0]]), fragments);
        assert_eq!(near(&whole, &[told(1.0), told(1.0)], &other), Ok(Some(1.0)));
    }
}
