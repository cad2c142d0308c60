//! The setting `chat`: how an index is described to an LLM, and how it is searched for one.

use super::value::members;
use crate::error::ResponseError;
use crate::validate::At;
use serde_json::{Map, Value};

type Checked = Result<Value, ResponseError>;

pub(super) fn chat(at: &At<'_>, value: &Value) -> Checked {
    const MEMBERS: &[&str] = &[
        "description",
        "documentTemplate",
        "documentTemplateMaxBytes",
        "searchParameters",
    ];
    let checked = members(at, value, MEMBERS, |at, name, value| match name {
        "documentTemplateMaxBytes" => size(at, value),
        "searchParameters" => search_parameters(at, value),
        _ => text(at, value),
    })?;
    Ok(Value::Object(checked))
}

fn search_parameters(at: &At<'_>, value: &Value) -> Checked {
    const MEMBERS: &[&str] = &[
        "hybrid",
        "limit",
        "sort",
        "distinct",
        "matchingStrategy",
        "attributesToSearchOn",
        "rankingScoreThreshold",
    ];
    let checked = members(at, value, MEMBERS, |at, name, value| match name {
        "hybrid" => hybrid(at, value),
        "limit" => size(at, value),
        "sort" | "attributesToSearchOn" => {
            at.strings(value)?;
            Ok(value.clone())
        }
        "matchingStrategy" => {
            at.one_of(value, &["last", "all", "frequency"])?;
            Ok(value.clone())
        }
        "rankingScoreThreshold" => fraction(at, value, name),
        _ => text(at, value),
    })?;
    Ok(Value::Object(checked))
}

/// Unlike elsewhere no part of it may be `null`; the ratio has a default.
fn hybrid(at: &At<'_>, value: &Value) -> Checked {
    let mut checked = Map::from_iter([("semanticRatio".to_owned(), Value::from(0.5))]);
    for (name, value) in at.object(value)? {
        let inner = at.inner(name);
        let value = match name.as_str() {
            "semanticRatio" => fraction(&inner, value, name)?,
            "embedder" => text(&inner, value)?,
            _ => return Err(at.unknown_field(name, &["semanticRatio", "embedder"])),
        };
        checked.insert(name.clone(), value);
    }
    if checked.contains_key("embedder") {
        Ok(Value::Object(checked))
    } else {
        Err(at.missing_field("embedder", at.code()))
    }
}

fn text(at: &At<'_>, value: &Value) -> Checked {
    at.string(value)?;
    Ok(value.clone())
}

fn size(at: &At<'_>, value: &Value) -> Checked {
    at.size(value)?;
    Ok(value.clone())
}

fn fraction(at: &At<'_>, value: &Value, name: &str) -> Checked {
    let number = at.number(value)?;
    if (0.0..=1.0).contains(&number) {
        Ok(Value::from(number))
    } else {
        Err(at.unexpected(format_args!(
            "the value of `{name}` is invalid, expected a float between `0.0` and `1.0`."
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use serde_json::json;

    fn check(value: Value) -> Checked {
        chat(&At::root(Code::InvalidSettingsIndexChat), &value)
    }

    #[test]
    fn mistakes_are_told_by_their_place() {
        for (value, message) in [
            (
                json!({"descr": 1}),
                "Unknown field `descr`: expected one of `description`, `documentTemplate`, \
                 `documentTemplateMaxBytes`, `searchParameters`",
            ),
            (
                json!({"searchParameters": {"limit": "a"}}),
                "Invalid value type at `.searchParameters.limit`: expected a positive integer, but \
                 found a string: `\"a\"`",
            ),
            (
                json!({"searchParameters": {"hybrid": {}}}),
                "Missing field `embedder` inside `.searchParameters.hybrid`",
            ),
            (
                json!({"searchParameters": {"hybrid": {"embedder": "a", "semanticRatio": null}}}),
                "Invalid value type at `.searchParameters.hybrid.semanticRatio`: expected a \
                 number, but found null",
            ),
            (
                json!({"searchParameters": {"rankingScoreThreshold": 2}}),
                "Invalid value at `.searchParameters.rankingScoreThreshold`: the value of \
                 `rankingScoreThreshold` is invalid, expected a float between `0.0` and `1.0`.",
            ),
            (
                json!({"searchParameters": {"matchingStrategy": "x"}}),
                "Unknown value `x` at `.searchParameters.matchingStrategy`: expected one of \
                 `last`, `all`, `frequency`",
            ),
        ] {
            let error = check(value).expect_err("a mistake");
            assert_eq!(error.message, message);
            assert_eq!(&*error.code, "invalid_settings_index_chat");
        }
    }

    #[test]
    fn what_is_right_is_kept_with_its_defaults() {
        let sent = json!({
            "description": null,
            "searchParameters": {"hybrid": {"embedder": "a"}, "limit": 0, "sort": ["a:asc"]},
        });
        let kept = json!({
            "description": null,
            "searchParameters": {
                "hybrid": {"semanticRatio": 0.5, "embedder": "a"}, "limit": 0, "sort": ["a:asc"],
            },
        });
        assert_eq!(check(sent), Ok(kept));
    }
}
