//! A search that an LLM calls for: with the rights of who asked it, and no others.

use crate::app::App;
use crate::auth::{Asked, authorize};
use crate::error::ApiError;
use crate::foreign::answer_foreign;
use crate::routes::Need;
use miroir_api::action::Action;
use miroir_api::chat::completion::SearchCall;
use miroir_api::error::{Code, ResponseError};
use miroir_api::filter::check_filter;
use miroir_api::index::index_not_found;
use miroir_core::id::IndexUid;
use miroir_engine::chat::{ChatFound, render};
use serde_json::{Map, Value};

/// What a search came to.
pub(super) struct Searched {
    /// What the LLM is told.
    pub(super) text: String,
    /// What the client is told that was found; `None` where nothing was searched.
    pub(super) sources: Option<Vec<Map<String, Value>>>,
    /// What the client is told that went wrong.
    pub(super) error: Option<ResponseError>,
}

impl Searched {
    fn only(text: String) -> Self {
        Self {
            text,
            sources: None,
            error: None,
        }
    }
}

/// Carries out a call of the search, with these arguments.
pub(super) async fn search(app: &App, authorization: Option<&str>, arguments: &str) -> Searched {
    let call: SearchCall = match serde_json::from_str(arguments) {
        Ok(call) => call,
        Err(error) => return Searched::only(error.to_string()),
    };
    let uid = call.index_uid.clone();
    let filter = call.filter.clone();
    match Box::pin(find(app, authorization, call)).await {
        Ok((text, sources)) => Searched {
            sources: Some(sources),
            ..Searched::only(text)
        },
        // What the search found wrong with the call is an answer that the LLM can make use of.
        Err(ApiError(error)) => match fault_of_call(&error, &uid, filter.as_deref()) {
            Some(text) => Searched {
                sources: Some(Vec::new()),
                ..Searched::only(text)
            },
            None => {
                let error = named(error, &uid);
                let message = &error.message;
                Searched {
                    error: Some(error.clone()),
                    ..Searched::only(format!("the search tool call failed with {message}"))
                }
            }
        },
    }
}

async fn find(
    app: &App,
    authorization: Option<&str>,
    call: SearchCall,
) -> Result<(String, Vec<Map<String, Value>>), ApiError> {
    let not_found = || index_not_found(&call.index_uid);
    let uid = IndexUid::new(&*call.index_uid).map_err(|_| not_found())?;
    let setting = app.engine.chat_setting(&uid)?;
    let asked = Asked {
        authorization,
        need: Some(Need::One(Action::Search)),
        index: Some(uid.as_str()),
    };
    let permit = authorize(asked, &app.keys, &app.engine)?;
    let mut filter = call.filter.map(Value::from);
    permit.restrict(uid.as_str(), &mut filter);
    answer_foreign(app, &uid, &mut filter, Code::InvalidSearchFilter).await?;
    if let Some(given) = &filter {
        let code = Code::InvalidSearchFilter;
        if check_filter(given, code)? {
            app.engine.check_filter_fields(&uid, given, code.name())?;
        } else {
            filter = None;
        }
    }
    let found = {
        let _place = app.searches.enter().await?;
        let searched = app
            .engine
            .chat_search(&uid, setting.request(call.q, filter));
        Box::pin(searched).await?
    };
    let sources = found.shown();
    Ok((rendered(found).await?, sources))
}

/// Away from the threads that serve: a template may take its time.
async fn rendered(found: ChatFound) -> Result<String, ResponseError> {
    let wrong = |message| ResponseError::new(Code::InvalidChatSettingDocumentTemplate, message);
    match tokio::task::spawn_blocking(move || render(&found)).await {
        Ok(rendered) => rendered.map_err(|error| wrong(error.0)),
        Err(_) => Err(ResponseError::new(
            Code::Internal,
            "A document cannot be rendered.",
        )),
    }
}

fn prefix(uid: &str) -> String {
    format!("Index `{uid}`: ")
}

/// What the search itself found wrong: a field that is not filterable, and the like.
fn fault_of_call(error: &ResponseError, uid: &str, filter: Option<&str>) -> Option<String> {
    let message = error.message.strip_prefix(&prefix(uid))?;
    let placed = filter.and_then(|filter| with_place(message, filter));
    Some(placed.unwrap_or_else(|| message.to_owned()))
}

/// The message of an attribute with its place in the filter as the LLM wrote it; nodes were sent the
/// same filter in another form.
fn with_place(message: &str, filter: &str) -> Option<String> {
    let (first, _) = message.split_once('\n')?;
    let (attribute, _) = first.strip_prefix("Attribute `")?.split_once('`')?;
    let start = filter.find(attribute)? + 1;
    let end = start + attribute.len();
    Some(format!("{first}\n{start}:{end} {filter}"))
}

/// A filter that cannot be read is told with the index it was meant for.
fn named(mut error: ResponseError, uid: &str) -> ResponseError {
    let is_of_filter = matches!(
        &*error.code,
        "invalid_search_filter" | "feature_not_enabled"
    );
    if is_of_filter && !error.message.starts_with("Index `") {
        error.message.insert_str(0, &prefix(uid));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: Code, message: &str) -> ResponseError {
        ResponseError::new(code, message)
    }

    #[test]
    fn an_attribute_is_placed_in_the_filter_as_it_was_written() {
        let refused = error(
            Code::InvalidSearchFilter,
            "Index `movies`: Attribute `x` is not filterable.\n2:3 \"x\" = \"1\"",
        );
        assert_eq!(
            fault_of_call(&refused, "movies", Some("a = 1 AND x = 1")).as_deref(),
            Some("Attribute `x` is not filterable.\n11:12 a = 1 AND x = 1")
        );
    }

    #[test]
    fn what_cannot_be_searched_is_no_answer() {
        let unread = error(
            Code::InvalidSearchFilter,
            "Was expecting a value.\n9:9 a = =",
        );
        assert_eq!(fault_of_call(&unread, "movies", Some("a = =")), None);
        assert_eq!(
            named(unread, "movies").message,
            "Index `movies`: Was expecting a value.\n9:9 a = ="
        );
        let missing = index_not_found("nobody");
        assert_eq!(fault_of_call(&missing, "nobody", None), None);
        assert_eq!(named(missing.clone(), "nobody").message, missing.message);
    }
}
