//! The one error of the HTTP side: a code of the Meilisearch API and a text for the client.
//!
//! Status, type and link come from the table in `miroir-api`; codes are written by name.

use crate::http::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use miroir_api::error::ResponseError;
use miroir_devnode_engine::{EngineError, ErrorKind};
use serde_json::Value;

/// What a real node asks clients to wait after a 503.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("10");

/// An error answer, or the `error` of a failed task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// Instead of the code's own status: a missing index is 404 on one route and 400 on another.
    status: Option<StatusCode>,
}

impl ApiError {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            status: None,
        }
    }

    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        Self::new(
            "internal",
            format!("An internal error has occurred. `{cause}`."),
        )
    }

    pub(crate) fn index_not_found(uid: &str) -> Self {
        Self::new("index_not_found", format!("Index `{uid}` not found."))
    }

    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self {
            status: Some(status),
            ..self
        }
    }

    /// The same error with words before its message.
    pub(crate) fn inside(self, place: &str) -> Self {
        Self {
            message: format!("{place}{}", self.message),
            ..self
        }
    }

    /// The same error under another code, when the engine named the parameter of another route.
    pub(crate) fn recoded(self, from: &str, to: &'static str) -> Self {
        if self.code == from {
            Self { code: to, ..self }
        } else {
            self
        }
    }

    /// An error of a read, about the index the client named.
    pub(crate) fn of_read(uid: &str, error: EngineError) -> Self {
        match error.kind {
            ErrorKind::Missing => Self::index_not_found(uid),
            ErrorKind::Internal => Self::internal(error.message),
            ErrorKind::User(code) if names_its_index(code) => {
                Self::new(code, format!("Index `{uid}`: {}", error.message))
            }
            ErrorKind::User(code) => Self::new(code, error.message),
        }
    }

    /// An error that makes a whole batch fail; such texts begin with the index.
    pub(crate) fn of_batch(uid: &str, error: EngineError) -> Self {
        match error.kind {
            ErrorKind::Missing => Self::index_not_found(uid),
            ErrorKind::Internal => {
                Self::new("internal", format!("Index `{uid}`: {}", error.message))
            }
            ErrorKind::User(code) => Self::new(code, format!("Index `{uid}`: {}", error.message)),
        }
    }

    /// An error of one task among others; such texts do not name the index.
    pub(crate) fn of_task(uid: &str, error: EngineError) -> Self {
        match error.kind {
            ErrorKind::Missing => Self::index_not_found(uid),
            ErrorKind::Internal => Self::internal(error.message),
            ErrorKind::User(code) => Self::new(code, error.message),
        }
    }

    /// The shape of the API, in answers and in tasks alike.
    pub(crate) fn to_json(&self) -> Value {
        ResponseError::from_code_name(self.code, self.message.as_str()).to_value()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status.unwrap_or_else(|| {
            let error = ResponseError::from_code_name(self.code, "");
            StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
        });
        let mut response = (status, Json(self.to_json())).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}

impl From<rusqlite::Error> for ApiError {
    fn from(error: rusqlite::Error) -> Self {
        Self::internal(error)
    }
}

/// Engine errors about a parameter of a search are told with the index in front.
fn names_its_index(code: &str) -> bool {
    matches!(
        code,
        "invalid_search_filter"
            | "invalid_document_filter"
            | "invalid_search_sort"
            | "invalid_document_sort"
            | "invalid_search_distinct"
            | "invalid_search_attributes_to_search_on"
    )
}
