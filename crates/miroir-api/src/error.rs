//! The error object every failing answer and every failed task carries.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

pub use crate::code::{Code, ErrorKind};

/// Where the documentation of every code is anchored.
const LINK_BASE: &str = "https://docs.meilisearch.com/errors#";

/// An error as clients see it: `{message, code, type, link}`, in this order.
///
/// Code and type are text, not [`Code`]: a node newer than this table may use others, and what
/// it says reaches the client as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseError {
    /// The HTTP status; not part of the body.
    #[serde(skip)]
    status: u16,
    /// One sentence for a person.
    pub message: String,
    /// The stable name of the situation.
    pub code: Cow<'static, str>,
    /// Whose fault it is.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// Where it is documented.
    pub link: String,
}

impl ResponseError {
    /// An error with the status and type that go with `code`.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            status: code.status(),
            message: message.into(),
            code: Cow::Borrowed(code.name()),
            kind: Cow::Borrowed(code.kind().as_str()),
            link: format!("{LINK_BASE}{}", code.name()),
        }
    }

    /// The same error under another HTTP status, for situations Meilisearch has no status for.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// An error under a code given as text; an unknown one becomes `bad_request` with its own name
    /// kept, so that a wrong table entry never hides the message.
    #[must_use]
    pub fn from_code_name(code: &str, message: impl Into<String>) -> Self {
        match Code::from_name(code) {
            Some(code) => Self::new(code, message),
            None => {
                let mut error = Self::new(Code::BadRequest, message);
                error.code = Cow::Owned(code.to_owned());
                error.link = format!("{LINK_BASE}{code}");
                error
            }
        }
    }

    /// A node's own error, passed on unchanged. The status is the node's if it is known, else the
    /// one of the code, else 400. `None` if `body` is not an error object.
    #[must_use]
    pub fn from_node(status: Option<u16>, body: &Value) -> Option<Self> {
        let message = body.get("message")?.as_str()?;
        let code = body.get("code")?.as_str()?;
        let mut error = Self::from_code_name(code, message);
        if let Some(kind) = body.get("type").and_then(Value::as_str) {
            error.kind = Cow::Owned(kind.to_owned());
        }
        if let Some(link) = body.get("link").and_then(Value::as_str) {
            error.link = link.to_owned();
        }
        if let Some(status) = status {
            error.status = status;
        }
        Some(error)
    }

    /// The HTTP status of an answer with this error.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The error object as a JSON value, for `task.error`.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::json!({
            "message": self.message,
            "code": self.code,
            "type": self.kind,
            "link": self.link,
        })
    }
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ResponseError {}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_error_has_the_wire_shape_and_order() {
        let error = ResponseError::new(Code::IndexNotFound, "Index `a` not found.");
        assert_eq!(
            serde_json::to_string(&error).expect("an error serializes"),
            r#"{"message":"Index `a` not found.","code":"index_not_found","type":"invalid_request","link":"https://docs.meilisearch.com/errors#index_not_found"}"#
        );
        assert_eq!(error.status(), 404);
        assert_eq!(
            error.to_value(),
            serde_json::to_value(&error).expect("it serializes")
        );
    }

    #[test]
    fn a_node_error_passes_through_even_with_an_unknown_code() {
        let body = json!({"message": "m", "code": "brand_new", "type": "system", "link": "l"});
        let error = ResponseError::from_node(Some(418), &body).expect("it is an error object");
        assert_eq!(error.status(), 418);
        assert_eq!(error.to_value(), body);
        let error =
            ResponseError::from_node(None, &json!({"message": "m", "code": "index_not_found"}));
        assert_eq!(error.map(|error| error.status()), Some(404));
        assert_eq!(
            ResponseError::from_node(None, &json!({"status": "no"})),
            None
        );
    }
}
