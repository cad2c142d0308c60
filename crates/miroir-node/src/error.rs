//! Failures, classified: did the request reach the node, and what does its answer mean.

use ::http::StatusCode;
use hyper_util::client::legacy::Error as SendError;
use miroir_core::id::NodeId;
use miroir_engine::port::NodeError;
use serde_json::Value;
use std::error::Error;

/// How much of an answer that is not understood is kept for the log.
const EXCERPT_BYTES_MAX: usize = 300;

/// What a failure to send tells.
pub(crate) enum SendFailure {
    /// Nothing left this process: sending again cannot do anything twice.
    NotSent(String),
    /// The connection ended after some of the request may have left.
    Cut(String),
}

pub(crate) fn classify_send(e: &SendError) -> SendFailure {
    let cause = chain(e);
    let is_canceled = source_of::<hyper::Error>(e).is_some_and(hyper::Error::is_canceled);
    // A canceled request is one that the connection gave back before writing any of it.
    if e.is_connect() || is_canceled {
        SendFailure::NotSent(cause)
    } else {
        SendFailure::Cut(cause)
    }
}

/// The error of an answer that is not a success.
pub(crate) fn classify_status(node: &NodeId, status: StatusCode, body: &[u8]) -> NodeError {
    let node = node.clone();
    match status {
        StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS => return NodeError::Busy { node },
        _ => {}
    }
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        // Clients' keys never reach a node: whatever is asked, it is Miroir that is turned away.
        // That is no answer to the request; the node is of no use until it knows the key.
        return NodeError::Failed {
            node,
            status: status.as_u16(),
            cause: format!(
                "it turns Miroir's key away; give Miroir a key of this node that may do anything: {}",
                excerpt(body)
            ),
        };
    }
    if status.is_client_error()
        && let Ok(body) = serde_json::from_slice::<Value>(body)
        && let Some(code) = body.get("code").and_then(Value::as_str)
    {
        let message = body
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let code = code.to_owned();
        return NodeError::Refused {
            node,
            status: status.as_u16(),
            code,
            message,
            body,
        };
    }
    NodeError::Failed {
        node,
        status: status.as_u16(),
        cause: excerpt(body),
    }
}

/// The error of a success that cannot be understood.
pub(crate) fn garbled(
    node: &NodeId,
    status: StatusCode,
    what: impl std::fmt::Display,
    body: &[u8],
) -> NodeError {
    let cause = format!("{what}: {}", excerpt(body));
    NodeError::Failed {
        node: node.clone(),
        status: status.as_u16(),
        cause,
    }
}

/// The error and its causes, in one line.
pub(crate) fn chain(e: &(dyn Error + 'static)) -> String {
    let mut text = e.to_string();
    let mut source = e.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn source_of<'a, E: Error + 'static>(e: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut source = Some(e);
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        source = cause.source();
    }
    None
}

fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(EXCERPT_BYTES_MAX)]);
    let ellipsis = if body.len() > EXCERPT_BYTES_MAX {
        "…"
    } else {
        ""
    };
    format!("`{text}{ellipsis}`")
}
