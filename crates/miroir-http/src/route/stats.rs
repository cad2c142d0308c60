//! `GET /stats` and `GET /indexes/{uid}/stats`.

use crate::app::AppState;
use crate::error::ApiError;
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

/// The query string of both routes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct StatsQuery {
    shows_databases: bool,
    is_human: bool,
}

impl FromQuery for StatsQuery {
    fn read(raw: &str) -> Result<Self, ResponseError> {
        let mut query = Self::default();
        for (name, value) in parameters(raw) {
            match name.as_str() {
                "showInternalDatabaseSizes" => {
                    let code = Code::InvalidStatsShowInternalDatabaseSizes;
                    query.shows_databases = Parameter::new(&name, &value, code).boolean()?;
                }
                "sizeFormat" => {
                    let parameter = Parameter::new(&name, &value, Code::InvalidStatsSizeFormat);
                    query.is_human = parameter.one_of(&["human", "raw"])? == "human";
                }
                _ => {
                    let accepted = ["showInternalDatabaseSizes", "sizeFormat"];
                    return Err(unknown_parameter(&name, &accepted));
                }
            }
        }
        Ok(query)
    }
}

async fn stats(
    permit: Permit,
    Query(query): Query<StatsQuery>,
    State(app): State<AppState>,
) -> Result<Json<Map<String, Value>>, ApiError> {
    let mut stats = app.engine.stats_with(query.shows_databases).await?;
    strip(&mut stats, &permit, &app.engine);
    if query.is_human {
        for_people(&mut stats);
        if let Some(Value::Object(indexes)) = stats.get_mut("indexes") {
            indexes
                .values_mut()
                .filter_map(Value::as_object_mut)
                .for_each(for_people);
        }
    }
    Ok(Json(stats))
}

async fn index_stats(
    _: Permit,
    Index(uid): Index,
    Query(query): Query<StatsQuery>,
    State(app): State<AppState>,
) -> Result<Json<Map<String, Value>>, ApiError> {
    let mut stats = app
        .engine
        .index_stats_with(&uid, query.shows_databases)
        .await?;
    if query.is_human {
        for_people(&mut stats);
    }
    Ok(Json(stats))
}

/// Members of both answers that are sizes in bytes.
const SIZES: [&str; 4] = [
    "databaseSize",
    "usedDatabaseSize",
    "rawDocumentDbSize",
    "avgDocumentSize",
];

/// Puts sizes as people read them in place of bytes.
fn for_people(stats: &mut Map<String, Value>) {
    let show = |size: &mut Value| {
        if let Some(bytes) = size.as_u64() {
            *size = human_size(bytes).into();
        }
    };
    for name in SIZES {
        stats.get_mut(name).map(show);
    }
    if let Some(Value::Object(databases)) = stats.get_mut("internalDatabaseSizes") {
        databases.values_mut().for_each(show);
    }
}

/// A size in the largest unit of which there is one, rounded to two places; zeroes at the end are
/// left out.
fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = bytes.max(1).ilog2() / 10;
    #[expect(clippy::cast_precision_loss, reason = "two places are shown")]
    let value = bytes as f64 / (1_u64 << (10 * power)) as f64;
    let unit = UNITS.get(power as usize).copied().unwrap_or_default();
    format!("{} {unit}", (value * 100.0).round() / 100.0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_their_largest_unit() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1 KiB"),
            (10_000, "9.77 KiB"),
            (1_572_864, "1.5 MiB"),
            (1 << 40, "1 TiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(human_size(bytes), shown);
        }
    }

    #[test]
    fn the_query_is_read_and_its_mistakes_are_told() {
        let query = StatsQuery::read("sizeFormat=human&showInternalDatabaseSizes=true");
        let both = StatsQuery {
            shows_databases: true,
            is_human: true,
        };
        assert_eq!(query, Ok(both));
        assert_eq!(
            StatsQuery::read("sizeFormat=raw"),
            Ok(StatsQuery::default())
        );
        for (raw, code) in [
            ("sizeFormat=large", "invalid_stats_size_format"),
            (
                "showInternalDatabaseSizes=1",
                "invalid_stats_show_internal_database_sizes",
            ),
            ("doggo=1", "bad_request"),
        ] {
            let error = StatsQuery::read(raw).expect_err(raw);
            assert_eq!(&*error.code, code);
        }
    }
}
