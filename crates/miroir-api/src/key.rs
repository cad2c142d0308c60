//! API keys: what a request for one must be, what is shown of one, and how its value follows from
//! its uid.

use crate::action::{Action, Reach};
use crate::error::{Code, ResponseError};
use crate::index::{LIMIT_DEFAULT, Paging, is_index_uid};
use crate::query::{Parameter, parameters, unknown_parameter};
use crate::validate::{At, Expected, backticked, optional};
use hmac::{Hmac, Mac};
use serde::Serialize;
use serde_json::Value;
use sha2::Sha256;
use std::fmt::{self, Write};
use std::str::FromStr;
use subtle::ConstantTimeEq;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime};
use uuid::Uuid;

/// A key that a new instance has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultKey {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// What it allows, on all indexes.
    pub actions: &'static [Action],
}

/// The keys a new instance has, in the order in which they are made.
pub const DEFAULT_KEYS: [DefaultKey; 4] = [
    DefaultKey {
        name: "Default Chat API Key",
        description: "Use it to chat and search from the frontend",
        actions: &[Action::ChatCompletions, Action::Search],
    },
    DefaultKey {
        name: "Default Read-Only Admin API Key",
        description: "Use it to read information across the whole database. Caution! Do not expose \
                      this key on a public frontend",
        actions: &[Action::EveryGet, Action::KeysGet],
    },
    DefaultKey {
        name: "Default Admin API Key",
        description: "Use it for anything that is not a search operation. Caution! Do not expose \
                      it on a public frontend",
        actions: &[Action::Everything],
    },
    DefaultKey {
        name: "Default Search API Key",
        description: "Use it to search from the frontend",
        actions: &[Action::Search],
    },
];

// --- The value ----------------------------------------------------------------------------------

/// The value of a key: what a client sends. Never printed by `Debug`.
#[derive(Clone)]
pub struct KeyValue([u8; 32]);

impl KeyValue {
    /// HMAC-SHA256 of the uid (lower-case hyphenated text) under the master key. It is stored
    /// nowhere: the same master key and uid give the same value on every server.
    #[must_use]
    pub fn derive(master_key: &str, uid: Uuid) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(master_key.as_bytes())
            .expect("HMAC takes a secret of any length");
        let mut text = Uuid::encode_buffer();
        mac.update(uid.hyphenated().encode_lower(&mut text).as_bytes());
        Self(mac.finalize().into_bytes().into())
    }

    /// The value that a text may be: 64 hexadecimal digits of either case.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let mut value = [0; 32];
        for (byte, pair) in value.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            let (high, low) = (digit(pair[0])?, digit(pair[1])?);
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        Some(Self(value))
    }

    /// The text a client sends: lower-case hexadecimal. Also the secret of its tenant tokens.
    #[must_use]
    pub fn to_hex(&self) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            // Writing to a text cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// The bytes, for a digest to find the key by.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are equal, in a time that does not tell where they differ.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyValue(<hidden>)")
    }
}

/// Whether a list of index patterns is for all indexes.
#[must_use]
pub fn covers_all<T: AsRef<str>>(patterns: &[T]) -> bool {
    patterns.iter().any(|pattern| pattern.as_ref() == "*")
}

/// Whether an index is named by a pattern: a name, or the beginning of one with a `*` behind it.
#[must_use]
pub fn is_covered(pattern: &str, index_uid: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => index_uid.starts_with(prefix),
        None => pattern == index_uid,
    }
}

// --- What is shown --------------------------------------------------------------------------------

/// A key as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyView {
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Its value.
    pub key: String,
    /// Its uid.
    pub uid: Uuid,
    /// What it allows.
    pub actions: Vec<String>,
    /// Where it allows it: index patterns.
    pub indexes: Vec<String>,
    /// RFC 3339; `None` for never.
    pub expires_at: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
}

/// There is no such key; `name` is the uid or the value by which it was sought.
#[must_use]
pub fn key_not_found(name: &str) -> ResponseError {
    ResponseError::new(Code::ApiKeyNotFound, format!("API key `{name}` not found."))
}

/// The uid is taken.
#[must_use]
pub fn key_already_exists(uid: Uuid) -> ResponseError {
    ResponseError::new(
        Code::ApiKeyAlreadyExists,
        format!("`uid` field value `{uid}` is already an existing API key."),
    )
}

// --- Requests -------------------------------------------------------------------------------------

/// The body of `POST /keys`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyCreation {
    /// Chosen by the client, or to be chosen.
    pub uid: Option<Uuid>,
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What it allows.
    pub actions: Vec<Action>,
    /// Where: index patterns. An empty list allows nothing anywhere.
    pub indexes: Vec<String>,
    /// Until when; `None` for ever.
    pub expires_at: Option<OffsetDateTime>,
}

/// Checks the body of `POST /keys` at the moment `now`.
///
/// # Errors
/// The first mistake.
pub fn read_creation(body: &Value, now: OffsetDateTime) -> Result<KeyCreation, ResponseError> {
    const ACCEPTED: [&str; 6] = [
        "description",
        "name",
        "uid",
        "actions",
        "indexes",
        "expiresAt",
    ];
    let root = At::root(Code::BadRequest);
    let (mut uid, mut name, mut description) = (None, None, None);
    let (mut actions, mut indexes, mut expires_at) = (None, None, None);
    for (field, value) in root.object(body)? {
        match field.as_str() {
            "description" => description = read_description(&root, value)?,
            "name" => name = read_name(&root, value)?,
            "uid" => uid = Some(read_uid(&root, value)?),
            "actions" => {
                let at = root.field("actions", Code::InvalidApiKeyActions);
                actions = Some(Action::read_list(&at, value)?);
            }
            "indexes" => indexes = Some(read_indexes(&root, value)?),
            "expiresAt" => expires_at = Some(read_expiry(&root, value, now)?),
            _ => return Err(root.unknown_field(field, &ACCEPTED)),
        }
    }
    let missing = |name, code| root.missing_field(name, code);
    let creation = KeyCreation {
        uid,
        name,
        description,
        actions: actions.ok_or_else(|| missing("actions", Code::MissingApiKeyActions))?,
        indexes: indexes.ok_or_else(|| missing("indexes", Code::MissingApiKeyIndexes))?,
        expires_at: expires_at.ok_or_else(|| missing("expiresAt", Code::MissingApiKeyExpiresAt))?,
    };
    check_reach(&creation)?;
    Ok(creation)
}

/// A key for some indexes may not name an action of the whole instance.
fn check_reach(creation: &KeyCreation) -> Result<(), ResponseError> {
    if creation.indexes.is_empty() || covers_all(&creation.indexes) {
        return Ok(());
    }
    let reaches_instance = |action: &&Action| action.reach() == Reach::Instance;
    match creation.actions.iter().find(reaches_instance) {
        None => Ok(()),
        Some(action) => Err(ResponseError::new(
            Code::IndexScopedApiKeyWithGlobalAction,
            // The name stands in quotes within the backticks, as Meilisearch has it.
            format!(
                "cannot create index-scoped API key with global action `\"{action}\"`\n  - Hint: \
                 remove action `\"{action}\"` from the action list, or remove `indexes` to make \
                 the key global"
            ),
        )),
    }
}

/// The body of `PATCH /keys/{uid or key}`: each field absent, `null` or text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyChange {
    /// The new name.
    pub name: Option<Option<String>>,
    /// The new description.
    pub description: Option<Option<String>>,
}

/// Checks the body of `PATCH /keys/{uid or key}`.
///
/// # Errors
/// The first mistake.
pub fn read_change(body: &Value) -> Result<KeyChange, ResponseError> {
    const ACCEPTED: [&str; 2] = ["description", "name"];
    let root = At::root(Code::BadRequest);
    let mut change = KeyChange::default();
    for (field, value) in root.object(body)? {
        let immutable = match field.as_str() {
            "description" => {
                change.description = Some(read_description(&root, value)?);
                continue;
            }
            "name" => {
                change.name = Some(read_name(&root, value)?);
                continue;
            }
            "uid" => Code::ImmutableApiKeyUid,
            "actions" => Code::ImmutableApiKeyActions,
            "indexes" => Code::ImmutableApiKeyIndexes,
            "expiresAt" => Code::ImmutableApiKeyExpiresAt,
            "createdAt" => Code::ImmutableApiKeyCreatedAt,
            "updatedAt" => Code::ImmutableApiKeyUpdatedAt,
            _ => return Err(root.unknown_field(field, &ACCEPTED)),
        };
        let accepted = backticked(&ACCEPTED);
        return Err(ResponseError::new(
            immutable,
            format!("Immutable field `{field}`: expected one of {accepted}"),
        ));
    }
    Ok(change)
}

/// Reads the query string of `GET /keys`.
///
/// # Errors
/// The first wrong parameter.
pub fn read_paging(raw: &str) -> Result<Paging, ResponseError> {
    let mut paging = Paging {
        offset: 0,
        limit: LIMIT_DEFAULT,
    };
    for (name, value) in parameters(raw) {
        let parameter = |code| Parameter::new(&name, &value, code);
        match name.as_str() {
            "offset" => paging.offset = parameter(Code::InvalidApiKeyOffset).size()?,
            "limit" => paging.limit = parameter(Code::InvalidApiKeyLimit).size()?,
            _ => return Err(unknown_parameter(&name, &["offset", "limit"])),
        }
    }
    Ok(paging)
}

fn read_name(root: &At<'_>, value: &Value) -> Result<Option<String>, ResponseError> {
    let at = root.field("name", Code::InvalidApiKeyName);
    optional(value, |value| Ok(at.string(value)?.to_owned()))
}

fn read_description(root: &At<'_>, value: &Value) -> Result<Option<String>, ResponseError> {
    let at = root.field("description", Code::InvalidApiKeyDescription);
    optional(value, |value| Ok(at.string(value)?.to_owned()))
}

fn read_uid(root: &At<'_>, value: &Value) -> Result<Uuid, ResponseError> {
    let at = root.field("uid", Code::InvalidApiKeyUid);
    Uuid::from_str(at.string(value)?).map_err(|error| at.unexpected(error))
}

fn read_indexes(root: &At<'_>, value: &Value) -> Result<Vec<String>, ResponseError> {
    let list = root.field("indexes", Code::InvalidApiKeyIndexes);
    let mut indexes = Vec::new();
    for (position, element) in list.array(value)?.iter().enumerate() {
        let at = list.index(position);
        let pattern = at.string(element)?;
        let name = pattern.strip_suffix('*').unwrap_or(pattern);
        if pattern != "*" && !is_index_uid(name) {
            return Err(at.unexpected(format_args!(
                "`{pattern}` is not a valid index uid pattern. Index uid patterns can be an \
                 integer or a string containing only alphanumeric characters, hyphens (-), \
                 underscores (_), and optionally end with a star (*)."
            )));
        }
        indexes.push(pattern.to_owned());
    }
    Ok(indexes)
}

fn read_expiry(
    root: &At<'_>,
    value: &Value,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>, ResponseError> {
    let at = root.field("expiresAt", Code::InvalidApiKeyExpiresAt);
    optional(value, |value| {
        let text = value
            .as_str()
            .ok_or_else(|| at.wrong_type(Expected::String, value))?;
        parse_date(text)
            .filter(|date| *date > now)
            .ok_or_else(|| at.unexpected(invalid_date_reason(text)))
    })
}

/// Why a text is no date.
pub(crate) fn invalid_date_reason(text: &str) -> String {
    format!(
        "`{text}` is not a valid date. It should follow the RFC 3339 format to represents a date \
         or datetime in the future or specified as a null value. e.g. 'YYYY-MM-DD' or \
         'YYYY-MM-DD HH:MM:SS'.\n"
    )
}

/// RFC 3339, or a date with or without a time, which is then in UTC.
fn parse_date(text: &str) -> Option<OffsetDateTime> {
    let with_t = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    let with_space = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let date_only = format_description!("[year]-[month]-[day]");
    if let Ok(date) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(date);
    }
    let local = PrimitiveDateTime::parse(text, with_t)
        .or_else(|_| PrimitiveDateTime::parse(text, with_space))
        .or_else(|_| Date::parse(text, date_only).map(Date::midnight));
    local.ok().map(PrimitiveDateTime::assume_utc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

    fn refusal(body: Value) -> (String, String) {
        let error = read_creation(&body, NOW).expect_err("the body is wrong");
        (error.code.into_owned(), error.message)
    }

    #[test]
    fn the_value_is_the_hmac_of_the_uid_under_the_master_key() {
        let uid = Uuid::parse_str("6062abda-a5aa-4414-ac91-ecd7944c0f8d").expect("a uid");
        let value = KeyValue::derive("masterKey", uid);
        // Computed with another implementation of HMAC.
        let expected = "0d030b69eea2dde1af6e6b714146c4dc942d4b2725c173e5d132c60aad9782f5";
        assert_eq!(value.to_hex(), expected);
        let shouted = KeyValue::from_hex(&expected.to_uppercase()).expect("hexadecimal");
        assert!(shouted.is_same(&value));
        assert!(!KeyValue::derive("masterkey", uid).is_same(&value));
        assert!(!format!("{value:?}").contains("0d03"));
    }

    #[test]
    fn only_64_hexadecimal_digits_may_be_a_value() {
        for wrong in ["", "0d", &"g".repeat(64), &"é".repeat(32), &"0".repeat(65)] {
            assert!(KeyValue::from_hex(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_whole_creation_is_read() {
        let creation = read_creation(
            &json!({
                "uid": "6062abda-a5aa-4414-ac91-ecd7944c0f8d",
                "name": "n",
                "description": null,
                "actions": ["documents.*", "search"],
                "indexes": ["movies", "books-*"],
                "expiresAt": "2026-01-02",
            }),
            NOW,
        );
        let expected = KeyCreation {
            uid: Uuid::parse_str("6062abda-a5aa-4414-ac91-ecd7944c0f8d").ok(),
            name: Some("n".into()),
            description: None,
            actions: vec![Action::DocumentsAll, Action::Search],
            indexes: vec!["movies".into(), "books-*".into()],
            expires_at: Some(datetime!(2026-01-02 00:00 UTC)),
        };
        assert_eq!(creation, Ok(expected));
    }

    #[test]
    fn creations_are_refused_in_meilisearch_words() {
        let check = |body: Value, code: &str, message: &str| {
            assert_eq!(refusal(body), (code.to_owned(), message.to_owned()));
        };
        check(
            json!({"description": ["doggo"]}),
            "invalid_api_key_description",
            "Invalid value type at `.description`: expected a string, but found an array: \
             `[\"doggo\"]`",
        );
        check(
            json!({"name": 3}),
            "invalid_api_key_name",
            "Invalid value type at `.name`: expected a string, but found a positive integer: `3`",
        );
        check(
            json!({"uid": "doggo"}),
            "invalid_api_key_uid",
            "Invalid value at `.uid`: invalid character: found `o` at 1",
        );
        check(
            json!({"actions": "doggo"}),
            "invalid_api_key_actions",
            "Invalid value type at `.actions`: expected an array, but found a string: `\"doggo\"`",
        );
        let (code, message) = refusal(json!({"actions": ["search", "doggo"]}));
        assert_eq!(code, "invalid_api_key_actions");
        assert!(message.starts_with(
            "Unknown value `doggo` at `.actions[1]`: expected one of `*`, `search`, `documents.*`, "
        ));
        check(
            json!({"indexes": ["good doggo"]}),
            "invalid_api_key_indexes",
            "Invalid value at `.indexes[0]`: `good doggo` is not a valid index uid pattern. Index \
             uid patterns can be an integer or a string containing only alphanumeric characters, \
             hyphens (-), underscores (_), and optionally end with a star (*).",
        );
        check(
            json!({"expires_at": "doggo"}),
            "bad_request",
            "Unknown field `expires_at`: did you mean `expiresAt`? expected one of `description`, \
             `name`, `uid`, `actions`, `indexes`, `expiresAt`",
        );
        for past in ["doggo", "2026-01-01", "2025-12-31T23:59:59+00:00"] {
            check(
                json!({"expiresAt": past}),
                "invalid_api_key_expires_at",
                &format!(
                    "Invalid value at `.expiresAt`: `{past}` is not a valid date. It should follow \
                     the RFC 3339 format to represents a date or datetime in the future or \
                     specified as a null value. e.g. 'YYYY-MM-DD' or 'YYYY-MM-DD HH:MM:SS'.\n"
                ),
            );
        }
    }

    #[test]
    fn what_is_missing_is_told_in_the_order_of_the_fields() {
        let check = |body: Value, name: &str, code: &str| {
            let message = format!("Missing field `{name}`");
            assert_eq!(refusal(body), (code.to_owned(), message));
        };
        check(json!({}), "actions", "missing_api_key_actions");
        check(json!({"actions": []}), "indexes", "missing_api_key_indexes");
        check(
            json!({"actions": [], "indexes": []}),
            "expiresAt",
            "missing_api_key_expires_at",
        );
    }

    #[test]
    fn every_form_of_date_is_read() {
        for text in [
            "2026-05-04T03:02:01Z",
            "2026-05-04T05:02:01+02:00",
            "2026-05-04T03:02:01",
            "2026-05-04 03:02:01",
        ] {
            assert_eq!(
                parse_date(text),
                Some(datetime!(2026-05-04 03:02:01 UTC)),
                "{text}"
            );
        }
    }

    #[test]
    fn a_key_for_some_indexes_has_no_action_of_the_whole_instance() {
        let body = |actions: Value, indexes: Value| json!({"actions": actions, "indexes": indexes, "expiresAt": null});
        assert_eq!(
            refusal(body(json!(["search", "version"]), json!(["movies"]))),
            (
                "index_scoped_api_key_with_global_action".to_owned(),
                "cannot create index-scoped API key with global action `\"version\"`\n  - Hint: \
                 remove action `\"version\"` from the action list, or remove `indexes` to make the \
                 key global"
                    .to_owned()
            )
        );
        for (actions, indexes) in [
            (json!(["version"]), json!(["*"])),
            (json!(["*", "*.get", "tasks.*"]), json!(["movies"])),
        ] {
            assert!(read_creation(&body(actions, indexes), NOW).is_ok());
        }
    }

    #[test]
    fn only_name_and_description_can_be_changed() {
        assert_eq!(
            read_change(&json!({"name": null, "description": "d"})),
            Ok(KeyChange {
                name: Some(None),
                description: Some(Some("d".into()))
            })
        );
        for (field, code) in [
            ("uid", "immutable_api_key_uid"),
            ("actions", "immutable_api_key_actions"),
            ("indexes", "immutable_api_key_indexes"),
            ("expiresAt", "immutable_api_key_expires_at"),
            ("createdAt", "immutable_api_key_created_at"),
            ("updatedAt", "immutable_api_key_updated_at"),
        ] {
            let error = read_change(&json!({field: "doggo"})).expect_err("it is immutable");
            assert_eq!(&*error.code, code);
            assert_eq!(
                error.message,
                format!("Immutable field `{field}`: expected one of `description`, `name`")
            );
        }
        let error = read_change(&json!({"key": "doggo"})).expect_err("it is unknown");
        assert_eq!(
            error.message,
            "Unknown field `key`: expected one of `description`, `name`"
        );
    }
}
