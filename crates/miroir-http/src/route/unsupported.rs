//! The routes of Meilisearch that Miroir refuses, each by name and with its reason.
//!
//! A refusal is 501 and names the route. Nothing here ever passes to a node: one node's answer
//! would be right for its own shards only.

use crate::app::AppState;
use crate::error::ApiError;
use crate::extract::Permit;
use axum::Router;
use axum::routing::{MethodFilter, on};
use miroir_api::error::{Code, ResponseError};

/// A route that is refused.
#[derive(Debug, Clone, Copy)]
struct Refused {
    path: &'static str,
    methods: &'static [&'static str],
    reason: &'static str,
}

const fn refused(
    path: &'static str,
    methods: &'static [&'static str],
    reason: &'static str,
) -> Refused {
    Refused {
        path,
        methods,
        reason,
    }
}

const NODES: &str = "It acts on single nodes; ask the nodes themselves.";
const EXPERIMENTAL: &str = "Experimental features of the nodes cannot be used through Miroir yet.";
const BACKUP: &str = "Back up the nodes and Miroir's own data folder instead.";

/// Every refused route.
const REFUSED: &[Refused] = &[
    refused(
        "/indexes/{uid}/settings/chat",
        &["GET", "PATCH", "DELETE"],
        EXPERIMENTAL,
    ),
    refused(
        "/indexes/{uid}/settings/foreign-keys",
        &["GET", "PUT", "DELETE"],
        EXPERIMENTAL,
    ),
    refused("/tasks/{id}/documents", &["GET"], EXPERIMENTAL),
    refused("/tasks/compact", &["POST"], EXPERIMENTAL),
    refused("/batches", &["GET"], "Ask `GET /tasks`."),
    refused("/batches/{id}", &["GET"], "Ask `GET /tasks?batchUids=`."),
    refused("/dumps", &["POST"], BACKUP),
    refused("/snapshots", &["POST"], BACKUP),
    refused("/export", &["POST"], NODES),
    refused(
        "/network",
        &["GET", "PATCH"],
        "Miroir itself joins the nodes.",
    ),
    refused(
        "/network/control",
        &["POST"],
        "Miroir itself joins the nodes.",
    ),
    refused("/webhooks", &["GET", "POST"], "Ask `GET /tasks`."),
    refused(
        "/webhooks/{id}",
        &["GET", "PATCH", "DELETE"],
        "Ask `GET /tasks`.",
    ),
    refused("/metrics", &["GET"], "Ask `GET /_miroir/topology`."),
    refused("/logs/stream", &["POST", "DELETE"], NODES),
    refused("/logs/stderr", &["POST"], NODES),
    refused("/chats", &["GET"], EXPERIMENTAL),
    refused("/chats/{id}", &["GET", "DELETE"], EXPERIMENTAL),
    refused(
        "/chats/{id}/settings",
        &["GET", "PATCH", "DELETE"],
        EXPERIMENTAL,
    ),
    refused("/chats/{id}/chat/completions", &["POST"], EXPERIMENTAL),
    refused("/dynamic-search-rules", &["POST", "DELETE"], EXPERIMENTAL),
    refused(
        "/dynamic-search-rules/{id}",
        &["GET", "PATCH", "DELETE"],
        EXPERIMENTAL,
    ),
    refused("/render-template", &["POST"], EXPERIMENTAL),
];

/// Every refused route, ready to refuse.
pub(crate) fn routes() -> Router<AppState> {
    let mut router = Router::new();
    for refused in REFUSED {
        for method in refused.methods {
            let error = refusal(refused, method);
            let filter = filter_of(method);
            let method_router = on(filter, async move |_: Permit| ApiError(error));
            router = router.route(refused.path, method_router);
        }
    }
    router
}

fn refusal(refused: &Refused, method: &str) -> ResponseError {
    let Refused { path, reason, .. } = refused;
    ResponseError::new(
        Code::FeatureNotEnabled,
        format!("`{method} {path}` is not supported by Miroir yet. {reason}"),
    )
    .with_status(501)
}

fn filter_of(method: &str) -> MethodFilter {
    match method {
        "POST" => MethodFilter::POST,
        "PUT" => MethodFilter::PUT,
        "PATCH" => MethodFilter::PATCH,
        "DELETE" => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    }
}
