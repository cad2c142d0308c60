//! What a request for the logs must be.

use crate::error::{Code, ResponseError};
use crate::validate::At;
use serde_json::Value;

/// What is logged when the client does not say.
const TARGET_DEFAULT: &str = "info";

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
    /// For a profiler.
    Profile,
}

/// The body of `POST /logs/stream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRequest {
    /// Which lines.
    pub target: String,
    /// How.
    pub mode: Mode,
}

/// Checks the body of `POST /logs/stream`; `check` tells what is wrong with a target.
///
/// # Errors
/// The first mistake.
pub fn read_stream(
    body: &Value,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<StreamRequest, ResponseError> {
    const ACCEPTED: [&str; 3] = ["target", "mode", "profileMemory"];
    let root = At::root(Code::BadRequest);
    let mut target = TARGET_DEFAULT.to_owned();
    let mut mode = Mode::Human;
    let mut is_memory_profiled = false;
    for (field, value) in root.object(body)? {
        let at = root.inner(field);
        match field.as_str() {
            "target" => target = read_target(&at, value, &check)?,
            "mode" => {
                mode = match at.one_of(value, &["human", "json", "profile"])? {
                    "human" => Mode::Human,
                    "json" => Mode::Json,
                    _ => Mode::Profile,
                };
            }
            "profileMemory" => is_memory_profiled = at.boolean(value)?,
            _ => return Err(root.unknown_field(field, &ACCEPTED)),
        }
    }
    if is_memory_profiled && mode != Mode::Profile {
        let root = root.with_code(Code::InvalidSettingsTypoTolerance);
        return Err(root.unexpected(format_args!(
            "`profile_memory` can only be used while profiling code and is not compatible with \
             the {mode:?} mode."
        )));
    }
    Ok(StreamRequest { target, mode })
}

/// Checks the body of `POST /logs/stderr`.
///
/// # Errors
/// The first mistake.
pub fn read_stderr(
    body: &Value,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<String, ResponseError> {
    let root = At::root(Code::BadRequest);
    let mut target = TARGET_DEFAULT.to_owned();
    for (field, value) in root.object(body)? {
        match field.as_str() {
            "target" => target = read_target(&root.inner(field), value, &check)?,
            _ => return Err(root.unknown_field(field, &["target"])),
        }
    }
    Ok(target)
}

fn read_target(
    at: &At<'_>,
    value: &Value,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<String, ResponseError> {
    let target = at.string(value)?;
    if target.is_empty() {
        return Err(at.unexpected(
            "Empty string is not a valid target. If you want to get no logs use `OFF`. Usage: \
             `info`, `meilisearch=info`, or you can write multiple filters in one target: \
             `index_scheduler=info,milli=trace`",
        ));
    }
    check(target).map_err(|reason| at.unexpected(reason))?;
    Ok(target.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_stream_has_a_mode_and_a_target() {
        let read = |body: Value| read_stream(&body, |_| Ok(()));
        let found = read(json!({"mode": "json", "target": "a=trace"})).expect("a request");
        assert_eq!((found.mode, found.target.as_str()), (Mode::Json, "a=trace"));
        let found = read(json!({"mode": "profile", "profileMemory": true})).expect("a request");
        assert_eq!((found.mode, found.target.as_str()), (Mode::Profile, "info"));
        let found = read(json!({})).expect("a request");
        assert_eq!((found.mode, found.target.as_str()), (Mode::Human, "info"));
        for (body, code) in [
            (json!([]), "bad_request"),
            (json!({"mode": "doggo"}), "bad_request"),
            (json!({"mode": "human", "target": ""}), "bad_request"),
            (json!({"mode": "human", "doggo": 1}), "bad_request"),
            (
                json!({"mode": "human", "profileMemory": true}),
                "invalid_settings_typo_tolerance",
            ),
        ] {
            assert_eq!(read(body).expect_err("a mistake").code, code);
        }
    }

    #[test]
    fn a_wrong_target_is_refused_for_the_reason_given() {
        let refuse = |_: &str| Err("why".to_owned());
        let error = read_stderr(&json!({"target": "x"}), refuse).expect_err("a mistake");
        assert_eq!(error.message, "Invalid value at `.target`: why");
    }
}
