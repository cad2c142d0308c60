//! Which action each route needs, in one table.
//!
//! A route that is not in the table is closed to API keys: forgetting a line refuses too much,
//! never too little.

use http::Method;
use miroir_api::action::Action;

/// What a key must allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// This action.
    One(Action),
    /// Both actions.
    Both([Action; 2]),
}

impl Need {
    pub(super) fn actions(&self) -> &[Action] {
        match self {
            Self::One(action) => std::slice::from_ref(action),
            Self::Both(actions) => actions,
        }
    }

    /// Whether it is about keys, which only exist where there is a master key.
    pub(super) fn is_about_keys(self) -> bool {
        let about_keys = |action: &Action| action.name().starts_with("keys.");
        self.actions().iter().any(about_keys)
    }
}

/// Method, path as the router names it, action. `POST` of a search is as good as its `GET`.
const NEEDS: &[(&str, &str, Action)] = &[
    ("GET", "/version", Action::Version),
    ("GET", "/stats", Action::StatsGet),
    ("GET", "/metrics", Action::MetricsGet),
    ("GET", "/indexes", Action::IndexesGet),
    ("POST", "/indexes", Action::IndexesCreate),
    ("GET", "/indexes/{uid}", Action::IndexesGet),
    ("PATCH", "/indexes/{uid}", Action::IndexesUpdate),
    ("DELETE", "/indexes/{uid}", Action::IndexesDelete),
    ("GET", "/indexes/{uid}/stats", Action::StatsGet),
    ("POST", "/indexes/{uid}/compact", Action::IndexesCompact),
    ("POST", "/indexes/{uid}/fields", Action::FieldsPost),
    ("POST", "/swap-indexes", Action::IndexesSwap),
    ("GET", "/indexes/{uid}/documents", Action::DocumentsGet),
    ("POST", "/indexes/{uid}/documents", Action::DocumentsAdd),
    ("PUT", "/indexes/{uid}/documents", Action::DocumentsAdd),
    (
        "DELETE",
        "/indexes/{uid}/documents",
        Action::DocumentsDelete,
    ),
    (
        "POST",
        "/indexes/{uid}/documents/fetch",
        Action::DocumentsGet,
    ),
    (
        "POST",
        "/indexes/{uid}/documents/delete",
        Action::DocumentsDelete,
    ),
    (
        "POST",
        "/indexes/{uid}/documents/delete-batch",
        Action::DocumentsDelete,
    ),
    (
        "POST",
        "/indexes/{uid}/documents/edit",
        Action::DocumentsAll,
    ),
    ("GET", "/indexes/{uid}/documents/{id}", Action::DocumentsGet),
    (
        "DELETE",
        "/indexes/{uid}/documents/{id}",
        Action::DocumentsDelete,
    ),
    ("GET", "/indexes/{uid}/search", Action::Search),
    ("POST", "/indexes/{uid}/search", Action::Search),
    ("POST", "/indexes/{uid}/facet-search", Action::Search),
    ("GET", "/indexes/{uid}/similar", Action::Search),
    ("POST", "/indexes/{uid}/similar", Action::Search),
    ("POST", "/multi-search", Action::Search),
    ("GET", "/tasks", Action::TasksGet),
    ("DELETE", "/tasks", Action::TasksDelete),
    ("POST", "/tasks/cancel", Action::TasksCancel),
    ("POST", "/tasks/compact", Action::TasksCompact),
    ("GET", "/tasks/{id}", Action::TasksGet),
    ("GET", "/tasks/{id}/documents", Action::TasksGet),
    ("GET", "/batches", Action::TasksGet),
    ("GET", "/batches/{id}", Action::TasksGet),
    ("POST", "/dumps", Action::DumpsCreate),
    ("POST", "/snapshots", Action::SnapshotsCreate),
    ("POST", "/export", Action::Export),
    ("GET", "/keys", Action::KeysGet),
    ("POST", "/keys", Action::KeysCreate),
    ("GET", "/keys/{id}", Action::KeysGet),
    ("PATCH", "/keys/{id}", Action::KeysUpdate),
    ("DELETE", "/keys/{id}", Action::KeysDelete),
    ("GET", "/experimental-features", Action::ExperimentalGet),
    (
        "PATCH",
        "/experimental-features",
        Action::ExperimentalUpdate,
    ),
    ("GET", "/network", Action::NetworkGet),
    ("PATCH", "/network", Action::NetworkUpdate),
    ("POST", "/network/control", Action::NetworkUpdate),
    ("GET", "/webhooks", Action::WebhooksGet),
    ("POST", "/webhooks", Action::WebhooksCreate),
    ("GET", "/webhooks/{id}", Action::WebhooksGet),
    ("PATCH", "/webhooks/{id}", Action::WebhooksUpdate),
    ("DELETE", "/webhooks/{id}", Action::WebhooksDelete),
    ("POST", "/logs/stream", Action::MetricsGet),
    ("DELETE", "/logs/stream", Action::MetricsGet),
    ("POST", "/logs/stderr", Action::MetricsGet),
    ("GET", "/chats", Action::ChatsGet),
    ("GET", "/chats/{id}", Action::ChatsGet),
    ("DELETE", "/chats/{id}", Action::ChatsDelete),
    ("GET", "/chats/{id}/settings", Action::ChatsSettingsGet),
    ("PATCH", "/chats/{id}/settings", Action::ChatsSettingsUpdate),
    (
        "DELETE",
        "/chats/{id}/settings",
        Action::ChatsSettingsUpdate,
    ),
    (
        "POST",
        "/chats/{id}/chat/completions",
        Action::ChatCompletions,
    ),
    (
        "POST",
        "/dynamic-search-rules",
        Action::DynamicSearchRulesGet,
    ),
    (
        "DELETE",
        "/dynamic-search-rules",
        Action::DynamicSearchRulesDelete,
    ),
    (
        "GET",
        "/dynamic-search-rules/{id}",
        Action::DynamicSearchRulesGet,
    ),
    (
        "PATCH",
        "/dynamic-search-rules/{id}",
        Action::DynamicSearchRulesUpdate,
    ),
    (
        "DELETE",
        "/dynamic-search-rules/{id}",
        Action::DynamicSearchRulesDelete,
    ),
];

/// What a route needs; `None` for one that no API key opens.
pub(crate) fn need_of(method: &Method, path: &str) -> Option<Need> {
    // A HEAD is a GET whose body is not wanted.
    let method = if method == Method::HEAD {
        Method::GET
    } else {
        method.clone()
    };
    if path == "/render-template" && method == Method::POST {
        return Some(Need::Both([Action::SettingsGet, Action::DocumentsGet]));
    }
    // All settings and each single one.
    if path.starts_with("/indexes/{uid}/settings") {
        return Some(Need::One(if method == Method::GET {
            Action::SettingsGet
        } else {
            Action::SettingsUpdate
        }));
    }
    // Miroir's own routes show and move all indexes and all nodes: for a key that may do anything.
    if path.starts_with("/_miroir/") {
        return Some(Need::One(Action::Everything));
    }
    let found = NEEDS
        .iter()
        .find(|(verb, route, _)| *route == path && *verb == method.as_str());
    found.map(|(_, _, action)| Need::One(*action))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_found_and_stands_once() {
        for (position, (verb, path, action)) in NEEDS.iter().enumerate() {
            let method = verb.parse().expect("a method");
            assert_eq!(
                need_of(&method, path),
                Some(Need::One(*action)),
                "{verb} {path}"
            );
            let twice = NEEDS[position + 1..]
                .iter()
                .any(|(other, route, _)| (other, route) == (verb, path));
            assert!(!twice, "{verb} {path}");
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_closed() {
        assert_eq!(need_of(&Method::GET, "/brand-new"), None);
        assert_eq!(need_of(&Method::PUT, "/tasks"), None);
    }

    #[test]
    fn a_head_needs_what_a_get_needs() {
        let head = need_of(&Method::HEAD, "/indexes/{uid}/settings/stop-words");
        assert_eq!(head, Some(Need::One(Action::SettingsGet)));
        assert_eq!(
            need_of(&Method::HEAD, "/stats"),
            Some(Need::One(Action::StatsGet))
        );
    }
}
