//! Filters that ask for vectors: `_vectors EXISTS` and its longer forms. They need a feature of their
//! own, so they have to be told from others.

use serde_json::Value;

/// The name that such a condition begins with.
pub const VECTORS: &str = "_vectors";

/// The first text of a filter that asks for vectors, and the characters before the condition.
///
/// ```
/// use miroir_core::vector_filter::vector_condition;
/// use serde_json::json;
///
/// let filter = json!(["a = 1", ["NOT _vectors.e.userProvided EXISTS"]]);
/// assert_eq!(vector_condition(&filter), Some(("NOT _vectors.e.userProvided EXISTS", 4)));
/// assert_eq!(vector_condition(&json!("a = _vectors")), None);
/// ```
#[must_use]
pub fn vector_condition(filter: &Value) -> Option<(&str, usize)> {
    match filter {
        Value::String(text) => Some((text.as_str(), place(text)?)),
        Value::Array(all) => all.iter().find_map(vector_condition),
        _ => None,
    }
}

fn place(text: &str) -> Option<usize> {
    if !text.contains(VECTORS) {
        return None;
    }
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        let end = token_end(&chars, at);
        let word: String = chars[at..end].iter().collect();
        let rest = || {
            chars
                .get(end..)
                .unwrap_or_default()
                .iter()
                .collect::<String>()
        };
        let is_named = word
            .strip_prefix(VECTORS)
            .is_some_and(|inner| inner.is_empty() || inner.starts_with('.'));
        if is_named && is_existence(&rest()) {
            return Some(at);
        }
        at = end;
    }
    None
}

/// Where what begins at `at` ends: a word with the quoted names in it, a quoted text, a character.
fn token_end(chars: &[char], at: usize) -> usize {
    let is_word = |c: char| !c.is_whitespace() && !"()[],=!<>\"'".contains(c);
    let mut end = at;
    let starts_word = is_word(chars[at]);
    while let Some(&c) = chars.get(end) {
        if matches!(c, '"' | '\'') {
            end += 1;
            while end < chars.len() && chars[end] != c {
                end += if chars[end] == '\\' { 2 } else { 1 };
            }
            end = (end + 1).min(chars.len());
            if !starts_word {
                return end;
            }
        } else if is_word(c) && starts_word {
            end += 1;
        } else {
            break;
        }
    }
    end.max(at + 1)
}

fn is_existence(rest: &str) -> bool {
    let mut words = rest.split(|c: char| c.is_whitespace() || "()".contains(c));
    let mut words = words.by_ref().filter(|word| !word.is_empty());
    match words.next() {
        Some("NOT") => words.next() == Some("EXISTS"),
        word => word == Some("EXISTS"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_on_vectors_are_told_from_names_and_values() {
        for (text, expected) in [
            ("_vectors EXISTS", Some(0)),
            ("NOT ( _vectors.e.fragments.t  EXISTS )", Some(6)),
            (
                "a = 1 AND _vectors.\"e d\".userProvided NOT EXISTS",
                Some(10),
            ),
            ("a = 'x y' OR _vectors.e.regenerate EXISTS", Some(13)),
            ("_vectors = 3", None),
            ("_vectorsx EXISTS", None),
            ("'_vectors' EXISTS", None),
            ("a = _vectors", None),
            ("a = '_vectors EXISTS'", None),
            ("_vectors.e IS NULL", None),
            ("é = \"", None),
            ("", None),
        ] {
            let filter = json!(text);
            assert_eq!(
                vector_condition(&filter),
                expected.map(|at| (text, at)),
                "{text}"
            );
        }
    }
}
