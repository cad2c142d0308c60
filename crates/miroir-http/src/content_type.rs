//! What a body claims to be.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use miroir_api::document::CONTENT_TYPES;
use miroir_api::error::{Code, ResponseError};
use miroir_api::validate::backticked;
use miroir_core::payload::PayloadFormat;

/// Checks that a body claims to be JSON: `*/json` or `*/*+json`.
///
/// # Errors
/// The header is missing or names another type.
pub(crate) fn check_json(headers: &HeaderMap) -> Result<(), ResponseError> {
    const ACCEPTED: &[&str] = &["application/json"];
    let raw = raw_content_type(headers, ACCEPTED)?;
    match split_essence(&raw) {
        Some((_, subtype)) if subtype == "json" || subtype.ends_with("+json") => Ok(()),
        _ => Err(invalid(&raw, ACCEPTED)),
    }
}

/// The format of a payload of documents.
///
/// # Errors
/// The header is missing, names another type, or does not go with a CSV delimiter.
pub(crate) fn document_format(
    headers: &HeaderMap,
    csv_delimiter: Option<u8>,
) -> Result<PayloadFormat, ResponseError> {
    let raw = raw_content_type(headers, CONTENT_TYPES)?;
    let Some((kind, subtype)) = split_essence(&raw) else {
        return Err(invalid(&raw, CONTENT_TYPES));
    };
    let essence = format!("{kind}/{subtype}");
    match (essence.as_str(), csv_delimiter) {
        ("application/json", None) => Ok(PayloadFormat::Json),
        ("application/x-ndjson", None) => Ok(PayloadFormat::Ndjson),
        ("text/csv", delimiter) => Ok(PayloadFormat::Csv {
            delimiter: delimiter.unwrap_or(b','),
        }),
        ("application/json" | "application/x-ndjson", Some(_)) => Err(ResponseError::new(
            Code::InvalidContentType,
            format!(
                "The Content-Type `{essence}` does not support the use of a csv delimiter. The csv \
                 delimiter can only be used with the Content-Type `text/csv`."
            ),
        )),
        // Meilisearch names the type without its suffix.
        _ => Err(invalid(
            essence.split('+').next().unwrap_or_default(),
            CONTENT_TYPES,
        )),
    }
}

fn raw_content_type(headers: &HeaderMap, accepted: &[&str]) -> Result<String, ResponseError> {
    match headers.get(CONTENT_TYPE) {
        Some(value) => Ok(String::from_utf8_lossy(value.as_bytes()).into_owned()),
        None => Err(ResponseError::new(
            Code::MissingContentType,
            format!(
                "A Content-Type header is missing. Accepted values for the Content-Type header \
                 are: {}",
                backticked(accepted)
            ),
        )),
    }
}

fn invalid(found: &str, accepted: &[&str]) -> ResponseError {
    ResponseError::new(
        Code::InvalidContentType,
        format!(
            "The Content-Type `{found}` is invalid. Accepted values for the Content-Type header \
             are: {}",
            backticked(accepted)
        ),
    )
}

/// Type and subtype in lower case, without parameters; `None` for what is no media type.
fn split_essence(raw: &str) -> Option<(String, String)> {
    let essence = raw
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/')?;
    let is_token = |text: &str| !text.is_empty() && !text.contains([' ', '/']);
    (is_token(kind) && is_token(subtype)).then(|| (kind.to_owned(), subtype.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn headers(content_type: Option<&'static str>) -> HeaderMap {
        let value = content_type.map(|text| (CONTENT_TYPE, HeaderValue::from_static(text)));
        value.into_iter().collect()
    }

    #[test]
    fn documents_come_in_three_formats() {
        let format = |content_type, delimiter| document_format(&headers(content_type), delimiter);
        assert_eq!(
            format(Some("application/json; charset=utf-8"), None),
            Ok(PayloadFormat::Json)
        );
        assert_eq!(
            format(Some("APPLICATION/X-NDJSON"), None),
            Ok(PayloadFormat::Ndjson)
        );
        assert_eq!(
            format(Some("text/csv"), None),
            Ok(PayloadFormat::Csv { delimiter: b',' })
        );
        assert_eq!(
            format(Some("text/csv"), Some(b';')),
            Ok(PayloadFormat::Csv { delimiter: b';' })
        );
    }

    #[test]
    fn other_types_are_refused_in_meilisearch_words() {
        let refuse = |content_type, delimiter, code: &str, message: &str| {
            let error = document_format(&headers(content_type), delimiter).expect_err("refused");
            assert_eq!(
                (error.status(), &*error.code, &*error.message),
                (415, code, message)
            );
        };
        refuse(
            None,
            Some(b';'),
            "missing_content_type",
            "A Content-Type header is missing. Accepted values for the Content-Type header are: \
             `application/json`, `application/x-ndjson`, `text/csv`",
        );
        refuse(
            Some("doggo"),
            None,
            "invalid_content_type",
            "The Content-Type `doggo` is invalid. Accepted values for the Content-Type header are: \
             `application/json`, `application/x-ndjson`, `text/csv`",
        );
        refuse(
            Some("application/vnd.api+json"),
            None,
            "invalid_content_type",
            "The Content-Type `application/vnd.api` is invalid. Accepted values for the \
             Content-Type header are: `application/json`, `application/x-ndjson`, `text/csv`",
        );
        refuse(
            Some("application/json"),
            Some(b'a'),
            "invalid_content_type",
            "The Content-Type `application/json` does not support the use of a csv delimiter. The \
             csv delimiter can only be used with the Content-Type `text/csv`.",
        );
    }

    #[test]
    fn json_routes_accept_every_json_type() {
        for right in [
            "application/json",
            "text/json",
            "application/vnd.api+json; v=1",
        ] {
            assert_eq!(check_json(&headers(Some(right))), Ok(()), "{right}");
        }
        let error = check_json(&headers(Some("text/plain"))).expect_err("it is no JSON");
        assert_eq!(
            error.message,
            "The Content-Type `text/plain` is invalid. Accepted values for the Content-Type header \
             are: `application/json`"
        );
        let error = check_json(&headers(None)).expect_err("it is missing");
        assert_eq!(&*error.code, "missing_content_type");
    }

    proptest! {
        #[test]
        fn whatever_a_body_claims_to_be_is_read_or_refused(
            raw in proptest::collection::vec(any::<u8>(), 0..40),
            delimiter in any::<Option<u8>>(),
        ) {
            if let Ok(value) = HeaderValue::from_bytes(&raw) {
                let headers = HeaderMap::from_iter([(CONTENT_TYPE, value)]);
                for refusal in [
                    check_json(&headers).err(),
                    document_format(&headers, delimiter).err(),
                ].into_iter().flatten() {
                    prop_assert_eq!(&*refusal.code, "invalid_content_type");
                }
            }
        }

        #[test]
        fn case_and_parameters_change_nothing(
            essence in "[a-z]{1,8}/[a-z+.-]{1,12}", parameters in "(; ?[a-z]{1,4}=[a-z0-9]{1,4}){0,2}",
            is_loud in any::<bool>(),
        ) {
            let named = if is_loud { essence.to_uppercase() } else { essence.clone() };
            prop_assert_eq!(
                split_essence(&format!(" {named}{parameters}")),
                split_essence(&essence)
            );
        }
    }
}
