//! The one table of routes: what each needs, and how it compares with Meilisearch's.
//!
//! Rights are looked up here, refused routes are made from here, and
//! `docs/reference/compatibility.md` is written from here. Adding a route is adding its line, and
//! its handler; tests compare the table with the router and with the page.

use miroir_api::action::Action;
use miroir_api::error::{Code, ResponseError};
use miroir_api::settings::{SETTINGS, Verb};
use std::borrow::Cow;
use std::fmt::Write as _;

/// What a key must allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// This action.
    One(Action),
    /// Both actions.
    Both([Action; 2]),
}

/// How a route compares with Meilisearch's.
#[derive(Debug, Clone, Copy)]
pub(crate) enum State {
    /// It answers as Meilisearch does.
    Same,
    /// Meilisearch does not have it.
    Own,
    /// It answers as a Meilisearch whose experimental feature is off, which Miroir cannot turn on.
    Off(&'static Feature, &'static str),
}

/// An experimental feature that a Meilisearch has and Miroir has not.
#[derive(Debug)]
pub(crate) struct Feature {
    /// Its name as refusals tell it.
    name: &'static str,
    /// Where refusals point to.
    link: &'static str,
    /// Why Miroir does not have it.
    reason: &'static str,
}

/// One line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// The method.
    pub(crate) method: &'static str,
    /// The path as the router names it.
    pub(crate) path: Cow<'static, str>,
    /// What it needs; `None` is open to everyone.
    pub(crate) need: Option<Need>,
    /// How it compares.
    pub(crate) state: State,
    /// What is not quite the same.
    pub(crate) note: &'static str,
}

fn open(method: &'static str, path: &'static str) -> Route {
    Route {
        method,
        path: Cow::Borrowed(path),
        need: None,
        state: State::Same,
        note: "",
    }
}

fn same(method: &'static str, path: &'static str, action: Action) -> Route {
    Route {
        need: Some(Need::One(action)),
        ..open(method, path)
    }
}

fn own(method: &'static str, path: &'static str, note: &'static str) -> Route {
    Route {
        // Miroir's own routes show all indexes and all nodes: for a key that may do anything.
        need: Some(Need::One(Action::Everything)),
        state: State::Own,
        note,
        ..open(method, path)
    }
}

fn off(
    method: &'static str,
    path: &'static str,
    action: Action,
    feature: &'static Feature,
    asked: &'static str,
) -> Route {
    Route {
        state: State::Off(feature, asked),
        ..same(method, path, action)
    }
}

impl Route {
    fn but(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    fn needing(self, need: Option<Need>) -> Self {
        Self { need, ..self }
    }
}

const SNAPSHOT: &str = "Every node takes one, in its own snapshot folder, and Miroir copies its \
                        store beside them, all at one place among the writes. The bundled node \
                        takes none.";
const DUMP: &str = "It keeps its place among the writes; batches are not dumped.";
const EXPORT: &str = "It keeps its place among the writes.";

const SIZES: &str = "Sizes are those of all nodes together, copies included.";
const BATCHES: &str = "Batches are Miroir's own: what it sent to the nodes together. \
                       `progressTrace` holds their whole time; other insights into one node are \
                       left out.";
const HOOKS: &str = "Deliveries that fail are tried again, and none is lost in a crash; a hook may \
                     get a task twice.";
const METRICS: &str = "Meilisearch's names for what a proxy can know, and `miroir_*`.";
const LOGS: &str = "Of the proxy, not of the nodes; `mode: profile` is refused.";
const EDIT: &str = "Functions that declare `fn` or a variable `doc` are refused.";
const FEATURES: &str = "Those that Miroir cannot honour over several nodes are refused by name.";
const CANCEL: &str = "Tasks that are on their way to nodes are carried out.";
const PROMPTS: &str = "The prompts that stand where none is set are in Miroir's own words.";
const CHATS: &str = "Miroir itself talks to the LLM, and searches all nodes. Of a field with more \
                     than 3,000 values on a node, the LLM may be told others than the most \
                     frequent ones.";
const RULES: &str = "Without the condition `filter`. Where rules pin documents, federated searches and \
                     those by words and meaning are refused ([exactness](exactness.md)).";
const RULES_BY_WORDS: &str = "By one word at most.";
const REMOTE: &str = "Without `remote`: Miroir itself joins the nodes.";

const NETWORK: Feature = Feature {
    name: "network",
    link: "https://github.com/orgs/meilisearch/discussions/805",
    reason: "Miroir itself joins the nodes.",
};
const TASK_COMPACTION: Feature = Feature {
    name: "task queue compaction route",
    link: "https://github.com/orgs/meilisearch/discussions/883",
    reason: "The log reuses its space by itself.",
};
/// Every route but those of single settings, which [`all`] adds.
#[rustfmt::skip]
fn table() -> Vec<Route> {
    vec![
    open("GET", "/health"),
    open("GET", "/"),
    same("GET", "/version", Action::Version),
    same("GET", "/stats", Action::StatsGet).but(SIZES),
    same("GET", "/metrics", Action::MetricsGet).but(METRICS),
    same("GET", "/indexes", Action::IndexesGet),
    same("POST", "/indexes", Action::IndexesCreate),
    same("GET", "/indexes/{uid}", Action::IndexesGet),
    same("PATCH", "/indexes/{uid}", Action::IndexesUpdate),
    same("DELETE", "/indexes/{uid}", Action::IndexesDelete),
    same("GET", "/indexes/{uid}/stats", Action::StatsGet).but(SIZES),
    same("POST", "/indexes/{uid}/compact", Action::IndexesCompact),
    same("POST", "/indexes/{uid}/fields", Action::FieldsPost),
    same("POST", "/swap-indexes", Action::IndexesSwap),
    same("GET", "/indexes/{uid}/documents", Action::DocumentsGet),
    same("POST", "/indexes/{uid}/documents", Action::DocumentsAdd),
    same("PUT", "/indexes/{uid}/documents", Action::DocumentsAdd),
    same("DELETE", "/indexes/{uid}/documents", Action::DocumentsDelete),
    same("POST", "/indexes/{uid}/documents/fetch", Action::DocumentsGet),
    same("POST", "/indexes/{uid}/documents/delete", Action::DocumentsDelete),
    same("POST", "/indexes/{uid}/documents/delete-batch", Action::DocumentsDelete),
    same("POST", "/indexes/{uid}/documents/edit", Action::DocumentsAll).but(EDIT),
    same("GET", "/indexes/{uid}/documents/{id}", Action::DocumentsGet),
    same("DELETE", "/indexes/{uid}/documents/{id}", Action::DocumentsDelete),
    same("GET", "/indexes/{uid}/search", Action::Search),
    same("POST", "/indexes/{uid}/search", Action::Search),
    same("POST", "/indexes/{uid}/facet-search", Action::Search),
    same("GET", "/indexes/{uid}/similar", Action::Search),
    same("POST", "/indexes/{uid}/similar", Action::Search),
    same("POST", "/multi-search", Action::Search).but(REMOTE),
    same("GET", "/tasks", Action::TasksGet),
    same("DELETE", "/tasks", Action::TasksDelete),
    same("POST", "/tasks/cancel", Action::TasksCancel).but(CANCEL),
    off("POST", "/tasks/compact", Action::TasksCompact, &TASK_COMPACTION, "Using the /tasks/compact route"),
    same("GET", "/tasks/{id}", Action::TasksGet),
    same("GET", "/tasks/{id}/documents", Action::TasksGet),
    same("GET", "/batches", Action::TasksGet).but(BATCHES),
    same("GET", "/batches/{id}", Action::TasksGet).but(BATCHES),
    same("POST", "/dumps", Action::DumpsCreate).but(DUMP),
    same("POST", "/snapshots", Action::SnapshotsCreate).but(SNAPSHOT),
    same("POST", "/export", Action::Export).but(EXPORT),
    same("GET", "/keys", Action::KeysGet),
    same("POST", "/keys", Action::KeysCreate),
    same("GET", "/keys/{id}", Action::KeysGet),
    same("PATCH", "/keys/{id}", Action::KeysUpdate),
    same("DELETE", "/keys/{id}", Action::KeysDelete),
    same("GET", "/experimental-features", Action::ExperimentalGet).but(FEATURES),
    same("PATCH", "/experimental-features", Action::ExperimentalUpdate).but(FEATURES),
    off("GET", "/network", Action::NetworkGet, &NETWORK, "Using the /network route"),
    off("PATCH", "/network", Action::NetworkUpdate, &NETWORK, "Using the /network route"),
    off("POST", "/network/control", Action::NetworkUpdate, &NETWORK, "Using the /network/control route"),
    same("GET", "/webhooks", Action::WebhooksGet),
    same("POST", "/webhooks", Action::WebhooksCreate).but(HOOKS),
    same("GET", "/webhooks/{id}", Action::WebhooksGet),
    same("PATCH", "/webhooks/{id}", Action::WebhooksUpdate).but(HOOKS),
    same("DELETE", "/webhooks/{id}", Action::WebhooksDelete),
    same("POST", "/logs/stream", Action::MetricsGet).but(LOGS),
    same("DELETE", "/logs/stream", Action::MetricsGet),
    same("POST", "/logs/stderr", Action::MetricsGet).but(LOGS),
    same("GET", "/chats", Action::ChatsGet),
    same("GET", "/chats/{id}", Action::ChatsGet),
    same("DELETE", "/chats/{id}", Action::ChatsDelete),
    same("GET", "/chats/{id}/settings", Action::ChatsSettingsGet),
    same("PATCH", "/chats/{id}/settings", Action::ChatsSettingsUpdate).but(PROMPTS),
    same("DELETE", "/chats/{id}/settings", Action::ChatsSettingsUpdate),
    same("POST", "/chats/{id}/chat/completions", Action::ChatCompletions).but(CHATS),
    same("POST", "/dynamic-search-rules", Action::DynamicSearchRulesGet).but(RULES_BY_WORDS),
    same("DELETE", "/dynamic-search-rules", Action::DynamicSearchRulesDelete),
    same("GET", "/dynamic-search-rules/{id}", Action::DynamicSearchRulesGet),
    same("PATCH", "/dynamic-search-rules/{id}", Action::DynamicSearchRulesUpdate).but(RULES),
    same("DELETE", "/dynamic-search-rules/{id}", Action::DynamicSearchRulesDelete),
    same("POST", "/render-template", Action::SettingsGet)
        .needing(Some(Need::Both([Action::SettingsGet, Action::DocumentsGet]))),
    same("GET", "/indexes/{uid}/settings", Action::SettingsGet),
    same("PATCH", "/indexes/{uid}/settings", Action::SettingsUpdate),
    same("DELETE", "/indexes/{uid}/settings", Action::SettingsUpdate),
    own("GET", "/_miroir/ready", "Whether traffic may come here; open.").needing(None),
    own("GET", "/_miroir/topology", "The nodes and their states."),
    own("GET", "/_miroir/indexes/{uid}/shards", "Where the shards of an index are."),
    own("GET", "/_miroir/indexes/{uid}/shards/{id}", "Why a shard is where it is, and what keeps it from moving."),
    own("POST", "/_miroir/indexes/{uid}/explain", "How a search would be carried out; its body is that of a search."),
    own("GET", "/_miroir/topology/staged", "Changes of the topology that are not applied."),
    own("POST", "/_miroir/topology/staged", "Stages one change."),
    own("DELETE", "/_miroir/topology/staged", "Drops what is staged."),
    own("GET", "/_miroir/topology/plan", "What would come of what is staged."),
    own("POST", "/_miroir/topology/plan", "What would come of further changes."),
    own("POST", "/_miroir/topology/apply", "Begins to carry out what is staged, by the epoch that the plan showed."),
    own("POST", "/_miroir/topology/declare", "Compares a declared topology with the one there is, and stages or applies what differs."),
    own("GET", "/_miroir/movement", "How far the moves of shards are."),
    own("POST", "/_miroir/movement/pause", "Lets them stand still."),
    own("POST", "/_miroir/movement/resume", "Lets them go on."),
    own("POST", "/_miroir/movement/cancel", "Takes back what is not switched yet."),
    own("GET", "/_miroir/advice", "When to re-shard, to add copies, or to even out."),
    own("GET", "/_miroir/reshards", "Indexes being cut into another number of shards, and how far."),
    own("POST", "/_miroir/indexes/{uid}/reshard", "Begins to cut an index into another number of shards."),
    own("POST", "/_miroir/indexes/{uid}/reshard/plan", "What would come of it."),
    own("POST", "/_miroir/indexes/{uid}/reshard/{word}", "Steers it: `pause`, `resume`, `cancel`, `back` or `drop`."),
    own("GET", "/_miroir/orphans", "What lies on nodes and no placement puts there."),
    own("POST", "/_miroir/orphans/sweep", "Removes it, by the digest of the listing that showed it."),
    own("POST", "/_miroir/verify", "Begins a comparison of all replicas."),
    own("GET", "/_miroir/verify/{id}", "How far a comparison is."),
    own("POST", "/_miroir/backup", "Copies the store into an empty folder of the proxy's machine."),
    own("POST", "/_miroir/rewind", "Builds an index as it was at a task, under a new name."),
    own("POST", "/_miroir/rewind/plan", "What a rewind would do."),
    own("GET", "/_miroir/rewinds", "Rewinds under way, and the last that ended."),
    own("GET", "/_miroir/rewind/{id}", "How far a rewind is."),
    own("POST", "/_miroir/rewind/{id}/cancel", "Takes a rewind back, and removes what was built."),
    own("GET", "/_miroir/metrics", "As `/metrics`, whatever the feature `metrics` says.")
        .needing(Some(Need::One(Action::MetricsGet))),
    ]
}

/// Every route.
pub(crate) fn all() -> Vec<Route> {
    let mut routes = table();
    for setting in SETTINGS {
        let verb = match setting.verb {
            Verb::Put => "PUT",
            Verb::Patch => "PATCH",
        };
        for (method, action) in [
            ("GET", Action::SettingsGet),
            (verb, Action::SettingsUpdate),
            ("DELETE", Action::SettingsUpdate),
        ] {
            routes.push(Route {
                method,
                path: format!("/indexes/{{uid}}/settings/{}", setting.route).into(),
                need: Some(Need::One(action)),
                state: State::Same,
                note: "",
            });
        }
    }
    routes
}

/// Method and path of every route, for tests.
#[must_use]
pub fn route_names() -> Vec<(&'static str, String)> {
    let routes = all().into_iter();
    routes
        .map(|route| (route.method, route.path.into_owned()))
        .collect()
}

/// What a request to a route that is not served is answered with; `None` for one that is.
pub(crate) fn refusal(route: &Route) -> Option<ResponseError> {
    match route.state {
        State::Same | State::Own => None,
        State::Off(feature, asked) => Some(ResponseError::new(
            Code::FeatureNotEnabled,
            format!(
                "{asked} requires enabling the `{}` experimental feature. See {}",
                feature.name, feature.link
            ),
        )),
    }
}

/// The page `docs/reference/compatibility.md`.
#[must_use]
pub fn compatibility_page() -> String {
    let mut page = "# Routes\n\n\
        Every route of Meilisearch 1.50 and of Miroir, and how they compare.\n\
        This page is written from the table in `crates/miroir-http/src/routes.rs`; \
        `just compatibility` writes it anew.\n\n\
        - **same**: answers as one Meilisearch that holds all documents.\n\
        - **own**: Meilisearch does not have it.\n\
        - **off**: answers as a Meilisearch whose experimental feature is off (400 \
        `feature_not_enabled`); it cannot be turned on.\n\n\
        | Route | Needs | State | Note |\n|---|---|---|---|\n"
        .to_owned();
    for route in all() {
        let need = match route.need {
            None => "nothing".to_owned(),
            Some(Need::One(action)) => format!("`{}`", action.name()),
            Some(Need::Both([a, b])) => format!("`{}` and `{}`", a.name(), b.name()),
        };
        let (state, note) = match route.state {
            State::Same => ("same", route.note.to_owned()),
            State::Own => ("own", route.note.to_owned()),
            State::Off(feature, _) => ("off", format!("`{}`: {}", feature.name, feature.reason)),
        };
        // Writing to a text cannot fail.
        let _ = writeln!(
            page,
            "| `{} {}` | {need} | {state} | {note} |",
            route.method, route.path
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn every_route_stands_once() {
        let mut seen = BTreeSet::new();
        for route in all() {
            let name = format!("{} {}", route.method, route.path);
            assert!(seen.insert(name.clone()), "{name}");
        }
    }

    /// With `UPDATE_DOCS` in the environment it is written instead.
    #[test]
    fn the_page_of_routes_is_that_of_the_table() {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/compatibility.md");
        let page = compatibility_page();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&file, &page).expect("the page can be written");
        }
        let found = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            found == page,
            "docs/reference/compatibility.md is not what the table says: run `just compatibility`"
        );
    }
}
