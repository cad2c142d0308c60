//! The face of Miroir: the Meilisearch API and the admin API over the engine.
//!
//! A request passes the `layer`s, finds its route, and is read by `extract`ors in the order in
//! which Meilisearch checks: who asks (`auth`), the path, the query string, the body. What it
//! asks is checked in form by `miroir-api`; handlers turn it into the engine's words and the
//! engine's answer into JSON. `error` is the only place where an engine's error gets a code.
//!
//! [`router`] needs no socket, [`serve()`] needs nothing else.

mod app;
mod auth;
mod body;
mod chat;
mod content_type;
mod convert;
mod cors;
mod error;
mod extract;
mod gate;
mod intake;
mod layer;
mod partial;
mod request_id;
mod response;
mod serve;

mod feature;
mod foreign;
mod logs;
mod metrics;
mod multimodal;
mod routes;

mod admin;
mod route;

pub use app::Options;
pub use feature::Features;
pub use gate::GateLimits;
pub use logs::{LogControl, LogMode, LogStream};
pub use routes::{compatibility_page, route_names};
pub use serve::{Patience, TlsError, TlsFiles, TlsServer, Transport, serve};

use axum::Router;
use axum::middleware::from_fn_with_state;
use miroir_engine::Engine;

/// The whole HTTP face of an engine, ready to be served or called.
pub fn router(engine: Engine, options: Options) -> Router {
    let app = app::App::shared(engine, options);
    let routes = Router::new()
        .merge(route::routes())
        .merge(route::unsupported::routes())
        .merge(admin::routes())
        .layer(from_fn_with_state(app.clone(), metrics::count))
        .with_state(app);
    layer::wrap(routes)
}
