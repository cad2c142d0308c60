//! The routes of Meilisearch that Miroir does not serve, each refused by name and with its reason.
//!
//! Which they are stands in the table of routes. A feature that Miroir cannot have is refused in
//! the words of a Meilisearch that has it switched off; what is only not there yet is refused with
//! 501. Nothing here ever passes to a node: one node's answer would be right for its own shards
//! only.

use crate::app::AppState;
use crate::error::ApiError;
use crate::extract::{JsonBody, Permit};
use crate::routes::{self, Route, State};
use axum::Router;
use axum::routing::{MethodFilter, MethodRouter, on};
use miroir_api::error::ResponseError;

/// Every refused route, ready to refuse.
pub(crate) fn routes() -> Router<AppState> {
    let mut router = Router::new();
    for route in routes::all() {
        if let Some(error) = routes::refusal(&route) {
            router = router.route(&route.path, refuse(&route, error));
        }
    }
    router
}

fn refuse(route: &Route, error: ResponseError) -> MethodRouter<AppState> {
    let filter = filter_of(route.method);
    // A body is read before a feature is asked for, so its mistakes come first.
    let is_off = matches!(route.state, State::Off(..));
    let has_body = matches!(route.method, "POST" | "PUT" | "PATCH");
    if is_off && has_body && route.path != "/tasks/compact" {
        on(filter, async move |_: Permit, _: JsonBody| ApiError(error))
    } else {
        on(filter, async move |_: Permit| ApiError(error))
    }
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
