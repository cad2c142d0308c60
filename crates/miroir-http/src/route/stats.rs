//! `GET /stats` and `GET /indexes/{uid}/stats`.

use crate::app::AppState;
use crate::error::{ApiError, unsupported};
use crate::extract::{FromQuery, Index, Permit, Query};
use crate::response::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use miroir_api::error::{Code, ResponseError};
use miroir_api::query::{Parameter, parameters, unknown_parameter};
use miroir_api::task::format_date;
use miroir_engine::Engine;
use serde_json::{Map, Value};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/stats", get(stats))
        .route("/indexes/{uid}/stats", get(index_stats))
}

/// The query string of both routes, whose non-default values are not served.
struct StatsQuery;

impl FromQuery for StatsQuery {
    fn read(raw: &str) -> Result<Self, ResponseError> {
        for (name, value) in parameters(raw) {
            match name.as_str() {
                "showInternalDatabaseSizes" => {
                    let code = Code::InvalidStatsShowInternalDatabaseSizes;
                    if Parameter::new(&name, &value, code).boolean()? {
                        return Err(unsupported("`showInternalDatabaseSizes=true`"));
                    }
                }
                "sizeFormat" => {
                    let parameter = Parameter::new(&name, &value, Code::InvalidStatsSizeFormat);
                    if parameter.one_of(&["human", "raw"])? == "human" {
                        return Err(unsupported("`sizeFormat=human`"));
                    }
                }
                _ => {
                    let accepted = ["showInternalDatabaseSizes", "sizeFormat"];
                    return Err(unknown_parameter(&name, &accepted));
                }
            }
        }
        Ok(Self)
    }
}

async fn stats(
    permit: Permit,
    Query(StatsQuery): Query<StatsQuery>,
    State(app): State<AppState>,
) -> Result<Json<Map<String, Value>>, ApiError> {
    let mut stats = app.engine.stats().await?;
    strip(&mut stats, &permit, &app.engine);
    Ok(Json(stats))
}

async fn index_stats(
    _: Permit,
    Index(uid): Index,
    Query(StatsQuery): Query<StatsQuery>,
    State(app): State<AppState>,
) -> Result<Json<Map<String, Value>>, ApiError> {
    Ok(Json(app.engine.index_stats(&uid).await?))
}

/// Takes out the indexes that the asker may not see. The sizes stay those of everything.
fn strip(stats: &mut Map<String, Value>, permit: &Permit, engine: &Engine) {
    if permit.covers_all() {
        return;
    }
    if let Some(Value::Object(indexes)) = stats.get_mut("indexes") {
        indexes.retain(|uid, _| permit.covers(uid));
    }
    let seen = engine.indexes().into_iter();
    let seen = seen.filter(|index| permit.covers(index.uid.as_str()));
    let last_update = seen.map(|index| index.updated_at).max();
    let last_update = last_update.map(format_date);
    stats.insert("lastUpdate".to_owned(), last_update.into());
}
