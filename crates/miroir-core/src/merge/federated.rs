//! Several weighted queries into one list.
//!
//! Each query is planned, sent and merged as a search of its own, down to the page's last rank, so
//! that its list is the one a single node would have. Then, as a single node does it, the lists
//! of one index are merged and a document that several queries found is kept where it comes first;
//! the lists of the indexes are merged the same way, and the page is cut.
//!
//! Where several queries search one index, totals and facets count the documents that *any* of
//! them finds. No sum tells that, so the nodes are asked for it ([`FederatedPlan::count_requests`]).
//! Under `distinct`, what some list holds and the merge does not keep is taken out of them again;
//! where the lists of such an index hold all that is found, it is counted from them instead.

use super::answer::{MergeError, NodeAnswer};
use super::attribute::matches_pattern;
use super::distinct::Taken;
use super::facet::FacetSums;
use super::federated_count::{CountRequest, CountedQuery, count_requests, read_count};
use super::federated_facets::{self, Facets};
use super::hit::HitShape;
use super::hybrid::HybridPlan;
use super::key::SortValue;
use super::members::{write_name, write_value};
use super::page::{Totals, Window};
use super::plan::{SearchPlan, SearchPlanError};
use super::response::{HITS, MergedPage};
use super::view::IndexView;
use super::walk::RankedHit;
use super::weighted::Standing;
use crate::reserved::is_reserved;
use crate::search::{Paging, SearchRequest};
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashSet};

/// The member of a hit that says which query found it.
pub(super) const FEDERATION: &str = "_federation";

/// One query of a federated search.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FederatedQuery {
    /// The client's name of the index.
    pub uid: String,
    /// The search; its paging and facets are the federation's.
    pub request: SearchRequest,
    /// What its scores are multiplied with.
    pub weight: f64,
}

/// A federated search, as the client asked it.
#[derive(Debug, Clone, PartialEq)]
pub struct FederatedRequest {
    /// The queries.
    pub queries: Vec<FederatedQuery>,
    /// The window of the whole list.
    pub paging: Paging,
    /// The facets to count, by index.
    pub facets: BTreeMap<String, Vec<String>>,
    /// Adds the facets of all indexes up, at most so many values each if a number is given.
    pub merge_facets: Option<Option<usize>>,
    /// Shows each value of this field once, whatever index it comes from.
    pub distinct: Option<String>,
}

/// A federated search, ready to be sent query by query and to merge what comes back.
#[derive(Debug, Clone, PartialEq)]
pub struct FederatedPlan {
    pub(super) queries: Vec<Planned>,
    pub(super) paging: Paging,
    /// Which hits of the merged list are shown.
    pub(super) window: Window,
    pub(super) facets: BTreeMap<String, Vec<String>>,
    merge_facets: Option<Option<usize>>,
    pub(super) distinct: Option<String>,
    pub(super) views: BTreeMap<String, IndexView>,
    retrieves_vectors: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Planned {
    pub(super) uid: String,
    pub(super) weight: f64,
    pub(super) plan: QueryPlan,
    /// As the client asked; the plan's own always has the scores.
    pub(super) shape: HitShape,
}

/// How one query of a federated search is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryPlan {
    /// As one list.
    Plain(Box<SearchPlan>),
    /// As two, one by words and one by meaning.
    Mixed(Box<HybridPlan>),
}

/// One page of a federated search, ready to be written.
#[derive(Debug)]
pub struct FederatedPage<'a> {
    pub(super) plan: &'a FederatedPlan,
    pub(super) hits: Vec<Placed<'a>>,
    pub(super) query_vectors: Vec<(usize, &'a RawValue)>,
    pub(super) totals: Totals,
    pub(super) facets: BTreeMap<String, Facets>,
    /// Those of all indexes as one, if that was asked for.
    pub(super) merged_facets: Option<Facets>,
    pub(super) semantic_hit_count: Option<usize>,
}

#[derive(Debug)]
pub(super) struct Placed<'a> {
    pub(super) query: usize,
    pub(super) standing: Standing<'a>,
    pub(super) ranked: RankedHit<'a>,
}

impl FederatedPlan {
    /// Plans `request` on the indexes that `views` describes, by the client's names.
    ///
    /// # Errors
    /// [`SearchPlanError`], with the position of the query it is about.
    pub fn new(
        request: FederatedRequest,
        views: BTreeMap<String, IndexView>,
    ) -> Result<Self, (usize, SearchPlanError)> {
        let window = Window::new(request.paging, usize::MAX);
        let depth = window.depth();
        // Page mode makes the nodes count exhaustively.
        let paging = match request.paging {
            Paging::Offset { .. } => Paging::Offset {
                offset: 0,
                limit: depth,
            },
            Paging::Page { .. } => Paging::Page {
                page: 1,
                hits_per_page: depth,
            },
        };
        let mut plan = Self {
            queries: Vec::with_capacity(request.queries.len()),
            paging: request.paging,
            window,
            facets: request.facets,
            merge_facets: request.merge_facets,
            distinct: request.distinct,
            views,
            retrieves_vectors: request.queries.iter().any(|q| q.request.retrieve_vectors),
        };
        let uids: Vec<String> = request
            .queries
            .iter()
            .map(|query| query.uid.clone())
            .collect();
        for (at, query) in request.queries.into_iter().enumerate() {
            let is_only = uids.iter().filter(|uid| **uid == query.uid).count() == 1;
            let mut search = query.request;
            search.paging = paging;
            // Under `distinct` hits must hold their facets, because those that are not kept are
            // taken out of what the nodes counted.
            let needs_facets = is_only || plan.distinct.is_some();
            search.facets = plan
                .facets
                .get(&query.uid)
                .filter(|_| needs_facets)
                .cloned();
            if plan.distinct.is_some() {
                search.distinct.clone_from(&plan.distinct);
            }
            let shows_score = std::mem::replace(&mut search.show_ranking_score, true);
            let default = IndexView::default();
            let view = plan.views.get(&query.uid).unwrap_or(&default);
            let mixed = HybridPlan::new(&search, view).map_err(|error| (at, error))?;
            let (search_plan, shape) = if let Some(mixed) = mixed {
                let shape = mixed.words().shape.clone();
                (QueryPlan::Mixed(Box::new(mixed)), shape)
            } else {
                let plan = SearchPlan::new(&search, view).map_err(|error| (at, error))?;
                let shape = plan.shape.clone();
                (QueryPlan::Plain(Box::new(plan)), shape)
            };
            let shape = HitShape {
                shows_score,
                ..shape
            };
            plan.queries.push(Planned {
                uid: query.uid,
                weight: query.weight,
                plan: search_plan,
                shape,
            });
        }
        Ok(plan)
    }

    /// The plan of each query, in their order.
    pub fn query_plans(&self) -> impl Iterator<Item = &QueryPlan> {
        self.queries.iter().map(|query| &query.plan)
    }

    /// The indexes that several queries search, with the positions of these.
    #[must_use]
    pub fn shared_indexes(&self) -> Vec<(&str, Vec<usize>)> {
        let mut positions: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, query) in self.queries.iter().enumerate() {
            positions.entry(&query.uid).or_default().push(at);
        }
        let all = positions.into_iter();
        all.filter(|(_, positions)| positions.len() > 1).collect()
    }

    /// The requests to a node that together count what any query on the index finds. `meanings`
    /// holds, for each query, the search by meaning that was sent, if one was.
    ///
    /// What different requests count are different documents, so the sum is the number.
    #[must_use]
    pub fn count_requests(
        &self,
        uid: &str,
        meanings: &[Option<&SearchPlan>],
        shard_filter: Option<&str>,
    ) -> Vec<CountRequest> {
        let physical = self.physical(uid);
        let of_index = self.queries.iter().enumerate();
        let counted: Vec<CountedQuery<'_>> = of_index
            .filter(|(_, query)| query.uid == uid)
            .map(|(position, query)| CountedQuery {
                position,
                plan: match (&query.plan, meanings.get(position).copied().flatten()) {
                    // Where the query mixes, its candidates are those of both lists.
                    (_, Some(meaning)) => meaning,
                    (QueryPlan::Mixed(mixed), None) => mixed.words(),
                    (QueryPlan::Plain(plan), None) => plan,
                },
            })
            .collect();
        // One hit, so that a query that mixes words and vectors looks at its vectors. Under
        // `distinct` as many as are looked at: those that they hide are not counted. What is found
        // by words alone is counted before anything is ranked.
        let hits = match &self.distinct {
            Some(_) => self.window.depth().max(1),
            None if counted.iter().all(CountedQuery::is_by_words) => 0,
            None => 1,
        };
        let mut federation = match self.paging {
            Paging::Offset { .. } => json!({"offset": 0, "limit": hits}),
            Paging::Page { .. } => json!({"page": 1, "hitsPerPage": hits}),
        };
        if let Some(facets) = self.facets.get(uid) {
            federation["facetsByIndex"] = json!({ physical: facets });
        }
        if let Some(distinct) = &self.distinct {
            federation["distinct"] = json!(distinct);
        }
        count_requests(physical, &federation, &counted, shard_filter)
    }

    /// Merges the pages of the queries, in their order, and the nodes' answers to
    /// [`FederatedPlan::count_requests`] by index.
    ///
    /// # Errors
    /// [`MergeError`] with the position of the first counting answer that cannot be read.
    pub fn merge<'a>(
        &'a self,
        pages: Vec<MergedPage<'a>>,
        counts: &BTreeMap<String, Vec<&'a [u8]>>,
    ) -> Result<FederatedPage<'a>, MergeError> {
        let mut total = 0;
        let mut facets = BTreeMap::new();
        let mut query_vectors = Vec::new();
        let mut is_semantic = false;
        let mut found: BTreeMap<&str, Found<'a>> = BTreeMap::new();
        for (at, (query, page)) in self.queries.iter().zip(pages).enumerate() {
            query_vectors.extend(page.query_vector.map(|vector| (at, vector)));
            is_semantic |= page.semantic_hit_count.is_some();
            let found = found.entry(&query.uid).or_default();
            if counts.contains_key(&query.uid) {
                found.is_cut |= page.totals.hits() > page.hits.len() as u64;
            } else {
                total += page.totals.hits();
                if let Some(distribution) = page.facet_distribution {
                    let stats = page.facet_stats.unwrap_or_default();
                    facets.insert(
                        query.uid.clone(),
                        Facets {
                            distribution,
                            stats,
                        },
                    );
                }
            }
            let place = |ranked: RankedHit<'a>| {
                let score = ranked.adjusted.score.or(ranked.hit.score).unwrap_or(1.0);
                let details = &ranked.hit.details;
                let standing = Standing::new(details, score, ranked.adjusted, query.weight);
                Placed {
                    query: at,
                    standing,
                    ranked,
                }
            };
            found.lists.push(page.hits.into_iter().map(place).collect());
        }
        let mut by_index = Vec::new();
        for (uid, Found { lists, is_cut }) in found {
            let view_max = self
                .views
                .get(uid)
                .map_or(usize::MAX, |view| view.max_total_hits);
            let depth = self.window.depth().min(view_max);
            let (mut list, dropped) = self.merge_lists(vec![once_each(lists)]);
            if let Some(answers) = counts.get(uid) {
                let all = (self.distinct.is_some() && !is_cut).then_some(&list[..]);
                let (count, counted) = self.merge_counts(uid, answers, all)?;
                total += count;
                facets.extend(counted.map(|counted| (uid.to_owned(), counted)));
            } else {
                let dropped = dropped.into_iter().map(|placed| placed.ranked);
                for ranked in dropped {
                    total = total.saturating_sub(1);
                    facets
                        .get_mut(uid)
                        .iter_mut()
                        .for_each(|of| of.remove(&ranked));
                }
            }
            list.truncate(depth);
            by_index.push(list);
        }
        let (mut hits, dropped) = self.merge_lists(by_index);
        let mut dropped_of_others = Vec::new();
        for Placed { query, ranked, .. } in dropped {
            total = total.saturating_sub(1);
            if self.merge_facets.is_some() {
                dropped_of_others.push(ranked);
            } else {
                let uid = &self.queries[query].uid;
                facets
                    .get_mut(uid)
                    .iter_mut()
                    .for_each(|of| of.remove(&ranked));
            }
        }
        let merged_facets = self.merged_facets(&facets).map(|mut merged| {
            // Of the values of all indexes, whichever it is that shows them, as a node does it.
            for ranked in &dropped_of_others {
                merged.remove(ranked);
            }
            merged
        });
        hits.truncate(self.window.end.min(hits.len()));
        hits.drain(..self.window.start.min(hits.len()));
        let semantic = hits
            .iter()
            .filter(|hit| hit.ranked.hit.details.has_similarity());
        let semantic_hit_count = is_semantic.then(|| semantic.count());
        Ok(FederatedPage {
            plan: self,
            hits,
            query_vectors,
            totals: Totals::new(self.paging, total),
            facets,
            merged_facets,
            semantic_hit_count,
        })
    }

    /// The name of an index on the nodes.
    pub(super) fn physical<'p>(&'p self, uid: &'p str) -> &'p str {
        let view = self.views.get(uid);
        view.map_or(uid, |view| view.physical.as_str())
    }

    /// The facets of all indexes as one, if that was asked for.
    pub(super) fn merged_facets(&self, facets: &BTreeMap<String, Facets>) -> Option<Facets> {
        let limit = self.merge_facets.filter(|_| !facets.is_empty())?;
        Some(federated_facets::merge(facets, &self.views, limit))
    }

    /// Merges lists and keeps one hit for each value of the federation's distinct field; returns
    /// what is kept and what is not.
    fn merge_lists<'a>(
        &'a self,
        lists: Vec<Vec<Placed<'a>>>,
    ) -> (Vec<Placed<'a>>, Vec<Placed<'a>>) {
        let mut taken = self.distinct.as_deref().map(Taken::new);
        merge_sorted(lists).into_iter().partition(|placed| {
            taken
                .as_mut()
                .is_none_or(|taken| taken.take(&placed.ranked.hit))
        })
    }

    fn merge_counts(
        &self,
        uid: &str,
        answers: &[&[u8]],
        // What the queries find, where their lists hold all of it.
        all: Option<&[Placed<'_>]>,
    ) -> Result<(u64, Option<Facets>), MergeError> {
        let mut parts = Vec::with_capacity(answers.len());
        for (node, body) in answers.iter().enumerate() {
            parts.push(read_count(body).map_err(|fault| MergeError { node, fault })?);
        }
        Ok(self.sum_counts(uid, &parts, all))
    }

    /// What nodes counted on an index, added up.
    pub(super) fn sum_counts(
        &self,
        uid: &str,
        parts: &[NodeAnswer<'_>],
        // What the queries find, where their lists hold all of it.
        all: Option<&[Placed<'_>]>,
    ) -> (u64, Option<Facets>) {
        let total = match all {
            Some(all) => all.len() as u64,
            None => parts.iter().map(|part| part.total).sum(),
        };
        let (Some(patterns), Some(view)) = (self.facets.get(uid), self.views.get(uid)) else {
            return (total, None);
        };
        let is_shown = |field: &str| {
            !is_reserved(field)
                && patterns
                    .iter()
                    .any(|pattern| matches_pattern(pattern, field))
                && view.is_filterable(field)
        };
        let mut sums = FacetSums::new(parts, is_shown);
        if let Some(all) = all {
            sums.recount(all.iter().map(|placed| &placed.ranked.hit));
        } else if let (Some(field), Paging::Page { .. }) = (&self.distinct, self.paging) {
            sums.count_once(field);
        }
        let stats = sums.stats().unwrap_or_default();
        let order_of = |field: &str| view.facet_order(field);
        let distribution = sums.distribution(order_of, view.max_values_per_facet);
        let facets = distribution.map(|distribution| Facets {
            distribution,
            stats,
        });
        (total, facets)
    }
}

/// What the queries on one index found.
#[derive(Debug, Default)]
struct Found<'a> {
    lists: Vec<Vec<Placed<'a>>>,
    /// Whether a query finds more than its list holds.
    is_cut: bool,
}

/// The place in the insertion order, which names a document of its index.
fn seq_of<'h>(ranked: &'h RankedHit<'_>) -> Option<&'h str> {
    match &ranked.hit.details.seq {
        SortValue::Text(seq) => Some(seq),
        _ => None,
    }
}

/// The lists of one index as one, each document where it comes first.
fn once_each(lists: Vec<Vec<Placed<'_>>>) -> Vec<Placed<'_>> {
    let mut seen: HashSet<String> = HashSet::new();
    let mut merged = merge_sorted(lists);
    merged.retain(|placed| seq_of(&placed.ranked).is_none_or(|seq| seen.insert(seq.to_owned())));
    merged
}

/// Always takes the best head; equal heads come by the position of their query. A list keeps its
/// own order, which is exact where the comparison between queries is not.
fn merge_sorted<'a>(lists: Vec<Vec<Placed<'a>>>) -> Vec<Placed<'a>> {
    let mut merged = Vec::with_capacity(lists.iter().map(Vec::len).sum());
    let mut lists: Vec<_> = lists
        .into_iter()
        .map(|list| list.into_iter().peekable())
        .collect();
    loop {
        let mut best: Option<(usize, &Placed<'a>)> = None;
        for (at, list) in lists.iter_mut().enumerate() {
            let Some(head) = list.peek() else { continue };
            let is_better = best.is_none_or(|(_, best)| {
                let by_standing = head.standing.compare(&best.standing);
                by_standing.then(head.query.cmp(&best.query)).is_lt()
            });
            if is_better {
                best = Some((at, head));
            }
        }
        let Some((at, _)) = best else { return merged };
        merged.extend(lists[at].next());
    }
}

impl FederatedPage<'_> {
    /// Appends the array of hits.
    pub fn write_hits(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (at, placed) in self.hits.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let query = &self.plan.queries[placed.query];
            let federation = json!({
                "indexUid": query.uid,
                "queriesPosition": placed.query,
                "weightedRankingScore": placed.standing.score,
            });
            let added = (FEDERATION, federation.to_string());
            let RankedHit { hit, adjusted } = &placed.ranked;
            hit.write_with(out, &query.shape, *adjusted, Some((added.0, &added.1)));
        }
        out.push(b']');
    }

    /// Appends the whole answer, its members in Meilisearch's order.
    ///
    /// `extras` are members, each with a comma before it, that come last.
    pub fn write_response(
        &self,
        out: &mut Vec<u8>,
        processing_time_ms: u64,
        request_uid: &str,
        extras: &[u8],
    ) {
        out.extend_from_slice(HITS);
        self.write_hits(out);
        self.write_rest(out, processing_time_ms, request_uid, extras);
    }

    /// The same with another array of hits, made of what [`FederatedPage::write_hits`] writes.
    pub fn write_response_with(
        &self,
        out: &mut Vec<u8>,
        hits: &[u8],
        processing_time_ms: u64,
        request_uid: &str,
        extras: &[u8],
    ) {
        out.extend_from_slice(HITS);
        out.extend_from_slice(hits);
        self.write_rest(out, processing_time_ms, request_uid, extras);
    }

    fn write_rest(
        &self,
        out: &mut Vec<u8>,
        processing_time_ms: u64,
        request_uid: &str,
        extras: &[u8],
    ) {
        let mut is_first = false;
        if self.plan.retrieves_vectors {
            write_name(out, &mut is_first, "queryVectors");
            out.push(b'{');
            let mut is_first = true;
            for (query, vector) in &self.query_vectors {
                write_name(out, &mut is_first, &query.to_string());
                out.extend_from_slice(vector.get().as_bytes());
            }
            out.push(b'}');
        }
        write_name(out, &mut is_first, "processingTimeMs");
        write_value(out, &processing_time_ms);
        for (name, number) in self.totals.members() {
            write_name(out, &mut is_first, name);
            write_value(out, &number);
        }
        if !self.facets.is_empty() {
            self.write_facets(out);
        }
        write_name(out, &mut is_first, "requestUid");
        write_value(out, request_uid);
        if let Some(count) = self.semantic_hit_count {
            write_name(out, &mut is_first, "semanticHitCount");
            write_value(out, &count);
        }
        out.extend_from_slice(extras);
        out.push(b'}');
    }

    fn write_facets(&self, out: &mut Vec<u8>) {
        let mut is_first = false;
        if let Some(merged) = &self.merged_facets {
            write_name(out, &mut is_first, "facetDistribution");
            write_value(out, &merged.distribution);
            write_name(out, &mut is_first, "facetStats");
            write_value(out, &merged.stats);
            return;
        }
        write_name(out, &mut is_first, "facetsByIndex");
        out.push(b'{');
        let mut is_first = true;
        for (uid, facets) in &self.facets {
            write_name(out, &mut is_first, uid);
            let facets = json!({"distribution": facets.distribution, "stats": facets.stats});
            write_value(out, &facets);
        }
        out.push(b'}');
    }
}
