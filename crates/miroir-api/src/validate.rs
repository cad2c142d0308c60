//! Checks a JSON value field by field and words what is wrong as Meilisearch does.
//!
//! An [`At`] is a place in the request: its path and the error code that mistakes there get. The
//! checks are methods of the place, so that a message cannot name another path than the one read.
//! Only the first mistake is reported, in the order in which the client wrote the fields.

use crate::error::{Code, ResponseError};
use serde_json::{Map, Value};
use std::fmt;

/// A place in a JSON body.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
    code: Code,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Index(usize),
}

/// What a place accepts, for the message of a wrong type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// `true` or `false`.
    Boolean,
    /// An integer from 0.
    PositiveInteger,
    /// Any number.
    Number,
    /// Text.
    String,
    /// A list.
    Array,
    /// An object.
    Object,
}

impl Expected {
    fn describe(self) -> &'static str {
        match self {
            Self::Boolean => "a boolean",
            Self::PositiveInteger => "a positive integer",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

impl<'a> At<'a> {
    /// The whole body; mistakes that belong to no field get `code`.
    #[must_use]
    pub const fn root(code: Code) -> At<'static> {
        At {
            parent: None,
            step: Step::Root,
            code,
        }
    }

    /// A field of this object whose mistakes get `code`.
    #[must_use]
    pub const fn field(&'a self, name: &'a str, code: Code) -> Self {
        Self {
            parent: Some(self),
            step: Step::Field(name),
            code,
        }
    }

    /// A field of this object with the same code.
    #[must_use]
    pub const fn inner(&'a self, name: &'a str) -> Self {
        self.field(name, self.code)
    }

    /// An element of this list, with the same code.
    #[must_use]
    pub const fn index(&'a self, index: usize) -> Self {
        Self {
            parent: Some(self),
            step: Step::Index(index),
            code: self.code,
        }
    }

    /// The code that mistakes here get.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The same place under another code.
    #[must_use]
    pub const fn with_code(self, code: Code) -> Self {
        Self { code, ..self }
    }

    // --- Mistakes -----------------------------------------------------------------------------

    /// The value is right in type and wrong in content.
    #[must_use]
    pub fn unexpected(&self, reason: impl fmt::Display) -> ResponseError {
        ResponseError::new(
            self.code,
            format!("Invalid value{}: {reason}", Place(self, " at")),
        )
    }

    /// The value has the wrong type.
    #[must_use]
    pub fn wrong_type(&self, expected: Expected, found: &Value) -> ResponseError {
        let message = format!(
            "Invalid value type{}: expected {}, but found {}",
            Place(self, " at"),
            expected.describe(),
            describe(found)
        );
        ResponseError::new(self.code, message)
    }

    /// The value is neither of the two that a size may be written as.
    #[must_use]
    pub fn neither_integer_nor_string(&self, found: &Value) -> ResponseError {
        let message = format!(
            "Invalid value type{}: expected a positive integer or a string, but found {}",
            Place(self, " at"),
            describe(found)
        );
        ResponseError::new(self.code, message)
    }

    /// The object has a field it should not have.
    #[must_use]
    pub fn unknown_field(&self, name: &str, accepted: &[&str]) -> ResponseError {
        let message = format!(
            "Unknown field `{name}`{}: {}expected one of {}",
            Place(self, " inside"),
            did_you_mean(name, accepted),
            backticked(accepted)
        );
        ResponseError::new(self.code, message)
    }

    /// The object lacks a field; `code` is the one of the field.
    #[must_use]
    pub fn missing_field(&self, name: &str, code: Code) -> ResponseError {
        ResponseError::new(
            code,
            format!("Missing field `{name}`{}", Place(self, " inside")),
        )
    }

    /// The text is none of those accepted.
    #[must_use]
    pub fn unknown_value(&self, found: &str, accepted: &[&str]) -> ResponseError {
        let message = format!(
            "Unknown value `{found}`{}: {}expected one of {}",
            Place(self, " at"),
            did_you_mean(found, accepted),
            backticked(accepted)
        );
        ResponseError::new(self.code, message)
    }

    // --- Checks -------------------------------------------------------------------------------

    /// The text here.
    ///
    /// # Errors
    /// Wrong type.
    pub fn string<'v>(&self, value: &'v Value) -> Result<&'v str, ResponseError> {
        value
            .as_str()
            .ok_or_else(|| self.wrong_type(Expected::String, value))
    }

    /// The boolean here.
    ///
    /// # Errors
    /// Wrong type.
    pub fn boolean(&self, value: &Value) -> Result<bool, ResponseError> {
        value
            .as_bool()
            .ok_or_else(|| self.wrong_type(Expected::Boolean, value))
    }

    /// The number here.
    ///
    /// # Errors
    /// Wrong type.
    pub fn number(&self, value: &Value) -> Result<f64, ResponseError> {
        value
            .as_f64()
            .ok_or_else(|| self.wrong_type(Expected::Number, value))
    }

    /// The integer here, from 0.
    ///
    /// # Errors
    /// Wrong type.
    pub fn positive_integer(&self, value: &Value) -> Result<u64, ResponseError> {
        value
            .as_u64()
            .ok_or_else(|| self.wrong_type(Expected::PositiveInteger, value))
    }

    /// The integer here, from 0, as a size.
    ///
    /// # Errors
    /// Wrong type.
    pub fn size(&self, value: &Value) -> Result<usize, ResponseError> {
        let number = self.positive_integer(value)?;
        Ok(usize::try_from(number).unwrap_or(usize::MAX))
    }

    /// The integer here, from 0 to 255.
    ///
    /// # Errors
    /// Wrong type, or too large.
    pub fn small_integer(&self, value: &Value) -> Result<u8, ResponseError> {
        let number = self.positive_integer(value)?;
        u8::try_from(number).map_err(|_| {
            self.unexpected(format_args!(
                "value: `{number}` is too large to be deserialized, maximum value authorized is \
                 `{}`",
                u8::MAX
            ))
        })
    }

    /// The list here.
    ///
    /// # Errors
    /// Wrong type.
    pub fn array<'v>(&self, value: &'v Value) -> Result<&'v Vec<Value>, ResponseError> {
        value
            .as_array()
            .ok_or_else(|| self.wrong_type(Expected::Array, value))
    }

    /// The object here.
    ///
    /// # Errors
    /// Wrong type.
    pub fn object<'v>(&self, value: &'v Value) -> Result<&'v Map<String, Value>, ResponseError> {
        value
            .as_object()
            .ok_or_else(|| self.wrong_type(Expected::Object, value))
    }

    /// The list of text here.
    ///
    /// # Errors
    /// Wrong type, of the list or of an element.
    pub fn strings(&self, value: &Value) -> Result<Vec<String>, ResponseError> {
        let mut strings = Vec::new();
        for (index, element) in self.array(value)?.iter().enumerate() {
            strings.push(self.index(index).string(element)?.to_owned());
        }
        Ok(strings)
    }

    /// The text here, one of `accepted`.
    ///
    /// # Errors
    /// Wrong type, or another text.
    pub fn one_of<'t>(
        &self,
        value: &Value,
        accepted: &[&'t str],
    ) -> Result<&'t str, ResponseError> {
        let found = self.string(value)?;
        match accepted.iter().find(|accepted| **accepted == found) {
            Some(accepted) => Ok(accepted),
            None => Err(self.unknown_value(found, accepted)),
        }
    }
}

/// `None` for `null`, else what `check` makes of the value.
///
/// # Errors
/// Those of `check`.
pub fn optional<T>(
    value: &Value,
    check: impl FnOnce(&Value) -> Result<T, ResponseError>,
) -> Result<Option<T>, ResponseError> {
    match value {
        Value::Null => Ok(None),
        value => check(value).map(Some),
    }
}

/// Shows a place after a word such as ` at`; nothing at the root.
struct Place<'a>(&'a At<'a>, &'static str);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.parent.is_none() {
            return Ok(());
        }
        write!(f, "{} `", self.1)?;
        write_path(self.0, f)?;
        f.write_str("`")
    }
}

fn write_path(at: &At<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if let Some(parent) = at.parent {
        write_path(parent, f)?;
    }
    match at.step {
        Step::Root => Ok(()),
        Step::Field(name) => write!(f, ".{name}"),
        Step::Index(index) => write!(f, "[{index}]"),
    }
}

/// What a value is, with its text: ``a string: `"x"` ``; only `null` stands alone.
fn describe(value: &Value) -> String {
    let kind = match value {
        Value::Null => return "null".to_owned(),
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_u64() => "a positive integer",
        Value::Number(number) if number.is_i64() => "a negative integer",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    format!("{kind}: `{value}`")
}

/// The names in backticks, separated by commas.
#[must_use]
pub fn backticked(names: &[&str]) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        text.push_str(separator);
        text.push('`');
        text.push_str(name);
        text.push('`');
    }
    text
}

/// ``did you mean `x`? `` for the accepted name nearest to what was received, if it is near enough
/// for its length; else nothing.
#[must_use]
pub fn did_you_mean(received: &str, accepted: &[&str]) -> String {
    let distance_max = match received.len() {
        0..=3 => return String::new(),
        4..=7 => 1,
        8..=12 => 2,
        13..=17 => 3,
        18..=24 => 4,
        _ => 5,
    };
    let length = received.chars().count();
    let nearest = accepted
        .iter()
        // The distance is no less than the difference in length. What clients send may be megabytes
        // long, and a distance costs time and memory by the product of both lengths.
        .filter(|name| name.chars().count().abs_diff(length) <= distance_max)
        .map(|name| (edit_distance(received, name), name))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((_, name)) => format!("did you mean `{name}`? "),
        None => String::new(),
    }
}

/// The Damerau-Levenshtein distance with adjacent swaps (optimal string alignment).
fn edit_distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let width = right.len() + 1;
    let mut rows = vec![0_usize; (left.len() + 1) * width];
    for i in 0..=left.len() {
        rows[i * width] = i;
    }
    for (j, cell) in rows.iter_mut().enumerate().take(width) {
        *cell = j;
    }
    for i in 1..=left.len() {
        for j in 1..=right.len() {
            let cost = usize::from(left[i - 1] != right[j - 1]);
            let mut best = (rows[(i - 1) * width + j] + 1)
                .min(rows[i * width + j - 1] + 1)
                .min(rows[(i - 1) * width + j - 1] + cost);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(rows[(i - 2) * width + j - 2] + 1);
            }
            rows[i * width + j] = best;
        }
    }
    rows[left.len() * width + right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const ROOT: At<'static> = At::root(Code::BadRequest);

    #[test]
    fn a_wrong_type_names_its_path_and_shows_the_value() {
        let at = ROOT.field("q", Code::InvalidSearchQ);
        let error = at
            .string(&json!(["doggo"]))
            .expect_err("an array is no string");
        assert_eq!(
            error.message,
            "Invalid value type at `.q`: expected a string, but found an array: `[\"doggo\"]`"
        );
        assert_eq!(error.code, "invalid_search_q");
        let error = ROOT
            .array(&json!("doggo"))
            .expect_err("a string is no array");
        assert_eq!(
            error.message,
            "Invalid value type: expected an array, but found a string: `\"doggo\"`"
        );
        let error = ROOT.object(&json!(null)).expect_err("null is no object");
        assert_eq!(
            error.message,
            "Invalid value type: expected an object, but found null"
        );
        let error = ROOT
            .positive_integer(&json!(-1))
            .expect_err("it is negative");
        assert_eq!(
            error.message,
            "Invalid value type: expected a positive integer, but found a negative integer: `-1`"
        );
        let error = ROOT
            .boolean(&json!(1.5))
            .expect_err("a number is no boolean");
        assert_eq!(
            error.message,
            "Invalid value type: expected a boolean, but found a number: `1.5`"
        );
    }

    #[test]
    fn nested_paths_show_fields_and_positions() {
        let list = ROOT.field(
            "localizedAttributes",
            Code::InvalidSettingsLocalizedAttributes,
        );
        let first = list.index(0);
        assert_eq!(
            first
                .missing_field("attributePatterns", Code::BadRequest)
                .message,
            "Missing field `attributePatterns` inside `.localizedAttributes[0]`"
        );
        let error = first
            .inner("locales")
            .strings(&json!("jpn"))
            .expect_err("no list");
        assert_eq!(
            error.message,
            "Invalid value type at `.localizedAttributes[0].locales`: expected an array, but found \
             a string: `\"jpn\"`"
        );
    }

    #[test]
    fn an_unknown_name_suggests_the_nearest_only_if_it_is_near() {
        let accepted = ["offset", "limit"];
        assert_eq!(
            ROOT.unknown_field("doggo", &accepted).message,
            "Unknown field `doggo`: expected one of `offset`, `limit`"
        );
        assert_eq!(
            ROOT.unknown_field("offest", &accepted).message,
            "Unknown field `offest`: did you mean `offset`? expected one of `offset`, `limit`"
        );
        assert_eq!(did_you_mean("lim", &accepted), "");
        let at = ROOT.field("matchingStrategy", Code::InvalidSearchMatchingStrategy);
        assert_eq!(
            at.one_of(&json!("doggo"), &["last", "all"])
                .expect_err("unknown")
                .message,
            "Unknown value `doggo` at `.matchingStrategy`: expected one of `last`, `all`"
        );
    }

    #[test]
    fn a_swap_of_neighbours_is_one_edit() {
        assert_eq!(edit_distance("abcd", "abdc"), 1);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
