//! Every route against every kind of credential.
//!
//! The table below is written by hand from the API's documentation, apart from the one in the code.
//! "Let in" means: the answer is neither 401 nor 403, whatever else is wrong with the request.

use crate::support::{Answer, Face, request};
use crate::tenants::token;
use axum::body::Body;
use miroir_api::action::Action;
use miroir_api::settings::{SETTINGS, Verb};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

const MASTER: &str = "a master key";

/// Method, path, action. `products` is the index.
type Route = (&'static str, &'static str, &'static str);

/// Every route that one action opens.
static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(|| {
    let settings = SETTINGS.iter().flat_map(|setting| {
        let path: &str = format!("/indexes/products/settings/{}", setting.route).leak();
        let verb = match setting.verb {
            Verb::Put => "PUT",
            Verb::Patch => "PATCH",
        };
        [
            ("GET", path, "settings.get"),
            (verb, path, "settings.update"),
            ("DELETE", path, "settings.update"),
        ]
    });
    TABLE.iter().copied().chain(settings).collect()
});

/// All of them but those of single settings.
const TABLE: &[Route] = &[
    ("GET", "/version", "version"),
    ("GET", "/stats", "stats.get"),
    ("GET", "/metrics", "metrics.get"),
    ("GET", "/_miroir/metrics", "metrics.get"),
    ("GET", "/indexes", "indexes.get"),
    ("POST", "/indexes", "indexes.create"),
    ("GET", "/indexes/products", "indexes.get"),
    ("PATCH", "/indexes/products", "indexes.update"),
    ("DELETE", "/indexes/products", "indexes.delete"),
    ("GET", "/indexes/products/stats", "stats.get"),
    ("POST", "/indexes/products/compact", "indexes.compact"),
    ("POST", "/indexes/products/fields", "fields.post"),
    ("POST", "/swap-indexes", "indexes.swap"),
    ("GET", "/indexes/products/documents", "documents.get"),
    ("POST", "/indexes/products/documents", "documents.add"),
    ("PUT", "/indexes/products/documents", "documents.add"),
    ("DELETE", "/indexes/products/documents", "documents.delete"),
    ("POST", "/indexes/products/documents/fetch", "documents.get"),
    (
        "POST",
        "/indexes/products/documents/delete",
        "documents.delete",
    ),
    (
        "POST",
        "/indexes/products/documents/delete-batch",
        "documents.delete",
    ),
    ("GET", "/indexes/products/documents/0", "documents.get"),
    (
        "DELETE",
        "/indexes/products/documents/0",
        "documents.delete",
    ),
    ("GET", "/indexes/products/settings", "settings.get"),
    ("PATCH", "/indexes/products/settings", "settings.update"),
    ("DELETE", "/indexes/products/settings", "settings.update"),
    ("GET", "/indexes/products/search", "search"),
    ("POST", "/indexes/products/search", "search"),
    ("POST", "/indexes/products/facet-search", "search"),
    ("GET", "/indexes/products/similar", "search"),
    ("POST", "/indexes/products/similar", "search"),
    ("POST", "/multi-search", "search"),
    ("GET", "/tasks", "tasks.get"),
    ("DELETE", "/tasks", "tasks.delete"),
    ("POST", "/tasks/cancel", "tasks.cancel"),
    ("POST", "/tasks/compact", "tasks.compact"),
    ("GET", "/tasks/0", "tasks.get"),
    ("GET", "/tasks/0/documents", "tasks.get"),
    ("GET", "/batches", "tasks.get"),
    ("GET", "/batches/0", "tasks.get"),
    ("POST", "/dumps", "dumps.create"),
    ("POST", "/snapshots", "snapshots.create"),
    ("POST", "/export", "export"),
    ("GET", "/keys", "keys.get"),
    ("POST", "/keys", "keys.create"),
    ("GET", "/keys/mykey", "keys.get"),
    ("PATCH", "/keys/mykey", "keys.update"),
    ("DELETE", "/keys/mykey", "keys.delete"),
    ("GET", "/experimental-features", "experimental.get"),
    ("PATCH", "/experimental-features", "experimental.update"),
    ("GET", "/network", "network.get"),
    ("PATCH", "/network", "network.update"),
    ("POST", "/network/control", "network.update"),
    ("GET", "/webhooks", "webhooks.get"),
    ("POST", "/webhooks", "webhooks.create"),
    ("GET", "/webhooks/0", "webhooks.get"),
    ("PATCH", "/webhooks/0", "webhooks.update"),
    ("DELETE", "/webhooks/0", "webhooks.delete"),
    ("POST", "/logs/stream", "metrics.get"),
    ("DELETE", "/logs/stream", "metrics.get"),
    ("POST", "/logs/stderr", "metrics.get"),
    ("GET", "/chats", "chats.get"),
    ("GET", "/chats/0", "chats.get"),
    ("DELETE", "/chats/0", "chats.delete"),
    ("GET", "/chats/0/settings", "chatsSettings.get"),
    ("PATCH", "/chats/0/settings", "chatsSettings.update"),
    ("DELETE", "/chats/0/settings", "chatsSettings.update"),
    ("POST", "/chats/0/chat/completions", "chatCompletions"),
    ("POST", "/dynamic-search-rules", "dynamicSearchRules.get"),
    (
        "DELETE",
        "/dynamic-search-rules",
        "dynamicSearchRules.delete",
    ),
    ("GET", "/dynamic-search-rules/0", "dynamicSearchRules.get"),
    (
        "PATCH",
        "/dynamic-search-rules/0",
        "dynamicSearchRules.update",
    ),
    (
        "DELETE",
        "/dynamic-search-rules/0",
        "dynamicSearchRules.delete",
    ),
];

/// What needs no key.
const FOR_EVERYONE: &[(&str, &str)] =
    &[("GET", "/health"), ("GET", "/"), ("GET", "/_miroir/ready")];

/// What only `*` opens.
const FOR_THE_STAR: &[(&str, &str)] = &[
    ("POST", "/indexes/products/documents/edit"),
    ("GET", "/_miroir/topology"),
    ("POST", "/_miroir/verify"),
    ("GET", "/_miroir/verify/0"),
    ("GET", "/_miroir/indexes/products/shards"),
    ("GET", "/_miroir/indexes/products/shards/0"),
    ("POST", "/_miroir/indexes/products/explain"),
    ("GET", "/_miroir/topology/staged"),
    ("POST", "/_miroir/topology/staged"),
    ("DELETE", "/_miroir/topology/staged"),
    ("GET", "/_miroir/topology/plan"),
    ("POST", "/_miroir/topology/plan"),
    ("GET", "/_miroir/advice"),
    ("POST", "/_miroir/topology/apply"),
    ("POST", "/_miroir/topology/declare"),
    ("GET", "/_miroir/movement"),
    ("POST", "/_miroir/movement/pause"),
    ("POST", "/_miroir/movement/resume"),
    ("POST", "/_miroir/movement/cancel"),
    ("GET", "/_miroir/reshards"),
    ("POST", "/_miroir/indexes/products/reshard"),
    ("POST", "/_miroir/indexes/products/reshard/plan"),
    ("POST", "/_miroir/indexes/products/reshard/pause"),
    ("GET", "/_miroir/orphans"),
    ("POST", "/_miroir/orphans/sweep"),
    ("POST", "/_miroir/backup"),
    ("POST", "/_miroir/rewind"),
    ("POST", "/_miroir/rewind/plan"),
    ("GET", "/_miroir/rewinds"),
    ("GET", "/_miroir/rewind/0"),
    ("POST", "/_miroir/rewind/0/cancel"),
];

/// What a key for some indexes may do where the path names none: these routes look at each index
/// themselves.
const FOR_SOME_INDEXES: &[&str] = &[
    "stats.get",
    "indexes.get",
    "indexes.create",
    "indexes.swap",
    "search",
    "tasks.get",
    "tasks.delete",
    "tasks.cancel",
    "chatCompletions",
];

/// All actions of the table, and more that open nothing in it.
fn all_actions() -> Vec<&'static str> {
    let mut actions: Vec<&str> = ROUTES.iter().map(|(_, _, action)| *action).collect();
    actions.push("dynamicSearchRules.create");
    actions.sort_unstable();
    actions.dedup();
    actions
}

fn is_search(action: &str) -> bool {
    matches!(action, "search" | "chatCompletions")
}

/// A face and the keys that were made on it.
struct Keys {
    face: Face,
    made: BTreeMap<String, Value>,
}

impl Keys {
    async fn new() -> Self {
        let face = Face::locked(MASTER).await;
        Self {
            face,
            made: BTreeMap::new(),
        }
    }

    /// A key; the same one for the same wish.
    async fn get(&mut self, actions: &[&str], indexes: &[&str], expires_at: Option<&str>) -> Value {
        let wish = json!({"actions": actions, "indexes": indexes, "expiresAt": expires_at});
        if let Some(key) = self.made.get(&wish.to_string()) {
            return key.clone();
        }
        let answer = self.face.ask(MASTER, "POST", "/keys", &wish).await;
        assert_eq!(answer.status.as_u16(), 201, "{answer:?}");
        self.made.insert(wish.to_string(), answer.json());
        answer.json()
    }

    async fn call(&self, credential: &str, method: &str, path: &str) -> Answer {
        self.face.ask(credential, method, path, &Value::Null).await
    }
}

fn value(key: &Value) -> &str {
    key["key"].as_str().expect("a value")
}

fn is_let_in(answer: &Answer) -> bool {
    !matches!(answer.status.as_u16(), 401 | 403 | 405)
}

#[track_caller]
fn assert_refused(answer: &Answer, message: &str, place: &str) {
    assert_eq!(answer.status.as_u16(), 403, "{place}: {answer:?}");
    if answer.body.is_empty() {
        return; // a HEAD
    }
    let (_, code, found) = answer.refusal();
    assert_eq!((&*code, &*found), ("invalid_api_key", message), "{place}");
}

const INVALID: &str = "The provided API key is invalid.";

#[tokio::test]
async fn without_a_key_every_route_is_closed() {
    let keys = Keys::new().await;
    for (method, path, _) in ROUTES.iter() {
        let bare = request(method, path, &[], Body::empty());
        let answer = keys.face.send(bare).await;
        assert_eq!(answer.status.as_u16(), 401, "{method} {path}");
        assert_refused(&keys.call("doggo", method, path).await, INVALID, path);
        let likely = "0".repeat(64);
        assert_refused(&keys.call(&likely, method, path).await, INVALID, path);
        assert_refused(&keys.call("", method, path).await, INVALID, path);
    }
}

#[tokio::test]
async fn the_action_opens_its_routes_and_no_other_action_does() {
    let mut keys = Keys::new().await;
    for (method, path, action) in ROUTES.iter() {
        let place = format!("{method} {path}");
        for actions in [&[*action][..], &["*"]] {
            let key = keys.get(actions, &["*"], None).await;
            let answer = keys.call(value(&key), method, path).await;
            assert!(is_let_in(&answer), "{place} with {actions:?}: {answer:?}");
        }
        if let Some((family, _)) = action.split_once('.')
            && !matches!(family, "keys" | "experimental" | "network" | "fields")
        {
            let family = format!("{family}.*");
            let key = keys.get(&[&family], &["*"], None).await;
            let answer = keys.call(value(&key), method, path).await;
            assert!(is_let_in(&answer), "{place} with {family}: {answer:?}");
        }
        let mut others = all_actions();
        others.retain(|other| other != action);
        let key = keys.get(&others, &["*"], None).await;
        assert_refused(&keys.call(value(&key), method, path).await, INVALID, &place);
    }
}

#[tokio::test]
async fn reading_everything_is_reading_and_not_keys() {
    let mut keys = Keys::new().await;
    let key = keys.get(&["*.get"], &["*"], None).await;
    for (method, path, action) in ROUTES.iter() {
        let is_read = (action.ends_with(".get") && *action != "keys.get")
            || matches!(*action, "search" | "export" | "version" | "fields.post");
        let answer = keys.call(value(&key), method, path).await;
        assert_eq!(is_let_in(&answer), is_read, "{method} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn a_key_for_an_index_opens_that_one() {
    let mut keys = Keys::new().await;
    let own = keys.get(&["*"], &["prod*"], None).await;
    let other = keys.get(&["*"], &["others", "a*"], None).await;
    let refused = "The API key cannot acces the index `products`, authorized indexes are [\"a*\", \
                   \"others\"].";
    for (method, path, action) in ROUTES.iter() {
        let place = format!("{method} {path}");
        if path.contains("products") {
            let answer = keys.call(value(&own), method, path).await;
            assert!(is_let_in(&answer), "{place}: {answer:?}");
            assert_refused(
                &keys.call(value(&other), method, path).await,
                refused,
                &place,
            );
        } else {
            let answer = keys.call(value(&own), method, path).await;
            let is_open = FOR_SOME_INDEXES.contains(action);
            assert_eq!(is_let_in(&answer), is_open, "{place}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_key_for_no_index_opens_nothing() {
    let mut keys = Keys::new().await;
    let key = keys.get(&["*"], &[], None).await;
    for (method, path, _) in ROUTES.iter() {
        let answer = keys.call(value(&key), method, path).await;
        assert!(!is_let_in(&answer), "{method} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn an_expired_key_opens_nothing() {
    let mut keys = Keys::new().await;
    let key = keys.get(&["*"], &["*"], Some("1970-01-01T01:00:00Z")).await;
    for (second, is_alive) in [(3599, true), (3600, false)] {
        keys.face.clock.set(second);
        for (method, path, _) in ROUTES.iter() {
            let place = format!("{method} {path} at {second}");
            let answer = keys.call(value(&key), method, path).await;
            assert_eq!(is_let_in(&answer), is_alive, "{place}");
            if !is_alive {
                assert_refused(&answer, INVALID, &place);
            }
        }
    }
}

#[tokio::test]
async fn a_tenant_token_opens_searches_and_nothing_else() {
    let mut keys = Keys::new().await;
    let key = keys.get(&["*"], &["*"], None).await;
    let mine = token(&key, json!({"searchRules": ["products"], "exp": 100}));
    let others = token(&key, json!({"searchRules": {"others": {}}}));
    for (method, path, action) in ROUTES.iter() {
        let place = format!("{method} {path}");
        let answer = keys.call(&mine, method, path).await;
        assert_eq!(is_let_in(&answer), is_search(action), "{place}: {answer:?}");
        if !is_search(action) {
            assert_refused(&answer, INVALID, &place);
        }
        if is_search(action) && path.contains("products") {
            let answer = keys.call(&others, method, path).await;
            let message = "The provided tenant token cannot acces the index `products`, allowed \
                           indexes are [\"others\"].";
            assert_refused(&answer, message, &place);
        }
    }
}

#[tokio::test]
async fn expired_and_forged_tokens_open_nothing() {
    let mut keys = Keys::new().await;
    let key = keys.get(&["*"], &["*"], None).await;
    let weak = keys.get(&["documents.get"], &["*"], None).await;
    let narrow = keys.get(&["search"], &["others"], None).await;
    let dying = keys
        .get(&["search"], &["*"], Some("1970-01-01T00:01:00Z"))
        .await;
    let rules = json!({"searchRules": ["*"], "exp": 100});
    let mut forged_key = key.clone();
    forged_key["key"] = json!("0".repeat(64));
    let mut unknown_key = key.clone();
    unknown_key["uid"] = json!("00000000-0000-4000-8000-000000000000");
    let bad_signature = "Could not decode tenant token, InvalidSignature.";
    let gone = "The API key used to generate this tenant token cannot acces the index `products`.";
    let cases = [
        (token(&forged_key, rules.clone()), bad_signature),
        (token(&unknown_key, rules.clone()), bad_signature),
        (
            token(&key, json!({"searchRules": ["*"], "exp": 98})),
            "Tenant token expired. Was valid up to `98` and we're now `99`.",
        ),
        (token(&weak, rules.clone()), INVALID),
        (token(&dying, rules.clone()), INVALID),
        (token(&narrow, rules), gone),
    ];
    keys.face.clock.set(99);
    for (method, path, action) in ROUTES.iter() {
        for (token, message) in &cases {
            let place = format!("{method} {path}: {message}");
            let answer = keys.call(token, method, path).await;
            if *message == gone && !path.contains("products") {
                // Whether it names an index out of reach is seen in the body.
                assert!(
                    is_let_in(&answer) == (*action == "search"),
                    "{place}: {answer:?}"
                );
                continue;
            }
            let expected = if is_search(action) { message } else { INVALID };
            assert_refused(&answer, expected, &place);
        }
    }
}

#[tokio::test]
async fn some_routes_are_for_the_star() {
    let mut keys = Keys::new().await;
    let star = keys.get(&["*"], &["*"], None).await;
    let mut all = all_actions();
    all.extend(["*.get", "documents.*", "indexes.*", "settings.*", "stats.*"]);
    let all = keys.get(&all, &["*"], None).await;
    for (method, path) in FOR_THE_STAR {
        let answer = keys.call(value(&star), method, path).await;
        assert!(is_let_in(&answer), "{method} {path}: {answer:?}");
        assert_refused(&keys.call(value(&all), method, path).await, INVALID, path);
    }
}

#[tokio::test]
async fn rendering_a_template_needs_two_rights() {
    let mut keys = Keys::new().await;
    for (actions, is_enough) in [
        (&["settings.get"][..], false),
        (&["documents.get"], false),
        (&["settings.get", "documents.get"], true),
        (&["settings.*", "documents.*"], true),
    ] {
        let key = keys.get(actions, &["*"], None).await;
        let answer = keys.call(value(&key), "POST", "/render-template").await;
        assert_eq!(is_let_in(&answer), is_enough, "{actions:?}: {answer:?}");
    }
}

/// Whether a key with the action `held` may do `wanted`, from the documentation of keys.
fn opens(held: &str, wanted: &str) -> bool {
    let is_read = (wanted.ends_with(".get") && wanted != "keys.get")
        || matches!(wanted, "search" | "export" | "version" | "fields.post");
    held == "*"
        || held == wanted
        || (held == "*.get" && is_read)
        || held
            .strip_suffix('*')
            .is_some_and(|family| held != "*.get" && family.len() > 1 && wanted.starts_with(family))
}

#[tokio::test]
async fn every_route_opens_to_its_actions_and_to_no_other() {
    let mut keys = Keys::new().await;
    let mut credentials = Vec::new();
    for action in Action::ALL {
        let key = keys.get(&[action.name()], &["*"], None).await;
        credentials.push((action.name(), value(&key).to_owned()));
    }
    for (method, path, wanted) in ROUTES.iter() {
        for (held, credential) in &credentials {
            let answer = keys.call(credential, method, path).await;
            let place = format!("{method} {path} with {held}");
            assert_eq!(
                is_let_in(&answer),
                opens(held, wanted),
                "{place}: {answer:?}"
            );
        }
    }
}

/// A new route stands in this file too, or this test fails: what is tested above is every route
/// there is.
#[test]
fn every_route_of_the_code_is_tested_here() {
    let render = ("POST", "/render-template");
    let tested: BTreeSet<(String, String)> = ROUTES
        .iter()
        .map(|(method, path, _)| (*method, *path))
        .chain(FOR_THE_STAR.iter().copied())
        .chain([render])
        .map(|(method, path)| (method.to_owned(), path.to_owned()))
        .collect();
    let concrete = |path: String| {
        let id = if path.starts_with("/keys/") {
            "mykey"
        } else {
            "0"
        };
        path.replace("{uid}", "products")
            .replace("{id}", id)
            .replace("{word}", "pause")
    };
    let there: BTreeSet<(String, String)> = miroir_http::route_names()
        .into_iter()
        .filter(|(method, path)| !FOR_EVERYONE.contains(&(*method, &**path)))
        .map(|(method, path)| (method.to_owned(), concrete(path)))
        .collect();
    let untested: Vec<_> = there.difference(&tested).collect();
    let gone: Vec<_> = tested.difference(&there).collect();
    assert!(untested.is_empty(), "not tested: {untested:?}");
    assert!(gone.is_empty(), "not there: {gone:?}");
}
