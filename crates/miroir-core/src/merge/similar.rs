//! Documents like one document. The node that holds it looks among its own documents; the others
//! are given its vectors and search by meaning, once for each.
//!
//! All answer with the similarity of each hit, a fact of two vectors, so the merged order is that
//! of one node: by similarity, and among equals by insertion. Which vectors are compared is told in
//! `nearness`; a search by one of them never tells less than how near a document is, so what its
//! list does not reach is no nearer than its last hit. Nodes are not told the threshold: where it
//! cuts decides the total, and only the whole ranking tells where that is.
//!
//! **What is not exact**: the approximate search of vectors above the size up to which a node
//! compares them all.

use super::answer::{AnswerFault, MergeError, NodeAnswer};
use super::attribute::select_retrieved;
use super::body::{fuse_filters, is_blank_filter};
use super::hit::{Adjusted, Hit, HitShape, VECTORS};
use super::key::Rank;
use super::members::{write_name, write_value};
use super::nearness::{Nearness, NearnessUnknown, Target};
use super::view::IndexView;
use crate::reserved::SEQ_FIELD;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::cmp::Ordering;
use std::collections::BTreeMap;

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
    target: Target,
    physical: String,
    shape: HitShape,
    depth: usize,
    /// How many hits a search shows at most, unlike a look at the neighbours of a document.
    searched_max: usize,
    body: Map<String, Value>,
}

/// No list is longer: documents are numbered in 32 bits on a node.
const DEPTH_MAX: usize = u32::MAX as usize;

/// What a node answered.
#[derive(Debug, Clone, Copy)]
pub struct SimilarAnswer<'a> {
    /// The body.
    pub body: &'a [u8],
    /// The number of hits that each list was asked for, of a node that was given vectors; `None` of
    /// the node that holds the document.
    pub asked: Option<usize>,
}

/// The hits that one node holding all documents would show, ready to be written.
#[derive(Debug)]
pub struct SimilarPage<'a> {
    plan: &'a SimilarPlan,
    hits: Vec<Near<'a>>,
    /// The candidates.
    pub total: u64,
    /// Whether a node that searched may have more hits for this page than it was asked for, or than
    /// a search shows. Then this is no page: more is to be asked for, or in smaller parts.
    pub is_shallow: bool,
    /// Why this is no page, if that cannot be mended.
    pub unknown: Option<NearnessUnknown>,
}

/// A place in the ranking.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    similarity: f64,
    /// The place in the insertion order; sorts as text.
    seq: String,
}

#[derive(Debug)]
struct Near<'a> {
    place: Place,
    /// The similarity in the precision that thresholds are compared in.
    score: f64,
    hit: Hit<'a>,
}

/// The hits of the nodes, before they are put in order.
#[derive(Debug, Default)]
struct Collected<'a> {
    total: u64,
    found: Vec<Near<'a>>,
    /// The best places that hits may have which a list was too short for.
    cuts: Vec<Place>,
    unknown: Option<NearnessUnknown>,
}

#[derive(Deserialize)]
struct Lists<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

impl SimilarPlan {
    /// Plans `request` on the index that `view` describes.
    #[must_use]
    pub fn new(request: SimilarRequest, target: Target, view: &IndexView) -> Self {
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
                hides_vectors: !request.retrieve_vectors,
                extra: None,
            },
            target,
            physical: view.physical.clone(),
            depth,
            searched_max: view.max_total_hits,
            body,
            request,
        }
    }

    /// The numbers of hits to ask other nodes for, one after the other until the page is known.
    /// Hardly ever more than the first is needed: where documents have several vectors, of which
    /// the nearest do not count.
    #[must_use]
    pub fn depths(&self) -> Vec<usize> {
        const DEEPER: usize = 4;
        let deeper = self.depth.saturating_mul(DEEPER).min(self.searched_max);
        let mut depths = vec![self.depth, deeper, self.searched_max];
        depths.dedup_by(|next, previous| next <= previous);
        depths
    }

    /// The body of `POST /indexes/{uid}/similar` to the node that holds the document.
    #[must_use]
    pub fn owner_body(&self, shard_filter: Option<&str>) -> Vec<u8> {
        let mut body = self.body.clone();
        body.insert("id".to_owned(), json!(self.request.id));
        body.insert("embedder".to_owned(), json!(self.request.embedder));
        self.finish(body, shard_filter)
    }

    /// Whether other nodes are to be asked for several lists.
    #[must_use]
    pub fn has_several_lists(&self) -> bool {
        self.target.vectors().len() > 1
    }

    /// The body to any other node: of `POST /multi-search` where there are several lists, else of
    /// `POST /indexes/{uid}/search`. Without a vector nothing is similar, and the node only counts.
    #[must_use]
    pub fn other_body(&self, shard_filter: Option<&str>, asked: usize) -> Vec<u8> {
        let list = |vector: &Value| {
            let mut body = self.body.clone();
            let hybrid = json!({"embedder": self.request.embedder, "semanticRatio": 1.0});
            body.insert("hybrid".to_owned(), hybrid);
            body.insert("vector".to_owned(), vector.clone());
            body.insert("retrieveVectors".to_owned(), json!(true));
            body.insert("limit".to_owned(), json!(asked));
            body
        };
        match self.target.vectors() {
            [] => {
                let mut body = self.body.clone();
                body.insert("limit".to_owned(), json!(0));
                self.finish(body, shard_filter)
            }
            [vector] => self.finish(list(vector), shard_filter),
            vectors => {
                let queries = vectors.iter().map(|vector| {
                    let mut body = self.filtered(list(vector), shard_filter);
                    body.insert("indexUid".to_owned(), json!(self.physical));
                    Value::Object(body)
                });
                let queries: Vec<Value> = queries.collect();
                json!({ "queries": queries }).to_string().into_bytes()
            }
        }
    }

    fn finish(&self, body: Map<String, Value>, shard_filter: Option<&str>) -> Vec<u8> {
        let body = self.filtered(body, shard_filter);
        Value::Object(body).to_string().into_bytes()
    }

    fn filtered(
        &self,
        mut body: Map<String, Value>,
        shard_filter: Option<&str>,
    ) -> Map<String, Value> {
        let filter = self.request.filter.as_ref().filter(|f| !is_blank_filter(f));
        if let Some(filter) = fuse_filters(shard_filter, filter) {
            body.insert("filter".to_owned(), filter);
        }
        body
    }

    /// Merges what the nodes answered.
    ///
    /// # Errors
    /// [`MergeError`] with the position of the first answer that cannot be read.
    pub fn merge<'a>(
        &'a self,
        answers: &[SimilarAnswer<'a>],
    ) -> Result<SimilarPage<'a>, MergeError> {
        let mut collected = Collected::default();
        for (node, answer) in answers.iter().enumerate() {
            match answer.asked {
                None => self.collect_owned(&mut collected, answer.body),
                Some(asked) => self.collect_others(&mut collected, answer.body, asked),
            }
            .map_err(|fault| MergeError { node, fault })?;
        }
        let Collected {
            mut total,
            mut found,
            cuts,
            unknown,
        } = collected;
        found.sort_by(|a, b| a.place.compare(&b.place));
        found.truncate(self.depth);
        let threshold = self.request.ranking_score_threshold;
        let is_shallow = cuts.iter().any(|cut| {
            let is_wanted = threshold.is_none_or(|threshold| cut.similarity >= threshold);
            let ends_before = found
                .last()
                .is_none_or(|last| last.place.compare(cut).is_gt());
            is_wanted && (found.len() < self.depth || ends_before)
        });
        let mut hits: Vec<Near<'a>> = found.into_iter().skip(self.request.offset).collect();
        // One node stops at the first hit that is too far, and counts what it has passed.
        if let Some(threshold) = threshold
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
            unknown,
        })
    }

    /// The list of the node that holds the document: it compares as one node does.
    fn collect_owned<'a>(
        &self,
        collected: &mut Collected<'a>,
        body: &'a [u8],
    ) -> Result<(), AnswerFault> {
        let answer = NodeAnswer::parse(body)?;
        collected.total += answer.total;
        let shown = answer.hits.len();
        let is_cut =
            shown == self.searched_max && shown < self.depth && answer.total > shown as u64;
        let mut last = None;
        for (at, raw) in answer.hits.iter().enumerate() {
            let hit = Hit::parse(raw, at)?;
            let Some((place, nearness)) = told(&hit, at)? else {
                last = None;
                continue;
            };
            last = Some(place.clone());
            let score = nearness.score;
            collected.found.push(Near { place, score, hit });
        }
        collected.cuts.extend(last.filter(|_| is_cut));
        Ok(())
    }

    /// The lists of another node, one for each vector.
    fn collect_others<'a>(
        &self,
        collected: &mut Collected<'a>,
        body: &'a [u8],
        asked: usize,
    ) -> Result<(), AnswerFault> {
        let lists: Vec<&'a [u8]> = if self.has_several_lists() {
            let lists: Lists<'a> = serde_json::from_slice(body).map_err(AnswerFault::Json)?;
            let lists = lists.results.into_iter();
            lists.map(|list| list.get().as_bytes()).collect()
        } else {
            vec![body]
        };
        let list_count = lists.len();
        let mut documents: BTreeMap<String, (Hit<'a>, Vec<Option<Nearness>>)> = BTreeMap::new();
        let mut cuts = Vec::new();
        for (number, list) in lists.into_iter().enumerate() {
            let answer = NodeAnswer::parse(list)?;
            // All lists count the same documents.
            collected.total += if number == 0 { answer.total } else { 0 };
            let shown = answer.hits.len();
            let is_cut = shown >= asked.min(self.searched_max) && answer.total > shown as u64;
            let mut last = None;
            for (at, raw) in answer.hits.iter().enumerate() {
                let hit = Hit::parse(raw, at)?;
                // A document without a vector is no neighbour; a search shows such ones last.
                let Some((place, nearness)) = told(&hit, at)? else {
                    last = None;
                    continue;
                };
                let (_, listed) = documents
                    .entry(place.seq.clone())
                    .or_insert_with(|| (hit, vec![None; list_count]));
                listed[number] = Some(nearness);
                last = Some(place);
            }
            cuts.extend(last.filter(|_| is_cut));
        }
        // What some list reaches the end of is known.
        if cuts.len() == list_count {
            collected.cuts.extend(cuts);
        }
        for (at, (seq, (hit, listed))) in documents.into_iter().enumerate() {
            let vectors = hit.members().find(|(name, _)| *name == VECTORS);
            let vectors = vectors.map(|(_, raw)| raw);
            let nearness = self
                .target
                .nearness(&listed, vectors, &self.request.embedder)
                .map_err(|source| AnswerFault::Hit { hit: at, source })?;
            match nearness {
                Ok(Some(Nearness { similarity, score })) => {
                    let place = Place { similarity, seq };
                    collected.found.push(Near { place, score, hit });
                }
                Ok(None) => {}
                Err(unknown) => collected.unknown = Some(unknown),
            }
        }
        Ok(())
    }
}

/// Where a hit stands in its list, and how near it is said to be; `None` without a vector.
fn told(hit: &Hit<'_>, at: usize) -> Result<Option<(Place, Nearness)>, AnswerFault> {
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
        // An index of one shard has one node that answers, by the document.
        None => at.to_string(),
    };
    // The score is the similarity, and is read to its last digit.
    let similarity = hit.score.unwrap_or(similarity);
    let nearness = Nearness {
        similarity,
        score: similarity,
    };
    Ok(Some((Place { similarity, seq }, nearness)))
}

impl Place {
    /// `Less` means *ranks first*.
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
            let adjusted = Adjusted {
                score: Some(near.score),
                max_typo_count: None,
                pin: None,
            };
            near.hit.write(out, &self.plan.shape, adjusted);
            if request.show_ranking_score_details {
                // The hit is an object; its end comes after the details.
                out.pop();
                let mut is_first = out.last() == Some(&b'{');
                write_name(out, &mut is_first, "_rankingScoreDetails");
                let similarity = near.place.similarity;
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

    /// The first is the node that holds the document.
    fn read<'a>(answers: &'a [String], asked: usize) -> Vec<SimilarAnswer<'a>> {
        let bodies = answers.iter().enumerate();
        bodies
            .map(|(node, body)| SimilarAnswer {
                body: body.as_bytes(),
                asked: (node > 0).then_some(asked),
            })
            .collect()
    }

    fn shown(plan: &SimilarPlan, answers: &[String]) -> Value {
        let mut out = Vec::new();
        let answers = read(answers, plan.depth);
        plan.merge(&answers).unwrap().write_response(&mut out, 0);
        serde_json::from_slice(&out).unwrap()
    }

    fn target(vectors: &Value) -> Target {
        let document = json!({"_vectors": {"e": {"embeddings": vectors}}});
        let settings = json!({"embedders": {"e": {"source": "userProvided"}}});
        let settings = settings.as_object().unwrap();
        Target::read(document.to_string().as_bytes(), "e", settings).unwrap()
    }

    fn plan(request: SimilarRequest, view: &IndexView) -> SimilarPlan {
        let request = SimilarRequest {
            embedder: "e".to_owned(),
            ..request
        };
        SimilarPlan::new(request, target(&json!([[1.0, 0.0]])), view)
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
            let plan = plan(request, &IndexView::default());
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
        let plan = plan(request, &IndexView::default());
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
            let plan = plan(request, &view);
            let parts = parts.map(|docs| answer(docs, 2));
            let answers = parts.each_ref().map(|body| SimilarAnswer {
                body: body.as_bytes(),
                asked: Some(plan.depth),
            });
            plan.merge(&answers).unwrap().is_shallow
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
        let plan = plan(request, &IndexView::default());
        let parse = |body: Vec<u8>| -> Value { serde_json::from_slice(&body).unwrap() };
        let owner = parse(plan.owner_body(Some("s IN [1]")));
        assert_eq!(owner["id"], "x");
        assert_eq!(owner["limit"], 5);
        assert_eq!(owner["filter"], json!(["s IN [1]", "a = 1"]));
        assert_eq!(owner.get("rankingScoreThreshold"), None);
        let other = parse(plan.other_body(None, 7));
        assert_eq!(
            (&other["vector"], &other["limit"]),
            (&json!([1.0, 0.0]), &json!(7))
        );
        assert_eq!(
            other["hybrid"],
            json!({"embedder": "e", "semanticRatio": 1.0})
        );
        let several = target(&json!([[1.0], [0.5]]));
        let view = IndexView {
            physical: "p".to_owned(),
            ..IndexView::default()
        };
        let several = SimilarPlan::new(plan.request.clone(), several, &view);
        let lists = parse(several.other_body(Some("s IN [1]"), 7));
        let vectors = lists["queries"].as_array().unwrap().iter();
        let asked: Vec<_> = vectors
            .map(|query| (&query["indexUid"], &query["vector"], &query["filter"]))
            .collect();
        let filter = json!(["s IN [1]", "a = 1"]);
        let (first, second) = (json!([1.0]), json!([0.5]));
        let name = json!("p");
        assert_eq!(asked, [(&name, &first, &filter), (&name, &second, &filter)]);
        let none = Target::default();
        let counting = SimilarPlan::new(plan.request.clone(), none, &view);
        let counting = parse(counting.other_body(None, 7));
        assert_eq!(
            (counting.get("hybrid"), &counting["limit"]),
            (None, &json!(0))
        );
    }

    type Vectors = Vec<[i8; 2]>;

    /// The similarity to the target of the nearest of these pairs.
    fn nearest<'v>(pairs: impl Iterator<Item = (&'v [i8; 2], &'v [i8; 2])>) -> Option<f32> {
        let similarity = |(own, other): (&[i8; 2], &[i8; 2])| {
            let dot = |a: &[i8; 2], b: &[i8; 2]| -> f32 {
                a.iter()
                    .zip(b)
                    .map(|(a, b)| f32::from(*a) * f32::from(*b))
                    .sum()
            };
            let norms = dot(own, own).sqrt() * dot(other, other).sqrt();
            let distance = if norms > f32::EPSILON {
                (1.0 - (dot(own, other) / norms).clamp(-1.0, 1.0)) / 2.0
            } else {
                0.0
            };
            1.0 - distance
        };
        pairs.map(similarity).max_by(f32::total_cmp)
    }

    /// What a node shows of documents that stand in this order.
    fn list(
        ranked: &[(usize, f32)],
        docs: &[(Vectors, usize)],
        depth: usize,
        total: usize,
    ) -> Value {
        let hits: Vec<Value> = ranked
            .iter()
            .take(depth)
            .map(|(id, similarity)| {
                json!({
                    "id": id, SEQ_FIELD: format!("{id:04}"),
                    "_vectors": {"e": {"embeddings": docs[*id].0, "regenerate": false}},
                    "_rankingScore": f64::from(*similarity),
                    "_rankingScoreDetails": {"vectorSort": {"order": 0, "similarity": f64::from(*similarity)}},
                })
            })
            .collect();
        json!({"hits": hits, "estimatedTotalHits": total})
    }

    fn ranked(
        docs: &[(Vectors, usize)],
        node: Option<usize>,
        near: impl Fn(&Vectors) -> Option<f32>,
    ) -> Vec<(usize, f32)> {
        let of_node = docs
            .iter()
            .enumerate()
            .filter(|(_, (_, on))| node.is_none_or(|n| n == *on));
        let mut ranked: Vec<_> = of_node
            .filter_map(|(id, (vectors, _))| Some((id, near(vectors)?)))
            .collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        ranked
    }

    fn any_vectors() -> impl Strategy<Value = Vectors> {
        proptest::collection::vec([-2_i8..3, -2_i8..3], 0..4)
    }

    proptest! {
        /// Positions count: the merged order is that of the nearest pairs, or more is asked for.
        #[test]
        fn several_vectors_are_compared_by_position_over_all_nodes(
            own in proptest::collection::vec([-2_i8..3, -2_i8..3], 1..4),
            docs in proptest::collection::vec((any_vectors(), 0_usize..3), 0..30),
            limit in 1_usize..8,
        ) {
            let request = SimilarRequest { embedder: "e".to_owned(), limit, ..SimilarRequest::default() };
            let view = IndexView::default();
            let plan = SimilarPlan::new(request, target(&json!(own)), &view);
            let by_position = |vectors: &Vectors| nearest(own.iter().zip(vectors));
            let mut is_known = false;
            for depth in [limit, limit * 4, 1_000] {
                let mut answers = Vec::new();
                for node in 0..3 {
                    let total = docs.iter().filter(|(_, on)| *on == node).count();
                    let lists: Vec<Value> = own
                        .iter()
                        .map(|own| {
                            let by_any = |vectors: &Vectors| {
                                nearest(vectors.iter().map(|other| (own, other)))
                            };
                            list(&ranked(&docs, Some(node), by_any), &docs, depth, total)
                        })
                        .collect();
                    answers.push(match &lists[..] {
                        _ if node == 0 => {
                            let near = ranked(&docs, Some(0), by_position);
                            list(&near, &docs, limit, total).to_string()
                        }
                        [only] => only.to_string(),
                        _ => json!({ "results": lists }).to_string(),
                    });
                }
                let answers = read(&answers, depth);
                let page = plan.merge(&answers).unwrap();
                prop_assert!(page.unknown.is_none());
                prop_assert!(!page.is_shallow || depth < 1_000);
                if page.is_shallow {
                    continue;
                }
                is_known = true;
                let mut out = Vec::new();
                page.write_response(&mut out, 0);
                let found: Value = serde_json::from_slice(&out).unwrap();
                let ids = found["hits"].as_array().unwrap().iter().map(|hit| hit["id"].clone());
                let whole = ranked(&docs, None, by_position);
                let expected = whole.iter().take(limit).map(|(id, _)| json!(id));
                prop_assert_eq!(ids.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            }
            prop_assert!(is_known);
        }
    }
}
