//! The name of a request: the client's own if it is sane, else one made here.
//!
//! It stands in every line that the request leaves in the log, and in the answer, so that what a
//! client saw and what an operator reads can be brought together.

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// Where it stands, in requests and in answers.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longer than the ids that proxies and tracers make, short enough for a line of the log.
const ID_BYTES_MAX: usize = 128;

/// The id of a request with these headers.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    match headers.get(REQUEST_ID) {
        Some(id) if is_sane(id.as_bytes()) => id.clone(),
        _ => made(),
    }
}

/// Whether an id may be written to a log as it stands.
fn is_sane(id: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte);
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.iter().all(is_allowed)
}

fn made() -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    // Hexadecimal digits and hyphens are a valid header value.
    HeaderValue::from_str(Uuid::now_v7().hyphenated().encode_lower(&mut buffer))
        .unwrap_or_else(|_| HeaderValue::from_static("none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(given: Option<&[u8]>) -> HeaderValue {
        let value = given.map(|id| HeaderValue::from_bytes(id).expect("a header value"));
        let headers = value.map(|value| (REQUEST_ID, value)).into_iter().collect();
        request_id(&headers)
    }

    #[test]
    fn a_sane_id_is_kept() {
        for id in [
            "a",
            "00-4bf92f3577b34da6-01",
            "Root=1-67891233-abcdef012345678912345678",
        ] {
            assert_eq!(id_of(Some(id.as_bytes())), id);
        }
    }

    #[test]
    fn a_missing_or_strange_id_is_replaced() {
        let long = "a".repeat(ID_BYTES_MAX + 1);
        let strange = [&b""[..], b"a b", b"a\tb", b"\"", b"\xff", long.as_bytes()];
        for given in strange.into_iter().map(Some).chain([None]) {
            let id = id_of(given);
            let id = id.to_str().expect("text");
            assert!(Uuid::parse_str(id).is_ok(), "{given:?} became {id}");
        }
    }
}
