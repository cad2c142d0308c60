//! The body of `POST /export`.

use crate::error::{Code, ResponseError};
use crate::index::is_index_uid;
use crate::validate::{At, optional};
use byte_unit::Byte;
use serde_json::Value;
use std::collections::BTreeMap;
use std::str::FromStr;

const FIELDS: &[&str] = &["url", "apiKey", "payloadSize", "indexes"];
const INDEX_FIELDS: &[&str] = &["filter", "overrideSettings"];

/// What to send where, checked in form.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportRequest {
    /// The address of the other instance.
    pub url: String,
    /// The key to use there.
    pub api_key: Option<String>,
    /// The most bytes of documents sent at once.
    pub payload_size: Option<u64>,
    /// How the indexes of each pattern are sent.
    pub indexes: BTreeMap<String, IndexExport>,
}

/// How the indexes of a pattern are sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IndexExport {
    /// Only the documents that match.
    pub filter: Option<Value>,
    /// The settings are sent even if the index is there.
    pub override_settings: bool,
}

/// Checks the body of `POST /export`.
///
/// # Errors
/// The first mistake.
pub fn read_body(body: &Value) -> Result<ExportRequest, ResponseError> {
    let root = At::root(Code::BadRequest);
    let mut url = String::new();
    let mut api_key = None;
    let mut payload_size = None;
    let mut indexes = None;
    for (name, value) in root.object(body)? {
        match name.as_str() {
            // One that is missing is found out by the task, as in Meilisearch.
            "url" => {
                let at = root.field("url", Code::InvalidExportUrl);
                at.string(value)?.clone_into(&mut url);
            }
            "apiKey" => {
                let at = root.field("apiKey", Code::InvalidExportApiKey);
                api_key = optional(value, |value| at.string(value).map(str::to_owned))?;
            }
            "payloadSize" => {
                let at = root.field("payloadSize", Code::InvalidExportPayloadSize);
                payload_size = optional(value, |value| read_size(&at, value))?;
            }
            "indexes" => {
                let at = root.inner("indexes");
                indexes = optional(value, |value| read_indexes(&at, value))?;
            }
            name => return Err(root.unknown_field(name, FIELDS)),
        }
    }
    let all = || BTreeMap::from([("*".to_owned(), IndexExport::default())]);
    Ok(ExportRequest {
        url,
        api_key,
        payload_size,
        indexes: indexes.unwrap_or_else(all),
    })
}

/// A size in words, such as `24 MiB`, in bytes.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    Byte::from_str(text).ok().map(|bytes| bytes.as_u64())
}

fn read_size(at: &At<'_>, value: &Value) -> Result<u64, ResponseError> {
    match value {
        Value::Number(number) if number.is_u64() => Ok(number.as_u64().unwrap_or_default()),
        Value::String(text) => Byte::from_str(text)
            .map(|bytes| bytes.as_u64())
            .map_err(|error| at.unexpected(error)),
        other => Err(at.neither_integer_nor_string(other)),
    }
}

fn read_indexes(
    at: &At<'_>,
    value: &Value,
) -> Result<BTreeMap<String, IndexExport>, ResponseError> {
    let mut indexes = BTreeMap::new();
    for (pattern, value) in at.object(value)? {
        let name = pattern.strip_suffix('*').unwrap_or(pattern);
        if pattern != "*" && !is_index_uid(name) {
            return Err(at.unexpected(format_args!(
                "the key {pattern:?} could not be deserialized into the key type \
                 `meilisearch_types::index_uid_pattern::IndexUidPattern`"
            )));
        }
        let at = at.inner(pattern);
        let mut index = IndexExport::default();
        for (name, value) in at.object(value)? {
            match name.as_str() {
                "filter" => index.filter = Some(value.clone()).filter(|value| !value.is_null()),
                "overrideSettings" => {
                    let code = Code::InvalidExportIndexOverrideSettings;
                    let at = at.field("overrideSettings", code);
                    index.override_settings = at.boolean(value)?;
                }
                name => return Err(at.unknown_field(name, INDEX_FIELDS)),
            }
        }
        indexes.insert(pattern.clone(), index);
    }
    Ok(indexes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(body: Value) -> (String, String) {
        let error = read_body(&body).expect_err("it is refused");
        (error.code.to_string(), error.message)
    }

    #[test]
    fn a_body_may_say_everything_or_nothing() {
        let nothing = read_body(&json!({})).expect("it is right");
        assert_eq!((nothing.url.as_str(), nothing.payload_size), ("", None));
        assert!(nothing.indexes.contains_key("*"));
        let all = json!({
            "url": "http://a.example",
            "apiKey": "k",
            "payloadSize": "12 MiB",
            "indexes": {"a*": {"filter": "x = 1", "overrideSettings": true}, "b": {}},
        });
        let all = read_body(&all).expect("it is right");
        assert_eq!(all.payload_size, Some(12 * 1024 * 1024));
        assert!(all.indexes["a*"].override_settings && !all.indexes["b"].override_settings);
        assert_eq!(all.indexes["a*"].filter, Some(json!("x = 1")));
    }

    #[test]
    fn mistakes_are_told_in_meilisearchs_words() {
        for (body, code, message) in [
            (
                json!({"url": null}),
                "invalid_export_url",
                "Invalid value type at `.url`: expected a string, but found null",
            ),
            (
                json!({"payloadSize": true}),
                "invalid_export_payload_size",
                "Invalid value type at `.payloadSize`: expected a positive integer or a string, \
                 but found a boolean: `true`",
            ),
            (
                json!({"payloadSize": "12 XB"}),
                "invalid_export_payload_size",
                "Invalid value at `.payloadSize`: the character 'X' is incorrect ('B', 'K', 'M', \
                 'G', 'T', 'P', 'E' or no character or no character is expected)",
            ),
            (
                json!({"indexes": {"a b": {}}}),
                "bad_request",
                "Invalid value at `.indexes`: the key \"a b\" could not be deserialized into the \
                 key type `meilisearch_types::index_uid_pattern::IndexUidPattern`",
            ),
            (
                json!({"indexes": {"*": {"overrideSettings": null}}}),
                "invalid_export_index_override_settings",
                "Invalid value type at `.indexes.*.overrideSettings`: expected a boolean, but \
                 found null",
            ),
            (
                json!({"indexes": {"*": {"x": 1}}}),
                "bad_request",
                "Unknown field `x` inside `.indexes.*`: expected one of `filter`, \
                 `overrideSettings`",
            ),
        ] {
            assert_eq!(refusal(body), (code.to_owned(), message.to_owned()));
        }
    }
}
