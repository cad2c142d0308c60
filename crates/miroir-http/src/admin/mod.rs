//! Miroir's own admin API, under `/_miroir`: what operators, the command line and tests ask.

mod backup;
mod explain;
mod orphans;
mod planning;
mod reshard;
mod rewind;
mod topology;
mod verify;

use crate::app::AppState;
use axum::Router;

/// Every admin route.
pub(crate) fn routes() -> Router<AppState> {
    topology::routes()
        .merge(verify::routes())
        .merge(backup::routes())
        .merge(rewind::routes())
        .merge(planning::routes())
        .merge(explain::routes())
        .merge(reshard::routes())
        .merge(orphans::routes())
}
