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
            check_values(at, name, &fields)?;
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

/// The models that OpenAI has, their dimensions, and whether fewer may be asked for.
const OPEN_AI_MODELS: &[(&str, u64, bool)] = &[
    ("text-embedding-ada-002", 1536, false),
    ("text-embedding-3-small", 1536, true),
    ("text-embedding-3-large", 3072, true),
];

/// Checks what can be wrong with values of the right type, whatever the source.
fn check_values(
    at: &At<'_>,
    embedder: &str,
    fields: &Map<String, Value>,
) -> Result<(), ResponseError> {
    let wrong = |field: &str, cause: String| {
        let message = format!("`.embedders.{embedder}.{field}`: {cause}");
        Err(ResponseError::new(at.code(), message))
    };
    let dimensions = fields.get("dimensions").and_then(Value::as_u64);
    if dimensions == Some(0) {
        return wrong("dimensions", "`dimensions` cannot be zero".to_owned());
    }
    let url = fields.get("url").and_then(Value::as_str);
    if let Some(url) = url.filter(|url| !has_scheme(url)) {
        let cause = format!("could not parse `{url}`: relative URL without a base");
        return wrong("url", cause);
    }
    Ok(())
}

/// Checks the model of OpenAI and the dimensions against it.
fn check_open_ai(
    at: &At<'_>,
    embedder: &str,
    fields: &Map<String, Value>,
) -> Result<(), ResponseError> {
    let wrong = |field: &str, cause: String| {
        let message = format!("`.embedders.{embedder}.{field}`: {cause}");
        Err(ResponseError::new(at.code(), message))
    };
    let Some(model) = fields.get("model").and_then(Value::as_str) else {
        return Ok(());
    };
    let Some((_, native, may_shrink)) = OPEN_AI_MODELS.iter().find(|row| row.0 == model) else {
        let models: Vec<&str> = OPEN_AI_MODELS.iter().map(|row| row.0).collect();
        let cause = format!("Invalid model `{model}` for OpenAI. Supported models: {models:?}");
        return wrong("model", cause);
    };
    match fields.get("dimensions").and_then(Value::as_u64) {
        Some(found) if !may_shrink && found != *native => wrong(
            "dimensions",
            format!(
                "Model `{model}` does not support overriding its native dimensions of {native}. \
                 Found {found}"
            ),
        ),
        Some(found) if found > *native => wrong(
            "dimensions",
            format!(
                "Model `{model}` does not support overriding its dimensions to a value higher than \
                 {native}. Found {found}"
            ),
        ),
        _ => Ok(()),
    }
}

/// Whether a text begins as an absolute URL does: a scheme and a colon.
fn has_scheme(url: &str) -> bool {
    url.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
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
    if source == "openAi" {
        check_open_ai(at, embedder, fields)?;
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
