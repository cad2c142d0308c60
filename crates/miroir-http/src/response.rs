//! How answers are put on the wire.

use crate::error::ApiError;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use miroir_api::error::{Code, ResponseError};
use miroir_core::id::ShardId;
use miroir_engine::engine::SearchAnswer;
use serde::Serialize;

/// Names the shards that an answer lacks; a whole answer does not have it.
pub(crate) const DEGRADED_HEADER: HeaderName = HeaderName::from_static("x-miroir-degraded");

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
    let mut response = ready_json(answer.body);
    if !answer.missing_shards.is_empty() {
        response
            .headers_mut()
            .insert(DEGRADED_HEADER, degraded_value(&answer.missing_shards));
    }
    response
}

/// `shards=1,4`.
fn degraded_value(missing: &[ShardId]) -> HeaderValue {
    let mut text = "shards=".to_owned();
    for (index, shard) in missing.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&shard.to_string());
    }
    // Digits and commas are a valid header value whatever their number.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("shards"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use miroir_engine::engine::SearchSteps;

    #[test]
    fn a_degraded_answer_names_its_missing_shards() {
        let answer = |missing_shards| SearchAnswer {
            body: Bytes::from_static(b"{}"),
            missing_shards,
            node_count: 1,
            extras_at: 0,
            steps: SearchSteps::default(),
        };
        let whole = search_response(answer(Vec::new()));
        assert_eq!(whole.headers().get(DEGRADED_HEADER), None);
        let partial = search_response(answer(vec![ShardId(1), ShardId(4)]));
        assert_eq!(
            partial
                .headers()
                .get(DEGRADED_HEADER)
                .map(HeaderValue::as_bytes),
            Some(&b"shards=1,4"[..])
        );
    }
}
