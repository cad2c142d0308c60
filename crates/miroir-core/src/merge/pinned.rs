//! Documents that rules pin: how nodes are asked for each, and how they come into a page.
//!
//! A pinned document is shown at its place if it passes the filter, whether the query finds it or
//! not; it counts in totals and facets, and takes no part in the ranking and in `distinct`. So each
//! is asked for alone, the search is asked without all of them ([`without`]), and
//! [`SearchPlan::pin`] adds what nodes answered of each.
//!
//! Nodes mark the query's words only in what the query finds. One that it does not find is asked
//! for by each word, and then shown by those that find it: the same places are marked, if no
//! neighbours written as one word are in it too.

use super::answer::{AnswerFault, MergeError, NodeAnswer};
use super::body::fuse_filters;
use super::hit::{Adjusted, Hit};
use super::plan::SearchPlan;
use super::walk::RankedHit;
use crate::id::DocumentSeq;
use crate::reserved::{SEQ_FIELD, encode_seq};
use crate::rules::place::{place, placed_before};
use crate::search::SearchRequest;
use crate::settings::Settings;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::ops::Range;

/// A query with more words than this is not taken apart.
const WORDS_MAX: usize = 10;
/// A node reads no more letters of a word.
const WORD_BYTES_MAX: usize = 250;

/// A pinned document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// Its rank, from 0.
    pub position: u32,
    /// Its place in the insertion order.
    pub seq: DocumentSeq,
    /// A node's answer to a search that finds it alone.
    pub answer: Vec<u8>,
}

/// The filter that leaves out the pinned documents, put to the client's.
#[must_use]
pub fn without(pinned: &[Pinned], filter: Option<&Value>) -> Option<Value> {
    let tags = pinned
        .iter()
        .map(|pin| format!("\"{}\"", encode_seq(pin.seq)));
    let tags = tags.collect::<Vec<_>>().join(", ");
    let others = format!("{SEQ_FIELD} NOT IN [{tags}]");
    let filter = filter.filter(|filter| !super::body::is_blank_filter(filter));
    fuse_filters(Some(&others), filter)
}

/// How the words of the query are to be marked in a pinned document.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Marking {
    /// Not at all.
    Plain,
    /// If the query finds it as the query says; else by these words, of which the last may be the
    /// beginning of one.
    Words { words: Vec<String>, is_open: bool },
    /// If the query finds it as the query says; else nobody knows.
    Whole,
}

/// How pinned documents are asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct PinPlan {
    plan: SearchPlan,
    query: String,
    marking: Marking,
}

/// It cannot be told how a pinned document is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be told how a pinned document is shown")]
pub struct UnclearPin;

/// How far one document is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PinRound {
    stage: Stage,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing is known.
    #[default]
    Unasked,
    /// It is there, and the query does not find it; holds the answer without words.
    Words(Vec<u8>),
    /// These words find it.
    Marked { query: String, joined: Vec<String> },
    /// The answer; none if it does not pass the filter.
    Done(Option<Vec<u8>>),
    /// It cannot be told how it is shown.
    Unclear,
}

impl PinRound {
    /// More is to be asked.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Done(_) | Stage::Unclear)
    }

    /// The answer; `None` for a document that does not pass the filter.
    ///
    /// # Errors
    /// It cannot be told how the document is shown.
    pub fn end(self) -> Result<Option<Vec<u8>>, UnclearPin> {
        match self.stage {
            Stage::Done(answer) => Ok(answer),
            _ => Err(UnclearPin),
        }
    }
}

#[derive(Deserialize)]
struct Results<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

impl PinPlan {
    /// Plans to ask for the documents pinned in `request`, which `plan` is the plan of, on an index
    /// with these settings.
    #[must_use]
    pub fn new(plan: SearchPlan, request: &SearchRequest, settings: &Settings) -> Self {
        let query = request.q.clone().unwrap_or_default();
        let is_given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|l| !l.is_empty());
        let is_marked = is_given(&request.attributes_to_highlight)
            || is_given(&request.attributes_to_crop)
            || request.show_matches_position;
        // By meaning alone no words are marked at all.
        let has_words = !query.trim().is_empty()
            && plan.body.get("hybrid").is_none_or(|hybrid| {
                hybrid.get("semanticRatio").and_then(Value::as_f64) == Some(0.0)
            });
        let marking = match (is_marked && has_words, words_of(&query, settings)) {
            (false, _) => Marking::Plain,
            (true, Some((words, is_open))) => Marking::Words { words, is_open },
            (true, None) => Marking::Whole,
        };
        Self {
            plan,
            query,
            marking,
        }
    }

    /// The body of the `POST /multi-search` that asks a node about documents, each with its round.
    #[must_use]
    pub fn body<'r>(
        &self,
        asked: impl Iterator<Item = (&'r PinRound, DocumentSeq)>,
        shard_filter: Option<&str>,
    ) -> Vec<u8> {
        let mut queries = Vec::new();
        for (round, seq) in asked {
            let only = format!("{SEQ_FIELD} = \"{}\"", encode_seq(seq));
            let client = self.plan.filter.as_ref();
            let filter = fuse_filters(Some(&only), client);
            let filter = fuse_filters(shard_filter, filter.as_ref());
            for (query, is_shown) in self.questions(round) {
                queries.push(self.query_body(&query, is_shown, filter.as_ref()));
            }
        }
        json!({ "queries": queries }).to_string().into_bytes()
    }

    /// The queries of a round, and whether their hits are wanted.
    fn questions(&self, round: &PinRound) -> Vec<(String, bool)> {
        let nothing = (String::new(), true);
        match (&round.stage, &self.marking) {
            (Stage::Unasked, Marking::Plain) => vec![nothing],
            (Stage::Unasked, _) => vec![nothing, (self.query.clone(), true)],
            (Stage::Words(_), Marking::Words { words, is_open }) => {
                let single = (0..words.len())
                    .map(|at| shown(&words[at..=at], at + 1 == words.len() && *is_open));
                let joined = neighbours(words).into_iter();
                let joined = joined.map(|at| words[at].concat());
                single.chain(joined).map(|query| (query, false)).collect()
            }
            (Stage::Marked { query, joined }, _) => {
                let joined = joined.iter().cloned().map(|query| (query, false));
                std::iter::once((query.clone(), true))
                    .chain(joined)
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    fn query_body(&self, query: &str, is_shown: bool, filter: Option<&Value>) -> Value {
        let mut body: Map<String, Value> = self.plan.body.clone();
        for name in [
            "page",
            "hitsPerPage",
            "distinct",
            "sort",
            "rankingScoreThreshold",
            "hybrid",
            "vector",
            "media",
            "attributesToSearchOn",
        ] {
            body.shift_remove(name);
        }
        if !is_shown {
            body.shift_remove("facets");
        }
        let limit = usize::from(is_shown);
        body.extend([
            ("indexUid".to_owned(), json!(self.plan.view.physical)),
            ("q".to_owned(), json!(query)),
            ("matchingStrategy".to_owned(), json!("last")),
            ("offset".to_owned(), json!(0)),
            ("limit".to_owned(), json!(limit)),
        ]);
        if self.plan.shape.shows_score {
            body.insert("showRankingScore".to_owned(), true.into());
        }
        body.extend(filter.map(|filter| ("filter".to_owned(), filter.clone())));
        Value::Object(body)
    }

    /// Reads what a node answered to [`PinPlan::body`]; returns the rounds that follow.
    ///
    /// # Errors
    /// It is not the answer to what was asked.
    pub fn read(&self, rounds: Vec<PinRound>, body: &[u8]) -> Result<Vec<PinRound>, AnswerFault> {
        let results: Results<'_> = serde_json::from_slice(body).map_err(AnswerFault::Json)?;
        let mut results = results.results.into_iter().map(|raw| raw.get().as_bytes());
        let mut next = Vec::with_capacity(rounds.len());
        for round in rounds {
            let count = self.questions(&round).len();
            let answers: Vec<&[u8]> = results.by_ref().take(count).collect();
            let mut found = Vec::with_capacity(count);
            for answer in &answers {
                found.push(NodeAnswer::parse(answer)?.total > 0);
            }
            if found.len() < count {
                return Err(AnswerFault::NoTotal);
            }
            let stage = self.step(round.stage, &answers, &found);
            next.push(PinRound { stage });
        }
        Ok(next)
    }

    fn step(&self, stage: Stage, answers: &[&[u8]], found: &[bool]) -> Stage {
        match (stage, &self.marking) {
            (Stage::Unasked, marking) => match (found, marking) {
                ([true], _) => Stage::Done(Some(answers[0].to_vec())),
                ([true, true], _) => Stage::Done(Some(answers[1].to_vec())),
                ([true, false], Marking::Words { .. }) => Stage::Words(answers[0].to_vec()),
                ([true, false], _) => Stage::Unclear,
                _ => Stage::Done(None),
            },
            (Stage::Words(plain), Marking::Words { words, is_open }) => {
                let (single, together) = found.split_at(words.len().min(found.len()));
                let mut joined = Vec::new();
                for (at, is_found) in neighbours(words).into_iter().zip(together) {
                    if !is_found {
                        continue;
                    }
                    // A node also takes a word apart: then it found the words themselves.
                    if !single[at.clone()].iter().all(|is_found| *is_found) {
                        return Stage::Unclear;
                    }
                    joined.push(exact(&words[at]));
                }
                let marked: Vec<String> = words
                    .iter()
                    .zip(single)
                    .filter(|(_, is_found)| **is_found)
                    .map(|(word, _)| word.clone())
                    .collect();
                if marked.is_empty() {
                    return Stage::Done(Some(plain));
                }
                let is_last_open = *is_open && single.last() == Some(&true);
                joined.extend(neighbours(&marked).into_iter().map(|at| exact(&marked[at])));
                Stage::Marked {
                    query: shown(&marked, is_last_open),
                    joined,
                }
            }
            (Stage::Marked { .. }, _) => match found {
                [true, joined @ ..] if !joined.contains(&true) => {
                    Stage::Done(Some(answers[0].to_vec()))
                }
                _ => Stage::Unclear,
            },
            (stage, _) => stage,
        }
    }
}

/// Words as a query, of which the last is whole unless the query is open.
fn shown(words: &[String], is_open: bool) -> String {
    let mut query = words.join(" ");
    if !is_open {
        query.push(' ');
    }
    query
}

/// Two and three neighbours, which nodes also try as one word.
fn neighbours(words: &[String]) -> Vec<Range<usize>> {
    let of =
        |count: usize| (0..(words.len() + 1).saturating_sub(count)).map(move |at| at..at + count);
    of(2).chain(of(3)).collect()
}

/// Words written as one, which is neither taken apart nor read with typos.
fn exact(words: &[String]) -> String {
    format!("\"{}\"", words.concat())
}

/// The words of a query and whether the last is open; `None` if it is more than words, or if an
/// index marks words that it does not find documents by.
fn words_of(query: &str, settings: &Settings) -> Option<(Vec<String>, bool)> {
    let is_set = |pointer: &str| {
        let (name, rest) = pointer.split_once('/').unwrap_or((pointer, ""));
        let value = settings.get(name);
        let value = match rest {
            "" => value,
            rest => value.and_then(|value| value.get(rest)),
        };
        match value {
            None | Some(Value::Null) => false,
            Some(Value::Array(items)) => !items.is_empty(),
            Some(Value::Object(members)) => !members.is_empty(),
            Some(_) => true,
        }
    };
    let searches_all = settings
        .get("searchableAttributes")
        .is_none_or(|names| names.is_null() || *names == json!(["*"]));
    let is_special = [
        "synonyms",
        "stopWords",
        "dictionary",
        "separatorTokens",
        "nonSeparatorTokens",
        "localizedAttributes",
        "typoTolerance/disableOnAttributes",
    ];
    if !searches_all || is_special.into_iter().any(is_set) {
        return None;
    }
    let is_letter = |c: char| {
        c.is_ascii_alphanumeric() || (('\u{c0}'..'\u{250}').contains(&c) && c.is_alphabetic())
    };
    let words: Vec<String> = query.split_whitespace().map(str::to_owned).collect();
    let is_plain = words
        .iter()
        .all(|word| word.len() <= WORD_BYTES_MAX && word.chars().all(is_letter));
    let is_open = !query.ends_with(char::is_whitespace);
    (is_plain && words.len() <= WORDS_MAX).then_some((words, is_open))
}

impl SearchPlan {
    /// Puts documents at places of their own into the page. The plan must be that of a search
    /// [`without`] them.
    #[must_use]
    pub fn pin(mut self, pinned: Vec<Pinned>) -> Self {
        self.pins = pinned;
        self
    }

    /// What nodes answered of the pinned documents, for totals and facets only.
    pub(super) fn pinned_answers(&self) -> Result<Vec<NodeAnswer<'_>>, MergeError> {
        let answers = self.pins.iter().map(|pin| {
            let answer = NodeAnswer::parse(&pin.answer);
            answer.map_err(|fault| MergeError { node: 0, fault })
        });
        answers.collect()
    }

    /// The page with its pinned documents, of hits down to the page's end.
    pub(super) fn with_pins<'a>(
        &'a self,
        hits: Vec<RankedHit<'a>>,
        pinned: &[NodeAnswer<'a>],
    ) -> Result<Vec<RankedHit<'a>>, MergeError> {
        let mut pins = Vec::with_capacity(pinned.len());
        for (pin, answer) in self.pins.iter().zip(pinned) {
            let Some(raw) = answer.hits.first() else {
                continue;
            };
            let hit = Hit::parse_placed(raw, 0).map_err(|fault| MergeError { node: 0, fault })?;
            let adjusted = Adjusted {
                score: Some(1.0),
                max_typo_count: None,
                pin: Some(pin.position),
            };
            pins.push((pin.position, RankedHit { hit, adjusted }));
        }
        // One Meilisearch puts them in by precedence, and then once more, by position, those that
        // came before the page's end.
        let positions: Vec<u32> = pins.iter().map(|(position, _)| *position).collect();
        let placed = placed_before(&positions, self.window.end, hits.len());
        let mut pins: Vec<_> = pins
            .into_iter()
            .enumerate()
            .filter(|(at, _)| placed.contains(at))
            .map(|(_, pin)| pin)
            .collect();
        pins.sort_by_key(|(position, _)| *position);
        Ok(place(pins, self.window.start, self.window.end, hits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::IndexView;
    use crate::search::Paging;

    fn answer(id: u32, total: u64) -> Vec<u8> {
        let hit = json!({"id": id, "_rankingScoreDetails": {}, "_rankingScore": 0.5});
        let hits = if total > 0 { json!([hit]) } else { json!([]) };
        let facets = json!({"f": {format!("v{id}"): 1}});
        let body = json!({"hits": hits, "estimatedTotalHits": total, "facetDistribution": facets});
        body.to_string().into_bytes()
    }

    fn pinned(position: u32, id: u32) -> Pinned {
        Pinned {
            position,
            seq: DocumentSeq(u64::from(id)),
            answer: answer(id, 1),
        }
    }

    fn node(ids: std::ops::Range<u32>) -> Vec<u8> {
        let total = ids.len();
        let hit = |id| json!({"id": id, "_rankingScoreDetails": {"_miroir_seq:asc": {"order": 0, "value": format!("{id:04}")}}});
        let hits: Vec<Value> = ids.map(hit).collect();
        let body = json!({"hits": hits, "estimatedTotalHits": total, "facetDistribution": {"f": {"n": total}}});
        body.to_string().into_bytes()
    }

    fn request(offset: usize, limit: usize) -> SearchRequest {
        SearchRequest {
            paging: Paging::Offset { offset, limit },
            facets: Some(vec!["f".to_owned()]),
            ..SearchRequest::default()
        }
    }

    fn view() -> IndexView {
        IndexView {
            filterable: vec!["f".to_owned()],
            ..IndexView::default()
        }
    }

    #[test]
    fn pins_count_and_stand_where_they_are_put() {
        let merged = |offset, limit| {
            let plan = SearchPlan::new(&request(offset, limit), &view()).unwrap();
            let plan = plan.pin(vec![pinned(1, 100), pinned(9, 101)]);
            let body = node(0..4);
            let page = plan.merge(&[&body]).unwrap();
            let mut hits = Vec::new();
            page.write_hits(&mut hits);
            let hits: Vec<Value> = serde_json::from_slice(&hits).unwrap();
            let ids: Vec<u64> = hits.iter().map(|hit| hit["id"].as_u64().unwrap()).collect();
            (ids, page.totals.hits(), json!(page.facet_distribution))
        };
        let (ids, total, facets) = merged(0, 20);
        assert_eq!(ids, [0, 100, 1, 2, 3, 101]);
        assert_eq!(total, 6);
        assert_eq!(facets, json!({"f": {"n": 4, "v100": 1, "v101": 1}}));
        assert_eq!(merged(1, 2).0, [100, 1]);
        assert_eq!(merged(4, 2).0, [3, 101]);
        assert_eq!(merged(0, 0).0, [0_u64; 0]);
    }

    #[test]
    fn the_search_is_asked_without_its_pins() {
        let pins = [pinned(0, 1), pinned(0, 2)];
        let tags = format!(
            "\"{}\", \"{}\"",
            encode_seq(DocumentSeq(1)),
            encode_seq(DocumentSeq(2))
        );
        let others = json!(format!("_miroir_seq NOT IN [{tags}]"));
        assert_eq!(without(&pins, None), Some(others.clone()));
        assert_eq!(
            without(&pins, Some(&json!("a = 1 OR b = 2"))),
            Some(json!([others, "a = 1 OR b = 2"]))
        );
        assert_eq!(without(&pins, Some(&json!(" "))), Some(others));
    }

    fn plan(query: &str, settings: &Value) -> PinPlan {
        let request = SearchRequest {
            q: Some(query.to_owned()),
            attributes_to_highlight: Some(vec!["*".to_owned()]),
            ..request(0, 20)
        };
        let search = SearchPlan::new(&request, &view()).unwrap();
        PinPlan::new(search, &request, settings.as_object().unwrap())
    }

    fn read(plan: &PinPlan, round: PinRound, totals: &[u64]) -> PinRound {
        let results: Vec<Value> = totals
            .iter()
            .map(|total| serde_json::from_slice(&answer(7, *total)).unwrap())
            .collect();
        let body = json!({ "results": results }).to_string();
        plan.read(vec![round], body.as_bytes()).unwrap().remove(0)
    }

    fn queries(plan: &PinPlan, round: &PinRound) -> Vec<String> {
        plan.questions(round)
            .into_iter()
            .map(|(query, _)| query)
            .collect()
    }

    #[test]
    fn what_the_query_does_not_find_is_asked_for_word_by_word() {
        let plan = plan("red summer hat", &json!({}));
        let round = PinRound::default();
        assert_eq!(queries(&plan, &round), ["", "red summer hat"]);
        let round = read(&plan, round, &[1, 0]);
        assert_eq!(
            queries(&plan, &round),
            [
                "red ",
                "summer ",
                "hat",
                "redsummer",
                "summerhat",
                "redsummerhat"
            ]
        );
        assert!(read(&plan, round.clone(), &[0; 6]).end().unwrap().is_some());
        assert!(
            read(&plan, round.clone(), &[0, 0, 0, 1, 0, 0])
                .end()
                .is_err()
        );
        let round = read(&plan, round, &[1, 0, 1, 0, 0, 0]);
        assert_eq!(queries(&plan, &round), ["red hat", "\"redhat\""]);
        assert!(read(&plan, round.clone(), &[1, 1]).end().is_err());
        assert!(read(&plan, round, &[1, 0]).end().unwrap().is_some());
    }

    #[test]
    fn a_document_that_does_not_pass_the_filter_is_not_pinned() {
        let plan = plan("red", &json!({}));
        let round = read(&plan, PinRound::default(), &[0, 0]);
        assert_eq!(round.end(), Ok(None));
    }

    #[test]
    fn where_words_are_not_all_there_is_only_the_query_itself_tells() {
        for (query, settings) in [
            ("\"red hat\"", json!({})),
            ("red -hat", json!({})),
            ("red", json!({"synonyms": {"red": ["rouge"]}})),
            ("red", json!({"searchableAttributes": ["title"]})),
            (
                "red",
                json!({"typoTolerance": {"disableOnAttributes": ["title"]}}),
            ),
        ] {
            let plan = plan(query, &settings);
            let round = read(&plan, PinRound::default(), &[1, 0]);
            assert!(round.end().is_err(), "{query} {settings}");
            let round = read(&plan, PinRound::default(), &[1, 1]);
            assert!(round.end().is_ok(), "{query} {settings}");
        }
    }
}
