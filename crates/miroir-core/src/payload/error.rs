//! Why a payload is refused, in Meilisearch's words.

use super::PayloadFormat;
use std::fmt;

/// A refused payload: the error code and the message that the client gets at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadError {
    /// `missing_payload`, `malformed_payload`, `payload_too_large`, or `internal`, which is what
    /// Meilisearch answers to a JSON value that is no object among the documents.
    pub code: &'static str,
    /// The message.
    pub message: String,
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for PayloadError {}

impl PayloadError {
    pub(super) fn missing(format: PayloadFormat) -> Self {
        let message = format!("A {} payload is missing.", format.name());
        Self {
            code: "missing_payload",
            message,
        }
    }

    /// A fault in the syntax; `cause` is the parser's text with the place.
    pub(super) fn malformed_json(format: PayloadFormat, cause: &str) -> Self {
        let (name, cause) = (format.name(), shortened(cause));
        let message = format!(
            "The `{name}` payload provided is malformed. `Couldn't serialize document value: \
             {cause}`."
        );
        Self {
            code: "malformed_payload",
            message,
        }
    }

    pub(super) fn malformed_csv(cause: &str) -> Self {
        let message = format!("The `csv` payload provided is malformed: `{cause}`.");
        Self {
            code: "malformed_payload",
            message,
        }
    }

    /// A value where an object should be; `cause` is the parser's text.
    pub(super) fn no_object(cause: String) -> Self {
        Self {
            code: "internal",
            message: cause,
        }
    }

    pub(super) fn document_too_large(document_bytes_max: usize) -> Self {
        let message = format!(
            "A document of the payload is larger than the {document_bytes_max} bytes that one \
             document may have."
        );
        Self {
            code: "payload_too_large",
            message,
        }
    }
}

/// A cause that quotes much of the client's text is cut in the middle, as Meilisearch does.
fn shortened(cause: &str) -> String {
    const KEPT_FRONT: usize = 50;
    const KEPT_BACK: usize = 85;
    const ELLIPSIS: &str = "...";
    if cause.len() <= KEPT_FRONT + KEPT_BACK + ELLIPSIS.len() {
        return cause.to_owned();
    }
    let front = cause.floor_char_boundary(KEPT_FRONT);
    let back = cause.ceil_char_boundary(cause.len() - KEPT_BACK);
    format!("{}{ELLIPSIS}{}", &cause[..front], &cause[back..])
}
