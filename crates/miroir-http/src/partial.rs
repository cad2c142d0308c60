//! Answers that lack shards: what a request says of them, and how an answer is marked.

use crate::error::ApiError;
use crate::response::ready_json;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use miroir_api::error::{Code, ResponseError};
use miroir_core::id::ShardId;
use miroir_engine::reads::PartialPolicy;

/// Names the shards that an answer lacks; a whole answer does not have it.
pub(crate) const DEGRADED_HEADER: HeaderName = HeaderName::from_static("x-miroir-degraded");
/// Says whether the answer may lack shards: `allow` or `deny`.
const PARTIAL_HEADER: HeaderName = HeaderName::from_static("x-miroir-partial");
/// More shards than this are named in the body alone: a header must stay short.
const SHARDS_NAMED_MAX: usize = 512;

/// The request's own word on partial answers, if it has one.
pub(crate) fn partial_wish(headers: &HeaderMap) -> Result<Option<PartialPolicy>, ApiError> {
    let Some(value) = headers.get(PARTIAL_HEADER) else {
        return Ok(None);
    };
    match value.as_bytes() {
        b"allow" => Ok(Some(PartialPolicy::Partial)),
        b"deny" => Ok(Some(PartialPolicy::Error)),
        other => {
            let message = format!(
                "The header `X-Miroir-Partial` must be `allow` or `deny`, not `{}`.",
                String::from_utf8_lossy(other)
            );
            Err(ResponseError::new(Code::BadRequest, message).into())
        }
    }
}

/// An answer, with the header that tells what it lacks.
pub(crate) fn marked_json(body: Bytes, missing: &[ShardId]) -> Response {
    let mut response = ready_json(body);
    if !missing.is_empty() {
        let headers = response.headers_mut();
        headers.insert(DEGRADED_HEADER, degraded_value(missing));
    }
    response
}

/// `shards=1,4`: each once, ascending.
fn degraded_value(missing: &[ShardId]) -> HeaderValue {
    let mut shards: Vec<u32> = missing.iter().map(|shard| shard.0).collect();
    shards.sort_unstable();
    shards.dedup();
    let named = shards.iter().take(SHARDS_NAMED_MAX);
    let named: Vec<String> = named.map(ToString::to_string).collect();
    let text = format!("shards={}", named.join(","));
    // Digits and commas are a valid header value.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("shards"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_degraded_answer_names_its_missing_shards() {
        let answer = |missing: &[u32]| {
            let missing: Vec<ShardId> = missing.iter().copied().map(ShardId).collect();
            let response = marked_json(Bytes::from_static(b"{}"), &missing);
            let value = response.headers().get(DEGRADED_HEADER).cloned();
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(answer(&[]), None);
        assert_eq!(answer(&[4, 1, 4]).as_deref(), Some("shards=1,4"));
    }

    #[test]
    fn a_request_may_allow_and_deny_partial_answers() {
        let wish = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(PARTIAL_HEADER, HeaderValue::from_static(value));
            partial_wish(&headers)
        };
        assert_eq!(wish("allow").unwrap(), Some(PartialPolicy::Partial));
        assert_eq!(wish("deny").unwrap(), Some(PartialPolicy::Error));
        assert_eq!(wish("perhaps").unwrap_err().0.status(), 400);
        assert_eq!(partial_wish(&HeaderMap::new()).unwrap(), None);
    }
}
