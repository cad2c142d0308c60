//! The fields of an index: the body of `POST /indexes/{uid}/fields`.

use crate::error::{Code, ResponseError};
use crate::index::LIMIT_DEFAULT;
use crate::validate::{At, optional};
use serde_json::Value;

const FIELDS: &[&str] = &["offset", "limit", "filter"];

const FILTER_FIELDS: &[&str] = &[
    "attributePatterns",
    "displayed",
    "searchable",
    "sortable",
    "distinct",
    "rankingRule",
    "filterable",
];

/// Which fields of an index are listed.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldListing {
    /// Fields to skip.
    pub offset: usize,
    /// Fields to show at most.
    pub limit: usize,
    /// Only fields that match one of these.
    pub attribute_patterns: Option<Vec<String>>,
    /// Only fields whose capability of this name is on, or off.
    pub capabilities: Vec<(String, bool)>,
}

impl Default for FieldListing {
    fn default() -> Self {
        Self {
            offset: 0,
            limit: LIMIT_DEFAULT,
            attribute_patterns: None,
            capabilities: Vec::new(),
        }
    }
}

/// Checks the body of `POST /indexes/{uid}/fields`.
///
/// # Errors
/// The first mistake.
pub fn read_body(body: &Value) -> Result<FieldListing, ResponseError> {
    let root = At::root(Code::BadRequest);
    let mut listing = FieldListing::default();
    for (name, value) in root.object(body)? {
        match name.as_str() {
            "offset" => {
                listing.offset = root.field("offset", Code::InvalidIndexOffset).size(value)?;
            }
            "limit" => listing.limit = root.field("limit", Code::InvalidIndexLimit).size(value)?,
            "filter" => {
                let at = root.field("filter", Code::InvalidIndexFieldsFilter);
                if !value.is_null() {
                    read_filter(&mut listing, &at, value)?;
                }
            }
            _ => return Err(root.unknown_field(name, FIELDS)),
        }
    }
    Ok(listing)
}

fn read_filter(
    listing: &mut FieldListing,
    at: &At<'_>,
    value: &Value,
) -> Result<(), ResponseError> {
    for (name, value) in at.object(value)? {
        let code = match name.as_str() {
            "attributePatterns" => Code::InvalidIndexFieldsFilterAttributePatterns,
            "displayed" => Code::InvalidIndexFieldsFilterDisplayed,
            "searchable" => Code::InvalidIndexFieldsFilterSearchable,
            "sortable" => Code::InvalidIndexFieldsFilterSortable,
            "distinct" => Code::InvalidIndexFieldsFilterDistinct,
            "rankingRule" => Code::InvalidIndexFieldsFilterRankingRule,
            "filterable" => Code::InvalidIndexFieldsFilterFilterable,
            _ => return Err(at.unknown_field(name, FILTER_FIELDS)),
        };
        let at = at.field(name, code);
        if name == "attributePatterns" {
            listing.attribute_patterns = optional(value, |value| at.strings(value))?;
        } else if let Some(wanted) = optional(value, |value| at.boolean(value))? {
            listing.capabilities.push((name.clone(), wanted));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_listing_is_cut_and_filtered() {
        let body = json!({
            "offset": 1, "limit": 2,
            "filter": {"attributePatterns": ["a*"], "displayed": true, "sortable": null},
        });
        let listing = read_body(&body).expect("the body is right");
        assert_eq!((listing.offset, listing.limit), (1, 2));
        assert_eq!(listing.attribute_patterns, Some(vec!["a*".to_owned()]));
        assert_eq!(listing.capabilities, [("displayed".to_owned(), true)]);
    }

    #[test]
    fn each_field_has_its_own_code() {
        for (body, code, message) in [
            (
                json!({"limit": null}),
                "invalid_index_limit",
                "Invalid value type at `.limit`: expected a positive integer, but found null",
            ),
            (
                json!({"filter": {"displayed": "x"}}),
                "invalid_index_fields_filter_displayed",
                "Invalid value type at `.filter.displayed`: expected a boolean, but found a \
                 string: `\"x\"`",
            ),
            (
                json!({"filter": {"zz": 1}}),
                "invalid_index_fields_filter",
                "Unknown field `zz` inside `.filter`: expected one of `attributePatterns`, \
                 `displayed`, `searchable`, `sortable`, `distinct`, `rankingRule`, `filterable`",
            ),
            (
                json!({"zz": 1}),
                "bad_request",
                "Unknown field `zz`: expected one of `offset`, `limit`, `filter`",
            ),
        ] {
            let error = read_body(&body).expect_err("the body is wrong");
            assert_eq!((&*error.code, &*error.message), (code, message));
        }
    }
}
