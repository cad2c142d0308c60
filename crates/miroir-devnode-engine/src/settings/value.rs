//! Typed values out of JSON, with the messages that Meilisearch gives for wrong ones.

use crate::error::EngineError;
use serde_json::{Map, Value};

/// Where a value stands, and the code its errors carry.
#[derive(Clone)]
pub(super) struct At {
    path: String,
    pub(super) code: &'static str,
}

impl At {
    pub(super) fn setting(name: &str, code: &'static str) -> Self {
        At {
            path: format!(".{name}"),
            code,
        }
    }

    pub(super) fn field(&self, name: &str) -> Self {
        At {
            path: format!("{}.{name}", self.path),
            code: self.code,
        }
    }

    pub(super) fn item(&self, position: usize) -> Self {
        At {
            path: format!("{}[{position}]", self.path),
            code: self.code,
        }
    }

    /// An error about the value as such.
    pub(super) fn invalid(&self, reason: &str) -> EngineError {
        EngineError::user(
            self.code,
            format!("Invalid value at `{}`: {reason}", self.path),
        )
    }

    /// An error about a word that is not among those allowed.
    pub(super) fn unknown_value(&self, found: &str, expected: &[&str]) -> EngineError {
        let expected = quoted(expected);
        let path = &self.path;
        EngineError::user(
            self.code,
            format!("Unknown value `{found}` at `{path}`: expected one of {expected}"),
        )
    }

    /// An error about a name that is not among those allowed.
    pub(super) fn unknown_field(&self, found: &str, expected: &[&str]) -> EngineError {
        let expected = quoted(expected);
        let path = &self.path;
        EngineError::user(
            self.code,
            format!("Unknown field `{found}` inside `{path}`: expected one of {expected}"),
        )
    }

    pub(super) fn missing_field(&self, name: &str) -> EngineError {
        EngineError::user(
            self.code,
            format!("Missing field `{name}` inside `{}`", self.path),
        )
    }

    fn wrong_type(&self, expected: &str, found: &Value) -> EngineError {
        let path = &self.path;
        let kind = kind_of(found);
        EngineError::user(
            self.code,
            format!(
                "Invalid value type at `{path}`: expected {expected}, but found {kind}: `{found}`"
            ),
        )
    }

    pub(super) fn text<'v>(&self, value: &'v Value) -> Result<&'v str, EngineError> {
        value
            .as_str()
            .ok_or_else(|| self.wrong_type("a string", value))
    }

    pub(super) fn flag(&self, value: &Value) -> Result<bool, EngineError> {
        value
            .as_bool()
            .ok_or_else(|| self.wrong_type("a boolean", value))
    }

    pub(super) fn number(&self, value: &Value) -> Result<u64, EngineError> {
        value
            .as_u64()
            .ok_or_else(|| self.wrong_type("a positive integer", value))
    }

    pub(super) fn size(&self, value: &Value) -> Result<usize, EngineError> {
        usize::try_from(self.number(value)?).map_err(|error| self.invalid(&error.to_string()))
    }

    pub(super) fn byte(&self, value: &Value) -> Result<u8, EngineError> {
        let number = self.number(value)?;
        u8::try_from(number).map_err(|_| {
            self.invalid(&format!(
                "value: `{number}` is too large to be deserialized, maximum value authorized is `255`"
            ))
        })
    }

    pub(super) fn list<'v>(&self, value: &'v Value) -> Result<&'v [Value], EngineError> {
        let items = value
            .as_array()
            .ok_or_else(|| self.wrong_type("an array", value))?;
        Ok(items)
    }

    pub(super) fn object<'v>(
        &self,
        value: &'v Value,
    ) -> Result<&'v Map<String, Value>, EngineError> {
        value
            .as_object()
            .ok_or_else(|| self.wrong_type("an object", value))
    }

    /// An object whose members are all among those allowed.
    pub(super) fn record<'v>(
        &self,
        value: &'v Value,
        names: &[&str],
    ) -> Result<&'v Map<String, Value>, EngineError> {
        let object = self.object(value)?;
        match object.keys().find(|name| !names.contains(&name.as_str())) {
            Some(name) => Err(self.unknown_field(name, names)),
            None => Ok(object),
        }
    }

    /// A list of texts, into any collection.
    pub(super) fn texts<C: FromIterator<String>>(&self, value: &Value) -> Result<C, EngineError> {
        let items = self.list(value)?.iter().enumerate();
        items
            .map(|(position, item)| Ok(self.item(position).text(item)?.to_owned()))
            .collect()
    }
}

pub(super) fn quoted(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
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
