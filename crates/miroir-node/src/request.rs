//! What the engine asks, in the words of HTTP.

use crate::body::Pieces;
use ::http::Method;
use bytes::Bytes;
use miroir_core::id::PhysicalIndex;
use miroir_core::task::AdditionMethod;
use miroir_engine::port::{NodeRead, NodeWrite};
use serde_json::json;

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// A request without its node.
#[derive(Debug, Clone)]
pub(crate) struct NodeRequest {
    pub(crate) method: Method,
    /// Path and query, ready to be appended to the node's address.
    pub(crate) target: String,
    /// Of the body, if there is one.
    pub(crate) content_type: Option<&'static str>,
    pub(crate) body: Pieces,
}

impl NodeRequest {
    pub(crate) fn get(target: String) -> Self {
        Self {
            method: Method::GET,
            target,
            content_type: None,
            body: Pieces::default(),
        }
    }

    fn json(method: Method, target: String, body: Bytes) -> Self {
        Self {
            method,
            target,
            content_type: Some(JSON),
            body: Pieces::new(vec![body]),
        }
    }
}

pub(crate) fn from_read(read: NodeRead) -> NodeRequest {
    match read {
        NodeRead::Health => NodeRequest::get("/health".to_owned()),
        NodeRead::Version => NodeRequest::get("/version".to_owned()),
        NodeRead::Stats => NodeRequest::get("/stats".to_owned()),
        NodeRead::IndexStats { index } => NodeRequest::get(index_target(&index, "/stats")),
        NodeRead::Index { index } => NodeRequest::get(index_target(&index, "")),
        NodeRead::Settings { index } => NodeRequest::get(index_target(&index, "/settings")),
        NodeRead::Search { index, body } => {
            NodeRequest::json(Method::POST, index_target(&index, "/search"), body)
        }
        NodeRead::Documents { index, body } => {
            NodeRequest::json(Method::POST, index_target(&index, "/documents/fetch"), body)
        }
        NodeRead::Document { index, id, query } => {
            let mut target = index_target(&index, "/documents/");
            push_encoded(&mut target, &id);
            if !query.is_empty() {
                target.push('?');
                target.push_str(&query);
            }
            NodeRequest::get(target)
        }
        NodeRead::SetFeatures { body } => {
            NodeRequest::json(Method::PATCH, "/experimental-features".to_owned(), body)
        }
        NodeRead::CheckSettings { index, body } => {
            NodeRequest::json(Method::PATCH, format!("/indexes/{index}/settings"), body)
        }
        NodeRead::Raw { path, body: None } => NodeRequest::get(path),
        NodeRead::Raw {
            path,
            body: Some(body),
        } => NodeRequest::json(Method::POST, path, body),
    }
}

pub(crate) fn from_write(write: NodeWrite) -> NodeRequest {
    let object = |value: serde_json::Value| Bytes::from(value.to_string());
    match write {
        NodeWrite::CreateIndex { index, primary_key } => {
            let body = object(json!({"uid": index.as_str(), "primaryKey": primary_key}));
            NodeRequest::json(Method::POST, "/indexes".to_owned(), body)
        }
        NodeWrite::UpdateIndex { index, primary_key } => {
            let body = object(json!({"primaryKey": primary_key}));
            NodeRequest::json(Method::PATCH, index_target(&index, ""), body)
        }
        NodeWrite::DeleteIndex { index } => delete(index_target(&index, "")),
        NodeWrite::UpdateSettings { index, body } => {
            NodeRequest::json(Method::PATCH, index_target(&index, "/settings"), body)
        }
        NodeWrite::AddDocuments {
            index,
            method,
            primary_key,
            skip_creation,
            body,
            marker,
        } => {
            let mut target = index_target(&index, "/documents?primaryKey=");
            push_encoded(&mut target, &primary_key);
            // Said only when it is meant: older nodes do not know the parameter.
            if skip_creation {
                target.push_str("&skipCreation=true");
            }
            target.push_str("&customMetadata=");
            push_encoded(&mut target, &marker);
            NodeRequest {
                method: match method {
                    AdditionMethod::Replace => Method::POST,
                    AdditionMethod::Update => Method::PUT,
                },
                target,
                content_type: Some(NDJSON),
                body: Pieces::new(body),
            }
        }
        NodeWrite::DeleteDocuments {
            index,
            body,
            marker,
        } => {
            let target = marked_target(&index, "/documents/delete-batch", &marker);
            NodeRequest::json(Method::POST, target, body)
        }
        NodeWrite::DeleteByFilter {
            index,
            body,
            marker,
        } => {
            let target = marked_target(&index, "/documents/delete", &marker);
            NodeRequest::json(Method::POST, target, body)
        }
        NodeWrite::DeleteAllDocuments { index, marker } => {
            delete(marked_target(&index, "/documents", &marker))
        }
        NodeWrite::EditDocuments {
            index,
            body,
            marker,
        } => {
            let target = marked_target(&index, "/documents/edit", &marker);
            NodeRequest::json(Method::POST, target, body)
        }
        NodeWrite::CompactIndex { index } => NodeRequest {
            method: Method::POST,
            ..NodeRequest::get(index_target(&index, "/compact"))
        },
    }
}

fn delete(target: String) -> NodeRequest {
    NodeRequest {
        method: Method::DELETE,
        ..NodeRequest::get(target)
    }
}

fn index_target(index: &PhysicalIndex, rest: &str) -> String {
    let mut target = String::with_capacity("/indexes/".len() + index.as_str().len() + rest.len());
    target.push_str("/indexes/");
    push_encoded(&mut target, index.as_str());
    target.push_str(rest);
    target
}

fn marked_target(index: &PhysicalIndex, rest: &str, marker: &str) -> String {
    let mut target = index_target(index, rest);
    target.push_str("?customMetadata=");
    push_encoded(&mut target, marker);
    target
}

/// Appends `text` so that it is one path segment or one query value: everything but the unreserved
/// characters of RFC 3986 is percent-encoded.
pub(crate) fn push_encoded(target: &mut String, text: &str) {
    const HEX: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            target.push(char::from(byte));
        } else {
            target.push('%');
            target.push(HEX[usize::from(byte >> 4)]);
            target.push(HEX[usize::from(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::push_encoded;

    #[test]
    fn everything_but_unreserved_characters_is_encoded() {
        let mut target = String::new();
        push_encoded(&mut target, "aZ0-._~ /?&=%é");
        assert_eq!(target, "aZ0-._~%20%2F%3F%26%3D%25%C3%A9");
    }
}
