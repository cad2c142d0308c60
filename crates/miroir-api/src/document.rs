//! Documents: how they are listed, added and deleted.

use crate::error::{Code, ResponseError};
use crate::filter::{check_filter, filter_from_text};
use crate::query::{Parameter, parameters, unknown_parameter};
use crate::search::split_sort;
use crate::validate::{At, optional};
use serde_json::Value;

/// How many documents a listing shows when the client does not say.
pub const LIMIT_DEFAULT: usize = 20;

/// The longest document id, in bytes.
pub const DOCUMENT_ID_BYTES_MAX: usize = 511;

/// The content types of document payloads.
pub const CONTENT_TYPES: &[&str] = &["application/json", "application/x-ndjson", "text/csv"];

/// Which documents are listed, and what of them.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentListing {
    /// Documents to skip.
    pub offset: usize,
    /// Documents to show at most.
    pub limit: usize,
    /// The fields to show; `None` is all.
    pub fields: Option<Vec<String>>,
    /// Adds `_vectors`.
    pub retrieve_vectors: bool,
    /// Only these, in text form; checked.
    pub ids: Option<Vec<String>>,
    /// Only what matches; its form is not checked yet, because a missing index is reported first.
    pub filter: Option<Value>,
    /// `field:asc|desc`, in order.
    pub sort: Option<Vec<String>>,
    /// Asks the remotes of a node's own network.
    pub use_network: Option<bool>,
}

impl Default for DocumentListing {
    fn default() -> Self {
        Self {
            offset: 0,
            limit: LIMIT_DEFAULT,
            fields: None,
            retrieve_vectors: false,
            ids: None,
            filter: None,
            sort: None,
            use_network: None,
        }
    }
}

#[rustfmt::skip]
const LISTING_FIELDS: &[&str] =
    &["offset", "limit", "fields", "retrieveVectors", "ids", "filter", "sort", "useNetwork"];

/// Checks the body of `POST …/documents/fetch`.
///
/// # Errors
/// The first mistake.
pub fn read_listing_body(body: &Value) -> Result<DocumentListing, ResponseError> {
    let root = At::root(Code::BadRequest);
    let mut listing = DocumentListing::default();
    for (name, value) in root.object(body)? {
        let at = |code| root.field(name, code);
        match name.as_str() {
            "offset" => listing.offset = at(Code::InvalidDocumentOffset).size(value)?,
            "limit" => listing.limit = at(Code::InvalidDocumentLimit).size(value)?,
            "fields" => {
                let at = at(Code::InvalidDocumentFields);
                listing.fields = optional(value, |value| at.strings(value))?;
            }
            "retrieveVectors" => {
                listing.retrieve_vectors =
                    at(Code::InvalidDocumentRetrieveVectors).boolean(value)?;
            }
            "ids" => {
                let at = at(Code::InvalidDocumentIds);
                listing.ids = optional(value, |value| read_ids(at.array(value)?))?;
            }
            "filter" => listing.filter = optional(value, |value| Ok(value.clone()))?,
            "sort" => {
                let at = at(Code::InvalidDocumentSort);
                listing.sort = optional(value, |value| at.strings(value))?;
            }
            "useNetwork" => {
                let at = at(Code::InvalidDocumentUseNetwork);
                listing.use_network = optional(value, |value| at.boolean(value))?;
            }
            _ => return Err(root.unknown_field(name, LISTING_FIELDS)),
        }
    }
    Ok(listing)
}

/// Checks the query string of `GET …/documents`.
///
/// # Errors
/// The first mistake.
pub fn read_listing_parameters(raw: &str) -> Result<DocumentListing, ResponseError> {
    let mut listing = DocumentListing::default();
    for (name, value) in parameters(raw) {
        let parameter = |code| Parameter::new(&name, &value, code);
        match name.as_str() {
            "offset" => listing.offset = parameter(Code::InvalidDocumentOffset).size()?,
            "limit" => listing.limit = parameter(Code::InvalidDocumentLimit).size()?,
            "fields" => listing.fields = read_fields(&parameter(Code::InvalidDocumentFields))?,
            "retrieveVectors" => {
                listing.retrieve_vectors =
                    parameter(Code::InvalidDocumentRetrieveVectors).boolean()?;
            }
            "ids" => {
                let ids: Vec<Value> = parameter(Code::InvalidDocumentIds)
                    .list()
                    .into_iter()
                    .map(Value::String)
                    .collect();
                listing.ids = Some(read_ids(&ids)?);
            }
            "filter" => {
                listing.filter = Some(filter_from_text(&value)).filter(|value| !value.is_null());
            }
            "sort" => listing.sort = Some(split_sort(&value)),
            "useNetwork" => return Err(unreadable_use_network(&value)),
            _ => return Err(unknown_parameter(&name, LISTING_FIELDS)),
        }
    }
    Ok(listing)
}

/// What of one document is shown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DocumentView {
    /// The fields to show; `None` is all.
    pub fields: Option<Vec<String>>,
    /// Adds `_vectors`.
    pub retrieve_vectors: bool,
}

/// Meilisearch 1.50 reads this parameter as the boolean of a body, which no text is.
fn unreadable_use_network(value: &str) -> ResponseError {
    ResponseError::new(
        Code::InvalidDocumentUseNetwork,
        format!(
            "Invalid value type for parameter `useNetwork`: expected a string, but found a string: \
             `{value}`"
        ),
    )
}

/// Checks the query string of `GET …/documents/{id}`.
///
/// # Errors
/// The first mistake.
pub fn read_view(raw: &str) -> Result<DocumentView, ResponseError> {
    let mut view = DocumentView::default();
    for (name, value) in parameters(raw) {
        let parameter = |code| Parameter::new(&name, &value, code);
        match name.as_str() {
            "fields" => view.fields = read_fields(&parameter(Code::InvalidDocumentFields))?,
            "retrieveVectors" => {
                view.retrieve_vectors =
                    parameter(Code::InvalidDocumentRetrieveVectors).boolean()?;
            }
            "useNetwork" => return Err(unreadable_use_network(&value)),
            _ => {
                return Err(unknown_parameter(
                    &name,
                    &["fields", "retrieveVectors", "useNetwork"],
                ));
            }
        }
    }
    Ok(view)
}

fn read_fields(parameter: &Parameter<'_>) -> Result<Option<Vec<String>>, ResponseError> {
    let fields = parameter.star_or_list(|element| Ok(element.value().to_owned()))?;
    Ok(fields.into_restriction())
}

/// The ids in text form.
///
/// # Errors
/// [`Code::InvalidDocumentIds`] for the first that cannot be an id.
fn read_ids(values: &[Value]) -> Result<Vec<String>, ResponseError> {
    let mut ids = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let Some(id) = document_id(value) else {
            return Err(ResponseError::new(
                Code::InvalidDocumentIds,
                format!("In `.ids[{index}]`: {}", invalid_id_reason(value)),
            ));
        };
        ids.push(id);
    }
    Ok(ids)
}

/// The text form of a document id; `None` for what cannot be one.
fn document_id(value: &Value) -> Option<String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    match value {
        Value::String(text) => {
            let is_id =
                (1..=DOCUMENT_ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_allowed);
            is_id.then(|| text.clone())
        }
        Value::Number(number) if number.is_u64() || number.is_i64() => Some(number.to_string()),
        _ => None,
    }
}

fn invalid_id_reason(value: &Value) -> String {
    format!(
        "Document identifier `{value}` is invalid. A document identifier can be of type integer \
         or string, only composed of alphanumeric characters (a-z A-Z 0-9), hyphens (-) and \
         underscores (_), and can not be more than {DOCUMENT_ID_BYTES_MAX} bytes."
    )
}

/// The document does not exist.
#[must_use]
pub fn document_not_found(id: &str) -> ResponseError {
    ResponseError::new(
        Code::DocumentNotFound,
        format!("Document `{id}` not found."),
    )
}

/// The query string of `POST` and `PUT …/documents`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Addition {
    /// The primary key of the documents.
    pub primary_key: Option<String>,
    /// What separates the cells of a CSV payload.
    pub csv_delimiter: Option<u8>,
    /// Kept with the task and shown in it.
    pub custom_metadata: Option<String>,
    /// Documents whose id does not exist yet are ignored.
    pub skip_creation: bool,
}

/// Checks the query string of `POST` and `PUT …/documents`.
///
/// # Errors
/// The first mistake.
pub fn read_addition(raw: &str) -> Result<Addition, ResponseError> {
    const ACCEPTED: &[&str] = &[
        "primaryKey",
        "csvDelimiter",
        "customMetadata",
        "skipCreation",
    ];
    let mut addition = Addition::default();
    for (name, value) in parameters(raw) {
        match name.as_str() {
            "primaryKey" => addition.primary_key = Some(value),
            "csvDelimiter" => {
                let parameter = Parameter::new(&name, &value, Code::InvalidDocumentCsvDelimiter);
                addition.csv_delimiter = Some(read_csv_delimiter(&parameter)?);
            }
            "customMetadata" => addition.custom_metadata = Some(value),
            "skipCreation" => addition.skip_creation = read_skip_creation(&value)?,
            _ => return Err(unknown_parameter(&name, ACCEPTED)),
        }
    }
    Ok(addition)
}

fn read_csv_delimiter(parameter: &Parameter<'_>) -> Result<u8, ResponseError> {
    let mut characters = parameter.value().chars();
    let (first, rest) = (characters.next(), characters.count());
    match (first, rest) {
        (None, _) => {
            Err(parameter.invalid("expected a string of one character, but found an empty string"))
        }
        (Some(character), 0) => u8::try_from(character)
            .ok()
            .filter(u8::is_ascii)
            .ok_or_else(|| {
                ResponseError::new(
                    Code::InvalidDocumentCsvDelimiter,
                    format!("csv delimiter must be an ascii character. Found: `{character}`"),
                )
            }),
        (Some(_), rest) => Err(parameter.invalid(format_args!(
            "expected a string of one character, but found the following string of {} characters: \
             `{}`",
            rest + 1,
            parameter.value()
        ))),
    }
}

fn read_skip_creation(value: &str) -> Result<bool, ResponseError> {
    if value.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if value.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(ResponseError::new(
            Code::InvalidSkipCreation,
            format!("skipCreation must be either `true` or `false`. Found: `{value}`"),
        ))
    }
}

/// Checks a query string that may only hold `customMetadata`.
///
/// # Errors
/// Another parameter.
pub fn read_custom_metadata(raw: &str) -> Result<Option<String>, ResponseError> {
    let mut custom_metadata = None;
    for (name, value) in parameters(raw) {
        match name.as_str() {
            "customMetadata" => custom_metadata = Some(value),
            _ => return Err(unknown_parameter(&name, &["customMetadata"])),
        }
    }
    Ok(custom_metadata)
}

/// Checks the body of `POST …/documents/delete`; returns the filter.
///
/// # Errors
/// The first mistake, or a filter without any condition.
pub fn read_deletion_filter(body: &Value) -> Result<Value, ResponseError> {
    let root = At::root(Code::BadRequest);
    let mut filter = None;
    for (name, value) in root.object(body)? {
        match name.as_str() {
            "filter" => filter = Some(value),
            _ => return Err(root.unknown_field(name, &["filter"])),
        }
    }
    let Some(filter) = filter else {
        return Err(root.missing_field("filter", Code::MissingDocumentFilter));
    };
    if !check_filter(filter, Code::InvalidDocumentFilter)? {
        return Err(ResponseError::new(
            Code::InvalidDocumentFilter,
            "Sending an empty filter is forbidden.",
        ));
    }
    Ok(filter.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn listings_are_checked_field_by_field() {
        let check = |body: Value, code: &str, message: &str| {
            let error = read_listing_body(&body).expect_err("the body is wrong");
            assert_eq!((&*error.code, &*error.message), (code, message));
        };
        check(
            json!(null),
            "bad_request",
            "Invalid value type: expected an object, but found null",
        );
        check(
            json!({"offset": "doggo"}),
            "invalid_document_offset",
            "Invalid value type at `.offset`: expected a positive integer, but found a string: \
             `\"doggo\"`",
        );
        check(
            json!({"fields": "doggo"}),
            "invalid_document_fields",
            "Invalid value type at `.fields`: expected an array, but found a string: `\"doggo\"`",
        );
        check(
            json!({"ids": [1, "a b"]}),
            "invalid_document_ids",
            "In `.ids[1]`: Document identifier `\"a b\"` is invalid. A document identifier can be \
             of type integer or string, only composed of alphanumeric characters (a-z A-Z 0-9), \
             hyphens (-) and underscores (_), and can not be more than 511 bytes.",
        );
        let listing = read_listing_body(&json!({"ids": [1, "x"], "limit": 2})).expect("right");
        assert_eq!(listing.ids, Some(vec!["1".to_owned(), "x".to_owned()]));
    }

    #[test]
    fn a_star_among_the_fields_lifts_the_restriction() {
        assert_eq!(
            read_view("fields=a,b").expect("right").fields,
            Some(vec!["a".into(), "b".into()])
        );
        assert_eq!(read_view("fields=a,*").expect("right").fields, None);
        assert_eq!(
            read_listing_parameters("fields=*").expect("right").fields,
            None
        );
    }

    #[test]
    fn listing_parameters_are_refused_in_meilisearch_words() {
        let message = |raw| read_listing_parameters(raw).expect_err("wrong").message;
        assert_eq!(
            message("offset"),
            "Invalid value in parameter `offset`: could not parse `` as a positive integer"
        );
        assert_eq!(
            message("retrieveVectors=tamo"),
            "Invalid value in parameter `retrieveVectors`: could not parse `tamo` as a boolean, \
             expected either `true` or `false`"
        );
    }

    #[test]
    fn csv_delimiters_are_one_ascii_character() {
        let check = |raw: &str, message: &str| {
            let error = read_addition(raw).expect_err("the delimiter is wrong");
            assert_eq!(
                (&*error.code, &*error.message),
                ("invalid_document_csv_delimiter", message)
            );
        };
        check(
            "csvDelimiter",
            "Invalid value in parameter `csvDelimiter`: expected a string of one character, but \
             found an empty string",
        );
        check(
            "csvDelimiter=doggo",
            "Invalid value in parameter `csvDelimiter`: expected a string of one character, but \
             found the following string of 5 characters: `doggo`",
        );
        check(
            "csvDelimiter=%F0%9F%8D%B0",
            "csv delimiter must be an ascii character. Found: `🍰`",
        );
        assert_eq!(
            read_addition("csvDelimiter=;")
                .expect("right")
                .csv_delimiter,
            Some(b';')
        );
    }

    #[test]
    fn additions_take_their_options_from_the_query_string() {
        let addition = read_addition("primaryKey=id&skipCreation=TRUE&customMetadata=a%26b");
        assert_eq!(
            addition,
            Ok(Addition {
                primary_key: Some("id".into()),
                csv_delimiter: None,
                custom_metadata: Some("a&b".into()),
                skip_creation: true,
            })
        );
        let error = read_addition("skipCreation=yes").expect_err("neither true nor false");
        assert_eq!(&*error.code, "invalid_skip_creation");
        assert_eq!(
            read_addition("primaryKeys=id")
                .expect_err("unknown")
                .message,
            "Unknown parameter `primaryKeys`: did you mean `primaryKey`? expected one of \
             `primaryKey`, `csvDelimiter`, `customMetadata`, `skipCreation`"
        );
    }

    #[test]
    fn deletions_need_a_filter_with_a_condition() {
        let check = |body: Value, code: &str, message: &str| {
            let error = read_deletion_filter(&body).expect_err("the body is wrong");
            assert_eq!((&*error.code, &*error.message), (code, message));
        };
        check(
            json!("hello"),
            "bad_request",
            "Invalid value type: expected an object, but found a string: `\"hello\"`",
        );
        check(
            json!({"filter": true}),
            "invalid_document_filter",
            "Invalid syntax for the filter parameter: `expected String, Array, found: true`.",
        );
        check(
            json!({"filter": ""}),
            "invalid_document_filter",
            "Sending an empty filter is forbidden.",
        );
        check(
            json!({}),
            "missing_document_filter",
            "Missing field `filter`",
        );
        assert_eq!(
            read_deletion_filter(&json!({"filter": "a = 1"})),
            Ok(json!("a = 1"))
        );
    }
}
