//! `_rankingScoreDetails` of one hit: read into comparable entries, written again as the client
//! may see them.

use super::key::{Exactness, Rank, SortValue};
use super::members::{RawMembers, Text, write_member, write_name, write_value};
use crate::reserved::SEQ_RULE;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// One ranking rule's say about one hit.
#[derive(Debug, Clone)]
pub(super) struct Entry<'a> {
    order: u64,
    /// The name of the rule.
    pub(super) name: Cow<'a, str>,
    raw: &'a RawValue,
    /// What the entry says, comparable.
    pub(super) rank: Rank<'a>,
}

/// All entries of one hit in rule order, and the hit's place in the insertion order.
#[derive(Debug, Clone, Default)]
pub(super) struct Details<'a> {
    /// Without the entry of the reserved sequence rule.
    pub(super) entries: Vec<Entry<'a>>,
    /// What that entry says; missing if it is not there.
    pub(super) seq: SortValue<'a>,
}

/// The members that any kind of entry may have.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    order: u64,
    matching_words: Option<u32>,
    max_matching_words: Option<u32>,
    typo_count: Option<u32>,
    max_typo_count: Option<u32>,
    score: Option<f64>,
    attribute_ranking_order_score: Option<f64>,
    query_word_distance_score: Option<f64>,
    #[serde(borrow)]
    match_type: Option<Text<'a>>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    distance: Option<f64>,
    similarity: Option<f64>,
}

impl<'a> Details<'a> {
    /// Reads the details of a hit.
    ///
    /// # Errors
    /// The name of the first entry that is not what its rule shows.
    pub(super) fn parse(raw: &'a RawValue) -> Result<Self, String> {
        let members: RawMembers<'a> =
            serde_json::from_str(raw.get()).map_err(|_| "_rankingScoreDetails".to_owned())?;
        let mut details = Self {
            entries: Vec::with_capacity(members.0.len()),
            seq: SortValue::Missing,
        };
        for (name, raw) in members.0 {
            let Some((order, rank)) = parse_entry(&name, raw) else {
                return Err(name.into_owned());
            };
            match rank {
                Rank::Sort { value, .. } if name == SEQ_RULE => details.seq = value,
                rank => details.entries.push(Entry {
                    order,
                    name,
                    raw,
                    rank,
                }),
            }
        }
        // The order of an object's members carries no meaning; `order` does.
        details.entries.sort_by_key(|entry| entry.order);
        Ok(details)
    }

    /// The ranks of the rules that come before `typo`; `None` without such a rule.
    pub(super) fn ranks_before_typo(&self) -> Option<impl Iterator<Item = &Rank<'a>>> {
        let typo = self
            .entries
            .iter()
            .position(|e| matches!(e.rank, Rank::Typo { .. }))?;
        Some(self.entries[..typo].iter().map(|entry| &entry.rank))
    }

    /// The hit's own `maxTypoCount`.
    pub(super) fn max_typo_count(&self) -> Option<u32> {
        self.entries.iter().find_map(|entry| match entry.rank {
            Rank::Typo { max, .. } => Some(max),
            _ => None,
        })
    }

    /// Whether the node ran out of time while ranking this hit.
    pub(super) fn is_cut_short(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| matches!(entry.rank, Rank::Skipped))
    }

    /// Whether the hit was ranked by vector similarity.
    pub(super) fn has_similarity(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| matches!(entry.rank, Rank::Similarity(_)))
    }

    /// Writes the details as one node with the client's settings would show them.
    ///
    /// `max_typo_count` replaces the node's own; a sort rule on a field that is not `displayed` is
    /// hidden, name and value.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        displayed: Option<&[String]>,
        max_typo_count: Option<u32>,
    ) {
        out.push(b'{');
        let mut is_first = true;
        for entry in &self.entries {
            match entry.rank {
                Rank::Sort { .. } if entry.is_hidden(displayed) => {
                    let name = format!("<hidden-rule-{}>", entry.order);
                    write_name(out, &mut is_first, &name);
                    write_value(out, &json!({"order": entry.order, "value": "<hidden>"}));
                }
                Rank::Typo { count, max } if max_typo_count.is_some_and(|wide| wide != max) => {
                    let max = max_typo_count.unwrap_or(max);
                    let score = f64::from((max + 1).saturating_sub(count)) / f64::from(max + 1);
                    write_name(out, &mut is_first, &entry.name);
                    let adjusted = json!({
                        "order": entry.order, "typoCount": count, "maxTypoCount": max, "score": score
                    });
                    write_value(out, &adjusted);
                }
                _ => write_member(out, &mut is_first, &entry.name, entry.raw.get().as_bytes()),
            }
        }
        out.push(b'}');
    }
}

impl Entry<'_> {
    /// What the node itself makes of the rule, from 0 to 1.
    pub(super) fn score(&self) -> Option<f64> {
        let wire: Wire<'_> = serde_json::from_str(self.raw.get()).ok()?;
        wire.score
    }

    fn is_hidden(&self, displayed: Option<&[String]>) -> bool {
        let field = self
            .name
            .rsplit_once(':')
            .map_or(self.name.as_ref(), |(field, _)| field);
        displayed.is_some_and(|names| names.iter().all(|name| name != field))
    }
}

fn parse_entry<'a>(name: &str, raw: &'a RawValue) -> Option<(u64, Rank<'a>)> {
    let wire: Wire<'a> = serde_json::from_str(raw.get()).ok()?;
    let rank = match name {
        "words" => Rank::Words {
            matching: wire.matching_words?,
            max: wire.max_matching_words?,
        },
        // The largest count is refused so that "one more" always exists.
        "typo" => Rank::Typo {
            count: wire.typo_count?,
            max: wire.max_typo_count.filter(|max| *max < u32::MAX)?,
        },
        "proximity" | "attributeRank" | "wordPosition" => Rank::Score(wire.score?),
        "attribute" => Rank::Attribute {
            rank: wire.attribute_ranking_order_score?,
            position: wire.query_word_distance_score?,
        },
        "exactness" => Rank::Exactness(match wire.match_type?.0.as_ref() {
            "exactMatch" => Exactness::ExactMatch,
            "matchesStart" => Exactness::MatchesStart,
            "noExactMatch" => Exactness::Words(wire.matching_words?),
            _ => return None,
        }),
        "vectorSort" => Rank::Similarity(wire.similarity),
        "skipped" => Rank::Skipped,
        _ => parse_sort(name, &wire)?,
    };
    Some((wire.order, rank))
}

/// The entry of a sort rule; what is no sort rule either is a rule that Miroir does not know,
/// which orders nothing.
fn parse_sort<'a>(name: &str, wire: &Wire<'a>) -> Option<Rank<'a>> {
    let is_descending = match name.rsplit_once(':') {
        Some((_, "asc")) => false,
        Some((_, "desc")) => true,
        _ => return Some(Rank::Unknown),
    };
    if name.starts_with("_geoPoint(") {
        return Some(Rank::Distance {
            is_descending,
            metres: wire.distance,
        });
    }
    let value = match wire.value {
        None => SortValue::Missing,
        Some(raw) => parse_sort_value(raw)?,
    };
    Some(Rank::Sort {
        is_descending,
        value,
    })
}

fn parse_sort_value(raw: &RawValue) -> Option<SortValue<'_>> {
    let text = raw.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str::<Text<'_>>(text)
            .ok()
            .map(|Text(text)| SortValue::Text(text)),
        b'-' | b'0'..=b'9' => text.parse().ok().map(SortValue::Number),
        b'n' => Some(SortValue::Missing),
        // Normalised sort values are numbers, strings or null.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn written(text: &str, displayed: Option<&[&str]>, max_typo_count: Option<u32>) -> String {
        let raw = raw(text);
        let displayed = displayed.map(|names| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        });
        let mut out = Vec::new();
        Details::parse(&raw)
            .unwrap()
            .write(&mut out, displayed.as_deref(), max_typo_count);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn entries_are_written_in_rule_order_without_the_sequence() {
        let text = r#"{"_miroir_seq:asc":{"order":2,"value":"!!#"},
            "proximity":{"order":1,"score":0.5},
            "words":{"order":0,"matchingWords":1,"maxMatchingWords":2,"score":0.5}}"#;
        assert_eq!(
            written(text, None, None),
            r#"{"words":{"order":0,"matchingWords":1,"maxMatchingWords":2,"score":0.5},"proximity":{"order":1,"score":0.5}}"#
        );
        assert_eq!(
            written(r#"{"_miroir_seq:asc":{"order":0,"value":"!"}}"#, None, None),
            "{}"
        );
    }

    #[test]
    fn sort_values_of_fields_that_are_not_displayed_are_hidden() {
        let text = r#"{"price:asc":{"order":0,"value":3.0},"name:desc":{"order":1,"value":"x"},
            "_geoPoint(1, 2):asc":{"order":2,"value":null,"distance":null}}"#;
        assert_eq!(
            written(text, Some(&["name"]), None),
            r#"{"<hidden-rule-0>":{"order":0,"value":"<hidden>"},"name:desc":{"order":1,"value":"x"},"_geoPoint(1, 2):asc":{"order":2,"value":null,"distance":null}}"#
        );
    }

    #[test]
    fn a_wider_typo_scale_replaces_the_nodes_own() {
        let text = r#"{"typo":{"order":0,"typoCount":1,"maxTypoCount":1,"score":0.5}}"#;
        assert_eq!(
            written(text, None, Some(3)),
            r#"{"typo":{"order":0,"typoCount":1,"maxTypoCount":3,"score":0.75}}"#
        );
        assert_eq!(written(text, None, Some(1)), text);
    }

    #[test]
    fn an_entry_without_its_facts_is_named_as_the_fault() {
        for (text, name) in [
            (r#"{"words":{"order":0,"score":1.0}}"#, "words"),
            (
                r#"{"typo":{"order":0,"typoCount":0,"maxTypoCount":4294967295}}"#,
                "typo",
            ),
            (
                r#"{"exactness":{"order":0,"matchType":"maybe"}}"#,
                "exactness",
            ),
            (r#"{"a:asc":{"order":0,"value":[1]}}"#, "a:asc"),
            (r#"{"proximity":7}"#, "proximity"),
            ("[]", "_rankingScoreDetails"),
        ] {
            let raw = raw(text);
            assert_eq!(Details::parse(&raw).unwrap_err(), name);
        }
    }

    #[test]
    fn an_unknown_rule_is_passed_on() {
        let text = r#"{"pin":{"order":0,"position":3}}"#;
        assert_eq!(written(text, None, None), text);
    }
}
