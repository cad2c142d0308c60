//! Webhooks: what a request for one must be, and what is shown of one.

use crate::error::{Code, ResponseError};
use crate::validate::{At, backticked, optional};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

/// How many webhooks there may be.
pub const COUNT_MAX: usize = 20;
/// How many headers one may have.
pub const HEADERS_MAX: usize = 200;

/// A webhook as it is shown; the fields are in wire order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookView {
    /// Its uid.
    pub uuid: Uuid,
    /// It may be changed over the API.
    pub is_editable: bool,
    /// Where tasks are sent.
    pub url: String,
    /// What is sent along; the value of `Authorization` is hidden.
    pub headers: BTreeMap<String, String>,
}

impl WebhookView {
    /// What is shown of a webhook; that of the configuration has the nil uid.
    #[must_use]
    pub fn new(uuid: Uuid, url: String, mut headers: BTreeMap<String, String>) -> Self {
        for (name, value) in &mut headers {
            if name.eq_ignore_ascii_case("authorization") {
                *value = hidden(value);
            }
        }
        Self {
            uuid,
            is_editable: !uuid.is_nil(),
            url,
            headers,
        }
    }
}

/// The value of a header without its secret: of a longer one some characters stay.
fn hidden(value: &str) -> String {
    let scheme = if value.starts_with("Bearer ") {
        "Bearer ".len()
    } else {
        0
    };
    let (kept, mask) = crate::secret::mask(value.len() - scheme);
    let end = value.ceil_char_boundary(scheme + kept);
    format!("{}{mask}", &value[..end])
}

/// All webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WebhookList {
    /// By uid.
    pub results: Vec<WebhookView>,
}

/// The body of `POST /webhooks` and of `PATCH /webhooks/{uuid}`: each part absent, `null` or given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebhookBody {
    /// The address.
    pub url: Option<Option<String>>,
    /// The headers; one that is `null` is taken away.
    pub headers: Option<Option<BTreeMap<String, Option<String>>>>,
}

/// Checks the form of a body.
///
/// # Errors
/// The first mistake.
pub fn read_body(body: &Value) -> Result<WebhookBody, ResponseError> {
    const ACCEPTED: [&str; 2] = ["url", "headers"];
    let root = At::root(Code::BadRequest);
    let mut read = WebhookBody::default();
    for (field, value) in root.object(body)? {
        let immutable = match field.as_str() {
            "url" => {
                let at = root.field("url", Code::InvalidWebhookUrl);
                read.url = Some(optional(value, |value| Ok(at.string(value)?.to_owned()))?);
                continue;
            }
            "headers" => {
                let at = root.field("headers", Code::InvalidWebhookHeaders);
                read.headers = Some(optional(value, |value| read_headers(&at, value))?);
                continue;
            }
            "uuid" => Code::ImmutableWebhookUuid,
            "isEditable" => Code::ImmutableWebhookIsEditable,
            _ => return Err(root.unknown_field(field, &ACCEPTED)),
        };
        let accepted = backticked(&ACCEPTED);
        return Err(ResponseError::new(
            immutable,
            format!("Immutable field `{field}`: expected one of {accepted}"),
        ));
    }
    Ok(read)
}

fn read_headers(
    at: &At<'_>,
    value: &Value,
) -> Result<BTreeMap<String, Option<String>>, ResponseError> {
    let mut headers = BTreeMap::new();
    for (name, value) in at.object(value)? {
        let at = at.inner(name);
        let value = optional(value, |value| Ok(at.string(value)?.to_owned()))?;
        headers.insert(name.clone(), value);
    }
    Ok(headers)
}

/// Reads the uid in a path.
///
/// # Errors
/// It is none.
pub fn read_uuid(text: &str) -> Result<Uuid, ResponseError> {
    text.parse().map_err(|error| {
        ResponseError::new(Code::InvalidWebhookUuid, format!("Invalid UUID: {error}"))
    })
}

// --- Refusals -------------------------------------------------------------------------------------

/// There is no such webhook.
#[must_use]
pub fn webhook_not_found(uuid: Uuid) -> ResponseError {
    ResponseError::new(
        Code::WebhookNotFound,
        format!("Webhook `{uuid}` not found."),
    )
}

/// It stands in the configuration.
#[must_use]
pub fn immutable_webhook(uuid: Uuid) -> ResponseError {
    ResponseError::new(
        Code::ImmutableWebhook,
        format!(
            "Webhook `{uuid}` is immutable. The webhook defined from the command line cannot be \
             modified using the API."
        ),
    )
}

/// It has no address.
#[must_use]
pub fn missing_url(uuid: Uuid) -> ResponseError {
    ResponseError::new(
        Code::InvalidWebhookUrl,
        format!("The URL for the webhook `{uuid}` is missing."),
    )
}

/// There are [`COUNT_MAX`] already.
#[must_use]
pub fn too_many_webhooks() -> ResponseError {
    ResponseError::new(
        Code::InvalidWebhooks,
        format!(
            "Defining too many webhooks would crush the server. Please limit the number of \
             webhooks to {COUNT_MAX}. You may use a third-party proxy server to dispatch events to \
             more than {COUNT_MAX} endpoints."
        ),
    )
}

/// It has more than [`HEADERS_MAX`].
#[must_use]
pub fn too_many_headers(uuid: Uuid) -> ResponseError {
    ResponseError::new(
        Code::InvalidWebhookHeaders,
        format!(
            "Too many headers for the webhook `{uuid}`. Please limit the number of headers to \
             {HEADERS_MAX}. Hint: To remove an already defined header set its value to `null`"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_secret_of_an_authorization_is_hidden() {
        for (value, shown) in [
            ("Bearer short", "Bearer XXX..."),
            ("Bearer 0123456789abcdef", "Bearer 01XXXX..."),
            ("0123456789abcdef0123456", "012XXXXX..."),
            (&"a".repeat(40), "aaaaaXXXXXX..."),
            ("Bearer ", "Bearer XXX..."),
            ("éééééé", "éXXXX..."),
        ] {
            let headers = [("authorization".to_owned(), value.to_owned())];
            let view = WebhookView::new(Uuid::nil(), "u".into(), headers.into());
            assert_eq!(view.headers["authorization"], shown);
            assert!(!view.is_editable);
        }
        let headers = [("x-key".to_owned(), "in the open".to_owned())];
        let view = WebhookView::new(Uuid::max(), "u".into(), headers.into());
        assert_eq!(view.headers["x-key"], "in the open");
    }

    #[test]
    fn a_body_is_read_field_by_field() {
        let body = json!({"url": null, "headers": {"a": "b", "c": null}});
        let read = read_body(&body).expect("a body");
        assert_eq!(read.url, Some(None));
        let headers = read.headers.flatten().expect("headers");
        assert_eq!(headers["a"].as_deref(), Some("b"));
        assert_eq!(headers["c"], None);
        for (body, code) in [
            (json!({"url": 3}), "invalid_webhook_url"),
            (json!({"headers": [1]}), "invalid_webhook_headers"),
            (json!({"headers": {"a": 1}}), "invalid_webhook_headers"),
            (json!({"uuid": "x"}), "immutable_webhook_uuid"),
            (json!({"isEditable": true}), "immutable_webhook_is_editable"),
            (json!({"doggo": 1}), "bad_request"),
            (json!([]), "bad_request"),
        ] {
            assert_eq!(read_body(&body).expect_err("a mistake").code, code);
        }
    }
}
