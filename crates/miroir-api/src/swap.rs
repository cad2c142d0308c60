//! The body of `POST /swap-indexes`.

use crate::error::{Code, ResponseError};
use crate::index::{invalid_uid_reason, is_index_uid};
use crate::validate::At;
use serde_json::Value;
use std::collections::BTreeSet;

/// Two names that trade places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swap {
    /// The names, each a valid uid.
    pub indexes: (String, String),
    /// The first becomes the second, which is free.
    pub rename: bool,
}

/// Checks the body, pair by pair; `require` is asked whether both names of a pair may be touched.
///
/// # Errors
/// The first mistake; what `require` says; a name that stands twice.
pub fn read_swaps(
    body: &Value,
    require: impl Fn(&str) -> Result<(), ResponseError>,
) -> Result<Vec<Swap>, ResponseError> {
    let root = At::root(Code::BadRequest);
    let mut read = Vec::new();
    for (position, pair) in root.array(body)?.iter().enumerate() {
        read.push(read_pair(&root.index(position), pair)?);
    }
    let mut swaps = Vec::new();
    for (names, rename) in read {
        let [first, second] = names.as_slice() else {
            return Err(wrong_length(&names));
        };
        require(first)?;
        require(second)?;
        let indexes = (first.clone(), second.clone());
        swaps.push(Swap { indexes, rename });
    }
    check_distinct(&swaps)?;
    Ok(swaps)
}

fn read_pair(at: &At<'_>, pair: &Value) -> Result<(Vec<String>, bool), ResponseError> {
    let mut names = None;
    let mut rename = false;
    for (name, value) in at.object(pair)? {
        match name.as_str() {
            "indexes" => {
                let at = at.field("indexes", Code::InvalidSwapIndexes);
                let mut read = Vec::new();
                for (position, value) in at.array(value)?.iter().enumerate() {
                    let at = at.index(position);
                    let uid = at.string(value)?;
                    if !is_index_uid(uid) {
                        return Err(at.unexpected(invalid_uid_reason(uid)));
                    }
                    read.push(uid.to_owned());
                }
                names = Some(read);
            }
            "rename" => rename = at.field("rename", Code::InvalidSwapRename).boolean(value)?,
            _ => return Err(at.unknown_field(name, &["indexes", "rename"])),
        }
    }
    match names {
        Some(names) => Ok((names, rename)),
        None => Err(at.missing_field("indexes", Code::MissingSwapIndexes)),
    }
}

fn wrong_length(names: &[String]) -> ResponseError {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    ResponseError::new(
        Code::InvalidSwapIndexes,
        format!(
            "Two indexes must be given for each swap. The list `[{}]` contains {} indexes.",
            quoted.join(", "),
            names.len()
        ),
    )
}

fn check_distinct(swaps: &[Swap]) -> Result<(), ResponseError> {
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    let names = swaps
        .iter()
        .flat_map(|swap| [&swap.indexes.0, &swap.indexes.1]);
    for name in names {
        if !seen.insert(name) {
            twice.insert(name);
        }
    }
    let quoted: Vec<String> = twice.iter().map(|name| format!("`{name}`")).collect();
    let verb = match quoted.len() {
        0 => return Ok(()),
        1 => "was",
        _ => "were",
    };
    Err(ResponseError::new(
        Code::InvalidSwapDuplicateIndexFound,
        format!(
            "Indexes must be declared only once during a swap. {} {verb} specified several times.",
            quoted.join(", ")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(body: Value) -> Result<Vec<Swap>, (String, String)> {
        read_swaps(&body, |_| Ok(()))
            .map_err(|error| (error.code.to_string(), error.message.clone()))
    }

    #[test]
    fn pairs_are_read_in_order() {
        let swaps = check(json!([
            {"indexes": ["a", "b"]},
            {"indexes": ["c", "d"], "rename": true},
        ]));
        let swap = |a: &str, b: &str, rename| Swap {
            indexes: (a.into(), b.into()),
            rename,
        };
        assert_eq!(swaps, Ok(vec![swap("a", "b", false), swap("c", "d", true)]));
        assert_eq!(check(json!([])), Ok(vec![]));
    }

    #[test]
    fn a_name_that_stands_twice_is_refused() {
        let body = json!([{"indexes": ["a", "b"]}, {"indexes": ["b", "a"]}]);
        let refusal = (
            "invalid_swap_duplicate_index_found".to_owned(),
            "Indexes must be declared only once during a swap. `a`, `b` were specified several \
             times."
                .to_owned(),
        );
        assert_eq!(check(body), Err(refusal));
        assert!(check(json!([{"indexes": ["a", "a"]}])).is_err());
    }

    #[test]
    fn a_pair_has_two_names() {
        let refusal = (
            "invalid_swap_indexes".to_owned(),
            "Two indexes must be given for each swap. The list `[\"a\"]` contains 1 indexes."
                .to_owned(),
        );
        assert_eq!(check(json!([{"indexes": ["a"]}])), Err(refusal));
    }
}
