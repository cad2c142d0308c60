//! `_foreign` conditions of filters: what they ask is asked of the other index first, and nodes get
//! a filter that names the ids it found.

use crate::engine::{DocumentsQuery, Engine};
use crate::error::EngineError;
use crate::features::FOREIGN_KEYS;
use crate::hydrate::foreign_uid;
use miroir_core::document::{PrimaryKey, document_id};
use miroir_core::foreign::{
    FOREIGN_IDS_MAX, ForeignCondition, foreign_conditions, foreign_keys, is_foreign, with_ids,
};
use miroir_core::id::IndexUid;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The code of what is wrong with such a condition itself, whatever request it stands in.
const CODE: &str = "invalid_search_filter";
/// The code of what is wrong with an attribute of the other index.
const FOREIGN_CODE: &str = "invalid_document_filter";

#[derive(Deserialize)]
struct Listing<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
    total: u64,
}

/// A condition with the text it stands in and the index that it asks.
struct Asked {
    text: String,
    condition: ForeignCondition,
    index: String,
}

impl Engine {
    /// Whether Miroir must answer conditions of this filter before nodes get it: it has `_foreign`
    /// conditions, and they are allowed.
    #[must_use]
    pub fn is_foreign_filter(&self, filter: &Value) -> bool {
        is_foreign(filter) && self.has_feature(FOREIGN_KEYS)
    }

    /// Replaces every `_foreign` condition in the filters of a request, each with the index it
    /// filters. Their syntax is to be checked already, and the indexes are to exist.
    ///
    /// # Errors
    /// [`EngineError::Client`] for what is wrong with a condition, [`EngineError::IndexNotFound`] for
    /// the index it asks, and as [`Engine::documents`].
    pub async fn answer_foreign(
        &self,
        filters: &mut [(IndexUid, Value)],
    ) -> Result<(), EngineError> {
        let mut asked = Vec::new();
        for (uid, filter) in filters.iter() {
            self.collect(uid, filter, &mut asked)?;
        }
        let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        let mut answers = Vec::with_capacity(asked.len());
        for one in &asked {
            let ids = self.foreign_ids(one).await?;
            let all = found.entry(&one.index).or_default();
            all.extend(ids.iter().cloned());
            if all.len() > FOREIGN_IDS_MAX {
                return Err(too_many(&one.index));
            }
            answers.push(ids);
        }
        let mut answers = answers.into_iter();
        for (_, filter) in filters {
            replace(filter, &mut answers);
        }
        Ok(())
    }

    /// Refuses a filter with a `_foreign` condition where there can be none.
    ///
    /// # Errors
    /// It has one; `prefix` begins the message.
    pub fn refuse_foreign(&self, filter: &Value, prefix: &str) -> Result<(), EngineError> {
        if !self.has_feature(FOREIGN_KEYS) {
            return Ok(());
        }
        match foreign_refusal(filter) {
            Some(reason) => Err(EngineError::Client {
                code: FOREIGN_CODE,
                message: format!("{prefix}{reason}"),
            }),
            None => Ok(()),
        }
    }

    /// The conditions of a filter in the order of its text.
    fn collect(
        &self,
        uid: &IndexUid,
        filter: &Value,
        asked: &mut Vec<Asked>,
    ) -> Result<(), EngineError> {
        let wrong = |reason: String| EngineError::Client {
            code: CODE,
            message: format!("Index `{uid}`: {reason}"),
        };
        let snapshot = self.shared().snapshot.load_full();
        let keys = foreign_keys(&snapshot.index(uid)?.record.settings);
        let mut texts = Vec::new();
        texts_of(filter, &mut texts);
        for text in texts {
            for condition in foreign_conditions(text) {
                let Some(key) = keys.iter().find(|key| key.field == condition.field) else {
                    let field = &condition.field;
                    return Err(wrong(format!("Field `{field}` is not a foreign key")));
                };
                if !foreign_conditions(&condition.inner).is_empty() {
                    return Err(wrong("Nested foreign filters are not supported".to_owned()));
                }
                asked.push(Asked {
                    text: text.to_owned(),
                    condition,
                    index: key.index.clone(),
                });
            }
        }
        Ok(())
    }

    /// The ids of the documents that a condition asks for, in their order.
    async fn foreign_ids(&self, asked: &Asked) -> Result<Vec<String>, EngineError> {
        let uid = foreign_uid(&asked.index)?;
        let snapshot = self.shared().snapshot.load_full();
        let primary_key = snapshot.index(&uid)?.record.primary_key.clone();
        let filter = Value::from(asked.condition.inner.as_str());
        let checked = self.check_filter_fields(&uid, &filter, FOREIGN_CODE);
        checked.map_err(|error| as_of_condition(error, &uid, asked))?;
        let query = DocumentsQuery {
            offset: 0,
            limit: FOREIGN_IDS_MAX + 1,
            fields: primary_key.clone().map(|field| vec![field]),
            ids: None,
            filter: Some(filter),
            sort: None,
            retrieve_vectors: false,
        };
        let listing = self.documents(&uid, query).await;
        let listing = listing.map_err(|error| as_of_condition(error, &uid, asked))?;
        let garbled = |error: &dyn std::error::Error| EngineError::Answer(error.to_string());
        let listing: Listing<'_> =
            serde_json::from_slice(&listing).map_err(|error| garbled(&error))?;
        if listing.total > FOREIGN_IDS_MAX as u64 {
            return Err(too_many(&asked.index));
        }
        let Some(primary_key) = primary_key.map(PrimaryKey::new) else {
            return Ok(Vec::new());
        };
        let ids = listing.results.iter().map(|raw| {
            let id = document_id(raw.get().as_bytes(), &primary_key);
            id.map(std::borrow::Cow::into_owned)
                .map_err(|error| garbled(&error))
        });
        ids.collect()
    }
}

/// What is said of a filter with a `_foreign` condition where there can be none.
pub(crate) fn foreign_refusal(filter: &Value) -> Option<String> {
    let mut texts = Vec::new();
    texts_of(filter, &mut texts);
    texts.into_iter().find_map(|text| {
        let conditions = foreign_conditions(text);
        let condition = conditions.first()?;
        let from = condition.field_at + 1;
        let to = from + condition.field.chars().count();
        let shown = text.get(condition.range.start..)?;
        Some(format!(
            "Filter condition `_foreign` is not supported for this endpoint.\n{from}:{to} {shown}"
        ))
    })
}

fn too_many(index: &str) -> EngineError {
    EngineError::Client {
        code: CODE,
        message: format!(
            "Index `{index}`: Foreign filter is retrieving too many documents, foreign filters \
             can't retrieve more than {FOREIGN_IDS_MAX} documents per index"
        ),
    }
}

/// What the other index finds wrong, as a client reads it who wrote the whole filter.
fn as_of_condition(error: EngineError, uid: &IndexUid, asked: &Asked) -> EngineError {
    let (status, mut body) = match error {
        EngineError::Refused { status, body } => (status, body),
        EngineError::Client { code, message } if code == FOREIGN_CODE => (
            400,
            json!({"message": message, "code": code, "type": "invalid_request", "link": ""}),
        ),
        other => return other,
    };
    let code = body.get("code").and_then(Value::as_str);
    if !code.is_some_and(|code| [CODE, FOREIGN_CODE].contains(&code)) {
        return EngineError::Refused { status, body };
    }
    let message = body.get("message").and_then(Value::as_str);
    let message = moved(message.unwrap_or_default(), asked);
    let code = if message.contains("is not filterable") {
        FOREIGN_CODE
    } else {
        CODE
    };
    body["code"] = code.into();
    body["link"] = format!("https://docs.meilisearch.com/errors#{code}").into();
    body["message"] = format!("Index `{uid}`: {message}").into();
    EngineError::Refused { status, body }
}

/// The message with its last line, `from:to filter`, about the text that the condition stands in.
fn moved(message: &str, asked: &Asked) -> String {
    let condition = &asked.condition;
    let shifted = || {
        let (said, shown) = message.rsplit_once('\n')?;
        let (place, filter) = shown.split_once(' ')?;
        let (from, to) = place.split_once(':')?;
        let (from, to): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
        if filter != condition.inner {
            return None;
        }
        let (from, to) = (from + condition.inner_at, to + condition.inner_at);
        let shown = asked.text.get(condition.range.start..)?;
        Some(format!("{said}\n{from}:{to} {shown}"))
    };
    shifted().unwrap_or_else(|| message.to_owned())
}

/// The expressions of a filter, from the first.
fn texts_of<'f>(filter: &'f Value, texts: &mut Vec<&'f str>) {
    match filter {
        Value::String(text) => texts.push(text),
        Value::Array(all) => all.iter().for_each(|filter| texts_of(filter, texts)),
        _ => {}
    }
}

/// Puts the answers into the filter's expressions, from the first.
fn replace(filter: &mut Value, answers: &mut impl Iterator<Item = Vec<String>>) {
    match filter {
        Value::String(text) => {
            let conditions = foreign_conditions(text);
            if !conditions.is_empty() {
                let ids: Vec<Vec<String>> = answers.by_ref().take(conditions.len()).collect();
                *text = with_ids(text, &conditions, &ids);
            }
        }
        Value::Array(all) => {
            for filter in all {
                replace(filter, answers);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_inside_a_condition_are_told_of_the_whole_filter() {
        let text = "id = 'é' AND _foreign(author, foo = 1) AND id = 1";
        let asked = Asked {
            text: text.to_owned(),
            condition: foreign_conditions(text).remove(0),
            index: "authors".to_owned(),
        };
        let uid = IndexUid::new("authors").unwrap();
        let told = |code: &str, message: &str| {
            let body = json!({"code": code, "message": message});
            match as_of_condition(EngineError::Refused { status: 400, body }, &uid, &asked) {
                EngineError::Refused { body, .. } => (
                    body["code"].as_str().unwrap_or_default().to_owned(),
                    body["message"].as_str().unwrap_or_default().to_owned(),
                ),
                error => panic!("{error}"),
            }
        };
        assert_eq!(
            told(
                FOREIGN_CODE,
                "Attribute `foo` is not filterable.\n1:4 foo = 1"
            ),
            (
                FOREIGN_CODE.to_owned(),
                "Index `authors`: Attribute `foo` is not filterable.\n31:34 _foreign(author, foo \
                 = 1) AND id = 1"
                    .to_owned()
            )
        );
        assert_eq!(
            told(
                FOREIGN_CODE,
                "Filter operator `>` is not allowed.\n  - Note: x"
            )
            .0,
            CODE
        );
        assert_eq!(told("feature_not_enabled", "m").1, "m");
    }

    #[test]
    fn a_refusal_shows_where_the_field_stands() {
        let filter = json!(["a = 1", ["b = 2 AND _foreign('é', x = 1) AND c = 3"]]);
        assert_eq!(
            foreign_refusal(&filter).unwrap(),
            "Filter condition `_foreign` is not supported for this endpoint.\n21:22 _foreign('é', x \
             = 1) AND c = 3"
        );
        assert_eq!(foreign_refusal(&json!("a = 1")), None);
    }

    #[test]
    fn answers_are_put_in_from_the_first() {
        let mut filter = json!([
            "a = 1",
            ["_foreign(f, x = 1) OR _foreign(g, x = 2)", "b = 2"],
            "_foreign(f, y = 3)"
        ]);
        let ids = ["1", "2", "3"].map(|id| vec![id.to_owned()]);
        replace(&mut filter, &mut ids.into_iter());
        assert_eq!(
            filter,
            json!([
                "a = 1",
                ["\"f\" IN [\"1\"] OR \"g\" IN [\"2\"]", "b = 2"],
                "\"f\" IN [\"3\"]"
            ])
        );
    }
}
