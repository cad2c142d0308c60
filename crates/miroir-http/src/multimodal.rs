//! What needs the feature `multimodal` and is refused here while it is off.
//!
//! Nodes refuse it themselves as long as the feature was never on. Once it was it stays on there,
//! for the sake of the indexes that use it; see `miroir_engine::features`.

use crate::app::App;
use miroir_api::error::{Code, ResponseError};
use miroir_api::feature::multimodal_not_enabled;
use miroir_api::search::SearchQuery;
use miroir_core::id::IndexUid;
use miroir_core::vector_filter::{VECTORS, vector_condition};
use miroir_engine::features::MULTIMODAL;
use serde_json::Value;

/// Whether nodes have it on while it is off here.
fn is_off_here_only(app: &App) -> bool {
    app.engine.knows_feature(MULTIMODAL) && !app.engine.has_feature(MULTIMODAL)
}

/// Refuses a filter that asks for vectors.
pub(crate) fn check_filter(app: &App, filter: &Value) -> Result<(), ResponseError> {
    if !is_off_here_only(app) {
        return Ok(());
    }
    match vector_condition(filter) {
        Some((text, at)) => {
            let refusal = multimodal_not_enabled("using a vector filter");
            let (from, to) = (at + 1, at + 1 + VECTORS.len());
            Err(ResponseError::new(
                Code::FeatureNotEnabled,
                format!("{}\n{from}:{to} {text}", refusal.message),
            ))
        }
        None => Ok(()),
    }
}

/// Refuses a search by media. That there is no such index or embedder comes first, and is the nodes'
/// to say.
pub(crate) fn check_media(
    app: &App,
    uid: &IndexUid,
    query: &SearchQuery,
) -> Result<(), ResponseError> {
    if query.media.is_none() || !is_off_here_only(app) || app.engine.index(uid).is_err() {
        return Ok(());
    }
    let of_hybrid = |name: &str| query.hybrid.as_ref().and_then(|hybrid| hybrid.get(name));
    let embedder = of_hybrid("embedder").and_then(Value::as_str);
    let is_by_words = of_hybrid("semanticRatio").and_then(Value::as_f64) == Some(0.0);
    if is_by_words || embedder.is_some_and(|name| app.engine.has_embedder(uid, name)) {
        return Err(multimodal_not_enabled("passing `media` in a search query"));
    }
    Ok(())
}

/// Refuses to render what only media and fragments need.
pub(crate) fn check_rendering(app: &App, body: &Value) -> Result<(), ResponseError> {
    if !is_off_here_only(app) {
        return Ok(());
    }
    let kind = |path: &str| body.pointer(path).and_then(Value::as_str);
    let (part, doing) = match (kind("/template/kind"), kind("/input/kind")) {
        (Some("indexingFragment" | "searchFragment"), _) => ("template", "accessing fragments"),
        (Some("inlineFragment"), _) => ("template", "rendering an inline fragment"),
        (_, Some("inlineSearch")) => ("input", "rendering search"),
        _ => return Ok(()),
    };
    let refusal = multimodal_not_enabled(doing);
    Err(ResponseError::new(
        Code::FeatureNotEnabled,
        format!("error while fetching {part}: {}", refusal.message),
    ))
}
