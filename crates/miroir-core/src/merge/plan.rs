//! One search as a plan: what the nodes are asked, and what the merge must know of it.

use super::answer::{MergeError, NodeAnswer};
use super::attribute::matches_pattern;
use super::hit::HitShape;
use super::page::{Totals, Window};
use super::pinned::Pinned;
use super::response::MergedPage;
use super::spelling::askable;
use super::view::IndexView;
use super::walk::walk;
use super::{facet, walk};
use crate::reserved::is_reserved;
use crate::search::{Paging, SearchRequest};
use serde_json::{Map, Value};

/// A search that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SearchPlanError {
    /// Miroir cannot give the exact answer to such a search over several nodes; holds what it is.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// The client named a field that is not usable so in the index it sees: the nodes would accept
    /// it, because Miroir made it usable there for its own purposes.
    #[error("attribute `{name}` cannot be used in `{parameter}`")]
    Reserved {
        /// The parameter that names it.
        parameter: &'static str,
        /// The name.
        name: String,
    },
}

/// One search, ready to be sent to nodes and to merge what they answer.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchPlan {
    pub(super) query: String,
    pub(super) paging: Paging,
    pub(super) window: Window,
    pub(super) shape: HitShape,
    pub(super) view: IndexView,
    /// `None` when the client asked for no facets.
    pub(super) facets: Option<Vec<String>>,
    /// The distinct field in page mode: its facet values tell which hits several nodes count. In
    /// offset mode one node's own total is an estimate, which is not worth the values' transfer.
    pub(super) counted_field: Option<String>,
    /// The distinct field in force, from the request or the index.
    pub(super) distinct: Option<String>,
    pub(super) score_threshold: Option<f64>,
    /// Only hits that were ranked by vector belong to the list; see `hybrid`.
    pub(super) is_by_vector: bool,
    /// The client's filter, if it filters.
    pub(super) filter: Option<Value>,
    /// The request to a node but for its filter.
    pub(super) body: Map<String, Value>,
    /// Documents at places of their own; see `pinned`.
    pub(super) pins: Vec<Pinned>,
}

impl SearchPlan {
    /// Plans `request` on the index that `view` describes.
    ///
    /// # Errors
    /// [`SearchPlanError`]. All else that may be wrong with a request is the nodes' to say.
    ///
    /// ```
    /// use miroir_core::merge::{IndexView, SearchPlan};
    /// use miroir_core::search::SearchRequest;
    ///
    /// let request = SearchRequest { q: Some("tea".to_owned()), ..SearchRequest::default() };
    /// let plan = SearchPlan::new(&request, &IndexView::default()).unwrap();
    /// let body = String::from_utf8(plan.node_body(None)).unwrap();
    /// assert_eq!(
    ///     body,
    ///     r#"{"q":"tea","attributesToRetrieve":["*"],"showRankingScoreDetails":true,"offset":0,"limit":20}"#
    /// );
    /// ```
    pub fn new(request: &SearchRequest, view: &IndexView) -> Result<Self, SearchPlanError> {
        check_fields(request, view)?;
        let facets = request.facets.clone().filter(|facets| !facets.is_empty());
        let distinct = request
            .distinct
            .clone()
            .or_else(|| view.distinct_attribute.clone());
        let mut plan = Self {
            query: request.q.clone().unwrap_or_default(),
            paging: request.paging,
            window: Window::new(request.paging, view.max_total_hits),
            shape: HitShape {
                displayed: view.displayed_only().map(<[String]>::to_vec),
                shows_score: request.show_ranking_score,
                shows_details: request.show_ranking_score_details,
                hides_vectors: false,
                extra: None,
            },
            counted_field: distinct
                .clone()
                .filter(|_| matches!(request.paging, Paging::Page { .. })),
            facets,
            distinct,
            score_threshold: request.ranking_score_threshold,
            is_by_vector: false,
            filter: None,
            view: view.clone(),
            body: Map::new(),
            pins: Vec::new(),
        };
        plan.plan_body(request);
        Ok(plan)
    }

    /// The same search with this vector in place of what the client gave to be embedded.
    #[must_use]
    pub fn with_vector(mut self, vector: Value) -> Self {
        self.body.shift_remove("media");
        self.body.insert("vector".to_owned(), vector);
        self
    }

    /// The number of hits that each node is asked for; 0 when only totals are wanted.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.window.depth()
    }

    /// The number of hits worth asking of a node that answers for `shards` of `shard_count` shards.
    ///
    /// Documents lie on shards by a hash, so the page's hits fall to a node like draws with that
    /// chance: three standard deviations above its expected share it hardly ever holds more, and
    /// [`SearchPlan::merge_asked`] notices when it may. The whole depth where hits may be dropped
    /// while merging, or where scores need the depth.
    ///
    /// ```
    /// use miroir_core::{merge::{IndexView, SearchPlan}, search::{Paging, SearchRequest}};
    ///
    /// let paging = Paging::Offset { offset: 900, limit: 20 };
    /// let request = SearchRequest { paging, ..SearchRequest::default() };
    /// let plan = SearchPlan::new(&request, &IndexView::default()).unwrap();
    /// assert_eq!((plan.first_depth(4, 4), plan.first_depth(1, 3)), (920, 351));
    /// ```
    #[must_use]
    pub fn first_depth(&self, shards: usize, shard_count: usize) -> usize {
        let depth = self.depth();
        if self.needs_scores() || self.distinct.is_some() || shards >= shard_count {
            return depth;
        }
        // Depths are far below 2^52, so these casts are exact or harmless.
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let (hits, share) = (depth as f64, shards as f64 / shard_count as f64);
        let expected = hits * share;
        let deviation = libm::sqrt(expected * (1.0 - share));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and capped by the depth"
        )]
        let wanted = libm::ceil(expected + 3.0 * deviation) as usize + 1;
        wanted.min(depth)
    }

    /// As [`SearchPlan::merge`], of nodes that were asked for fewer hits than the whole depth:
    /// `asked` holds how many, in the order of `answers`.
    ///
    /// Returns the page, or the position of a node that must be asked for the whole depth, because
    /// the page may need a hit that it was not asked for.
    ///
    /// # Errors
    /// As [`SearchPlan::merge`].
    pub fn merge_asked<'a>(
        &'a self,
        answers: &[&'a [u8]],
        asked: &[usize],
    ) -> Result<Result<MergedPage<'a>, usize>, MergeError> {
        let parse = |(node, body): (usize, &&'a [u8])| {
            let answer = NodeAnswer::parse(body).map_err(|fault| MergeError { node, fault })?;
            Ok(answer.asked_for(asked.get(node).copied().unwrap_or(usize::MAX)))
        };
        let answers: Vec<_> = answers
            .iter()
            .enumerate()
            .map(parse)
            .collect::<Result<_, _>>()?;
        let page = self.merge_parsed(&answers)?;
        Ok(match page.dry {
            Some(node) => Err(node),
            None => Ok(page),
        })
    }

    /// Merges the bodies that the nodes answered with into one page.
    ///
    /// The order of `answers` matters only to hits that are equal in everything including their
    /// place in the insertion order; the same order always gives the same page.
    ///
    /// # Errors
    /// [`MergeError`] with the position of the first answer that cannot be read.
    ///
    /// ```
    /// use miroir_core::merge::{IndexView, SearchPlan};
    /// use miroir_core::search::SearchRequest;
    ///
    /// let plan = SearchPlan::new(&SearchRequest::default(), &IndexView::default()).unwrap();
    /// let hit = |id: u32, seq: &str| {
    ///     format!(
    ///         r#"{{"hits":[{{"id":{id},"_rankingScoreDetails":{{"_miroir_seq:asc":
    ///         {{"order":0,"value":"{seq}"}}}}}}],"estimatedTotalHits":1}}"#
    ///     )
    /// };
    /// let (a, b) = (hit(1, "##"), hit(2, "!!"));
    /// let page = plan.merge(&[a.as_bytes(), b.as_bytes()]).unwrap();
    /// let mut hits = Vec::new();
    /// page.write_hits(&mut hits);
    /// assert_eq!(hits, br#"[{"id":2},{"id":1}]"#);
    /// ```
    pub fn merge<'a>(&'a self, answers: &[&'a [u8]]) -> Result<MergedPage<'a>, MergeError> {
        let parse = |(node, body): (usize, &&'a [u8])| {
            NodeAnswer::parse(body).map_err(|fault| MergeError { node, fault })
        };
        let answers: Vec<_> = answers
            .iter()
            .enumerate()
            .map(parse)
            .collect::<Result<_, _>>()?;
        self.merge_parsed(&answers)
    }

    /// Merges answers that were read as they came in; see [`SearchPlan::merge`].
    ///
    /// # Errors
    /// [`MergeError`] with the position of the first answer that holds an unreadable hit.
    pub fn merge_parsed<'a>(
        &'a self,
        answers: &[NodeAnswer<'a>],
    ) -> Result<MergedPage<'a>, MergeError> {
        if !self.pins.is_empty() {
            return self.merge_pinned(answers);
        }
        let walked = walk(self, answers, self.window)?;
        let found = self.count_hits(answers, walked.accepted, walked.rejected.len());
        let totals = Totals::new(self.paging, found);
        Ok(self.page_of(answers, walked, totals, self.counted_field.as_deref()))
    }

    /// As [`SearchPlan::merge_parsed`], with documents at places of their own.
    fn merge_pinned<'a>(
        &'a self,
        answers: &[NodeAnswer<'a>],
    ) -> Result<MergedPage<'a>, MergeError> {
        // What was found is known down to the page's end, for pins move it.
        let start = match self.window.depth() {
            0 => self.window.start,
            _ => 0,
        };
        let walked = walk(
            self,
            answers,
            Window {
                start,
                ..self.window
            },
        )?;
        let pinned = self.pinned_answers()?;
        let counted: Vec<NodeAnswer<'a>> = answers.iter().chain(&pinned).cloned().collect();
        let found = self.count_hits(&counted, walked.accepted, walked.rejected.len());
        let totals = Totals::new(self.paging, found);
        let mut page = self.page_of(&counted, walked, totals, self.counted_field.as_deref());
        page.hits = self.with_pins(std::mem::take(&mut page.hits), &pinned)?;
        if page.semantic_hit_count.is_some() {
            page.semantic_hit_count = Some(page.hits.len());
        }
        Ok(page)
    }

    /// The page of what was found; each value of the facet `counted` counts once, for its nodes
    /// counted it each for itself.
    pub(super) fn page_of<'a>(
        &'a self,
        answers: &[NodeAnswer<'a>],
        walked: walk::Walked<'a>,
        totals: Totals,
        counted: Option<&str>,
    ) -> MergedPage<'a> {
        let walk::Walked {
            shown,
            rejected,
            is_cut_short,
            dry,
            ..
        } = walked;
        let is_shown = |field: &str| self.is_shown_facet(field);
        let (mut facet_distribution, mut facet_stats, mut disputed) = (None, None, Vec::new());
        if self.facets.is_some() {
            let mut sums = facet::FacetSums::new(answers, is_shown);
            counted.iter().for_each(|field| sums.count_once(field));
            for ranked in &rejected {
                sums.remove(&ranked.hit, |field| counted == Some(field));
            }
            facet_stats = sums.stats();
            disputed = askable(sums.disputed());
            let order_of = |field: &str| self.view.facet_order(field);
            facet_distribution = sums.distribution(order_of, self.view.max_values_per_facet);
        }
        let semantic_hit_count =
            answers
                .iter()
                .any(|answer| answer.has_semantic_count)
                .then(|| {
                    shown
                        .iter()
                        .filter(|hit| hit.hit.details.has_similarity())
                        .count()
                });
        MergedPage {
            plan: self,
            totals,
            disputed,
            facet_distribution,
            facet_stats,
            semantic_hit_count,
            is_cut_short,
            dry,
            query_vector: answers.iter().find_map(|answer| answer.query_vector),
            hits: shown,
        }
    }

    /// Whether scores are shown or compared, so that they must be the single node's.
    pub(super) fn needs_scores(&self) -> bool {
        self.shape.shows_score || self.shape.shows_details || self.score_threshold.is_some()
    }

    /// Whether the search only filters: there is nothing to rank documents by.
    pub(super) fn ranks_nothing(&self) -> bool {
        let ratio = self
            .body
            .get("hybrid")
            .and_then(|hybrid| hybrid.get("semanticRatio"));
        let is_by_words = ratio.and_then(Value::as_f64) == Some(0.0);
        let gives_vector = self.body.contains_key("vector") || self.body.contains_key("media");
        let uses_vector = gives_vector && !is_by_words;
        self.query.trim().is_empty() && !uses_vector
    }

    fn count_hits(&self, answers: &[NodeAnswer<'_>], accepted: usize, rejected: usize) -> u64 {
        let candidates: u64 = answers.iter().map(|answer| answer.total).sum();
        let shared = match &self.counted_field {
            // Also those beyond the lists' ends.
            Some(field) => facet::count_shared_values(answers, field),
            None => rejected as u64,
        };
        self.capped(candidates.saturating_sub(shared).max(accepted as u64))
    }

    /// A number of hits as the server's version shows it.
    pub(super) fn capped(&self, hits: u64) -> u64 {
        if self.view.totals_capped {
            hits.min(self.view.max_total_hits as u64)
        } else {
            hits
        }
    }

    fn is_shown_facet(&self, field: &str) -> bool {
        let covers = |patterns: &[String]| patterns.iter().any(|p| matches_pattern(p, field));
        !is_reserved(field)
            && self.facets.as_deref().is_some_and(covers)
            && self.view.is_filterable(field)
    }
}

/// Refuses fields that only Miroir made usable on the nodes: the reserved ones, and the index's
/// distinct attribute where the client did not make it filterable; and patterns of facets that meet
/// none of the client's fields, but may meet these.
fn check_fields(request: &SearchRequest, view: &IndexView) -> Result<(), SearchPlanError> {
    let is_hidden = |name: &str| {
        is_reserved(name)
            || view.filterable.is_empty()
            || (view.distinct_attribute.as_deref() == Some(name) && !view.is_filterable(name))
    };
    let facets = request.facets.iter().flatten();
    let patterns = facets
        .clone()
        .filter(|name| name.contains('*') && !view.meets_filterable(name))
        .map(|name| ("facets", name.as_str()));
    let filterable = facets
        .map(|name| ("facets", name.as_str()))
        .chain(
            request
                .distinct
                .iter()
                .map(|name| ("distinct", name.as_str())),
        )
        .filter(|(_, name)| is_hidden(name))
        .chain(patterns);
    let rules = request.sort.iter().flatten();
    let sorted = rules
        .map(|rule| {
            rule.rsplit_once(':')
                .map_or(rule.as_str(), |(field, _)| field)
        })
        .filter(|field| is_reserved(field))
        .map(|field| ("sort", field));
    match filterable.chain(sorted).next() {
        Some((parameter, name)) => Err(SearchPlanError::Reserved {
            parameter,
            name: name.to_owned(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Option<Vec<String>> {
        Some(text.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn reserved_fields_do_not_exist_for_the_client() {
        for (parameter, request) in [
            (
                "facets",
                SearchRequest {
                    facets: names("a _miroir_shard"),
                    ..Default::default()
                },
            ),
            (
                "distinct",
                SearchRequest {
                    distinct: Some("_miroir_seq".to_owned()),
                    ..Default::default()
                },
            ),
            (
                "sort",
                SearchRequest {
                    sort: names("_miroir_seq:asc"),
                    ..Default::default()
                },
            ),
        ] {
            let view = IndexView {
                filterable: vec!["*".to_owned()],
                ..Default::default()
            };
            let error = SearchPlan::new(&request, &view).unwrap_err();
            let SearchPlanError::Reserved {
                parameter: found, ..
            } = error
            else {
                panic!("{error}")
            };
            assert_eq!(found, parameter);
        }
    }

    #[test]
    fn a_pattern_of_facets_must_meet_a_field_of_the_clients() {
        let plan = |pattern: &str, filterable: &str| {
            let view = IndexView {
                filterable: names(filterable).unwrap_or_default(),
                ..Default::default()
            };
            let facets = Some(vec![pattern.to_owned()]);
            let request = SearchRequest {
                facets,
                ..Default::default()
            };
            SearchPlan::new(&request, &view).is_ok()
        };
        assert!(plan("*", "genre") && plan("ge*", "genre") && plan("*", "*"));
        assert!(plan("_mir*", "*") && plan("gen*", "g*") && plan("_*", "_geo"));
        assert!(!plan("_mir*", "genre") && !plan("_miroir*", "gen*") && !plan("*shard", "genre"));
    }

    #[test]
    fn the_distinct_attribute_is_filterable_only_where_the_client_declared_it() {
        let plan = |distinct: &str, filterable: &str| {
            let view = IndexView {
                distinct_attribute: Some("group".to_owned()),
                filterable: names(filterable).unwrap_or_default(),
                ..Default::default()
            };
            let facets = Some(vec![distinct.to_owned()]);
            let by_facet = SearchRequest {
                facets,
                ..Default::default()
            };
            let distinct = Some(distinct.to_owned());
            let by_distinct = SearchRequest {
                distinct,
                ..Default::default()
            };
            let is_refused = SearchPlan::new(&by_facet, &view).is_err();
            assert_eq!(is_refused, SearchPlan::new(&by_distinct, &view).is_err());
            !is_refused
        };
        assert!(plan("group", "group") && plan("group", "g*") && plan("year", "year"));
        // What is filterable on no node is the node's to refuse.
        assert!(plan("year", "tag"));
        assert!(!plan("group", "year") && !plan("group", "") && !plan("year", ""));
        assert!(SearchPlan::new(&SearchRequest::default(), &IndexView::default()).is_ok());
    }
}
