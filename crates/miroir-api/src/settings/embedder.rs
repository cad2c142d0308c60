//! The form of embedders: the types of their fields, and which fields each source has.

use super::value::members;
use crate::error::{Code, ResponseError};
use crate::validate::{At, backticked};
use serde_json::{Map, Value};

/// The most embedders an index can have, as in Meilisearch.
const EMBEDDERS_MAX: usize = 256;

#[rustfmt::skip]
const FIELDS: &[&str] = &[
    "source", "model", "revision", "pooling", "apiKey", "dimensions", "binaryQuantized",
    "documentTemplate", "documentTemplateMaxBytes", "url", "indexingFragments", "searchFragments",
    "request", "response", "headers", "searchEmbedder", "indexingEmbedder", "distribution",
];

const SOURCES: &[&str] = &[
    "openAi",
    "huggingFace",
    "ollama",
    "userProvided",
    "rest",
    "composite",
];

/// The fields that each source but `composite` accepts, and those it cannot do without.
#[rustfmt::skip]
const FIELDS_OF_SOURCE: &[(&str, &[&str], &[&str])] = &[
    ("openAi", &[
        "source", "model", "apiKey", "dimensions", "documentTemplate",
        "documentTemplateMaxBytes", "url", "distribution", "binaryQuantized",
    ], &[]),
    ("huggingFace", &[
        "source", "model", "revision", "pooling", "documentTemplate", "documentTemplateMaxBytes",
        "distribution", "binaryQuantized",
    ], &[]),
    ("ollama", &[
        "source", "model", "apiKey", "dimensions", "documentTemplate",
        "documentTemplateMaxBytes", "url", "distribution", "binaryQuantized",
    ], &["model"]),
    ("userProvided", &["source", "dimensions", "distribution", "binaryQuantized"], &["dimensions"]),
    ("rest", &[
        "source", "apiKey", "dimensions", "documentTemplate", "documentTemplateMaxBytes", "url",
        "request", "response", "headers", "distribution", "binaryQuantized",
    ], &["url", "request", "response"]),
];

/// Fields behind an experimental flag: the flag's name and its discussion.
const GATED_FIELDS: &[(&str, &str, u32)] = &[
    ("searchEmbedder", "composite embedders", 816),
    ("indexingEmbedder", "composite embedders", 816),
    ("indexingFragments", "multimodal", 846),
    ("searchFragments", "multimodal", 846),
];

/// Checks the embedders of an index; a `null` one is removed.
pub(super) fn embedders(at: &At<'_>, value: &Value) -> Result<Value, ResponseError> {
    let embedders = at.object(value)?;
    if embedders.len() > EMBEDDERS_MAX {
        return Err(ResponseError::new(
            at.code(),
            format!(
                "Too many embedders in the configuration. Found {}, but limited to \
                 {EMBEDDERS_MAX}.",
                embedders.len()
            ),
        ));
    }
    for (name, embedder) in embedders {
        if !embedder.is_null() {
            let fields = members(&at.inner(name), embedder, FIELDS, check_field)?;
            check_source(at, name, &fields)?;
        }
    }
    Ok(value.clone())
}

fn check_field(at: &At<'_>, name: &str, value: &Value) -> Result<Value, ResponseError> {
    match name {
        "source" => drop(at.one_of(value, SOURCES)?),
        "pooling" => drop(at.one_of(value, &["useModel", "forceCls", "forceMean"])?),
        "dimensions" | "documentTemplateMaxBytes" => drop(at.positive_integer(value)?),
        "binaryQuantized" => drop(at.boolean(value)?),
        "headers" => {
            for (name, value) in at.object(value)? {
                at.inner(name).string(value)?;
            }
        }
        "distribution" => {
            let fields = at.object(value)?;
            for (name, value) in fields {
                match name.as_str() {
                    "mean" | "sigma" => drop(at.inner(name).number(value)?),
                    _ => return Err(at.unknown_field(name, &["mean", "sigma"])),
                }
            }
            for name in ["mean", "sigma"] {
                if !fields.contains_key(name) {
                    return Err(at.missing_field(name, at.code()));
                }
            }
        }
        "indexingFragments" | "searchFragments" | "searchEmbedder" | "indexingEmbedder" => {
            at.object(value)?;
        }
        // Free JSON: the template of a request to, and of an answer from, a REST embedder.
        "request" | "response" => {}
        _ => drop(at.string(value)?),
    }
    Ok(value.clone())
}

/// Checks the fields against the source, if this change names one; else the nodes do it against
/// the source the embedder already has.
fn check_source(
    at: &At<'_>,
    embedder: &str,
    fields: &Map<String, Value>,
) -> Result<(), ResponseError> {
    for (field, feature, discussion) in GATED_FIELDS {
        if fields.get(*field).is_some_and(|value| !value.is_null()) {
            return Err(not_enabled(
                &format!("setting `{field}`"),
                feature,
                *discussion,
            ));
        }
    }
    let Some(source) = fields.get("source").and_then(Value::as_str) else {
        return Ok(());
    };
    let Some((_, accepted, mandatory)) = FIELDS_OF_SOURCE.iter().find(|row| row.0 == source) else {
        return Err(not_enabled(
            "using `\"composite\"` as source",
            "composite embedders",
            816,
        ));
    };
    let is_set = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
    if let Some(field) = FIELDS
        .iter()
        .find(|name| is_set(name) && !accepted.contains(name))
    {
        let sources: Vec<&str> = FIELDS_OF_SOURCE
            .iter()
            .filter(|(_, accepted, _)| accepted.contains(field))
            .map(|(source, ..)| *source)
            .collect();
        return Err(ResponseError::new(
            at.code(),
            format!(
                "`.embedders.{embedder}`: Field `{field}` unavailable for source `{source}`.\n  - \
                 note: `{field}` is available for sources: {}\n  - note: available fields for \
                 source `{source}`: {}",
                backticked(&sources),
                backticked(accepted)
            ),
        ));
    }
    if let Some(field) = mandatory.iter().find(|name| !is_set(name)) {
        return Err(ResponseError::new(
            at.code(),
            format!(
                "`.embedders.{embedder}`: Missing field `{field}` (note: this field is mandatory \
                 for source `{source}`)"
            ),
        ));
    }
    Ok(())
}

fn not_enabled(doing: &str, feature: &str, discussion: u32) -> ResponseError {
    ResponseError::new(
        Code::FeatureNotEnabled,
        format!(
            "{doing} requires enabling the `{feature}` experimental feature. See \
             https://github.com/orgs/meilisearch/discussions/{discussion}"
        ),
    )
}
