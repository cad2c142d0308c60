//! How answers are put on the wire.

use crate::error::ApiError;
use crate::partial::marked_json;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use miroir_api::error::{Code, ResponseError};
use miroir_engine::engine::SearchAnswer;
use serde::Serialize;

/// An answer to be written as JSON.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ready_json(body.into()),
            Err(error) => {
                tracing::error!(%error, "an answer cannot be written as JSON");
                ApiError(ResponseError::new(
                    Code::Internal,
                    "An answer cannot be written as JSON.",
                ))
                .into_response()
            }
        }
    }
}

/// A JSON body that is ready as it stands.
pub(crate) fn ready_json(body: Bytes) -> Response {
    let json = HeaderValue::from_static("application/json");
    (StatusCode::OK, [(header::CONTENT_TYPE, json)], body).into_response()
}

/// The answer to a search, with the header that tells what it lacks.
pub(crate) fn search_response(answer: SearchAnswer) -> Response {
    marked_json(answer.body, &answer.missing_shards)
}
