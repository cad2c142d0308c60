//! The form of embedders: the types of their fields, which fields each source has, and which of them
//! need an experimental feature.

use super::OpenFeatures;
use super::value::members;
use crate::error::{Code, ResponseError};
use crate::feature::{composite_not_enabled, multimodal_not_enabled};
use crate::validate::{At, backticked};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

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

/// The fields of an embedder that is a part of another; all but the last four are used.
#[rustfmt::skip]
const PART_FIELDS: &[&str] = &[
    "source", "model", "revision", "pooling", "apiKey", "dimensions", "documentTemplate",
    "documentTemplateMaxBytes", "url", "indexingFragments", "searchFragments", "request",
    "response", "headers", "distribution", "binaryQuantized", "searchEmbedder", "indexingEmbedder",
];

/// The fields in the order in which they are compared with the source.
#[rustfmt::skip]
const CHECKED_FIELDS: &[&str] = &[
    "model", "revision", "pooling", "dimensions", "apiKey", "url", "indexingFragments",
    "searchFragments", "request", "response", "documentTemplate", "documentTemplateMaxBytes",
    "headers", "searchEmbedder", "indexingEmbedder", "binaryQuantized", "distribution",
];

/// The fields that each source accepts, and those it cannot do without.
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
        "indexingFragments", "searchFragments", "request", "response", "headers", "distribution",
        "binaryQuantized",
    ], &["url", "request", "response"]),
    ("composite", &[
        "source", "searchEmbedder", "indexingEmbedder", "distribution", "binaryQuantized",
    ], &["searchEmbedder", "indexingEmbedder"]),
];

/// Fields behind an experimental feature, in the order in which they are looked for.
const GATED_FIELDS: &[(&str, Gate)] = &[
    ("searchEmbedder", Gate::Composite),
    ("indexingEmbedder", Gate::Composite),
    ("indexingFragments", Gate::Multimodal),
    ("searchFragments", Gate::Multimodal),
];

#[derive(Debug, Clone, Copy)]
enum Gate {
    Composite,
    Multimodal,
}

impl Gate {
    fn pass(self, open: OpenFeatures, doing: &str) -> Result<(), ResponseError> {
        match self {
            Self::Composite if !open.composite_embedders => Err(composite_not_enabled(doing)),
            Self::Multimodal if !open.multimodal => Err(multimodal_not_enabled(doing)),
            Self::Composite | Self::Multimodal => Ok(()),
        }
    }
}

/// Checks the form of the embedders of an index; a `null` one is removed.
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
    let mut checked = Map::new();
    for (name, embedder) in embedders {
        let embedder = match embedder {
            Value::Null => Value::Null,
            embedder => Value::Object(members(&at.inner(name), embedder, FIELDS, check_field)?),
        };
        checked.insert(name.clone(), embedder);
    }
    Ok(Value::Object(checked))
}

/// Refuses what needs a feature that is off. Of several mistakes the first is told, by the
/// embedders' names.
pub(super) fn check_gates(embedders: &Value, open: OpenFeatures) -> Result<(), ResponseError> {
    for (_, fields) in by_name(embedders) {
        if fields.get("source").and_then(Value::as_str) == Some("composite") {
            Gate::Composite.pass(open, "using `\"composite\"` as source")?;
        }
        for (field, gate) in GATED_FIELDS {
            if fields.get(*field).is_some_and(|value| !value.is_null()) {
                gate.pass(open, &format!("setting `{field}`"))?;
            }
        }
    }
    Ok(())
}

/// Checks what embedders of the right form say. What their templates say is the nodes' to check.
///
/// # Errors
/// The first mistake, by the embedders' names.
pub fn check_embedders(embedders: &Value) -> Result<(), ResponseError> {
    let at = At::root(Code::InvalidSettingsEmbedders);
    for (name, fields) in by_name(embedders) {
        check_values(&at, name, fields)?;
        check_source(&at, name, fields)?;
    }
    Ok(())
}

fn by_name(embedders: &Value) -> BTreeMap<&str, &Map<String, Value>> {
    let all = embedders.as_object().into_iter().flatten();
    all.filter_map(|(name, embedder)| Some((name.as_str(), embedder.as_object()?)))
        .collect()
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
        "indexingFragments" | "searchFragments" => return fragments(at, value),
        "searchEmbedder" | "indexingEmbedder" => {
            return members(at, value, PART_FIELDS, check_part).map(Value::Object);
        }
        // Free JSON: the template of a request to, and of an answer from, a REST embedder.
        "request" | "response" => {}
        _ => drop(at.string(value)?),
    }
    Ok(value.clone())
}

/// Fragments by name; what one has besides its value is left out.
fn fragments(at: &At<'_>, value: &Value) -> Result<Value, ResponseError> {
    let mut checked = Map::new();
    for (name, fragment) in at.object(value)? {
        let at = at.inner(name);
        let fragment = match fragment {
            Value::Null => Value::Null,
            fragment => match at.object(fragment)?.get("value") {
                Some(value) => Map::from_iter([("value".to_owned(), value.clone())]).into(),
                None => return Err(at.missing_field("value", at.code())),
            },
        };
        checked.insert(name.clone(), fragment);
    }
    Ok(Value::Object(checked))
}

/// As [`check_field`], of a part. Parts have no parts, which is told only when all else is right.
fn check_part(at: &At<'_>, name: &str, value: &Value) -> Result<Value, ResponseError> {
    match name {
        "searchEmbedder" | "indexingEmbedder" => Ok(value.clone()),
        _ => check_field(at, name, value),
    }
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
    let Some(source) = fields.get("source").and_then(Value::as_str) else {
        return Ok(());
    };
    let Some((_, accepted, mandatory)) = FIELDS_OF_SOURCE.iter().find(|row| row.0 == source) else {
        return Ok(());
    };
    for field in CHECKED_FIELDS {
        let value = fields.get(*field);
        if value.is_some() && !accepted.contains(field) {
            let sources: Vec<&str> = FIELDS_OF_SOURCE
                .iter()
                .filter(|(_, accepted, _)| accepted.contains(field))
                .map(|(source, ..)| *source)
                .collect();
            return Err(ResponseError::new(
                at.code(),
                format!(
                    "`.embedders.{embedder}`: Field `{field}` unavailable for source \
                     `{source}`.\n  - note: `{field}` is available for sources: {}\n  - note: \
                     available fields for source `{source}`: {}",
                    backticked(&sources),
                    backticked(accepted)
                ),
            ));
        }
        if value.is_none_or(Value::is_null) && mandatory.contains(field) {
            return Err(ResponseError::new(
                at.code(),
                format!(
                    "`.embedders.{embedder}`: Missing field `{field}` (note: this field is \
                     mandatory for source `{source}`)"
                ),
            ));
        }
    }
    if source == "openAi" {
        check_open_ai(at, embedder, fields)?;
    }
    Ok(())
}
