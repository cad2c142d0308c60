//! A JSON object read field by field, with the API's messages for what is wrong.

use crate::error::ApiError;
use serde_json::{Map, Value};

/// An object whose field names are all known. Its path, `.queries[0]`, is used in messages.
pub(crate) struct Object<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Object<'a> {
    /// The body of a request.
    pub(crate) fn root(value: &'a Value, known: &[&str]) -> Result<Self, ApiError> {
        Self::at(value, String::new(), "bad_request", known)
    }

    /// A nested object; `code` is that of a wrong type.
    pub(crate) fn at(
        value: &'a Value,
        path: String,
        code: &'static str,
        known: &[&str],
    ) -> Result<Self, ApiError> {
        let object = Self::open_at(value, path, code)?;
        match object
            .map
            .keys()
            .find(|name| !known.contains(&name.as_str()))
        {
            Some(unknown) => Err(unknown_field(unknown, &object.path, known)),
            None => Ok(object),
        }
    }

    /// An object whose unknown fields are ignored.
    pub(crate) fn open_at(
        value: &'a Value,
        path: String,
        code: &'static str,
    ) -> Result<Self, ApiError> {
        match value {
            Value::Object(map) => Ok(Self { map, path }),
            other => Err(wrong_type(&path, "an object", other, code)),
        }
    }

    pub(crate) fn contains(&self, field: &str) -> bool {
        self.map.contains_key(field)
    }

    /// The raw value; `null` counts as absent.
    pub(crate) fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    /// The value of a field that must be there.
    pub(crate) fn required(&self, field: &str, code: &'static str) -> Result<&'a Value, ApiError> {
        self.map.get(field).ok_or_else(|| {
            let inside = if self.path.is_empty() {
                String::new()
            } else {
                format!(" inside `{}`", self.path)
            };
            ApiError::new(code, format!("Missing field `{field}`{inside}"))
        })
    }

    pub(crate) fn string(
        &self,
        field: &str,
        code: &'static str,
    ) -> Result<Option<String>, ApiError> {
        self.get(field)
            .map(|value| string_at(value, &self.path_of(field), code))
            .transpose()
    }

    pub(crate) fn required_string(
        &self,
        field: &str,
        missing: &'static str,
        code: &'static str,
    ) -> Result<String, ApiError> {
        string_at(self.required(field, missing)?, &self.path_of(field), code)
    }

    /// A text with a default: absent gives the default, `null` is an error.
    pub(crate) fn string_or(
        &self,
        field: &str,
        default: &str,
        code: &'static str,
    ) -> Result<String, ApiError> {
        match self.map.get(field) {
            None => Ok(default.to_owned()),
            Some(value) => string_at(value, &self.path_of(field), code),
        }
    }

    pub(crate) fn boolean_or(
        &self,
        field: &str,
        default: bool,
        code: &'static str,
    ) -> Result<bool, ApiError> {
        match self.map.get(field) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(other) => Err(wrong_type(&self.path_of(field), "a boolean", other, code)),
        }
    }

    pub(crate) fn integer_or(
        &self,
        field: &str,
        default: u64,
        code: &'static str,
    ) -> Result<u64, ApiError> {
        match self.map.get(field) {
            None => Ok(default),
            Some(value) => value
                .as_u64()
                .ok_or_else(|| wrong_type(&self.path_of(field), "a positive integer", value, code)),
        }
    }

    pub(crate) fn usize_or(
        &self,
        field: &str,
        default: usize,
        code: &'static str,
    ) -> Result<usize, ApiError> {
        let value = self.integer_or(field, default as u64, code)?;
        Ok(usize::try_from(value).unwrap_or(usize::MAX))
    }

    pub(crate) fn optional_usize(
        &self,
        field: &str,
        code: &'static str,
    ) -> Result<Option<usize>, ApiError> {
        if self.get(field).is_none() {
            return Ok(None);
        }
        self.usize_or(field, 0, code).map(Some)
    }

    pub(crate) fn number(&self, field: &str, code: &'static str) -> Result<Option<f64>, ApiError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_f64()),
            Some(other) => Err(wrong_type(&self.path_of(field), "a number", other, code)),
        }
    }

    pub(crate) fn array(
        &self,
        field: &str,
        code: &'static str,
    ) -> Result<Option<&'a Vec<Value>>, ApiError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Array(values)) => Ok(Some(values)),
            Some(other) => Err(wrong_type(&self.path_of(field), "an array", other, code)),
        }
    }

    pub(crate) fn strings(
        &self,
        field: &str,
        code: &'static str,
    ) -> Result<Option<Vec<String>>, ApiError> {
        let Some(values) = self.array(field, code)? else {
            return Ok(None);
        };
        let path = self.path_of(field);
        let strings = values
            .iter()
            .enumerate()
            .map(|(idx, value)| string_at(value, &format!("{path}[{idx}]"), code));
        strings.collect::<Result<_, _>>().map(Some)
    }

    pub(crate) fn vector(
        &self,
        field: &str,
        code: &'static str,
    ) -> Result<Option<Vec<f32>>, ApiError> {
        let Some(values) = self.array(field, code)? else {
            return Ok(None);
        };
        let path = self.path_of(field);
        let numbers = values
            .iter()
            .enumerate()
            .map(|(idx, value)| match value.as_f64() {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "the engine stores 32-bit vectors"
                )]
                Some(number) => Ok(number as f32),
                None => Err(wrong_type(
                    &format!("{path}[{idx}]"),
                    "a number",
                    value,
                    code,
                )),
            });
        numbers.collect::<Result<_, _>>().map(Some)
    }

    /// A filter: a text, or an array of texts and inner arrays.
    pub(crate) fn filter(
        &self,
        field: &str,
        code: &'static str,
    ) -> Result<Option<Value>, ApiError> {
        self.get(field)
            .map(|value| check_filter(value, code))
            .transpose()
    }

    pub(crate) fn path_of(&self, field: &str) -> String {
        format!("{}.{field}", self.path)
    }
}

/// Checks the form of a filter; its meaning is the engine's business.
pub(crate) fn check_filter(value: &Value, code: &'static str) -> Result<Value, ApiError> {
    match value {
        Value::String(_) | Value::Array(_) => Ok(value.clone()),
        other => Err(ApiError::new(
            code,
            format!(
                "Invalid syntax for the filter parameter: `expected String, Array, found: {other}`."
            ),
        )),
    }
}

pub(crate) fn unknown_field(name: &str, path: &str, known: &[&str]) -> ApiError {
    let inside = if path.is_empty() {
        String::new()
    } else {
        format!(" inside `{path}`")
    };
    let message = format!(
        "Unknown field `{name}`{inside}: expected one of {}",
        quoted(known)
    );
    ApiError::new("bad_request", message)
}

pub(crate) fn wrong_type(
    path: &str,
    expected: &str,
    found: &Value,
    code: &'static str,
) -> ApiError {
    let at = if path.is_empty() {
        String::new()
    } else {
        format!(" at `{path}`")
    };
    let found = match found {
        Value::Null => "null".to_owned(),
        value => format!("{}: `{value}`", kind_of(value)),
    };
    ApiError::new(
        code,
        format!("Invalid value type{at}: expected {expected}, but found {found}"),
    )
}

/// The names as the API lists them: `` `a`, `b` ``.
pub(crate) fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn string_at(value: &Value, path: &str, code: &'static str) -> Result<String, ApiError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(wrong_type(path, "a string", other, code)),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_u64() => "a positive integer",
        Value::Number(number) if number.is_i64() => "a negative integer",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
