//! `matchingStrategy: frequency`: words that match many documents may be missing, the rarest never.
//!
//! A node counts its own documents, so nodes with parts of an index disagree about which word is
//! rare. Here the words are counted over all nodes first. Then nodes are asked for the documents
//! that hold all words, then for those that lack one, and so on; each time by one query for each
//! set of words that may be missing, until the page is full.
//!
//! In such a query a missing word is written as an exclusion of a word that no document holds: it
//! keeps its place in the text, so positions and neighbours of the others stay what they were. A
//! word may be missing if all more frequent words that stand *behind* it are missing as well (that
//! is how a node walks its graph of words; words before it are free), and the rarest must be there.
//!
//! **What is not exact**: words written as one. A node also lets a document with `foobar` stand for
//! `foo bar`, in its counts and in place of a rare and a frequent neighbour.

use super::answer::AnswerFault;
use super::body::fuse_filters;
use super::detail::Details;
use super::frequency_hit::{Formats, SeenHit, seq_of};
use super::key::compare_details;
use super::pinned::Pinned;
use super::plan::{SearchPlan, SearchPlanError};
use super::view::IndexView;
use crate::reserved::SHARD_FIELD;
use crate::search::{Paging, SearchRequest};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashSet};

/// A node looks at no more words of a query.
const WORDS_MAX: usize = 10;
/// Queries of one search on each node; with more the nodes' own answers are merged.
const QUERIES_MAX: usize = 64;
/// A word that no document holds; excluding it excludes nothing.
const ABSENT: &str = "-qzxvjkwqzabsentqzwkjvxzq";
const STRATEGY: &str = "matchingStrategy";

/// A search that drops words by their frequency, as it is asked of several nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct FrequencyPlan {
    request: SearchRequest,
    view: IndexView,
    /// The client's search, as it is merged.
    whole: SearchPlan,
    chunks: Vec<Chunk>,
    /// Whether the last word may be the beginning of one.
    is_open: bool,
}

/// A piece of the query between spaces.
#[derive(Debug, Clone, PartialEq)]
struct Chunk {
    text: String,
    /// Otherwise a stop word, which holds a place and nothing else.
    is_word: bool,
}

/// Words that are missing, as bits by their place in the query.
type Missing = u16;

#[derive(Deserialize)]
struct Results<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Hits<'a> {
    #[serde(borrow)]
    hits: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counted {
    #[serde(default)]
    facet_distribution: BTreeMap<String, BTreeMap<String, u64>>,
}

fn results(body: &[u8]) -> Result<Vec<&RawValue>, AnswerFault> {
    let results: Results<'_> = serde_json::from_slice(body).map_err(AnswerFault::Json)?;
    Ok(results.results)
}

impl FrequencyPlan {
    /// Plans `request` on the index that `view` describes; `None` if it does not drop words by
    /// their frequency, or in a way that cannot be followed: with a vector, `distinct` or a
    /// threshold, with phrases, exclusions or signs in the query, or on an index where words are
    /// not what stands between spaces or do not rank first.
    ///
    /// # Errors
    /// As [`SearchPlan::new`].
    pub fn new(request: &SearchRequest, view: &IndexView) -> Result<Option<Self>, SearchPlanError> {
        let is_by_frequency =
            request.passthrough.get(STRATEGY).and_then(Value::as_str) == Some("frequency");
        let has_vector =
            request.hybrid.is_some() || request.vector.is_some() || request.media.is_some();
        let (Some(query), Some(stop_words)) = (&request.q, &view.stop_words) else {
            return Ok(None);
        };
        if !is_by_frequency || has_vector || request.ranking_score_threshold.is_some() {
            return Ok(None);
        }
        let is_stop_word = |word: &str| stop_words.contains(&word.to_lowercase());
        let Some((chunks, is_open)) = chunks_of(query, !stop_words.is_empty(), is_stop_word) else {
            return Ok(None);
        };
        let whole = SearchPlan::new(request, view)?;
        if whole.distinct.is_some() {
            return Ok(None);
        }
        let plan = Self {
            request: request.clone(),
            view: view.clone(),
            whole,
            chunks,
            is_open,
        };
        Ok((plan.words().count() > 1).then_some(plan))
    }

    /// Puts documents at places of their own into the page; see [`SearchPlan::pin`].
    #[must_use]
    pub fn pin(mut self, pinned: Vec<Pinned>) -> Self {
        self.whole = self.whole.pin(pinned);
        self
    }

    /// The search as the client asked it, which merges what [`FrequencyWalk::answers`] gives.
    #[must_use]
    pub fn whole(&self) -> &SearchPlan {
        &self.whole
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        let words = self.chunks.iter().filter(|chunk| chunk.is_word);
        words.map(|chunk| chunk.text.as_str())
    }

    /// The query with placeholders for the missing words.
    fn text(&self, missing: Missing) -> String {
        let mut text = String::new();
        let mut word = 0;
        for chunk in &self.chunks {
            let is_missing = chunk.is_word && missing & (1 << word) != 0;
            word += usize::from(chunk.is_word);
            text.push_str(if is_missing { ABSENT } else { &chunk.text });
            text.push(' ');
        }
        if self.is_open {
            text.pop();
        }
        text
    }

    /// The body of the `POST /multi-search` that counts a node's documents for each word.
    #[must_use]
    pub fn counting_body(&self, shard_filter: Option<&str>) -> Vec<u8> {
        let last = self.words().count() - 1;
        // What does not end the query is no beginning of a word.
        let end = |at: usize| if at == last && self.is_open { "" } else { " " };
        let words = self.words().enumerate();
        let texts = words.map(|(at, word)| format!("{word}{}", end(at)));
        // Whether the last word is one, and not only the beginning of others.
        let whole = self.words().last().filter(|_| self.is_open);
        let texts = texts.chain(whole.map(|word| format!("\"{word}\"")));
        let queries: Vec<Value> = texts
            .map(|text| {
                let mut query = json!({
                    "indexUid": self.view.physical,
                    "q": text,
                    STRATEGY: "all",
                    "limit": 0,
                    // Totals may end at `maxTotalHits`; counts do not.
                    "facets": [SHARD_FIELD],
                });
                for name in ["attributesToSearchOn", "locales"] {
                    if let Some(value) = self.request.passthrough.get(name) {
                        query[name] = value.clone();
                    }
                }
                if let Some(filter) = shard_filter {
                    query["filter"] = json!(filter);
                }
                query
            })
            .collect();
        json!({ "queries": queries }).to_string().into_bytes()
    }

    /// How many words of a document can match exactly, if these are missing.
    fn exact_words(&self, missing: Missing, is_last_whole: bool) -> u32 {
        let last = self.words().count() - 1;
        let is_there = |at: &usize| missing & (1 << at) == 0 && (*at < last || is_last_whole);
        u32::try_from((0..=last).filter(is_there).count()).unwrap_or(u32::MAX)
    }

    /// The walk over the nodes' documents, from those with all words down, given the nodes' answers
    /// to [`FrequencyPlan::counting_body`]; `None` where too many sets of words may be missing.
    ///
    /// # Errors
    /// An answer that cannot be read.
    pub fn walk(&self, counts: &[&[u8]]) -> Result<Option<FrequencyWalk<'_>>, AnswerFault> {
        let word_count = self.words().count();
        let mut sums = vec![0_u64; word_count + usize::from(self.is_open)];
        for body in counts {
            for (sum, result) in sums.iter_mut().zip(results(body)?) {
                let counted: Counted =
                    serde_json::from_str(result.get()).map_err(AnswerFault::Json)?;
                let shards = counted.facet_distribution.get(SHARD_FIELD);
                let found: u64 = shards.into_iter().flat_map(BTreeMap::values).sum();
                *sum = sum.saturating_add(found);
            }
        }
        let is_last_whole = sums.get(word_count).is_none_or(|found| *found > 0);
        sums.truncate(word_count);
        let Some(levels) = levels_of(&sums) else {
            return Ok(None);
        };
        Ok(Some(FrequencyWalk {
            plan: self,
            levels,
            is_last_whole,
            next: 0,
            seen: HashSet::new(),
            lists: Vec::new(),
            totals: Vec::new(),
            formats: Formats::default(),
        }))
    }

    /// One query of a node: `missing` words, and how many hits.
    fn member(
        &self,
        missing: Missing,
        strategy: &str,
        limit: usize,
        shard_filter: Option<&str>,
    ) -> Option<Value> {
        let mut request = self.request.clone();
        request.q = Some(self.text(missing));
        request.paging = Paging::Offset { offset: 0, limit };
        if limit > 0 {
            request.facets = None;
        }
        let passthrough = &mut request.passthrough;
        passthrough.insert(STRATEGY.to_owned(), strategy.into());
        // What the client's own search passed, this one passes.
        let plan = SearchPlan::new(&request, &self.view).ok()?;
        Some(self.addressed(&plan, limit, shard_filter))
    }

    fn addressed(&self, plan: &SearchPlan, limit: usize, shard_filter: Option<&str>) -> Value {
        let mut body: Map<String, Value> = plan.body.clone();
        body.insert("indexUid".to_owned(), json!(self.view.physical));
        for name in ["page", "hitsPerPage"] {
            body.shift_remove(name);
        }
        body.insert("offset".to_owned(), json!(0));
        body.insert("limit".to_owned(), json!(limit));
        let filter = fuse_filters(shard_filter, plan.filter.as_ref());
        body.extend(filter.map(|filter| ("filter".to_owned(), filter)));
        Value::Object(body)
    }

    /// The search for all documents that may be found, whatever frequent words they lack.
    #[must_use]
    pub fn widest(&self, walk: &FrequencyWalk<'_>) -> Option<SearchPlan> {
        let mut request = self.request.clone();
        request.q = Some(self.text(walk.widest()));
        let passthrough = &mut request.passthrough;
        passthrough.insert(STRATEGY.to_owned(), "all".into());
        SearchPlan::new(&request, &self.view).ok()
    }
}

/// The words of a query between spaces, and whether the last is open; `None` if there is more to
/// the query than words.
fn chunks_of(
    query: &str,
    is_ascii_only: bool,
    is_stop_word: impl Fn(&str) -> bool,
) -> Option<(Vec<Chunk>, bool)> {
    // Letters of the Latin script, which the tokenizer splits nowhere.
    let is_letter = |c: char| {
        c.is_ascii_alphanumeric()
            || (!is_ascii_only && ('\u{c0}'..'\u{250}').contains(&c) && c.is_alphabetic())
    };
    let mut chunks = Vec::new();
    let mut words = query.split_whitespace().peekable();
    let ends = query.ends_with(char::is_whitespace);
    let mut count = 0;
    while let Some(text) = words.next() {
        if !text.chars().all(is_letter) {
            return None;
        }
        let is_last = words.peek().is_none();
        let is_word = !is_stop_word(text) || (is_last && !ends);
        count += usize::from(is_word);
        chunks.push(Chunk {
            text: text.to_owned(),
            is_word,
        });
        if count == WORDS_MAX && !is_last {
            return Some((chunks, false));
        }
    }
    Some((chunks, !ends))
}

/// The sets of words that may be missing, by their size, given how many documents each word
/// matches; `None` if they are too many.
fn levels_of(counts: &[u64]) -> Option<Vec<Vec<Missing>>> {
    // A word that nothing matches is the first to go.
    let frequency = |at: usize| match counts[at] {
        0 => u64::MAX,
        count => count,
    };
    let rarest = (0..counts.len()).map(frequency).min()?;
    let may_go = |at: usize| frequency(at) > rarest;
    let mut levels: Vec<Vec<Missing>> = Vec::new();
    let mut count = 0;
    for missing in 0..(1_u32 << counts.len().min(WORDS_MAX)) {
        let is_missing = |at: usize| missing & (1 << at) != 0;
        let is_possible = (0..counts.len()).filter(|at| is_missing(*at)).all(|at| {
            let mut behind = at + 1..counts.len();
            may_go(at) && behind.all(|other| is_missing(other) || frequency(other) <= frequency(at))
        });
        if !is_possible {
            continue;
        }
        count += 1;
        if count > QUERIES_MAX {
            return None;
        }
        let size = missing.count_ones() as usize;
        if levels.len() <= size {
            levels.resize(size + 1, Vec::new());
        }
        levels[size].push(Missing::try_from(missing).ok()?);
    }
    Some(levels)
}

/// Whether the missing words are the last ones.
fn is_end(missing: Missing, word_count: usize) -> bool {
    let first = missing.trailing_zeros() as usize;
    (first..word_count).all(|at| missing & (1 << at) != 0)
}

/// What a round brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalkStep {
    /// Documents that lack one word more are to be asked for.
    Next,
    /// The page is full, or nothing more can be found.
    Done,
}

/// The documents found so far, from those with all words down.
#[derive(Debug)]
pub struct FrequencyWalk<'p> {
    plan: &'p FrequencyPlan,
    levels: Vec<Vec<Missing>>,
    is_last_whole: bool,
    next: usize,
    seen: HashSet<String>,
    /// Lists of hits, each in the order of its node, none twice.
    lists: Vec<Vec<Box<RawValue>>>,
    /// What each node found in all, without hits.
    totals: Vec<String>,
    formats: Formats,
}

impl FrequencyWalk<'_> {
    fn widest(&self) -> Missing {
        let last = self.levels.last().and_then(|sets| sets.last());
        last.copied().unwrap_or_default()
    }

    fn shows_formats(&self) -> bool {
        let request = &self.plan.request;
        request.attributes_to_highlight.is_some()
            || request.attributes_to_crop.is_some()
            || request.show_matches_position
    }

    /// The body of the `POST /multi-search` of the next round; `None` where nodes would not show as
    /// many hits as it takes.
    #[must_use]
    pub fn body(&self, shard_filter: Option<&str>) -> Option<Vec<u8>> {
        let plan = self.plan;
        let depth = plan.whole.depth();
        let limit = depth + self.seen.len();
        if depth > 0 && limit > plan.view.max_total_hits {
            return None;
        }
        let mut queries = Vec::new();
        if depth > 0 {
            for missing in self.levels.get(self.next)? {
                // `last` drops words that are there, too, but only behind all hits with all of
                // them; and it scores as `frequency` does.
                queries.push(plan.member(*missing, "last", limit, shard_filter)?);
            }
        }
        if self.next == 0 {
            queries.push(plan.member(self.widest(), "all", 0, shard_filter)?);
            if depth > 0 && self.shows_formats() {
                // Missing words are marked where they occur all the same.
                let mut own = plan.addressed(&plan.whole, depth, shard_filter);
                own.as_object_mut().map(|own| own.shift_remove("facets"));
                queries.push(own);
            }
        }
        Some(json!({ "queries": queries }).to_string().into_bytes())
    }

    /// Takes the nodes' answers to [`FrequencyWalk::body`].
    ///
    /// # Errors
    /// An answer that cannot be read.
    pub fn take(&mut self, answers: &[&[u8]]) -> Result<WalkStep, AnswerFault> {
        let depth = self.plan.whole.depth();
        let sets = match self.levels.get(self.next) {
            Some(sets) if depth > 0 => sets.len(),
            _ => 0,
        };
        let word_count = self.plan.words().count();
        let matched = word_count.saturating_sub(self.next);
        let mut found: Vec<(usize, Vec<SeenHit<'_>>)> = Vec::new();
        let mut productive = HashSet::new();
        for body in answers {
            let results = results(body)?;
            for (set, result) in results.iter().take(sets).enumerate() {
                let hits: Hits<'_> =
                    serde_json::from_str(result.get()).map_err(AnswerFault::Json)?;
                let mut list = Vec::new();
                for (at, raw) in hits.hits.into_iter().enumerate() {
                    let hit = SeenHit::read(raw, at)?;
                    if !hit.is_whole() {
                        // All behind it lack words that must be there.
                        break;
                    }
                    let details = hit.details(at)?;
                    if seq_of(&details).is_some_and(|seq| !self.seen.contains(seq)) {
                        productive.insert(set);
                    }
                    list.push(hit);
                }
                found.push((set, list));
            }
            if self.next == 0 {
                let total = results.get(sets).ok_or(AnswerFault::NoTotal)?;
                self.totals.push(total.get().to_owned());
                if let Some(formatted) = results.get(sets + 1) {
                    let hits: Hits<'_> =
                        serde_json::from_str(formatted.get()).map_err(AnswerFault::Json)?;
                    for (at, raw) in hits.hits.iter().enumerate() {
                        self.formats.note(SeenHit::read(raw, at)?);
                    }
                }
            }
        }
        let sets = self.levels.get(self.next).map_or(&[][..], Vec::as_slice);
        let mut lists = Vec::new();
        for (set, hits) in found {
            let missing = sets.get(set).copied().unwrap_or_default();
            // A node sees whether a text begins with the query only where no word is missing before
            // others, and no other document of the bucket has other words.
            let is_prefix = missing == 0 || is_end(missing, word_count);
            let begins = is_prefix && productive.len() < 2;
            let exact = (!begins).then(|| self.plan.exact_words(missing, self.is_last_whole));
            let list = hits.into_iter().map(|hit| {
                hit.with_words(matched, word_count, exact)
                    .map_err(AnswerFault::Json)
            });
            lists.push(list.collect::<Result<Vec<_>, _>>()?);
        }
        self.keep_best(lists)?;
        self.next += 1;
        let is_done = self.seen.len() >= depth || self.next >= self.levels.len();
        Ok(if is_done {
            WalkStep::Done
        } else {
            WalkStep::Next
        })
    }

    /// Keeps of each document that was not seen before the hit that ranks it best.
    fn keep_best(&mut self, lists: Vec<Vec<Box<RawValue>>>) -> Result<(), AnswerFault> {
        let mut ranked: Vec<(usize, usize, Details<'_>)> = Vec::new();
        for (list, hits) in lists.iter().enumerate() {
            for (at, raw) in hits.iter().enumerate() {
                ranked.push((list, at, SeenHit::read(raw, at)?.details(at)?));
            }
        }
        ranked.sort_by(|a, b| compare_details(&a.2, &b.2));
        let mut kept: Vec<Vec<usize>> = vec![Vec::new(); lists.len()];
        for (list, at, details) in &ranked {
            let seq = seq_of(details).ok_or(AnswerFault::NoDetails { hit: *at })?;
            if self.seen.insert(seq.to_owned()) {
                kept[*list].push(*at);
            }
        }
        drop(ranked);
        for (hits, kept) in lists.into_iter().zip(kept) {
            let mut hits: Vec<Option<Box<RawValue>>> = hits.into_iter().map(Some).collect();
            // In the order of the key, which may not be the node's.
            let kept = kept.into_iter().filter_map(|at| hits.get_mut(at)?.take());
            self.lists.push(kept.collect());
        }
        Ok(())
    }

    /// Answers to the client's search, as nodes would give them that know how often each word
    /// occurs.
    ///
    /// # Errors
    /// A hit that cannot be read.
    pub fn answers(&self) -> Result<Vec<Vec<u8>>, AnswerFault> {
        let mut answers: Vec<Vec<u8>> = self.totals.iter().map(|t| t.clone().into()).collect();
        for list in &self.lists {
            let mut body = br#"{"hits":["#.to_vec();
            for (at, raw) in list.iter().enumerate() {
                if at > 0 {
                    body.push(b',');
                }
                self.formats.write(&mut body, SeenHit::read(raw, at)?);
            }
            body.extend_from_slice(br#"],"estimatedTotalHits":0}"#);
            answers.push(body);
        }
        Ok(answers)
    }
}

#[cfg(test)]
#[path = "frequency_tests.rs"]
mod tests;
