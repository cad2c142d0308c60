//! Counts every answer.

use crate::app::AppState;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;

/// Counts an answer under its route, named as Meilisearch names it. What has no route is not
/// counted: its paths are endless.
pub(crate) async fn count(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let Some(path) = request.extensions().get::<MatchedPath>().cloned() else {
        return next.run(request).await;
    };
    let method = request.method().clone();
    let started = app.engine.monotonic();
    let response = next.run(request).await;
    let elapsed = app.engine.monotonic().saturating_sub(started);
    let path = name_of(path.as_str());
    app.engine
        .note_http(method.as_str(), &path, response.status().as_str(), elapsed);
    response
}

/// The path with Meilisearch's names of its parameters, by which dashboards know it.
fn name_of(path: &str) -> String {
    let id = match path.split('/').nth(1).unwrap_or_default() {
        "indexes" => "{document_id}",
        "tasks" => "{task_id}",
        "batches" => "{batch_id}",
        "keys" => "{key}",
        "webhooks" => "{uuid}",
        "chats" => "{workspace_uid}",
        "dynamic-search-rules" => "{uid}",
        _ => "{id}",
    };
    path.replace("{uid}", "{index_uid}").replace("{id}", id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_the_names_that_dashboards_know() {
        for (path, name) in [
            (
                "/indexes/{uid}/documents/{id}",
                "/indexes/{index_uid}/documents/{document_id}",
            ),
            ("/tasks/{id}", "/tasks/{task_id}"),
            ("/dynamic-search-rules/{id}", "/dynamic-search-rules/{uid}"),
            ("/health", "/health"),
        ] {
            assert_eq!(name_of(path), name);
        }
    }
}
