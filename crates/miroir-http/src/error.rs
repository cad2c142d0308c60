//! The one place where an engine's error becomes a Meilisearch error.
//!
//! Internal detail goes to the log, never to the client.

use crate::response::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use miroir_api::document::document_not_found;
use miroir_api::error::{Code, ResponseError};
use miroir_api::index::index_not_found;
use miroir_api::task::task_not_found;
use miroir_engine::EngineError;
use miroir_engine::port::{NodeError, StoreError};

/// How long a client should wait after a 503, in seconds, as Meilisearch tells it.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("10");

/// What a handler fails with.
#[derive(Debug)]
pub(crate) struct ApiError(pub(crate) ResponseError);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.0)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        response
    }
}

impl From<ResponseError> for ApiError {
    fn from(error: ResponseError) -> Self {
        Self(error)
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        log(&error);
        Self(translate(error))
    }
}

/// What Miroir does not do yet, by name.
pub(crate) fn unsupported(what: &str) -> ResponseError {
    ResponseError::new(
        Code::FeatureNotEnabled,
        format!("{what} is not supported by Miroir yet."),
    )
    .with_status(501)
}

fn translate(error: EngineError) -> ResponseError {
    match error {
        EngineError::IndexNotFound(uid) => index_not_found(uid.as_str()),
        EngineError::DocumentNotFound(id) => document_not_found(&id),
        EngineError::TaskNotFound(uid) => task_not_found(uid.0),
        EngineError::Client { code, message } => ResponseError::from_code_name(code, message),
        EngineError::Refused { status, body } => ResponseError::from_node(Some(status), &body)
            .unwrap_or_else(|| {
                ResponseError::new(
                    Code::RemoteBadResponse,
                    "A node refused without saying why.",
                )
            }),
        EngineError::Unavailable { shards, .. } => ResponseError::new(
            Code::RemoteCouldNotSendRequest,
            format!(
                "{} of the index's shards cannot be reached: no node that holds them answered in \
                 time. Retry after 10s.",
                shards.len()
            ),
        )
        .with_status(503),
        EngineError::Busy => ResponseError::new(
            Code::TooManySearchRequests,
            "Too many search requests running at the same time on the nodes. Retry after 10s.",
        ),
        EngineError::Unsupported(what) => unsupported(&what),
        EngineError::Store(StoreError::NoSpace(_)) => ResponseError::new(
            Code::NoSpaceLeftOnDevice,
            "There is no more space left on the device. Consider increasing the size of the \
             disk/partition.",
        ),
        EngineError::ReadOnly(_) => ResponseError::new(
            Code::Internal,
            "Miroir's store cannot be written: writes are refused, reads go on. Its log and \
             `miroir status` say why. Retry after 10s.",
        )
        .with_status(503),
        EngineError::LogFull => ResponseError::new(
            Code::NoSpaceLeftOnDevice,
            "Meilisearch cannot receive write operations because the limit of the task database \
             has been reached. Please delete tasks to continue performing write operations.",
        ),
        EngineError::Store(_) => {
            ResponseError::new(Code::Internal, "Miroir's store failed. Its log says why.")
        }
        EngineError::Node(error) => translate_node(&error),
        EngineError::Answer(_) => ResponseError::new(
            Code::RemoteBadResponse,
            "A node's answer cannot be understood. Miroir's log says why.",
        ),
        EngineError::ShuttingDown => ResponseError::new(
            Code::InvalidState,
            "Miroir is shutting down. Retry after 10s.",
        )
        .with_status(503),
    }
}

fn translate_node(error: &NodeError) -> ResponseError {
    match error {
        NodeError::Unreachable { node, .. } => ResponseError::new(
            Code::RemoteCouldNotSendRequest,
            format!("The node `{node}` cannot be reached."),
        ),
        NodeError::UnknownOutcome { node, .. } => ResponseError::new(
            Code::RemoteTimeout,
            format!("The node `{node}` did not answer in time."),
        ),
        NodeError::Busy { .. } => ResponseError::new(
            Code::TooManySearchRequests,
            "Too many search requests running at the same time on the nodes. Retry after 10s.",
        ),
        NodeError::Refused { status, body, .. } => ResponseError::from_node(Some(*status), body)
            .unwrap_or_else(|| {
                ResponseError::new(
                    Code::RemoteBadResponse,
                    "A node refused without saying why.",
                )
            }),
        NodeError::Failed { node, .. } => ResponseError::new(
            Code::RemoteRemoteError,
            format!("The node `{node}` failed."),
        ),
    }
}

/// Logs what an operator must know: our own failures and those of nodes, not clients' mistakes.
fn log(error: &EngineError) {
    match error {
        EngineError::Store(source) => tracing::error!(%source, "the store failed a request"),
        EngineError::ReadOnly(cause) => tracing::debug!(cause, "a write is refused"),
        EngineError::Node(NodeError::Refused { .. }) => {}
        EngineError::Node(source) => tracing::warn!(%source, "a node failed a request"),
        EngineError::Answer(cause) => tracing::warn!(cause, "a node's answer is not understood"),
        EngineError::Unavailable { shards, cause } => {
            tracing::warn!(shards = shards.len(), cause, "shards cannot be reached");
        }
        EngineError::IndexNotFound(_)
        | EngineError::DocumentNotFound(_)
        | EngineError::TaskNotFound(_)
        | EngineError::Client { .. }
        | EngineError::Refused { .. }
        | EngineError::Busy
        | EngineError::LogFull
        | EngineError::Unsupported(_)
        | EngineError::ShuttingDown => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miroir_core::id::{IndexUid, NodeId, ShardId};
    use serde_json::json;

    fn check(error: EngineError, status: u16, code: &str) {
        let error = translate(error);
        assert_eq!((error.status(), &*error.code), (status, code));
    }

    #[test]
    fn every_engine_error_has_a_status_and_a_code() {
        let uid = IndexUid::new("movies").expect("it is a uid");
        check(EngineError::IndexNotFound(uid), 404, "index_not_found");
        check(
            EngineError::DocumentNotFound("1".into()),
            404,
            "document_not_found",
        );
        check(
            EngineError::TaskNotFound(miroir_core::id::TaskUid(3)),
            404,
            "task_not_found",
        );
        check(
            EngineError::Client {
                code: "invalid_search_sort",
                message: "m".into(),
            },
            400,
            "invalid_search_sort",
        );
        check(
            EngineError::Unavailable {
                shards: vec![ShardId(1)],
                cause: "c".into(),
            },
            503,
            "remote_could_not_send_request",
        );
        check(EngineError::Busy, 503, "too_many_search_requests");
        check(
            EngineError::Unsupported("this".into()),
            501,
            "feature_not_enabled",
        );
        check(
            StoreError::NoSpace("d".into()).into(),
            422,
            "no_space_left_on_device",
        );
        check(StoreError::Io("d".into()).into(), 500, "internal");
        check(EngineError::ReadOnly("d".into()), 503, "internal");
        check(EngineError::LogFull, 422, "no_space_left_on_device");
        let node = NodeId::new("a");
        check(
            NodeError::Busy { node }.into(),
            503,
            "too_many_search_requests",
        );
        check(EngineError::Answer("x".into()), 502, "remote_bad_response");
        check(EngineError::ShuttingDown, 503, "invalid_state");
    }

    #[test]
    fn a_refusal_of_a_node_reaches_the_client_unchanged() {
        let body = json!({"message": "m", "code": "c", "type": "t", "link": "l"});
        let error = translate(EngineError::Refused {
            status: 400,
            body: body.clone(),
        });
        assert_eq!((error.status(), error.to_value()), (400, body));
    }

    #[test]
    fn every_503_says_when_to_come_back() {
        let response = ApiError::from(EngineError::Busy).into_response();
        assert_eq!(
            response.headers().get(header::RETRY_AFTER),
            Some(&RETRY_AFTER_SECONDS)
        );
    }
}
