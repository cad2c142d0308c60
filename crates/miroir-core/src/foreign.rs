//! Foreign keys: fields that hold ids of another index's documents, as far as settings and filters
//! know them. What they do to hits is told in [`crate::merge`].
//!
//! A condition `_foreign(field, inner)` holds where the field names a document of the other index
//! that `inner` finds. It is answered in two steps, as by one Meilisearch: `inner` is asked of the
//! other index, and the condition becomes `"field" IN [ids]`.

use crate::settings::Settings;
use serde_json::Value;
use std::ops::Range;

/// The most documents of one index that all `_foreign` conditions of a request may find.
pub const FOREIGN_IDS_MAX: usize = 100;

/// What opens such a condition.
const OPENING: &str = "_foreign(";

/// A field whose values are ids of another index's documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// The client's name of the other index; need not exist.
    pub index: String,
    /// The field.
    pub field: String,
}

/// The foreign keys of an index, in the order they were set in.
///
/// ```
/// let settings = serde_json::json!({"foreignKeys": [{"foreignIndexUid": "b", "fieldName": "f"}]});
/// let keys = miroir_core::foreign::foreign_keys(settings.as_object().unwrap());
/// assert_eq!((keys[0].index.as_str(), keys[0].field.as_str()), ("b", "f"));
/// ```
#[must_use]
pub fn foreign_keys(logical: &Settings) -> Vec<ForeignKey> {
    let keys = logical.get("foreignKeys").and_then(Value::as_array);
    let text = |key: &Value, name: &str| key.get(name)?.as_str().map(str::to_owned);
    keys.into_iter()
        .flatten()
        .filter_map(|key| {
            Some(ForeignKey {
                index: text(key, "foreignIndexUid")?,
                field: text(key, "fieldName")?,
            })
        })
        .collect()
}

/// A `_foreign` condition in the text of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignCondition {
    /// Where it stands, in bytes.
    pub range: Range<usize>,
    /// The field, without quotes.
    pub field: String,
    /// Characters of the text before the field's first one.
    pub field_at: usize,
    /// What is asked of the other index.
    pub inner: String,
    /// Characters of the text before it.
    pub inner_at: usize,
}

/// Whether a filter has a `_foreign` condition at all.
#[must_use]
pub fn is_foreign(filter: &Value) -> bool {
    match filter {
        Value::String(text) => text.contains(OPENING) && !foreign_conditions(text).is_empty(),
        Value::Array(all) => all.iter().any(is_foreign),
        _ => false,
    }
}

/// The `_foreign` conditions of a text that is known to be a filter, from the left; one inside
/// another is part of the outer one's `inner`.
#[must_use]
pub fn foreign_conditions(text: &str) -> Vec<ForeignCondition> {
    let mut found = Vec::new();
    let mut rest_at = 0;
    for (at, piece) in pieces(text) {
        if at < rest_at || piece != Piece::Word || !text[at..].starts_with(OPENING) {
            continue;
        }
        if let Some(condition) = condition_at(text, at) {
            rest_at = condition.range.end;
            found.push(condition);
        }
    }
    found
}

/// The text with each of these conditions replaced by one that names the ids that were found for it.
///
/// ```
/// use miroir_core::foreign::{foreign_conditions, with_ids};
///
/// let text = "a = 1 AND NOT _foreign(author, name = 'Bob (2)')";
/// let conditions = foreign_conditions(text);
/// assert_eq!(conditions[0].inner, "name = 'Bob (2)'");
/// let ids = vec![vec!["b1".to_owned(), "b2".to_owned()]];
/// let expected = r#"a = 1 AND NOT "author" IN ["b1", "b2"]"#;
/// assert_eq!(with_ids(text, &conditions, &ids), expected);
/// ```
#[must_use]
pub fn with_ids(text: &str, conditions: &[ForeignCondition], ids: &[Vec<String>]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (condition, ids) in conditions.iter().zip(ids) {
        out.push_str(text.get(from..condition.range.start).unwrap_or_default());
        let ids: Vec<String> = ids.iter().map(|id| format!("\"{id}\"")).collect();
        let field = condition.field.replace('"', "\\\"");
        out.push_str(&format!("\"{field}\" IN [{}]", ids.join(", ")));
        from = condition.range.end;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

/// The condition that opens at this byte; `None` if it has no comma or no end.
fn condition_at(text: &str, start: usize) -> Option<ForeignCondition> {
    let open = start + OPENING.len();
    let (mut depth, mut comma, mut end) = (0_usize, None, None);
    for (at, piece) in pieces(text.get(open..)?) {
        match piece {
            Piece::Sign('(' | '[') => depth += 1,
            Piece::Sign(')') if depth == 0 => {
                end = Some(open + at);
                break;
            }
            Piece::Sign(')' | ']') => depth = depth.saturating_sub(1),
            Piece::Sign(',') if depth == 0 && comma.is_none() => comma = Some(open + at),
            _ => {}
        }
    }
    let (comma, end) = (comma?, end?);
    let (field, inner) = (text.get(open..comma)?, text.get(comma + 1..end)?);
    let chars_before = |at: usize| text.get(..at).unwrap_or_default().chars().count();
    let trimmed = field.trim_start();
    let mut field_at = open + (field.len() - trimmed.len());
    let trimmed = trimmed.trim_end();
    let quote = trimmed.chars().next().filter(|c| matches!(c, '"' | '\''));
    let name = match quote {
        Some(quote) => {
            field_at += 1;
            let name = trimmed.strip_prefix(quote)?.strip_suffix(quote)?;
            name.replace(&format!("\\{quote}"), &quote.to_string())
        }
        None => trimmed.to_owned(),
    };
    let shown = inner.trim_start();
    let inner_at = comma + 1 + (inner.len() - shown.len());
    Some(ForeignCondition {
        range: start..end + 1,
        field: name,
        field_at: chars_before(field_at),
        inner: shown.trim_end().to_owned(),
        inner_at: chars_before(inner_at),
    })
}

/// What a filter is made of, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// A name, a number or a keyword.
    Word,
    /// A quoted name or value, to its closing quote.
    Quoted,
    /// One character with a meaning of its own.
    Sign(char),
}

/// The pieces of a filter, each with the byte it begins at.
fn pieces(text: &str) -> impl Iterator<Item = (usize, Piece)> + '_ {
    let is_word = |c: char| !c.is_whitespace() && !"()[],=!<>\"'".contains(c);
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at;
            let first = text.get(at..)?.chars().next()?;
            at += first.len_utf8();
            if matches!(first, '"' | '\'') {
                let mut is_escaped = false;
                for c in text.get(at..)?.chars() {
                    at += c.len_utf8();
                    if c == first && !is_escaped {
                        break;
                    }
                    is_escaped = c == '\\' && !is_escaped;
                }
                return Some((start, Piece::Quoted));
            }
            if is_word(first) {
                let rest = text.get(at..)?;
                at += rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                return Some((start, Piece::Word));
            }
            if !first.is_whitespace() {
                return Some((start, Piece::Sign(first)));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn found(text: &str) -> Vec<(String, usize, String, usize)> {
        let conditions = foreign_conditions(text).into_iter();
        conditions
            .map(|c| (c.field, c.field_at, c.inner, c.inner_at))
            .collect()
    }

    fn one(field: &str, field_at: usize, inner: &str, at: usize) -> (String, usize, String, usize) {
        (field.to_owned(), field_at, inner.to_owned(), at)
    }

    #[test]
    fn conditions_are_found_with_their_places() {
        assert_eq!(
            found("_foreign(author, name = A)"),
            [one("author", 9, "name = A", 17)]
        );
        assert_eq!(
            found("é = 1 AND (_foreign('a b',x IN [1, 2] ))"),
            [one("a b", 21, "x IN [1, 2]", 26)]
        );
        assert_eq!(
            found("_foreign(a, x = ')') OR NOT _foreign(b, (y = 1) AND _geoRadius(1, 2, 3))"),
            [
                one("a", 9, "x = ')'", 12),
                one("b", 37, "(y = 1) AND _geoRadius(1, 2, 3)", 40)
            ]
        );
        assert_eq!(
            found("_foreign(a, x = 1 AND _foreign(b, y = 2))"),
            [one("a", 9, "x = 1 AND _foreign(b, y = 2)", 12)]
        );
    }

    #[test]
    fn what_is_no_condition_is_left_alone() {
        for text in [
            "_foreign = 1",
            "a = '_foreign(a, b = 1)'",
            "a = \"x\\\"_foreign(a, b = 1)\"",
            "my_foreign(a, b = 1)",
            "_foreign (a, b = 1)",
            "_foreign(a b)",
            "_foreign(a, b = 1",
            "",
        ] {
            assert!(found(text).is_empty(), "{text}");
        }
        assert!(!is_foreign(&json!(["a = 1", ["_foreign = 2"]])));
        assert!(is_foreign(&json!(["a = 1", ["_foreign(a, b = 2)"]])));
    }

    #[test]
    fn ids_take_the_place_of_conditions() {
        let text = "_foreign(a, x = 1) AND z = 'é' AND _foreign('q\"', y = 2) AND b = 1";
        let conditions = foreign_conditions(text);
        let ids = [vec!["1".to_owned()], Vec::new()];
        assert_eq!(
            with_ids(text, &conditions, &ids),
            "\"a\" IN [\"1\"] AND z = 'é' AND \"q\\\"\" IN [] AND b = 1"
        );
    }

    #[test]
    fn settings_of_another_form_hold_no_keys() {
        let keys = |value: Value| foreign_keys(json!({"foreignKeys": value}).as_object().unwrap());
        assert!(keys(json!(null)).is_empty());
        assert!(keys(json!([{"foreignIndexUid": "a"}, 3])).is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in r#"[_a-cé(),'"\\ \[\]=]{0,40}"#, on in any::<bool>()) {
            let text = if on { text.replace('a', OPENING) } else { text };
            for condition in foreign_conditions(&text) {
                let shown = &text[condition.range.clone()];
                prop_assert!(shown.starts_with(OPENING) && shown.ends_with(')'), "{}", shown);
                let inner: String = text.chars().skip(condition.inner_at).collect();
                prop_assert!(inner.starts_with(&condition.inner));
            }
        }
    }
}
