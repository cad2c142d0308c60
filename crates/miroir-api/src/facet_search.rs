//! A search for the values of a facet: the body of `POST /indexes/{uid}/facet-search`.

use crate::error::{Code, ResponseError};
use crate::search::{SearchQuery, check_vector_has_hybrid, read_known};
use crate::validate::{At, optional};
use serde_json::Value;

/// The parameters of a search that tell which documents count; all others are ignored.
const SEARCH_FIELDS: &[&str] = &[
    "q",
    "vector",
    "media",
    "hybrid",
    "filter",
    "matchingStrategy",
    "attributesToSearchOn",
    "rankingScoreThreshold",
    "locales",
    "useNetwork",
];

/// A search for facet values, checked in form.
#[derive(Debug, Clone, PartialEq)]
pub struct FacetSearchQuery {
    /// The facet.
    pub facet_name: String,
    /// What its values begin with.
    pub facet_query: Option<String>,
    /// Counts all documents found, not only those that were ranked.
    pub exhaustive_facet_count: Option<bool>,
    /// Which documents count.
    pub search: SearchQuery,
}

/// Checks the body of `POST /indexes/{uid}/facet-search`. Fields of unknown names are ignored, as
/// front ends send those of a search along.
///
/// # Errors
/// The first mistake.
pub fn read_body(body: &Value) -> Result<FacetSearchQuery, ResponseError> {
    let root = At::root(Code::BadRequest);
    let mut facet_name = None;
    let mut facet_query = None;
    let mut exhaustive_facet_count = None;
    let mut search = SearchQuery::default();
    for (name, value) in root.object(body)? {
        match name.as_str() {
            "facetName" => {
                let at = root.field("facetName", Code::InvalidFacetSearchFacetName);
                facet_name = Some(at.string(value)?.to_owned());
            }
            "facetQuery" => {
                let at = root.field("facetQuery", Code::InvalidFacetSearchQuery);
                facet_query = optional(value, |value| at.string(value).map(str::to_owned))?;
            }
            "exhaustiveFacetCount" => {
                let code = Code::InvalidFacetSearchExhaustiveFacetCount;
                let at = root.field("exhaustiveFacetCount", code);
                exhaustive_facet_count = optional(value, |value| at.boolean(value))?;
            }
            name if SEARCH_FIELDS.contains(&name) => {
                read_known(&mut search, &root, name, value)?;
            }
            _ => {}
        }
    }
    let Some(facet_name) = facet_name else {
        return Err(root.missing_field("facetName", Code::MissingFacetSearchFacetName));
    };
    check_vector_has_hybrid(&search)?;
    Ok(FacetSearchQuery {
        facet_name,
        facet_query,
        exhaustive_facet_count,
        search,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refuse(body: Value) -> (String, String) {
        let error = read_body(&body).expect_err("the body is wrong");
        (error.code.into_owned(), error.message)
    }

    #[test]
    fn only_the_facets_name_is_required_and_unknown_fields_are_ignored() {
        let body = json!({
            "facetName": "genre", "facetQuery": null, "q": "a", "limit": "x", "sort": 5, "zz": 1,
        });
        let query = read_body(&body).expect("the body is right");
        assert_eq!(query.facet_name, "genre");
        assert_eq!(query.search.q.as_deref(), Some("a"));
        assert_eq!(query.search.limit, SearchQuery::default().limit);
        assert_eq!(
            refuse(json!({})),
            (
                "missing_facet_search_facet_name".to_owned(),
                "Missing field `facetName`".to_owned()
            )
        );
    }

    #[test]
    fn each_field_has_its_own_code() {
        for (body, code) in [
            (json!({"facetName": 1}), "invalid_facet_search_facet_name"),
            (
                json!({"facetName": "a", "facetQuery": 1}),
                "invalid_facet_search_query",
            ),
            (
                json!({"facetName": "a", "exhaustiveFacetCount": 1}),
                "invalid_facet_search_exhaustive_facet_count",
            ),
            (json!({"facetName": "a", "q": 1}), "invalid_search_q"),
            (
                json!({"facetName": "a", "vector": [1.0]}),
                "missing_search_hybrid",
            ),
            (json!([]), "bad_request"),
        ] {
            assert_eq!(refuse(body.clone()).0, code, "{body}");
        }
    }
}
