//! Indexes: their names, their view, and the requests that make, change and list them.

use crate::error::{Code, ResponseError};
use crate::query::{Parameter, parameters, unknown_parameter};
use crate::validate::{At, backticked, optional};
use serde::Serialize;
use serde_json::Value;

/// The longest index uid, in bytes. (The message of a refusal speaks of 512, as Meilisearch's does.)
pub const INDEX_UID_BYTES_MAX: usize = 400;

/// How many entries a listing shows when the client does not say.
pub const LIMIT_DEFAULT: usize = 20;

/// Whether a text may name an index: 1 to 400 bytes of `[A-Za-z0-9_-]`.
#[must_use]
pub fn is_index_uid(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !text.is_empty() && text.len() <= INDEX_UID_BYTES_MAX && text.bytes().all(is_allowed)
}

/// Why a text may not name an index.
#[must_use]
pub fn invalid_uid_reason(text: &str) -> String {
    format!(
        "`{text}` is not a valid index uid. Index uid can be an integer or a string containing \
         only alphanumeric characters, hyphens (-) and underscores (_), and can not be more than \
         512 bytes."
    )
}

/// The path names an index by an impossible name.
#[must_use]
pub fn invalid_index_uid(text: &str) -> ResponseError {
    ResponseError::new(Code::InvalidIndexUid, invalid_uid_reason(text))
}

/// The index does not exist.
#[must_use]
pub fn index_not_found(uid: &str) -> ResponseError {
    ResponseError::new(Code::IndexNotFound, format!("Index `{uid}` not found."))
}

/// An index as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexView {
    /// Its name.
    pub uid: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// Its primary key, once known.
    pub primary_key: Option<String>,
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page<T> {
    /// The entries of the page.
    pub results: Vec<T>,
    /// Entries skipped.
    pub offset: usize,
    /// Entries shown at most.
    pub limit: usize,
    /// All entries.
    pub total: usize,
}

impl<T> Page<T> {
    /// Cuts a page out of the whole list.
    #[must_use]
    pub fn cut(all: Vec<T>, paging: Paging) -> Self {
        let total = all.len();
        let results = all
            .into_iter()
            .skip(paging.offset)
            .take(paging.limit)
            .collect();
        Self {
            results,
            offset: paging.offset,
            limit: paging.limit,
            total,
        }
    }
}

/// Which part of a listing is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paging {
    /// Entries to skip.
    pub offset: usize,
    /// Entries to show at most.
    pub limit: usize,
}

/// Reads the query string of `GET /indexes`.
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
            "offset" => paging.offset = parameter(Code::InvalidIndexOffset).size()?,
            "limit" => paging.limit = parameter(Code::InvalidIndexLimit).size()?,
            _ => return Err(unknown_parameter(&name, &["offset", "limit"])),
        }
    }
    Ok(paging)
}

/// The body of `POST /indexes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexCreation {
    /// The name.
    pub uid: String,
    /// The primary key.
    pub primary_key: Option<String>,
}

/// Checks the body of `POST /indexes`.
///
/// # Errors
/// The first mistake.
pub fn read_creation(body: &Value) -> Result<IndexCreation, ResponseError> {
    let root = At::root(Code::BadRequest);
    let mut uid = None;
    let mut primary_key = None;
    for (name, value) in root.object(body)? {
        match name.as_str() {
            "uid" => uid = Some(read_uid(&root.field("uid", Code::InvalidIndexUid), value)?),
            "primaryKey" => primary_key = read_primary_key(&root, value)?,
            _ => return Err(root.unknown_field(name, &["uid", "primaryKey"])),
        }
    }
    let Some(uid) = uid else {
        return Err(root.missing_field("uid", Code::MissingIndexUid));
    };
    Ok(IndexCreation { uid, primary_key })
}

/// The body of `PATCH /indexes/{uid}`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IndexChange {
    /// The new primary key.
    pub primary_key: Option<String>,
    /// The new name.
    pub uid: Option<String>,
}

/// Checks the body of `PATCH /indexes/{uid}`.
///
/// # Errors
/// The first mistake.
pub fn read_change(body: &Value) -> Result<IndexChange, ResponseError> {
    const ACCEPTED: [&str; 2] = ["primaryKey", "uid"];
    let root = At::root(Code::BadRequest);
    let mut change = IndexChange::default();
    for (name, value) in root.object(body)? {
        match name.as_str() {
            "primaryKey" => change.primary_key = read_primary_key(&root, value)?,
            "uid" => {
                let at = root.field("uid", Code::InvalidIndexUid);
                change.uid = optional(value, |value| {
                    let uid = at.string(value)?;
                    if is_index_uid(uid) {
                        Ok(uid.to_owned())
                    } else {
                        Err(invalid_index_uid(uid))
                    }
                })?;
            }
            "createdAt" => return Err(immutable(name, &ACCEPTED, Code::ImmutableIndexCreatedAt)),
            "updatedAt" => return Err(immutable(name, &ACCEPTED, Code::ImmutableIndexUpdatedAt)),
            _ => return Err(root.unknown_field(name, &ACCEPTED)),
        }
    }
    Ok(change)
}

fn read_uid(at: &At<'_>, value: &Value) -> Result<String, ResponseError> {
    let uid = at.string(value)?;
    if !is_index_uid(uid) {
        return Err(at.unexpected(invalid_uid_reason(uid)));
    }
    Ok(uid.to_owned())
}

fn read_primary_key(root: &At<'_>, value: &Value) -> Result<Option<String>, ResponseError> {
    let at = root.field("primaryKey", Code::InvalidIndexPrimaryKey);
    optional(value, |value| Ok(at.string(value)?.to_owned()))
}

fn immutable(name: &str, accepted: &[&str], code: Code) -> ResponseError {
    ResponseError::new(
        code,
        format!(
            "Immutable field `{name}`: expected one of {}",
            backticked(accepted)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOT_A_UID: &str = "`the best doggo` is not a valid index uid. Index uid can be an \
         integer or a string containing only alphanumeric characters, hyphens (-) and underscores \
         (_), and can not be more than 512 bytes.";

    #[test]
    fn creations_are_checked_field_by_field() {
        let check = |body: Value, code: &str, message: &str| {
            let error = read_creation(&body).expect_err("the body is wrong");
            assert_eq!((&*error.code, &*error.message), (code, message));
        };
        check(
            json!({"primaryKey": "doggo"}),
            "missing_index_uid",
            "Missing field `uid`",
        );
        check(
            json!({"uid": "the best doggo"}),
            "invalid_index_uid",
            &format!("Invalid value at `.uid`: {NOT_A_UID}"),
        );
        check(
            json!({"uid": true}),
            "invalid_index_uid",
            "Invalid value type at `.uid`: expected a string, but found a boolean: `true`",
        );
        check(
            json!({"uid": "doggo", "primaryKey": ["the", "best"]}),
            "invalid_index_primary_key",
            "Invalid value type at `.primaryKey`: expected a string, but found an array: \
             `[\"the\",\"best\"]`",
        );
        check(
            json!({"uid": "doggo", "doggo": "bernese"}),
            "bad_request",
            "Unknown field `doggo`: expected one of `uid`, `primaryKey`",
        );
        let creation =
            read_creation(&json!({"uid": "a", "primaryKey": null})).expect("it is right");
        assert_eq!(
            creation,
            IndexCreation {
                uid: "a".to_owned(),
                primary_key: None
            }
        );
    }

    #[test]
    fn changes_refuse_immutable_fields() {
        let error = read_change(&json!({"createdAt": "x"})).expect_err("it is immutable");
        assert_eq!(&*error.code, "immutable_index_created_at");
        assert_eq!(
            error.message,
            "Immutable field `createdAt`: expected one of `primaryKey`, `uid`"
        );
        let change = read_change(&json!({"uid": "b"})).expect("a rename is allowed");
        assert_eq!(change.uid.as_deref(), Some("b"));
    }

    #[test]
    fn a_page_is_cut_out_of_the_list() {
        assert_eq!(
            read_paging("limit=2&offset=1"),
            Ok(Paging {
                offset: 1,
                limit: 2
            })
        );
        assert_eq!(
            read_paging("doggo=nolimit").expect_err("unknown").message,
            "Unknown parameter `doggo`: expected one of `offset`, `limit`"
        );
        let page = Page::cut(
            vec![1, 2, 3, 4],
            Paging {
                offset: 1,
                limit: 2,
            },
        );
        assert_eq!(
            page,
            Page {
                results: vec![2, 3],
                offset: 1,
                limit: 2,
                total: 4
            }
        );
    }

    #[test]
    fn index_uids_are_short_and_plain() {
        assert!(is_index_uid("a-B_9"));
        assert!(is_index_uid(&"a".repeat(400)));
        for wrong in ["", "a b", "é", &"a".repeat(401)] {
            assert!(!is_index_uid(wrong), "{wrong}");
        }
    }
}
