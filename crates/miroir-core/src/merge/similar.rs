//! Documents like one document. The node that holds it looks among its own documents; the others
//! are given its vector and search by meaning.
//!
//! All answer with the similarity of each hit, a fact of two vectors, so the merged order is that
//! of one node: by similarity, and among equals by insertion. Nodes are not told the
//! threshold: where it cuts decides the total, and only the whole ranking tells where that is.
//!
//! **What is not exact**: the approximate search of vectors above the size up to which a node
//! compares them all.

use super::answer::{AnswerFault, MergeError, NodeAnswer};
use super::attribute::select_retrieved;
use super::body::{fuse_filters, is_blank_filter};
use super::hit::{Adjusted, Hit, HitShape};
use super::key::Rank;
use super::members::{write_name, write_value};
use super::view::IndexView;
use crate::reserved::SEQ_FIELD;
use serde_json::{Map, Value, json};
use std::cmp::Ordering;

/// A search for similar documents, as the client asked it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SimilarRequest {
    /// The document.
    pub id: String,
    /// The embedder whose vectors are compared.
    pub embedder: String,
    /// Hits to skip.
    pub offset: usize,
    /// Hits to show at most.
    pub limit: usize,
    /// A filter string or nested arrays, as sent.
    pub filter: Option<Value>,
    /// `None` is `["*"]`.
    pub attributes_to_retrieve: Option<Vec<String>>,
    /// Adds `_vectors` to hits.
    pub retrieve_vectors: bool,
    /// Adds `_rankingScore` to hits.
    pub show_ranking_score: bool,
    /// Adds `_rankingScoreDetails` to hits.
    pub show_ranking_score_details: bool,
    /// Drops hits whose similarity is lower, 0.0 to 1.0.
    pub ranking_score_threshold: Option<f64>,
}

/// A search for similar documents, ready to be sent to nodes and to merge what they answer.
#[derive(Debug, Clone, PartialEq)]
pub struct SimilarPlan {
    request: SimilarRequest,
    shape: HitShape,
    depth: usize,
    /// How many hits a search shows at most, unlike a look at the neighbours of a document.
    searched_max: usize,
    body: Map<String, Value>,
}

/// No list is longer: documents are numbered in 32 bits on a node.
const DEPTH_MAX: usize = u32::MAX as usize;

/// The hits that one node holding all documents would show, ready to be written.
#[derive(Debug)]
pub struct SimilarPage<'a> {
    plan: &'a SimilarPlan,
    hits: Vec<Near<'a>>,
    /// The candidates.
    pub total: u64,
    /// Whether a node that searched may have more hits for this page than a search shows. Then this
    /// is no page: its documents are to be asked for in smaller parts.
    pub is_shallow: bool,
}

#[derive(Debug)]
struct Near<'a> {
    similarity: f64,
    /// The similarity in the precision that thresholds are compared in.
    score: f64,
    /// The hit's place in the insertion order; sorts as text.
    seq: String,
    hit: Hit<'a>,
}

impl SimilarPlan {
    /// Plans `request` on the index that `view` describes.
    #[must_use]
    pub fn new(request: SimilarRequest, view: &IndexView) -> Self {
        let displayed = view.displayed_only();
        let retrieved = select_retrieved(request.attributes_to_retrieve.as_deref(), displayed);
        let mut retrieved = retrieved.unwrap_or_else(|| vec!["*".to_owned()]);
        retrieved.push(SEQ_FIELD.to_owned());
        let depth = request.offset.saturating_add(request.limit).min(DEPTH_MAX);
        let mut body = Map::new();
        for (name, value) in [
            ("attributesToRetrieve", json!(retrieved)),
            ("retrieveVectors", json!(request.retrieve_vectors)),
            ("showRankingScore", json!(true)),
            ("showRankingScoreDetails", json!(true)),
            ("offset", json!(0)),
            ("limit", json!(depth)),
        ] {
            body.insert(name.to_owned(), value);
        }
        Self {
            shape: HitShape {
                displayed: displayed.map(<[String]>::to_vec),
                shows_score: request.show_ranking_score,
                // Written here: a search's details hold rules that play no part.
                shows_details: false,
                extra: None,
            },
            depth,
            searched_max: view.max_total_hits,
            body,
            request,
        }
    }

    /// The body of `POST /indexes/{uid}/similar` to the node that holds the document.
    #[must_use]
    pub fn owner_body(&self, shard_filter: Option<&str>) -> Vec<u8> {
        let mut body = self.body.clone();
        body.insert("id".to_owned(), json!(self.request.id));
        body.insert("embedder".to_owned(), json!(self.request.embedder));
        self.finish(body, shard_filter)
    }

    /// The body of `POST /indexes/{uid}/search` to any other node. Without a `vector` nothing is
    /// similar, and the node only counts.
    #[must_use]
    pub fn other_body(&self, vector: Option<&Value>, shard_filter: Option<&str>) -> Vec<u8> {
        let mut body = self.body.clone();
        if let Some(vector) = vector {
            let hybrid = json!({"embedder": self.request.embedder, "semanticRatio": 1.0});
            body.insert("hybrid".to_owned(), hybrid);
            body.insert("vector".to_owned(), vector.clone());
        } else {
            body.insert("limit".to_owned(), json!(0));
        }
        self.finish(body, shard_filter)
    }

    fn finish(&self, mut body: Map<String, Value>, shard_filter: Option<&str>) -> Vec<u8> {
        let filter = self.request.filter.as_ref().filter(|f| !is_blank_filter(f));
        if let Some(filter) = fuse_filters(shard_filter, filter) {
            body.insert("filter".to_owned(), filter);
        }
        Value::Object(body).to_string().into_bytes()
    }

    /// Merges the bodies that the nodes answered with.
    ///
    /// # Errors
    /// [`MergeError`] with the position of the first answer that cannot be read.
    pub fn merge<'a>(&'a self, answers: &[&'a [u8]]) -> Result<SimilarPage<'a>, MergeError> {
        let mut total = 0;
        let mut found = Vec::new();
        // How near the last hit of each list is that a search has cut.
        let mut cuts: Vec<f64> = Vec::new();
        for (node, body) in answers.iter().enumerate() {
            let fault = |fault| MergeError { node, fault };
            let answer = NodeAnswer::parse(body).map_err(fault)?;
            total += answer.total;
            let shown = answer.hits.len();
            let is_cut =
                shown == self.searched_max && shown < self.depth && answer.total > shown as u64;
            let mut last = None;
            for (at, raw) in answer.hits.iter().enumerate() {
                let hit = Hit::parse(raw, at).map_err(fault)?;
                // A document without a vector is no neighbour; a search shows such ones last.
                let near = Near::new(hit, at).map_err(fault)?;
                last = near.as_ref().map(|near| near.similarity);
                found.extend(near);
            }
            cuts.extend(last.filter(|_| is_cut));
        }
        found.sort_by(Near::compare);
        found.truncate(self.depth);
        let threshold = self.request.ranking_score_threshold;
        // What a cut list lacks is no nearer than its last hit.
        let is_shallow = cuts.iter().any(|cut| {
            let is_wanted = threshold.is_none_or(|threshold| *cut >= threshold);
            let ends_before = found.last().is_none_or(|last| last.similarity <= *cut);
            is_wanted && (found.len() < self.depth || ends_before)
        });
        let mut hits: Vec<Near<'a>> = found.into_iter().skip(self.request.offset).collect();
        // One node stops at the first hit that is too far, and counts what it has passed.
        if let Some(threshold) = self.request.ranking_score_threshold
            && let Some(end) = hits.iter().position(|near| near.score < threshold)
        {
            hits.truncate(end);
            total = (self.request.offset + end) as u64;
        }
        Ok(SimilarPage {
            plan: self,
            hits,
            // One node counts no further, though it shows more.
            total: total.min(self.searched_max as u64),
            is_shallow,
        })
    }
}

impl<'a> Near<'a> {
    fn new(hit: Hit<'a>, at: usize) -> Result<Option<Self>, AnswerFault> {
        let mut ranks = hit.details.entries.iter().map(|entry| &entry.rank);
        let similarity = ranks.find_map(|rank| match rank {
            Rank::Similarity(similarity) => *similarity,
            _ => None,
        });
        let Some(similarity) = similarity else {
            return Ok(None);
        };
        let seq = hit.members().find(|(name, _)| *name == SEQ_FIELD);
        let seq = match seq {
            Some((_, raw)) => serde_json::from_str(raw.get())
                .map_err(|source| AnswerFault::Hit { hit: at, source })?,
            None => String::new(),
        };
        Ok(Some(Self {
            similarity,
            score: hit.score.unwrap_or(similarity),
            seq,
            hit,
        }))
    }

    fn compare(&self, other: &Self) -> Ordering {
        let by_similarity = other.similarity.partial_cmp(&self.similarity);
        by_similarity
            .unwrap_or(Ordering::Equal)
            .then_with(|| self.seq.cmp(&other.seq))
    }
}

impl SimilarPage<'_> {
    /// Appends the whole answer, its members in Meilisearch's order.
    pub fn write_response(&self, out: &mut Vec<u8>, processing_time_ms: u64) {
        let request = &self.plan.request;
        out.extend_from_slice(br#"{"hits":["#);
        for (at, near) in self.hits.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            near.hit.write(out, &self.plan.shape, Adjusted::default());
            if request.show_ranking_score_details {
                // The hit is an object; its end comes after the details.
                out.pop();
                let mut is_first = out.last() == Some(&b'{');
                write_name(out, &mut is_first, "_rankingScoreDetails");
                let similarity = near.similarity;
                let details = json!({"vectorSort": {"order": 0, "similarity": similarity}});
                write_value(out, &details);
                out.push(b'}');
            }
        }
        out.extend_from_slice(b"],");
        let mut is_first = true;
        write_name(out, &mut is_first, "id");
        write_value(out, &request.id);
        for (name, number) in [
            ("processingTimeMs", processing_time_ms),
            ("limit", request.limit as u64),
            ("offset", request.offset as u64),
            ("estimatedTotalHits", self.total),
        ] {
            write_name(out, &mut is_first, name);
            write_value(out, &number);
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A document by its insertion number, with how near it is; 0 has no vector.
    type Doc = (usize, u8);

    fn answer(docs: &[Doc], depth: usize) -> String {
        let mut ranked = docs.to_vec();
        ranked.sort_by_key(|(id, nearness)| (std::cmp::Reverse(*nearness), *id));
        let hits: Vec<Value> = ranked
            .iter()
            .take(depth)
            .map(|(id, nearness)| {
                let mut details = json!({"order": 0});
                let mut score = 0.0;
                if *nearness > 0 {
                    score = f64::from(*nearness) / 8.0;
                    details["similarity"] = json!(score);
                }
                json!({
                    "id": id, SEQ_FIELD: format!("{id:04}"), "_rankingScore": score,
                    "_rankingScoreDetails": {"vectorSort": details},
                })
            })
            .collect();
        json!({"hits": hits, "estimatedTotalHits": docs.len()}).to_string()
    }

    fn shown(plan: &SimilarPlan, answers: &[String]) -> Value {
        let bodies: Vec<&[u8]> = answers.iter().map(String::as_bytes).collect();
        let mut out = Vec::new();
        plan.merge(&bodies).unwrap().write_response(&mut out, 0);
        serde_json::from_slice(&out).unwrap()
    }

    fn any_docs() -> impl Strategy<Value = Vec<(Doc, usize)>> {
        let doc = (0_u8..5, 0_usize..3);
        proptest::collection::vec(doc, 0..40).prop_map(|docs| {
            let numbered = docs.into_iter().enumerate();
            numbered
                .map(|(id, (nearness, node))| ((id, nearness), node))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn merging_the_parts_is_ranking_the_whole(
            docs in any_docs(), offset in 0_usize..12, limit in 0_usize..12,
            threshold in proptest::option::of(0_u8..6),
        ) {
            let request = SimilarRequest {
                id: "x".to_owned(), offset, limit,
                ranking_score_threshold: threshold.map(|t| f64::from(t) / 8.0),
                ..SimilarRequest::default()
            };
            let plan = SimilarPlan::new(request, &IndexView::default());
            let part = |node: usize| -> Vec<Doc> {
                docs.iter().filter(|(_, on)| *on == node).map(|(doc, _)| *doc).collect()
            };
            let mut parts: Vec<_> = (0..3).map(|node| answer(&part(node), plan.depth)).collect();
            let whole: Vec<Doc> = docs.iter().map(|(doc, _)| *doc).collect();
            let whole = shown(&plan, &[answer(&whole, plan.depth)]);
            prop_assert_eq!(shown(&plan, &parts), whole.clone());
            parts.reverse();
            prop_assert_eq!(shown(&plan, &parts), whole);
        }
    }

    #[test]
    fn a_threshold_ends_the_ranking_and_the_count() {
        let request = SimilarRequest {
            id: "x".to_owned(),
            offset: 1,
            limit: 5,
            ranking_score_threshold: Some(0.3),
            show_ranking_score_details: true,
            ..SimilarRequest::default()
        };
        let plan = SimilarPlan::new(request, &IndexView::default());
        let parts = [answer(&[(1, 4), (2, 1)], 6), answer(&[(3, 3), (4, 0)], 6)];
        let similarity = json!({"vectorSort": {"order": 0, "similarity": 0.375}});
        assert_eq!(
            shown(&plan, &parts),
            json!({
                "hits": [{"id": 3, "_rankingScoreDetails": similarity}], "id": "x",
                "processingTimeMs": 0, "limit": 5, "offset": 1, "estimatedTotalHits": 2,
            })
        );
    }

    #[test]
    fn a_list_that_a_search_has_cut_is_noticed_where_it_matters() {
        let is_shallow = |limit: usize, parts: [&[Doc]; 2]| {
            let request = SimilarRequest {
                id: "x".to_owned(),
                limit,
                ..SimilarRequest::default()
            };
            let view = IndexView {
                max_total_hits: 2,
                ..IndexView::default()
            };
            let plan = SimilarPlan::new(request, &view);
            let parts = parts.map(|docs| answer(docs, 2));
            let bodies: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
            plan.merge(&bodies).unwrap().is_shallow
        };
        let (near, far): (&[Doc], &[Doc]) = (&[(1, 8), (2, 7), (3, 6)], &[(4, 2)]);
        assert!(is_shallow(3, [near, far]));
        assert!(!is_shallow(2, [near, far]));
        // All that is missing is farther than what is shown.
        assert!(!is_shallow(
            3,
            [&[(1, 8), (2, 1), (3, 1)], &[(4, 3), (5, 2)]]
        ));
        // The list ends with a document without a vector, so it is whole.
        assert!(!is_shallow(3, [&[(1, 8), (2, 0), (3, 0)], far]));
    }

    #[test]
    fn the_owner_is_asked_by_id_and_others_by_vector() {
        let request = SimilarRequest {
            id: "x".to_owned(),
            embedder: "e".to_owned(),
            offset: 2,
            limit: 3,
            filter: Some(json!("a = 1")),
            ranking_score_threshold: Some(0.5),
            ..SimilarRequest::default()
        };
        let plan = SimilarPlan::new(request, &IndexView::default());
        let parse = |body: Vec<u8>| -> Value { serde_json::from_slice(&body).unwrap() };
        let owner = parse(plan.owner_body(Some("s IN [1]")));
        assert_eq!(owner["id"], "x");
        assert_eq!(owner["limit"], 5);
        assert_eq!(owner["filter"], json!(["s IN [1]", "a = 1"]));
        assert_eq!(owner.get("rankingScoreThreshold"), None);
        let other = parse(plan.other_body(Some(&json!([1.0])), None));
        assert_eq!(other["vector"], json!([1.0]));
        assert_eq!(
            other["hybrid"],
            json!({"embedder": "e", "semanticRatio": 1.0})
        );
        let counting = parse(plan.other_body(None, None));
        assert_eq!(
            (counting.get("hybrid"), &counting["limit"]),
            (None, &json!(0))
        );
    }
}
