//! Hits of a query with placeholders, written as those of the query that the client asked.

use super::answer::AnswerFault;
use super::detail::Details;
use super::hit::{DETAILS, FORMATTED, MATCHES_POSITION, SCORE};
use super::key::SortValue;
use super::members::{RawMembers, write_member, write_value};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashMap;

const WORDS: &str = "words";
const EXACTNESS: &str = "exactness";

/// A hit's members.
pub(super) struct SeenHit<'a>(RawMembers<'a>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Words {
    matching_words: u32,
    max_matching_words: u32,
}

/// A document's place in the insertion order, which tells it from all others.
pub(super) fn seq_of<'a>(details: &'a Details<'_>) -> Option<&'a str> {
    match &details.seq {
        SortValue::Text(text) => Some(text),
        _ => None,
    }
}

impl<'a> SeenHit<'a> {
    pub(super) fn read(raw: &'a RawValue, hit: usize) -> Result<Self, AnswerFault> {
        let fault = |source| AnswerFault::Hit { hit, source };
        serde_json::from_str(raw.get()).map(Self).map_err(fault)
    }

    pub(super) fn details(&self, hit: usize) -> Result<Details<'a>, AnswerFault> {
        let raw: &'a RawValue = self.0.get(DETAILS).ok_or(AnswerFault::NoDetails { hit })?;
        Details::parse(raw).map_err(|rule| AnswerFault::Details { hit, rule })
    }

    fn words(&self) -> Option<Words> {
        let details: RawMembers<'a> = serde_json::from_str(self.0.get(DETAILS)?.get()).ok()?;
        serde_json::from_str(details.get(WORDS)?.get()).ok()
    }

    /// Whether it has all words that its query was left with.
    pub(super) fn is_whole(&self) -> bool {
        self.words()
            .is_some_and(|words| words.matching_words >= words.max_matching_words)
    }

    /// The hit as one that holds `matched` of `all` words; with `exact`, its text does not begin
    /// with the query, and so many words may match exactly.
    pub(super) fn with_words(
        self,
        matched: usize,
        all: usize,
        exact: Option<u32>,
    ) -> Result<Box<RawValue>, serde_json::Error> {
        let mut out = vec![b'{'];
        let mut is_first = true;
        for (name, raw) in &self.0.0 {
            match name.as_ref() {
                DETAILS => {
                    let details: RawMembers<'_> = serde_json::from_str(raw.get())?;
                    let changed = details_with_words(&details, matched, all, exact);
                    write_member(&mut out, &mut is_first, name, &changed);
                }
                SCORE => {
                    let mut changed = Vec::new();
                    let score: f64 = serde_json::from_str(raw.get())?;
                    let score = self
                        .words()
                        .map(|words| score_with_words(score, &words, matched, all));
                    write_value(&mut changed, &score.unwrap_or_default());
                    write_member(&mut out, &mut is_first, name, &changed);
                }
                _ => write_member(&mut out, &mut is_first, name, raw.get().as_bytes()),
            }
        }
        out.push(b'}');
        serde_json::from_slice(&out)
    }
}

/// How `exactness` shows itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Exactness {
    order: u64,
    match_type: Option<String>,
}

/// A hit whose text begins with the query, as one with so many exact words and no more.
fn exactness_of(raw: &RawValue, words: u32) -> Option<String> {
    let exactness: Exactness = serde_json::from_str(raw.get()).ok()?;
    let order = exactness.order;
    let begins = exactness
        .match_type
        .is_some_and(|kind| kind != "noExactMatch");
    begins.then(|| {
        let third = 1.0_f64 / 3.0;
        format!(
            r#"{{"order":{order},"matchType":"noExactMatch","matchingWords":{words},"maxMatchingWords":{words},"score":{third:?}}}"#
        )
    })
}

fn details_with_words(
    details: &RawMembers<'_>,
    matched: usize,
    all: usize,
    exact: Option<u32>,
) -> Vec<u8> {
    #[expect(clippy::cast_precision_loss, reason = "at most ten")]
    let score = matched as f64 / all.max(1) as f64;
    let words = format!(
        r#"{{"order":0,"matchingWords":{matched},"maxMatchingWords":{all},"score":{score:?}}}"#
    );
    let mut out = vec![b'{'];
    let mut is_first = true;
    for (name, raw) in &details.0 {
        let changed = match (name.as_ref(), exact) {
            (WORDS, _) => Some(words.clone()),
            (EXACTNESS, Some(words)) => exactness_of(raw, words),
            _ => None,
        };
        let raw = changed.as_deref().unwrap_or_else(|| raw.get());
        write_member(&mut out, &mut is_first, name, raw.as_bytes());
    }
    out.push(b'}');
    out
}

/// A score is the words' share, refined by what comes after them.
#[expect(clippy::cast_precision_loss, reason = "at most ten")]
fn score_with_words(score: f64, words: &Words, matched: usize, all: usize) -> f64 {
    let own = f64::from(words.max_matching_words);
    let rest = score * own - (own - 1.0);
    ((matched as f64 - 1.0) + rest) / all.max(1) as f64
}

/// How hits show the client's own query in their texts.
#[derive(Debug, Default)]
pub(super) struct Formats(HashMap<String, [Option<String>; 2]>);

const FORMATS: [&str; 2] = [FORMATTED, MATCHES_POSITION];

impl Formats {
    pub(super) fn note(&mut self, hit: SeenHit<'_>) {
        let Ok(details) = hit.details(0) else { return };
        if let Some(seq) = seq_of(&details) {
            let of = |name| hit.0.get(name).map(|raw| raw.get().to_owned());
            self.0.insert(seq.to_owned(), FORMATS.map(of));
        }
    }

    /// Writes a hit with the formats that were noted for it.
    pub(super) fn write(&self, out: &mut Vec<u8>, hit: SeenHit<'_>) {
        let details = hit.details(0).ok();
        let noted = details
            .as_ref()
            .and_then(seq_of)
            .and_then(|seq| self.0.get(seq));
        out.push(b'{');
        let mut is_first = true;
        for (name, raw) in &hit.0.0 {
            let at = FORMATS.iter().position(|format| format == name);
            let noted = at.and_then(|at| noted.and_then(|noted| noted[at].as_deref()));
            let raw = noted.unwrap_or_else(|| raw.get());
            write_member(out, &mut is_first, name, raw.as_bytes());
        }
        out.push(b'}');
    }
}
