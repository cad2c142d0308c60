//! API keys: list, create, show, rename, remove.

use crate::auth::Key;
use crate::clock::{Nanos, from_date, now};
use crate::error::ApiError;
use crate::http::object::{quoted, wrong_type};
use crate::http::{Call, Json, Object};
use crate::route::{Answer, ok, page};
use axum::extract::Path;
use axum::response::IntoResponse as _;
use http::StatusCode;
use miroir_api::action::{Action, Reach};
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time};
use uuid::Uuid;

const CREATE_FIELDS: &[&str] = &[
    "description",
    "name",
    "uid",
    "actions",
    "indexes",
    "expiresAt",
];

/// Fields of a key that cannot be changed, and how that is said.
const IMMUTABLE_FIELDS: [(&str, &str); 6] = [
    ("uid", "immutable_api_key_uid"),
    ("actions", "immutable_api_key_actions"),
    ("indexes", "immutable_api_key_indexes"),
    ("expiresAt", "immutable_api_key_expires_at"),
    ("createdAt", "immutable_api_key_created_at"),
    ("updatedAt", "immutable_api_key_updated_at"),
];

pub(super) async fn list(call: Call) -> Answer {
    call.authorize("keys.get", None)?;
    let query = call.query(&["offset", "limit"])?;
    let offset = query.usize_or("offset", 0, "invalid_api_key_offset")?;
    let limit = query.usize_or("limit", 20, "invalid_api_key_limit")?;
    let keys = call.shared.keys.get_all();
    Ok(ok(page(
        keys.iter().map(|key| view(&call, key)).collect(),
        offset,
        limit,
    )))
}

pub(super) async fn show(Path(name): Path<String>, call: Call) -> Answer {
    call.authorize("keys.get", None)?;
    Ok(ok(view(&call, &find(&call, &name)?)))
}

pub(super) async fn create(mut call: Call) -> Answer {
    call.authorize("keys.create", None)?;
    let body = call.take_json().await?;
    let key = read_key(&body)?;
    if call.shared.keys.find(&key.uid.to_string()).is_some() {
        return Err(ApiError::new(
            "api_key_already_exists",
            format!(
                "`uid` field value `{}` is already an existing API key.",
                key.uid
            ),
        ));
    }
    let view = view(&call, &key);
    call.shared
        .blocking(move |shared| Ok(shared.keys.put(&shared.store, key)?))
        .await?;
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

pub(super) async fn update(Path(name): Path<String>, mut call: Call) -> Answer {
    call.authorize("keys.update", None)?;
    let body = call.take_json().await?;
    if let Value::Object(fields) = &body {
        for (field, code) in IMMUTABLE_FIELDS {
            if fields.contains_key(field) {
                return Err(ApiError::new(
                    code,
                    format!("Immutable field `{field}`: expected one of `description`, `name`"),
                ));
            }
        }
    }
    let object = Object::root(&body, &["description", "name"])?;
    let new_name = object.string("name", "invalid_api_key_name")?;
    let description = object.string("description", "invalid_api_key_description")?;
    let mut key = find(&call, &name)?;
    if object.contains("name") {
        key.name = new_name;
    }
    if object.contains("description") {
        key.description = description;
    }
    key.updated_at = now();
    let view = view(&call, &key);
    call.shared
        .blocking(move |shared| Ok(shared.keys.put(&shared.store, key)?))
        .await?;
    Ok(ok(view))
}

pub(super) async fn delete(Path(name): Path<String>, call: Call) -> Answer {
    call.authorize("keys.delete", None)?;
    let uid = find(&call, &name)?.uid;
    call.shared
        .blocking(move |shared| Ok(shared.keys.remove(&shared.store, uid)?))
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn view(call: &Call, key: &Key) -> Value {
    key.view(&call.shared.keys.value_of(key.uid))
}

fn find(call: &Call, name: &str) -> Result<Key, ApiError> {
    call.shared
        .keys
        .find(name)
        .ok_or_else(|| ApiError::new("api_key_not_found", format!("API key `{name}` not found.")))
}

fn read_key(body: &Value) -> Result<Key, ApiError> {
    let object = Object::root(body, CREATE_FIELDS)?;
    let uid = match object.string("uid", "invalid_api_key_uid")? {
        None => Uuid::new_v4(),
        Some(text) => Uuid::parse_str(&text).map_err(|error| {
            ApiError::new(
                "invalid_api_key_uid",
                format!("Invalid value at `.uid`: {error}"),
            )
        })?,
    };
    object.required("actions", "missing_api_key_actions")?;
    let actions = object
        .strings("actions", "invalid_api_key_actions")?
        .unwrap_or_default();
    for (action_idx, action) in actions.iter().enumerate() {
        if !Action::NAMES.contains(&action.as_str()) {
            return Err(ApiError::new(
                "invalid_api_key_actions",
                format!(
                    "Unknown value `{action}` at `.actions[{action_idx}]`: expected one of {}",
                    quoted(Action::NAMES)
                ),
            ));
        }
    }
    object.required("indexes", "missing_api_key_indexes")?;
    let indexes = object
        .strings("indexes", "invalid_api_key_indexes")?
        .unwrap_or_default();
    for (pattern_idx, pattern) in indexes.iter().enumerate() {
        check_pattern(pattern, pattern_idx)?;
    }
    let expires_at = match object.required("expiresAt", "missing_api_key_expires_at")? {
        Value::Null => None,
        Value::String(text) => Some(read_expiry(text)?),
        other => {
            let code = "invalid_api_key_expires_at";
            return Err(wrong_type(".expiresAt", "a string", other, code));
        }
    };
    let created_at = now();
    let key = Key {
        uid,
        name: object.string("name", "invalid_api_key_name")?,
        description: object.string("description", "invalid_api_key_description")?,
        actions,
        indexes,
        expires_at,
        created_at,
        updated_at: created_at,
    };
    let is_for_all = key.indexes.is_empty() || key.covers_all();
    let reaches_instance =
        |name: &&String| Action::from_name(name).is_some_and(|a| a.reach() == Reach::Instance);
    match key.actions.iter().find(reaches_instance) {
        Some(action) if !is_for_all => Err(ApiError::new(
            "index_scoped_api_key_with_global_action",
            format!(
                "cannot create index-scoped API key with global action `\"{action}\"`\n  - Hint: \
                 remove action `\"{action}\"` from the action list, or remove `indexes` to make \
                 the key global"
            ),
        )),
        _ => Ok(key),
    }
}

fn check_pattern(pattern: &str, pattern_idx: usize) -> Result<(), ApiError> {
    let name = pattern.strip_suffix('*').unwrap_or(pattern);
    if name.is_empty() && pattern == "*" {
        return Ok(());
    }
    crate::http::check_index_uid(name).map_err(|_error| {
        ApiError::new(
            "invalid_api_key_indexes",
            format!(
                "Invalid value at `.indexes[{pattern_idx}]`: `{pattern}` is not a valid index uid \
                 pattern. Index uid patterns can be an integer or a string containing only \
                 alphanumeric characters, hyphens (-), underscores (_), and optionally end with a \
                 star (*)."
            ),
        )
    })
}

fn read_expiry(text: &str) -> Result<Nanos, ApiError> {
    let at = parse_expiry(text).filter(|at| *at > now());
    at.ok_or_else(|| {
        ApiError::new(
            "invalid_api_key_expires_at",
            format!(
                "Invalid value at `.expiresAt`: `{text}` is not a valid date. It should follow the \
                 RFC 3339 format to represents a date or datetime in the future or specified as a \
                 null value. e.g. 'YYYY-MM-DD' or 'YYYY-MM-DD HH:MM:SS'."
            ),
        )
    })
}

fn parse_expiry(text: &str) -> Option<Nanos> {
    if let Ok(date) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(from_date(date));
    }
    let with_t = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    let with_space = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let local = PrimitiveDateTime::parse(text, with_t)
        .or_else(|_| PrimitiveDateTime::parse(text, with_space))
        .or_else(|_| {
            Date::parse(text, format_description!("[year]-[month]-[day]"))
                .map(|date| date.with_time(Time::MIDNIGHT))
        });
    local.ok().map(|date| from_date(date.assume_utc()))
}
