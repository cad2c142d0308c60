//! A search by words and by meaning at once, decided over all documents as one node decides it.
//!
//! One node ranks its documents by words; if these hits fill the page and are all good enough they
//! are the answer. Otherwise it ranks by vector too, and always takes the better head of the two
//! lists, each scored by its share of the ratio. A node that holds a part would decide this for its
//! part alone, so nodes are asked for the two lists apart ([`HybridPlan::words`],
//! [`HybridPlan::meaning`]), each is merged as a search of its own, and the decision is made here.
//!
//! The second list is asked for as a mixed search whose ratio leaves words no weight
//! ([`MEANING_RATIO`]), not as a search by meaning alone: so words that exclude documents stay in
//! force, formatting marks the words, and totals and facets count what either list finds.
//!
//! **What is not exact**: what is not in the two lists themselves, and a sort rule between
//! relevancy rules (see `weighted`); totals and facets under `distinct` or a score threshold.

use super::answer::{AnswerFault, MergeError, NodeAnswer};
use super::distinct::Taken;
use super::key::SortValue;
use super::plan::{SearchPlan, SearchPlanError};
use super::response::MergedPage;
use super::view::IndexView;
use super::walk::RankedHit;
use super::weighted::Standing;
use crate::reserved::SHARD_FIELD;
use crate::search::{Paging, SearchRequest};
use serde_json::{Value, json};
use std::collections::HashSet;

/// The share of the vectors in a list that is to be theirs alone: the largest that is not read as
/// a search by meaning only, in the precision nodes read it in.
const MEANING_RATIO: f64 = 0.999_999;
/// Hits whose score, times the share of words, reaches this need no help from vectors.
/// Meilisearch's own.
const GOOD_ENOUGH: f64 = 0.45;

/// A search that mixes words and vectors, ready to be sent list by list and to be mixed.
#[derive(Debug, Clone, PartialEq)]
pub struct HybridPlan {
    /// As the client asked: the window, what hits show.
    shown: SearchPlan,
    words: SearchPlan,
    meaning: SearchPlan,
    /// The share of the vectors, in the precision of a node.
    ratio: f32,
}

impl SearchRequest {
    /// The share that vectors have in a search that mixes them with words; `None` if it does not.
    ///
    /// ```
    /// use miroir_core::search::SearchRequest;
    /// use serde_json::json;
    ///
    /// let ratio_of = |q: &str, ratio: f64| {
    ///     let hybrid = Some(json!({"embedder": "e", "semanticRatio": ratio}));
    ///     SearchRequest { q: Some(q.to_owned()), hybrid, ..SearchRequest::default() }.mixed_ratio()
    /// };
    /// assert_eq!(ratio_of("tea", 0.25), Some(0.25));
    /// assert_eq!((ratio_of("tea", 1.0), ratio_of("tea", 0.0), ratio_of(" ", 0.5)), (None, None, None));
    /// ```
    #[must_use]
    pub fn mixed_ratio(&self) -> Option<f32> {
        let Some(Value::Object(hybrid)) = &self.hybrid else {
            return None;
        };
        let ratio = match hybrid.get("semanticRatio") {
            None => 0.5,
            Some(ratio) => ratio.as_f64()?,
        };
        // Nodes read it in this precision, in which the next number below 1 may be 1.
        #[expect(clippy::cast_possible_truncation, reason = "as nodes read it")]
        let ratio = ratio as f32;
        let has_words = self.q.as_deref().is_some_and(|q| !q.trim().is_empty());
        (has_words && ratio > 0.0 && ratio < 1.0).then_some(ratio)
    }

    /// The embedder that a search by meaning uses.
    #[must_use]
    pub fn embedder(&self) -> Option<&str> {
        self.hybrid.as_ref()?.get("embedder")?.as_str()
    }

    /// The request that makes a node check the vector of this search, or compute it if the client
    /// leaves that to the embedder, and do nothing else; `None` if the search uses no vector.
    #[must_use]
    pub fn embedding_body(&self) -> Option<Vec<u8>> {
        let is_semantic = self.mixed_ratio().is_some() || self.is_semantic_only();
        let embedder = self.embedder().filter(|_| is_semantic)?;
        // No document has this tag, so no vector is compared.
        let nothing = format!("{SHARD_FIELD} = none");
        let mut body = json!({
            "hybrid": {"embedder": embedder, "semanticRatio": 1.0},
            "limit": 0, "retrieveVectors": true, "filter": nothing,
        });
        for (name, value) in [
            ("q", self.q.clone().map(Value::from)),
            ("vector", self.vector.clone()),
            ("media", self.media.clone()),
        ] {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        Some(body.to_string().into_bytes())
    }

    /// Whether words play no part in the ranking.
    fn is_semantic_only(&self) -> bool {
        let ratio = self
            .hybrid
            .as_ref()
            .and_then(|hybrid| hybrid.get("semanticRatio"))
            .map_or(Some(0.5), Value::as_f64);
        let has_words = self.q.as_deref().is_some_and(|q| !q.trim().is_empty());
        match ratio {
            #[expect(clippy::cast_possible_truncation, reason = "as nodes read it")]
            Some(ratio) if has_words => ratio as f32 >= 1.0,
            Some(ratio) => (self.media.is_some() || self.vector.is_some()) && ratio > 0.0,
            None => false,
        }
    }
}

/// The vector that a node computed for [`SearchRequest::embedding_body`], if it did.
///
/// # Errors
/// The answer is not that of a search.
pub fn read_embedding(answer: &[u8]) -> Result<Option<Value>, AnswerFault> {
    let vector = NodeAnswer::parse(answer)?.query_vector;
    vector
        .map(|vector| serde_json::from_str(vector.get()))
        .transpose()
        .map_err(AnswerFault::Json)
}

impl HybridPlan {
    /// Plans `request` on the index that `view` describes; `None` if it does not mix.
    ///
    /// # Errors
    /// As [`SearchPlan::new`].
    pub fn new(request: &SearchRequest, view: &IndexView) -> Result<Option<Self>, SearchPlanError> {
        let (Some(ratio), Some(embedder)) = (request.mixed_ratio(), request.embedder()) else {
            return Ok(None);
        };
        let shown = SearchPlan::new(request, view)?;
        let depth = shown.depth();
        let list = SearchRequest {
            // Page mode makes the nodes count exhaustively.
            paging: match request.paging {
                Paging::Offset { .. } => Paging::Offset {
                    offset: 0,
                    limit: depth,
                },
                Paging::Page { .. } => Paging::Page {
                    page: 1,
                    hits_per_page: depth,
                },
            },
            // Both lists are compared by their scores.
            show_ranking_score: true,
            hybrid: None,
            vector: None,
            media: None,
            ..request.clone()
        };
        let words = SearchPlan::new(&list, view)?;
        let by_meaning = SearchRequest {
            hybrid: Some(json!({"embedder": embedder, "semanticRatio": MEANING_RATIO})),
            vector: request.vector.clone(),
            media: request.media.clone(),
            ..list
        };
        let mut meaning = SearchPlan::new(&by_meaning, view)?;
        meaning.is_by_vector = true;
        Ok(Some(Self {
            shown,
            words,
            meaning,
            ratio,
        }))
    }

    /// The search by words.
    #[must_use]
    pub fn words(&self) -> &SearchPlan {
        &self.words
    }

    /// The search by meaning, with `vector` in place of what the client gave to be embedded.
    #[must_use]
    pub fn meaning(&self, vector: Option<Value>) -> SearchPlan {
        let meaning = self.meaning.clone();
        match vector {
            Some(vector) => meaning.with_vector(vector),
            None => meaning,
        }
    }

    /// Whether the hits found by words are the answer, so that vectors are not asked about. Takes
    /// the nodes' answers to [`HybridPlan::words`].
    ///
    /// # Errors
    /// As [`SearchPlan::merge`].
    pub fn is_good_enough(&self, words: &[&[u8]]) -> Result<bool, MergeError> {
        let page = self.words.merge(words)?;
        let share = f64::from(1.0 - self.ratio);
        let is_good = |ranked: &RankedHit<'_>| score_of(ranked) * share >= GOOD_ENOUGH;
        Ok(page.hits.len() >= self.shown.depth() && page.hits.iter().all(is_good))
    }

    /// Merges the nodes' answers to [`HybridPlan::words`] and, if they were not good enough and
    /// there is a vector, to a search of [`HybridPlan::meaning`], into the page one node would show.
    ///
    /// # Errors
    /// As [`SearchPlan::merge`]; positions are those of the list at fault.
    pub fn merge<'a>(
        &'a self,
        words: &[&'a [u8]],
        meaning: Option<(&'a SearchPlan, &[&'a [u8]])>,
    ) -> Result<MergedPage<'a>, MergeError> {
        let words = self.words.merge(words)?;
        let (mut page, list) = match meaning {
            Some((plan, answers)) => {
                let mut page = plan.merge(answers)?;
                let by_vector = std::mem::take(&mut page.hits);
                page.is_cut_short |= words.is_cut_short;
                let list = self.mix(by_vector, words.hits);
                (page, list)
            }
            None => {
                let mut page = words;
                let list = std::mem::take(&mut page.hits);
                (page, list)
            }
        };
        let window = self.shown.window;
        page.hits = list;
        page.hits.truncate(window.end);
        page.hits.drain(..window.start.min(page.hits.len()));
        let semantic = page.hits.iter().filter(|ranked| is_by_vector(ranked));
        page.semantic_hit_count = Some(semantic.count());
        page.totals = super::page::Totals::new(self.shown.paging, page.totals.hits());
        page.plan = &self.shown;
        Ok(page)
    }

    /// Always takes the better head, the vectors' among equals; a document that both lists hold
    /// comes once, and so does a value of the distinct field.
    fn mix<'a>(
        &self,
        by_vector: Vec<RankedHit<'a>>,
        by_words: Vec<RankedHit<'a>>,
    ) -> Vec<RankedHit<'a>> {
        let standing = |share: f32| {
            move |ranked: RankedHit<'a>| {
                let score = score_of(&ranked);
                let details = &ranked.hit.details;
                let standing = Standing::new(details, score, ranked.adjusted, f64::from(share));
                (standing, ranked)
            }
        };
        let mut vectors = by_vector.into_iter().map(standing(self.ratio)).peekable();
        let mut words = by_words
            .into_iter()
            .map(standing(1.0 - self.ratio))
            .peekable();
        let mut seen: HashSet<String> = HashSet::new();
        let mut taken = self.shown.distinct.as_deref().map(Taken::new);
        let mut mixed = Vec::with_capacity(self.shown.depth());
        while mixed.len() < self.shown.window.end {
            let is_vector_next = match (vectors.peek(), words.peek()) {
                (Some((vector, _)), Some((word, _))) => vector.compare_mixed(word).is_le(),
                (vector, _) => vector.is_some(),
            };
            let next = if is_vector_next {
                vectors.next()
            } else {
                words.next()
            };
            let Some((_, ranked)) = next else { break };
            // The place in the insertion order names a document of its index.
            let is_new = match &ranked.hit.details.seq {
                SortValue::Text(seq) => seen.insert(seq.clone().into_owned()),
                _ => true,
            };
            if is_new && taken.as_mut().is_none_or(|taken| taken.take(&ranked.hit)) {
                mixed.push(ranked);
            }
        }
        mixed
    }
}

fn score_of(ranked: &RankedHit<'_>) -> f64 {
    ranked.adjusted.score.or(ranked.hit.score).unwrap_or(1.0)
}

fn is_by_vector(ranked: &RankedHit<'_>) -> bool {
    ranked.hit.details.has_similarity()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A document: how well its words match (0 not at all) and how near its vector is (0: none).
    type Doc = (u8, u8);

    fn request(ratio: f64, offset: usize, limit: usize) -> SearchRequest {
        SearchRequest {
            q: Some("tea".to_owned()),
            hybrid: Some(json!({"embedder": "e", "semanticRatio": ratio})),
            vector: Some(json!([1.0])),
            paging: Paging::Offset { offset, limit },
            show_ranking_score: true,
            ..SearchRequest::default()
        }
    }

    fn hit(id: usize, name: &str, rule: Value, score: f64) -> Value {
        json!({
            "id": id, "_rankingScore": score, "_rankingScoreDetails": {
                name: rule, "_miroir_seq:asc": {"order": 9, "value": format!("{id:05}")},
            },
        })
    }

    fn by_words((words, _): Doc, id: usize) -> Value {
        let score = f64::from(words) / 8.0;
        hit(id, "proximity", json!({"order": 0, "score": score}), score)
    }

    fn by_vector((_, near): Doc, id: usize) -> Value {
        let mut rule = json!({"order": 0});
        let similarity = f64::from(near) / 8.0;
        if near > 0 {
            rule["similarity"] = json!(similarity);
        }
        hit(id, "vectorSort", rule, similarity)
    }

    /// The two lists of a node that holds `docs`.
    fn lists(docs: &[(usize, Doc)], depth: usize) -> [String; 2] {
        let mut worded: Vec<_> = docs.iter().filter(|(_, doc)| doc.0 > 0).collect();
        worded.sort_by_key(|(id, doc)| (std::cmp::Reverse(doc.0), *id));
        let words: Vec<Value> = worded.iter().map(|(id, doc)| by_words(*doc, *id)).collect();
        // A node that is asked for its vectors shows, behind them, what it found by words.
        let mut near: Vec<_> = docs.iter().collect();
        near.sort_by_key(|(id, doc)| (std::cmp::Reverse(doc.1), *id));
        let (with, without): (Vec<_>, Vec<_>) = near.into_iter().partition(|(_, doc)| doc.1 > 0);
        let behind = worded.iter().filter(|(_, doc)| doc.1 == 0);
        let rest = without.iter().filter(|(_, doc)| doc.0 == 0);
        let vectors: Vec<Value> = with
            .iter()
            .map(|(id, doc)| by_vector(*doc, *id))
            .chain(behind.map(|(id, doc)| by_words(*doc, *id)))
            .chain(rest.map(|(id, doc)| by_vector(*doc, *id)))
            .collect();
        let body = |hits: &[Value], total: usize| {
            let hits = &hits[..depth.min(hits.len())];
            json!({"hits": hits, "estimatedTotalHits": total}).to_string()
        };
        [body(&words, worded.len()), body(&vectors, docs.len())]
    }

    fn answer(plan: &HybridPlan, parts: &[[String; 2]]) -> Value {
        let list = |at: usize| -> Vec<&[u8]> { parts.iter().map(|p| p[at].as_bytes()).collect() };
        let (words, vectors) = (list(0), list(1));
        let meaning = plan.meaning(None);
        let is_enough = plan.is_good_enough(&words).unwrap();
        let second = (!is_enough).then_some((&meaning, &vectors[..]));
        let mut out = Vec::new();
        plan.merge(&words, second)
            .unwrap()
            .write_response(&mut out, 0, "u");
        serde_json::from_slice(&out).unwrap()
    }

    /// What one node does, written as plainly as it can be.
    fn expected(docs: &[Doc], ratio: f64, offset: usize, limit: usize) -> (Vec<usize>, usize) {
        #[expect(clippy::cast_possible_truncation, reason = "as nodes read it")]
        let ratio = ratio as f32;
        let mut worded: Vec<usize> = (0..docs.len()).filter(|id| docs[*id].0 > 0).collect();
        worded.sort_by_key(|id| (std::cmp::Reverse(docs[*id].0), *id));
        let found = worded.len();
        worded.truncate(offset + limit);
        let share = f64::from(1.0 - ratio);
        let score = |id: usize| f64::from(docs[id].0) / 8.0 * share;
        if worded.len() == offset + limit && worded.iter().all(|id| score(*id) >= 0.45) {
            return (worded.into_iter().skip(offset).collect(), found);
        }
        let similarity = |id: usize| f64::from(docs[id].1) / 8.0 * f64::from(ratio);
        let mut near: Vec<usize> = (0..docs.len()).collect();
        near.sort_by_key(|id| (std::cmp::Reverse(docs[*id].1), *id));
        near.truncate(offset + limit);
        let (mut near, mut worded) = (near.into_iter().peekable(), worded.into_iter().peekable());
        let mut list = Vec::new();
        loop {
            let takes_near = match (near.peek(), worded.peek()) {
                (Some(a), Some(b)) => similarity(*a) >= score(*b) - f64::EPSILON,
                (a, _) => a.is_some(),
            };
            let next = if takes_near {
                near.next()
            } else {
                worded.next()
            };
            match next {
                Some(id) if list.contains(&id) => {}
                Some(id) => list.push(id),
                None => break,
            }
        }
        let page = list.into_iter().skip(offset).take(limit).collect();
        (page, docs.len())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn the_parts_are_mixed_as_the_whole(
            docs in proptest::collection::vec(((0_u8..9, 0_u8..9), 0_usize..3), 0..40),
            ratio in proptest::sample::select(vec![0.1, 0.3, 0.5, 0.7, 0.9]),
            offset in 0_usize..8, limit in 0_usize..12,
        ) {
            let plan = HybridPlan::new(&request(ratio, offset, limit), &IndexView::default())
                .unwrap().unwrap();
            let depth = plan.words().depth();
            let parts: Vec<_> = (0..3).map(|node| {
                let held: Vec<(usize, Doc)> = docs.iter().enumerate()
                    .filter(|(_, (_, on))| *on == node).map(|(id, (doc, _))| (id, *doc)).collect();
                lists(&held, depth)
            }).collect();
            let answer = answer(&plan, &parts);
            let ids: Vec<usize> = answer["hits"].as_array().unwrap().iter()
                .map(|hit| usize::try_from(hit["id"].as_u64().unwrap()).unwrap()).collect();
            let whole: Vec<Doc> = docs.iter().map(|(doc, _)| *doc).collect();
            let (page, total) = if limit == 0 {
                (Vec::new(), whole.iter().filter(|doc| doc.0 > 0).count())
            } else {
                expected(&whole, ratio, offset, limit)
            };
            prop_assert_eq!(ids, page);
            prop_assert_eq!(&answer["estimatedTotalHits"], total);
        }
    }

    #[test]
    fn the_lists_are_asked_for_apart_and_from_the_first_rank() {
        let plan = HybridPlan::new(&request(0.3, 5, 10), &IndexView::default()).unwrap();
        let plan = plan.unwrap();
        let body = |plan: &SearchPlan| -> Value {
            serde_json::from_slice(&plan.node_body(Some("s IN [1]"))).unwrap()
        };
        let words = body(plan.words());
        assert_eq!(words["limit"], json!(15));
        assert_eq!((words.get("hybrid"), words.get("vector")), (None, None));
        assert_eq!(words["showRankingScore"], json!(true));
        let meaning = body(&plan.meaning(Some(json!([0.5]))));
        assert_eq!(meaning["hybrid"]["semanticRatio"], json!(MEANING_RATIO));
        assert_eq!(
            (&meaning["q"], &meaning["vector"]),
            (&json!("tea"), &json!([0.5]))
        );
        assert_eq!(meaning["filter"], json!("s IN [1]"));
    }

    #[test]
    fn a_node_is_asked_for_a_vector_only_where_one_is_used() {
        let body = |change: fn(&mut SearchRequest)| {
            let mut request = request(0.5, 0, 20);
            request.vector = None;
            change(&mut request);
            let body = request.embedding_body()?;
            Some(serde_json::from_slice::<Value>(&body).unwrap())
        };
        let asked = body(|_| {}).unwrap();
        assert_eq!((&asked["q"], &asked["limit"]), (&json!("tea"), &json!(0)));
        assert_eq!(asked["hybrid"]["semanticRatio"], json!(1.0));
        let whole = |request: &mut SearchRequest| {
            request.hybrid = Some(json!({"embedder": "e", "semanticRatio": 1.0}));
        };
        assert!(body(whole).is_some());
        let given = body(|request| request.vector = Some(json!([1.0]))).unwrap();
        assert_eq!(given["vector"], json!([1.0]));
        assert!(body(|request| request.hybrid = None).is_none());
        assert!(body(|request| request.q = None).is_none());
        let by_words = |request: &mut SearchRequest| {
            request.hybrid = Some(json!({"embedder": "e", "semanticRatio": 0.0}));
        };
        assert!(body(by_words).is_none());
    }
}
