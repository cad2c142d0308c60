//! What every route needs to read a request: bodies, query strings, checked JSON.

pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod object;
pub(crate) mod query;

pub(crate) use call::Call;
pub(crate) use object::Object;
pub(crate) use query::Query;

use crate::error::ApiError;
use axum::response::{IntoResponse, Response};
use http::header;
use serde_json::Value;

/// Longest index name, in bytes. (The message speaks of 512, as the real one does.)
const INDEX_UID_BYTES_MAX: usize = 400;
/// Longest document id, in bytes.
const DOCUMENT_ID_BYTES_MAX: usize = 511;

/// A JSON answer.
pub(crate) struct Json(pub(crate) Value);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        (
            [(header::CONTENT_TYPE, "application/json")],
            self.0.to_string(),
        )
            .into_response()
    }
}

/// Checks an index name.
pub(crate) fn check_index_uid(uid: &str) -> Result<(), ApiError> {
    if is_plain_name(uid) && uid.len() <= INDEX_UID_BYTES_MAX {
        return Ok(());
    }
    Err(ApiError::new(
        "invalid_index_uid",
        format!(
            "`{uid}` is not a valid index uid. Index uid can be an integer or a string containing \
             only alphanumeric characters, hyphens (-) and underscores (_), and can not be more \
             than 512 bytes."
        ),
    ))
}

/// The text of a document id; `None` when the value cannot be one.
pub(crate) fn document_id(value: &Value) -> Option<String> {
    match value {
        Value::String(id) if is_plain_name(id) && id.len() <= DOCUMENT_ID_BYTES_MAX => {
            Some(id.clone())
        }
        Value::Number(id) if id.is_i64() || id.is_u64() => Some(id.to_string()),
        _ => None,
    }
}

/// Why a value is no document id, in the words of the API.
pub(crate) fn invalid_document_id_text(value: &Value) -> String {
    format!(
        "Document identifier `{value}` is invalid. A document identifier can be of type integer or \
         string, only composed of alphanumeric characters (a-z A-Z 0-9), hyphens (-) and \
         underscores (_), and can not be more than 511 bytes."
    )
}

fn is_plain_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !name.is_empty() && name.bytes().all(plain)
}
