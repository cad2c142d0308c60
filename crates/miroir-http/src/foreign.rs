//! What the feature `foreignKeys` opens at the routes: the setting, and `_foreign` conditions in
//! filters, which Miroir answers before nodes get the filter.

use crate::app::App;
use crate::error::ApiError;
use miroir_api::error::{Code, ResponseError};
use miroir_api::feature::foreign_keys_not_enabled;
use miroir_core::id::IndexUid;
use miroir_engine::features::FOREIGN_KEYS;
use serde_json::{Map, Value, json};

/// Refuses to set foreign keys while they are off; a reset always passes.
pub(crate) fn check_setting(app: &App, settings: &Map<String, Value>) -> Result<(), ResponseError> {
    let is_set = settings
        .get(FOREIGN_KEYS)
        .is_some_and(|keys| !keys.is_null());
    if is_set && !app.engine.has_feature(FOREIGN_KEYS) {
        return Err(foreign_keys_not_enabled());
    }
    Ok(())
}

/// The settings as they are listed: with the foreign keys, none if need be, or without the setting
/// while they are off.
pub(crate) fn listed(app: &App, mut settings: Map<String, Value>) -> Map<String, Value> {
    if app.engine.has_feature(FOREIGN_KEYS) {
        settings.entry(FOREIGN_KEYS).or_insert_with(|| json!([]));
    } else {
        settings.remove(FOREIGN_KEYS);
    }
    settings
}

/// Answers the `_foreign` conditions of one filter of an index that exists; `code` is that of a
/// filter with a mistake.
///
/// # Errors
/// As of the filter.
pub(crate) async fn answer_foreign(
    app: &App,
    uid: &IndexUid,
    filter: &mut Option<Value>,
    code: Code,
) -> Result<(), ApiError> {
    let Some(given) = filter.take_if(|given| app.engine.is_foreign_filter(given)) else {
        return Ok(());
    };
    // A node knows its grammar; what it says must be about the filter as it was written.
    app.engine.check_filter_syntax(&given, code.name()).await?;
    let mut filters = [(uid.clone(), given)];
    app.engine.answer_foreign(&mut filters).await?;
    let [(_, answered)] = filters;
    *filter = Some(answered);
    Ok(())
}
