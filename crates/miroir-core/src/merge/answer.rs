//! One node's answer to a search, read no further than the merge needs.

use super::facet::FieldStats;
use super::members::Members;
use serde::Deserialize;
use serde_json::value::RawValue;

/// An answer that was found to be well-formed JSON of the expected shape; its hits are still text.
///
/// Reading an answer is most of the merge's work and needs no other answer, so it can be done as
/// soon as the answer arrives, while slower nodes still work.
#[derive(Debug, Clone)]
pub struct NodeAnswer<'a> {
    pub(super) hits: Vec<&'a RawValue>,
    pub(super) total: u64,
    pub(super) query_vector: Option<&'a RawValue>,
    pub(super) facets: Option<FacetCounts<'a>>,
    pub(super) facet_stats: Option<Members<'a, FieldStats>>,
    pub(super) has_semantic_count: bool,
    /// The node has more hits than it was asked for.
    pub(super) may_have_more: bool,
}

/// The facet distribution of one node: by field, the values in the node's order with their counts.
pub(super) type FacetCounts<'a> = Members<'a, Members<'a, u64>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(borrow)]
    hits: Vec<&'a RawValue>,
    estimated_total_hits: Option<u64>,
    total_hits: Option<u64>,
    #[serde(borrow)]
    query_vector: Option<&'a RawValue>,
    #[serde(borrow)]
    facet_distribution: Option<FacetCounts<'a>>,
    #[serde(borrow)]
    facet_stats: Option<Members<'a, FieldStats>>,
    semantic_hit_count: Option<u64>,
}

impl<'a> NodeAnswer<'a> {
    /// Notes how many hits the node was asked for: if it gave as many, it may have more.
    #[must_use]
    pub(super) fn asked_for(mut self, asked: usize) -> Self {
        self.may_have_more = self.hits.len() >= asked;
        self
    }

    /// Reads the body of a node's answer.
    ///
    /// # Errors
    /// [`AnswerFault::Json`] and [`AnswerFault::NoTotal`].
    ///
    /// ```
    /// use miroir_core::merge::NodeAnswer;
    ///
    /// assert!(NodeAnswer::parse(br#"{"hits":[],"estimatedTotalHits":0}"#).is_ok());
    /// assert!(NodeAnswer::parse(br#"{"hits":[{"id"#).is_err());
    /// ```
    pub fn parse(body: &'a [u8]) -> Result<Self, AnswerFault> {
        let wire: Wire<'a> = serde_json::from_slice(body).map_err(AnswerFault::Json)?;
        Ok(Self {
            hits: wire.hits,
            total: wire
                .estimated_total_hits
                .or(wire.total_hits)
                .ok_or(AnswerFault::NoTotal)?,
            query_vector: wire.query_vector,
            facets: wire.facet_distribution,
            facet_stats: wire.facet_stats,
            has_semantic_count: wire.semantic_hit_count.is_some(),
            may_have_more: false,
        })
    }
}

/// An answer that cannot be merged, and whose it is.
#[derive(Debug, thiserror::Error)]
#[error("the answer of node {node} cannot be merged")]
pub struct MergeError {
    /// The position of the answer among those given.
    pub node: usize,
    /// What is wrong with it.
    #[source]
    pub fault: AnswerFault,
}

/// What is wrong with a node's answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerFault {
    /// The body is not the JSON of a search answer.
    #[error("not the JSON of a search answer")]
    Json(#[source] serde_json::Error),
    /// The answer does not say how many documents were found.
    #[error("the answer has neither `estimatedTotalHits` nor `totalHits`")]
    NoTotal,
    /// A hit is not an object, or one of the objects that the node adds to it is none.
    #[error("hit {hit} is not as a node writes it")]
    Hit {
        /// Its position in the node's list.
        hit: usize,
        /// Where the text breaks off from what is expected.
        #[source]
        source: serde_json::Error,
    },
    /// A hit has no ranking details, so it cannot be placed.
    #[error("hit {hit} has no `_rankingScoreDetails`")]
    NoDetails {
        /// Its position in the node's list.
        hit: usize,
    },
    /// A ranking detail does not have the members its rule shows.
    #[error("hit {hit} has an unreadable ranking detail `{rule}`")]
    Details {
        /// Its position in the node's list.
        hit: usize,
        /// The name of the entry.
        rule: String,
    },
}
