//! The k-way merge: always take the best head of the nodes' lists, until the page is full.
//!
//! Hits are read when they become the head of their list, so a page costs about its own depth in
//! hits and not the number of hits that came (but under `distinct`, where all that came is looked
//! at, to know what the nodes counted and the whole does not). Each list is sorted by the key (nodes sort by the
//! same rules), so the walk gives what sorting all hits would.

use super::answer::{MergeError, NodeAnswer};
use super::distinct::Taken;
use super::hit::{Adjusted, Hit};
use super::key::{Rank, compare_details, compare_rank};
use super::page::Window;
use super::plan::SearchPlan;
use super::score::adjust_score;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A hit of the page, with its scores as one node would show them.
#[derive(Debug)]
pub(super) struct RankedHit<'a> {
    pub(super) hit: Hit<'a>,
    pub(super) adjusted: Adjusted,
}

/// The page's hits and what was noticed on the way to them.
#[derive(Debug)]
pub(super) struct Walked<'a> {
    pub(super) shown: Vec<RankedHit<'a>>,
    /// The hits down to the page's end that are in the ranking, shown or before the page.
    pub(super) accepted: usize,
    /// Under `distinct`: the hits that nodes kept and the whole does not, down to the lists' ends.
    pub(super) rejected: Vec<RankedHit<'a>>,
    /// Whether a node ran out of time for a hit on the way.
    pub(super) is_cut_short: bool,
    /// A node whose list ended before the page did, though it may have more hits.
    pub(super) dry: Option<usize>,
}

/// Walks the answers' lists down to the end of the window.
pub(super) fn walk<'a>(
    plan: &'a SearchPlan,
    answers: &[NodeAnswer<'a>],
    window: Window,
) -> Result<Walked<'a>, MergeError> {
    let mut walked = Walked {
        shown: Vec::new(),
        accepted: 0,
        rejected: Vec::new(),
        is_cut_short: false,
        dry: None,
    };
    if window.depth() == 0 {
        return Ok(walked);
    }
    let mut heads = BinaryHeap::with_capacity(answers.len());
    for (node, answer) in answers.iter().enumerate() {
        heads.extend(Head::read(plan, node, 0, answer)?);
    }
    let mut taken = plan.distinct.as_deref().map(Taken::new);
    let mut scale = TypoScale::default();
    while walked.accepted < window.end || taken.is_some() {
        let Some(Head { node, at, hit }) = heads.pop() else {
            break;
        };
        let next = Head::read(plan, node, at + 1, &answers[node])?;
        if next.is_none() && answers[node].may_have_more && walked.accepted + 1 < window.end {
            walked.dry = Some(node);
            break;
        }
        heads.extend(next);
        let adjusted = if plan.needs_scores() {
            scale.adjust(&hit, heads.iter().map(|head| &head.hit))
        } else {
            Adjusted::default()
        };
        let score = adjusted.score.or(hit.score);
        let is_too_low = match (plan.score_threshold, score) {
            (Some(threshold), Some(score)) => score < threshold,
            _ => false,
        };
        if is_too_low {
            continue;
        }
        if taken.as_mut().is_some_and(|taken| !taken.take(&hit)) {
            walked.rejected.push(RankedHit { hit, adjusted });
            continue;
        }
        if walked.accepted >= window.end {
            continue;
        }
        walked.is_cut_short |= hit.details.is_cut_short();
        if walked.accepted >= window.start {
            walked.shown.push(RankedHit { hit, adjusted });
        }
        walked.accepted += 1;
    }
    Ok(walked)
}

/// The next hit of one node's list.
#[derive(Debug)]
struct Head<'a> {
    node: usize,
    at: usize,
    hit: Hit<'a>,
}

impl<'a> Head<'a> {
    /// The hit at `at` or the first behind it that belongs to the list.
    fn read(
        plan: &SearchPlan,
        node: usize,
        at: usize,
        answer: &NodeAnswer<'a>,
    ) -> Result<Option<Self>, MergeError> {
        for (at, raw) in answer.hits.iter().enumerate().skip(at) {
            let hit = Hit::parse(raw, at).map_err(|fault| MergeError { node, fault })?;
            if !plan.is_by_vector || hit.details.has_similarity() {
                return Ok(Some(Self { node, at, hit }));
            }
        }
        Ok(None)
    }
}

/// The greatest head is the one to take next, because the heap gives its greatest.
impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_details(&self.hit.details, &other.hit.details)
            // Only hits without a sequence come this far; any fixed order will do.
            .then(self.node.cmp(&other.node))
            .reverse()
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}

/// The scale of the typo rule in the bucket that the walk is in.
///
/// A bucket is the set of hits equal in all rules before `typo`; they are neighbours in the walk.
/// When its first hit is taken, every list that has hits of the bucket has one at its head, so the
/// heads tell the largest scale of all nodes.
#[derive(Debug, Default)]
struct TypoScale<'a> {
    bucket: Option<Vec<Rank<'a>>>,
    max_typo_count: u32,
}

impl<'a> TypoScale<'a> {
    fn adjust<'h>(&mut self, hit: &Hit<'a>, heads: impl Iterator<Item = &'h Hit<'a>>) -> Adjusted
    where
        'a: 'h,
    {
        let (Some(own), Some(bucket)) = (
            hit.details.max_typo_count(),
            hit.details.ranks_before_typo(),
        ) else {
            return Adjusted::default();
        };
        if !self
            .bucket
            .as_ref()
            .is_some_and(|bucket| is_in_bucket(hit, bucket))
        {
            let bucket: Vec<_> = bucket.cloned().collect();
            let of_bucket = heads.filter(|head| is_in_bucket(head, &bucket));
            self.max_typo_count = of_bucket
                .filter_map(|head| head.details.max_typo_count())
                .max()
                .unwrap_or(0);
            self.bucket = Some(bucket);
        }
        let max_typo_count = self.max_typo_count.max(own);
        let score = hit
            .score
            .and_then(|score| adjust_score(&hit.details, score, max_typo_count));
        Adjusted {
            score,
            max_typo_count: Some(max_typo_count),
            pin: None,
        }
    }
}

fn is_in_bucket(hit: &Hit<'_>, bucket: &[Rank<'_>]) -> bool {
    hit.details.ranks_before_typo().is_some_and(|mut ranks| {
        bucket.iter().all(|rank| {
            ranks
                .next()
                .is_some_and(|own| compare_rank(own, rank).is_eq())
        }) && ranks.next().is_none()
    })
}
