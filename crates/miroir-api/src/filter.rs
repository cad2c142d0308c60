//! The form of a filter: a string, or an array of strings and of arrays of strings.
//!
//! What the expression means is the engine's and the nodes' business.

use crate::error::{Code, ResponseError};
use serde_json::Value;

/// Checks the form of a filter; `false` if it holds no condition at all.
///
/// # Errors
/// With `code`, when an element has a type a filter cannot have.
pub fn check_filter(filter: &Value, code: Code) -> Result<bool, ResponseError> {
    match filter {
        Value::String(text) => Ok(!text.trim().is_empty()),
        Value::Array(all) => {
            let mut has_condition = false;
            for one in all {
                has_condition |= check_alternatives(one, code)?;
            }
            Ok(has_condition)
        }
        other => Err(wrong_form("String, Array", other, code)),
    }
}

fn check_alternatives(one: &Value, code: Code) -> Result<bool, ResponseError> {
    match one {
        Value::String(text) => Ok(!text.trim().is_empty()),
        Value::Array(any) => {
            let mut has_condition = false;
            for condition in any {
                let Some(text) = condition.as_str() else {
                    return Err(wrong_form("String", condition, code));
                };
                has_condition |= !text.trim().is_empty();
            }
            Ok(has_condition)
        }
        other => Err(wrong_form("String, [String]", other, code)),
    }
}

fn wrong_form(expected: &str, found: &Value, code: Code) -> ResponseError {
    ResponseError::new(
        code,
        format!("Invalid syntax for the filter parameter: `expected {expected}, found: {found}`."),
    )
}

/// A filter given in a query string: JSON if it is JSON, else the text itself.
#[must_use]
pub fn filter_from_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(filter: &Value) -> Result<bool, String> {
        check_filter(filter, Code::InvalidSearchFilter).map_err(|error| error.message)
    }

    #[test]
    fn strings_and_two_levels_of_arrays_are_filters() {
        assert_eq!(check(&json!("a = 1")), Ok(true));
        assert_eq!(check(&json!(["a = 1", ["b = 2", "c = 3"]])), Ok(true));
    }

    #[test]
    fn blank_filters_hold_no_condition() {
        for blank in [json!(""), json!("  "), json!([]), json!([[]]), json!([""])] {
            assert_eq!(check(&blank), Ok(false), "{blank}");
        }
    }

    #[test]
    fn other_types_are_refused_in_meilisearch_words() {
        let refusal = |filter: Value| check(&filter).expect_err("it is no filter");
        assert_eq!(
            refusal(json!(true)),
            "Invalid syntax for the filter parameter: `expected String, Array, found: true`."
        );
        assert_eq!(
            refusal(json!([1])),
            "Invalid syntax for the filter parameter: `expected String, [String], found: 1`."
        );
        assert_eq!(
            refusal(json!([[["a"]]])),
            "Invalid syntax for the filter parameter: `expected String, found: [\"a\"]`."
        );
    }

    #[test]
    fn a_filter_in_a_query_string_may_be_json() {
        assert_eq!(filter_from_text("a = 1"), json!("a = 1"));
        assert_eq!(filter_from_text("[\"a = 1\"]"), json!(["a = 1"]));
    }
}
