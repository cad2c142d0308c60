//! One hit: read as raw members, written as the client may see it.

use super::answer::AnswerFault;
use super::attribute::is_within;
use super::detail::Details;
use super::members::{Members, RawMembers, write_member, write_name, write_value};
use crate::reserved::is_reserved;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

pub(super) const DETAILS: &str = "_rankingScoreDetails";
pub(super) const SCORE: &str = "_rankingScore";
pub(super) const FORMATTED: &str = "_formatted";
pub(super) const VECTORS: &str = "_vectors";
pub(super) const MATCHES_POSITION: &str = "_matchesPosition";
const EMPTY_OBJECT: &str = "{}";

/// A hit of a node, placed but not yet shown.
#[derive(Debug)]
pub(super) struct Hit<'a> {
    members: RawMembers<'a>,
    formatted: Option<RawMembers<'a>>,
    matches_position: Option<RawMembers<'a>>,
    /// What places it.
    pub(super) details: Details<'a>,
    /// The node's own `_rankingScore`.
    pub(super) score: Option<f64>,
}

/// What a hit shows of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct HitShape {
    pub(super) displayed: Option<Vec<String>>,
    pub(super) shows_score: bool,
    pub(super) shows_details: bool,
    /// Takes out the vectors, which only the merge needed.
    pub(super) hides_vectors: bool,
    /// Fields that the merge needed and the client did not ask for.
    pub(super) extra: Option<Extra>,
}

/// Fields to take out again, which may lie inside a member that the client did ask for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Extra {
    /// Their names; `*` is everything.
    pub(super) fields: Vec<String>,
    /// What the client asked to retrieve.
    pub(super) retrieved: Vec<String>,
    /// What it asked to see in `_formatted`; `None` is everything.
    pub(super) formatted: Option<Vec<String>>,
}

impl Extra {
    fn may_be_within(&self, member: &str) -> bool {
        // What is retrieved by a name comes with all that lies within, hence both directions.
        let touches =
            |field: &String| field == "*" || is_within(field, member) || is_within(member, field);
        self.fields.iter().any(touches)
    }
}

/// What the merge knows better than the node about one hit's scores.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Adjusted {
    pub(super) score: Option<f64>,
    pub(super) max_typo_count: Option<u32>,
    /// The position at which a rule pins it: what places it in place of all else.
    pub(super) pin: Option<u32>,
}

impl<'a> Hit<'a> {
    /// Reads hit number `hit` of a node; without ranking details it is a fault.
    pub(super) fn parse(raw: &'a RawValue, hit: usize) -> Result<Self, AnswerFault> {
        Self::read(raw, hit, true)
    }

    /// Reads hit number `hit` of a page that a node has cut: it has its place, with details or
    /// without.
    pub(super) fn parse_placed(raw: &'a RawValue, hit: usize) -> Result<Self, AnswerFault> {
        Self::read(raw, hit, false)
    }

    fn read(raw: &'a RawValue, hit: usize, needs_details: bool) -> Result<Self, AnswerFault> {
        let fault = |source| AnswerFault::Hit { hit, source };
        let members: RawMembers<'a> = serde_json::from_str(raw.get()).map_err(fault)?;
        let details = match members.get(DETAILS) {
            Some(raw) => Details::parse(raw).map_err(|rule| AnswerFault::Details { hit, rule })?,
            None if needs_details => return Err(AnswerFault::NoDetails { hit }),
            None => Details::default(),
        };
        // Read now and not when written, so that writing cannot fail.
        let object = |name| match members.get(name) {
            Some(raw) => serde_json::from_str::<RawMembers<'a>>(raw.get()).map(Some),
            None => Ok(None),
        };
        let formatted = object(FORMATTED).map_err(fault)?;
        let matches_position = object(MATCHES_POSITION).map_err(fault)?;
        let score = match members.get(SCORE) {
            Some(raw) => Some(read_score(raw).map_err(fault)?),
            None => None,
        };
        Ok(Self {
            members,
            formatted,
            matches_position,
            details,
            score,
        })
    }

    /// The document's own top-level members and those that the node adds.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.members
            .0
            .iter()
            .map(|(name, raw)| (name.as_ref(), *raw))
    }

    /// Writes the hit.
    pub(super) fn write(&self, out: &mut Vec<u8>, shape: &HitShape, adjusted: Adjusted) {
        self.write_with(out, shape, adjusted, None);
    }

    /// Writes the hit with one member more, which stands behind those of the document, or in place
    /// of one of this name.
    pub(super) fn write_with(
        &self,
        out: &mut Vec<u8>,
        shape: &HitShape,
        adjusted: Adjusted,
        mut added: Option<(&str, &str)>,
    ) {
        let displayed = shape.displayed.as_deref();
        let replaced = added.map(|(name, _)| name);
        out.push(b'{');
        let mut is_first = true;
        for (name, raw) in self.members() {
            if replaced == Some(name) {
                continue;
            }
            if [FORMATTED, MATCHES_POSITION, SCORE, DETAILS].contains(&name)
                && let Some((name, raw)) = added.take()
            {
                write_member(out, &mut is_first, name, raw.as_bytes());
            }
            match name {
                DETAILS if shape.shows_details => {
                    write_name(out, &mut is_first, name);
                    if let Some(position) = adjusted.pin {
                        write_value(out, &json!({"pin": {"order": 0, "position": position}}));
                        continue;
                    }
                    self.details.write(out, displayed, adjusted.max_typo_count);
                }
                SCORE if shape.shows_score => match adjusted.score {
                    Some(score) => {
                        write_name(out, &mut is_first, name);
                        write_value(out, &score);
                    }
                    None => write_member(out, &mut is_first, name, raw.get().as_bytes()),
                },
                DETAILS | SCORE => {}
                VECTORS if shape.hides_vectors => {}
                // A list of displayed attributes hides vectors unless it names them.
                VECTORS if displayed.is_some_and(|names| names.iter().all(|n| n != VECTORS)) => {}
                FORMATTED => {
                    if let Some(formatted) = &self.formatted {
                        let kept = shape.extra.as_ref().map(|e| (e, e.formatted.as_deref()));
                        let mut members = Vec::new();
                        write_selected(&mut members, formatted, kept);
                        // A node leaves it out where it would hold nothing.
                        if members.len() > EMPTY_OBJECT.len() {
                            write_member(out, &mut is_first, name, &members);
                        }
                    }
                }
                MATCHES_POSITION => {
                    if let Some(positions) = &self.matches_position {
                        write_name(out, &mut is_first, name);
                        write_positions(out, positions, displayed);
                    }
                }
                _ => {
                    let kept = shape
                        .extra
                        .as_ref()
                        .map(|e| (e, Some(e.retrieved.as_slice())));
                    write_document_member(out, &mut is_first, (name, raw), kept);
                }
            }
        }
        if let Some((name, raw)) = added {
            write_member(out, &mut is_first, name, raw.as_bytes());
        }
        out.push(b'}');
    }
}

/// A score to its last digit, which the JSON reader does not promise.
fn read_score(raw: &RawValue) -> Result<f64, serde_json::Error> {
    let read: f64 = serde_json::from_str(raw.get())?;
    Ok(raw.get().parse().unwrap_or(read))
}

/// The extra field and the selectors that the client's answer is cut to; no selectors keep all.
type Cut<'s> = Option<(&'s Extra, Option<&'s [String]>)>;

fn write_selected(out: &mut Vec<u8>, Members(members): &RawMembers<'_>, cut: Cut<'_>) {
    out.push(b'{');
    let mut is_first = true;
    for (name, raw) in members {
        write_document_member(out, &mut is_first, (name, raw), cut);
    }
    out.push(b'}');
}

fn write_document_member(
    out: &mut Vec<u8>,
    is_first: &mut bool,
    (name, raw): (&str, &RawValue),
    cut: Cut<'_>,
) {
    if is_reserved(name) {
        return;
    }
    let kept_whole = match cut {
        // Only a member that holds an extra field can hold too much.
        Some((extra, Some(selectors))) if extra.may_be_within(name) => {
            selectors.iter().any(|selector| selector == name)
                || !is_narrowed(out, is_first, name, raw, selectors)
        }
        _ => true,
    };
    if kept_whole {
        write_member(out, is_first, name, raw.get().as_bytes());
    }
}

/// Writes the selected part of a member, or nothing if none is; false if the member cannot be
/// taken apart and is better shown whole (it is deeper than the JSON reader goes).
fn is_narrowed(
    out: &mut Vec<u8>,
    is_first: &mut bool,
    name: &str,
    raw: &RawValue,
    selectors: &[String],
) -> bool {
    let inner = inner_selectors(selectors.iter().map(String::as_str), name);
    if inner.is_empty() {
        return true;
    }
    let Ok(value) = serde_json::from_str::<Value>(raw.get()) else {
        return false;
    };
    write_name(out, is_first, name);
    write_value(out, &narrow(value, &inner));
    true
}

/// What the selectors say of the inside of member `name`.
fn inner_selectors<'s>(selectors: impl Iterator<Item = &'s str>, name: &str) -> Vec<&'s str> {
    selectors
        .filter_map(|s| s.strip_prefix(name)?.strip_prefix('.'))
        .collect()
}

/// The part of `value` that the selectors cover: of objects the selected members, also if there are
/// none; arrays are looked through, and scalars on the way to a selected path stay (observed).
fn narrow(value: Value, selectors: &[&str]) -> Value {
    match value {
        Value::Object(members) => {
            let mut kept = Map::new();
            for (name, value) in members {
                if selectors.contains(&name.as_str()) {
                    kept.insert(name, value);
                    continue;
                }
                let inner = inner_selectors(selectors.iter().copied(), &name);
                if !inner.is_empty() {
                    kept.insert(name, narrow(value, &inner));
                }
            }
            Value::Object(kept)
        }
        Value::Array(items) => items
            .into_iter()
            .map(|item| narrow(item, selectors))
            .collect(),
        scalar => scalar,
    }
}

fn write_positions(
    out: &mut Vec<u8>,
    Members(positions): &RawMembers<'_>,
    displayed: Option<&[String]>,
) {
    out.push(b'{');
    let mut is_first = true;
    for (path, raw) in positions {
        let is_shown = displayed.is_none_or(|names| names.iter().any(|name| is_within(path, name)));
        if is_shown && !is_reserved(path) {
            write_member(out, &mut is_first, path, raw.get().as_bytes());
        }
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(hit: &str, shape: &HitShape) -> String {
        let raw = RawValue::from_string(hit.to_owned()).unwrap();
        let mut out = Vec::new();
        Hit::parse(&raw, 0)
            .unwrap()
            .write(&mut out, shape, Adjusted::default());
        String::from_utf8(out).unwrap()
    }

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn reserved_fields_are_taken_out_of_every_part_of_a_hit() {
        let hit = r#"{"id":1,"_miroir_shard":"!","_miroir_seq":"!!",
            "_formatted":{"id":"1","_miroir_seq":"!!","_miroir_shard":"!"},
            "_matchesPosition":{"_miroir_seq":[],"title":[{"start":0,"length":1}]},
            "_rankingScore":0.5,"_rankingScoreDetails":{"_miroir_seq:asc":{"order":0,"value":"!!"}}}"#;
        let plain = r#"{"id":1,"_formatted":{"id":"1"},"_matchesPosition":{"title":[{"start":0,"length":1}]}}"#;
        assert_eq!(shown(hit, &HitShape::default()), plain);
        let shape = HitShape {
            shows_score: true,
            shows_details: true,
            ..HitShape::default()
        };
        let scored = format!(
            r#"{},"_rankingScore":0.5,"_rankingScoreDetails":{{}}}}"#,
            plain.strip_suffix('}').unwrap()
        );
        assert_eq!(shown(hit, &shape), scored);
    }

    #[test]
    fn positions_are_shown_for_displayed_paths_only() {
        let hit = r#"{"_matchesPosition":{"a.b":[1],"ab":[2],"c":[3]},"_rankingScoreDetails":{}}"#;
        let shape = HitShape {
            displayed: Some(names("a")),
            ..HitShape::default()
        };
        assert_eq!(shown(hit, &shape), r#"{"_matchesPosition":{"a.b":[1]}}"#);
    }

    #[test]
    fn vectors_are_shown_only_where_they_are_displayed() {
        let hit = r#"{"_vectors":{"e":null},"_rankingScoreDetails":{}}"#;
        for (displayed, is_shown) in [
            (None, true),
            (Some("id _vectors"), true),
            (Some("id"), false),
        ] {
            let shape = HitShape {
                displayed: displayed.map(names),
                ..HitShape::default()
            };
            assert_eq!(shown(hit, &shape) != "{}", is_shown, "{displayed:?}");
        }
    }

    #[test]
    fn a_field_that_only_the_merge_needed_is_taken_out_again() {
        let hit = r#"{"id":1,"a":{"b":{"c":1,"d":2},"e":3},"_formatted":{"id":"1","a":{"b":{"c":"1"},"e":"3"}},"_rankingScoreDetails":{}}"#;
        let check = |retrieved: &str, formatted: Option<&str>, expected: &str| {
            let extra = Extra {
                fields: names("a.b"),
                retrieved: names(retrieved),
                formatted: formatted.map(names),
            };
            let shape = HitShape {
                extra: Some(extra),
                ..HitShape::default()
            };
            assert_eq!(shown(hit, &shape), expected);
        };
        check("id", Some("id"), r#"{"id":1,"_formatted":{"id":"1"}}"#);
        check(
            "id a.e",
            Some("id a.b"),
            r#"{"id":1,"a":{"e":3},"_formatted":{"id":"1","a":{"b":{"c":"1"}}}}"#,
        );
        check(
            "a.b.d",
            None,
            r#"{"id":1,"a":{"b":{"d":2}},"_formatted":{"id":"1","a":{"b":{"c":"1"},"e":"3"}}}"#,
        );
    }

    #[test]
    fn arrays_are_looked_through_when_a_member_is_narrowed() {
        let value = serde_json::json!([{"a": 1, "b": 2}, {"b": 3}, 4, [{"a": 5}]]);
        assert_eq!(
            narrow(value, &["a"]),
            serde_json::json!([{"a": 1}, {}, 4, [{"a": 5}]])
        );
    }

    #[test]
    fn a_score_is_read_to_its_last_digit() {
        for score in ["0.9678030303030303", "0.9810606060606061", "1.0", "0.0"] {
            let hit = format!(r#"{{"_rankingScore":{score},"_rankingScoreDetails":{{}}}}"#);
            let raw = RawValue::from_string(hit).unwrap();
            let read = Hit::parse(&raw, 0).unwrap().score.unwrap();
            assert_eq!(format!("{read:?}"), score);
        }
    }

    #[test]
    fn a_broken_hit_is_a_fault_and_not_a_panic() {
        for hit in ["[]", "7", r#"{"_rankingScoreDetails":{},"_formatted":3}"#] {
            let raw = RawValue::from_string(hit.to_owned()).unwrap();
            assert!(
                matches!(Hit::parse(&raw, 4), Err(AnswerFault::Hit { hit: 4, .. })),
                "{hit}"
            );
        }
        let raw = RawValue::from_string(r#"{"id":1}"#.to_owned()).unwrap();
        assert!(matches!(
            Hit::parse(&raw, 0),
            Err(AnswerFault::NoDetails { hit: 0 })
        ));
    }
}
