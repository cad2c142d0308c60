//! Several searches at once: the body of `POST /multi-search`.

use crate::error::{Code, ResponseError};
use crate::index::{invalid_uid_reason, is_index_uid};
use crate::search::{
    FIELDS as SEARCH_FIELDS, LIMIT_DEFAULT, SearchQuery, check_vector_has_hybrid, read_known,
};
use crate::validate::{At, Expected, optional};
use serde_json::Value;
use std::collections::BTreeMap;

const FIELDS: &[&str] = &["queries", "federation"];
const OPTION_FIELDS: &[&str] = &["weight", "remote", "queryPosition"];

#[rustfmt::skip]
const FEDERATION_FIELDS: &[&str] = &[
    "limit", "offset", "page", "hitsPerPage", "facetsByIndex", "mergeFacets", "distinct",
    "showPerformanceDetails", "personalize",
];

/// The body of a multi-search, checked in form.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiSearch {
    /// The searches, in the client's order.
    pub queries: Vec<IndexQuery>,
    /// How their hits become one list; `None` answers each by itself.
    pub federation: Option<Federation>,
}

/// One search of several, with the index it goes to.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexQuery {
    /// The index.
    pub index_uid: String,
    /// The search.
    pub query: SearchQuery,
    /// Its part in a federated search.
    pub options: Option<QueryOptions>,
    /// The names of the paging and display parameters that it sets, which a federation refuses.
    given: Vec<&'static str>,
}

/// `federationOptions` of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryOptions {
    /// What its scores are multiplied with.
    pub weight: f64,
    /// The remote it is meant for.
    pub remote: Option<String>,
    /// The position to show instead of its own.
    pub query_position: Option<usize>,
}

impl Default for QueryOptions {
    fn default() -> Self {
        Self {
            weight: 1.0,
            remote: None,
            query_position: None,
        }
    }
}

/// `federation`: how the hits of all queries become one list.
#[derive(Debug, Clone, PartialEq)]
pub struct Federation {
    /// Hits to skip; ignored in page mode.
    pub offset: usize,
    /// Hits to show at most; ignored in page mode.
    pub limit: usize,
    /// The page; its presence means page mode.
    pub page: Option<usize>,
    /// Hits on a page; its presence means page mode.
    pub hits_per_page: Option<usize>,
    /// The facets to count, by index; `None` counts none.
    pub facets_by_index: BTreeMap<String, Option<Vec<String>>>,
    /// Adds the facets of all indexes up.
    pub merge_facets: Option<MergeFacets>,
    /// Shows each value of this field once.
    pub distinct: Option<String>,
    /// Adds `performanceDetails`.
    pub show_performance_details: bool,
    /// Re-ranking for one user.
    pub personalize: Option<Value>,
}

impl Default for Federation {
    fn default() -> Self {
        Self {
            offset: 0,
            limit: LIMIT_DEFAULT,
            page: None,
            hits_per_page: None,
            facets_by_index: BTreeMap::new(),
            merge_facets: None,
            distinct: None,
            show_performance_details: false,
            personalize: None,
        }
    }
}

/// `mergeFacets` of a federation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MergeFacets {
    /// The most values shown for one facet; `None` shows all.
    pub max_values_per_facet: Option<usize>,
}

/// Says which query an error belongs to.
#[must_use]
pub fn inside_query(query: usize, mut error: ResponseError) -> ResponseError {
    error.message = format!("Inside `.queries[{query}]`: {}", error.message);
    error
}

/// Checks the body of `POST /multi-search`.
///
/// # Errors
/// The first mistake.
pub fn read_body(body: &Value) -> Result<MultiSearch, ResponseError> {
    let root = At::root(Code::BadRequest);
    let mut queries = None;
    let mut federation = None;
    for (name, value) in root.object(body)? {
        let at = root.inner(name);
        match name.as_str() {
            "queries" => {
                let mut read = Vec::new();
                for (idx, value) in at.array(value)?.iter().enumerate() {
                    read.push(read_query(&at.index(idx), value)?);
                }
                queries = Some(read);
            }
            "federation" => federation = optional(value, |value| read_federation(&at, value))?,
            _ => return Err(root.unknown_field(name, FIELDS)),
        }
    }
    let Some(queries) = queries else {
        return Err(root.missing_field("queries", Code::BadRequest));
    };
    for (idx, query) in queries.iter().enumerate() {
        check_vector_has_hybrid(&query.query).map_err(|error| inside_query(idx, error))?;
    }
    Ok(MultiSearch {
        queries,
        federation,
    })
}

fn read_query(at: &At<'_>, value: &Value) -> Result<IndexQuery, ResponseError> {
    let mut index_uid = None;
    let mut options = None;
    let mut query = SearchQuery::default();
    let mut given = Vec::new();
    for (name, value) in at.object(value)? {
        match name.as_str() {
            "indexUid" => {
                index_uid = Some(read_uid(&at.field(name, Code::InvalidIndexUid), value)?);
            }
            "federationOptions" => {
                let at = at.field(name, Code::InvalidMultiSearchFederationOptions);
                options = optional(value, |value| read_options(&at, value))?;
            }
            // Here, unlike in a single search, these may be `null`.
            "offset" | "limit" | "showPerformanceDetails" if value.is_null() => {}
            _ => {
                if !read_known(&mut query, at, name, value)? {
                    let accepted: Vec<&str> = std::iter::once("indexUid")
                        .chain(SEARCH_FIELDS.iter().copied())
                        .chain(["federationOptions"])
                        .collect();
                    return Err(at.unknown_field(name, &accepted));
                }
                if !value.is_null() {
                    let known = SEARCH_FIELDS.iter().copied();
                    given.extend(known.filter(|known| known == name));
                }
            }
        }
    }
    let Some(index_uid) = index_uid else {
        return Err(at.missing_field("indexUid", Code::MissingIndexUid));
    };
    Ok(IndexQuery {
        index_uid,
        query,
        options,
        given,
    })
}

fn read_uid(at: &At<'_>, value: &Value) -> Result<String, ResponseError> {
    let uid = at.string(value)?;
    if is_index_uid(uid) {
        Ok(uid.to_owned())
    } else {
        Err(at.unexpected(invalid_uid_reason(uid)))
    }
}

fn read_options(at: &At<'_>, value: &Value) -> Result<QueryOptions, ResponseError> {
    let mut options = QueryOptions::default();
    for (name, value) in at.object(value)? {
        match name.as_str() {
            "weight" => {
                let at = at.field(name, Code::InvalidMultiSearchWeight);
                options.weight = at.number(value)?;
                if options.weight < 0.0 {
                    return Err(at.unexpected(
                        "the value of `weight` is invalid, expected a positive float (>= 0.0).",
                    ));
                }
            }
            "remote" => {
                let at = at.field(name, Code::InvalidMultiSearchRemote);
                options.remote = optional(value, |value| at.string(value).map(str::to_owned))?;
            }
            "queryPosition" => {
                let at = at.field(name, Code::InvalidMultiSearchQueryPosition);
                options.query_position = optional(value, |value| at.size(value))?;
            }
            _ => {
                let at = at.with_code(Code::BadRequest);
                return Err(at.unknown_field(name, OPTION_FIELDS));
            }
        }
    }
    Ok(options)
}

fn read_federation(at: &At<'_>, value: &Value) -> Result<Federation, ResponseError> {
    let mut federation = Federation::default();
    for (name, value) in at.object(value)? {
        match name.as_str() {
            "limit" => {
                federation.limit = at.field(name, Code::InvalidSearchLimit).size(value)?;
            }
            "offset" => {
                federation.offset = at.field(name, Code::InvalidSearchOffset).size(value)?;
            }
            "page" => {
                let at = at.field(name, Code::InvalidSearchPage);
                federation.page = optional(value, |value| at.size(value))?;
            }
            "hitsPerPage" => {
                let at = at.field(name, Code::InvalidSearchHitsPerPage);
                federation.hits_per_page = optional(value, |value| at.size(value))?;
            }
            "facetsByIndex" => {
                let at = at.field(name, Code::InvalidMultiSearchFacetsByIndex);
                federation.facets_by_index = read_facets(&at, value)?;
            }
            "mergeFacets" => {
                let at = at.field(name, Code::InvalidMultiSearchMergeFacets);
                federation.merge_facets = optional(value, |value| read_merge(&at, value))?;
            }
            "distinct" => {
                let at = at.field(name, Code::InvalidSearchDistinct);
                federation.distinct = optional(value, |value| at.string(value).map(str::to_owned))?;
            }
            "showPerformanceDetails" => {
                let at = at.field(name, Code::InvalidSearchShowPerformanceDetails);
                federation.show_performance_details = at.boolean(value)?;
            }
            "personalize" => {
                federation.personalize = optional(value, |value| Ok(value.clone()))?;
            }
            _ => return Err(at.unknown_field(name, FEDERATION_FIELDS)),
        }
    }
    Ok(federation)
}

fn read_facets(
    at: &At<'_>,
    value: &Value,
) -> Result<BTreeMap<String, Option<Vec<String>>>, ResponseError> {
    let mut facets = BTreeMap::new();
    for (uid, value) in at.object(value)? {
        if !is_index_uid(uid) {
            return Err(at.unexpected(format_args!(
                "the key \"{uid}\" could not be deserialized into the key type \
                 `meilisearch_types::index_uid::IndexUid`"
            )));
        }
        let at = at.inner(uid);
        facets.insert(uid.clone(), optional(value, |value| at.strings(value))?);
    }
    Ok(facets)
}

fn read_merge(at: &At<'_>, value: &Value) -> Result<MergeFacets, ResponseError> {
    let mut merge = MergeFacets::default();
    let Value::Object(fields) = value else {
        return Err(at.wrong_type(Expected::Object, value));
    };
    for (name, value) in fields {
        if name != "maxValuesPerFacet" {
            return Err(at.unknown_field(name, &["maxValuesPerFacet"]));
        }
        let at = at.field(name, Code::InvalidMultiSearchMaxValuesPerFacet);
        merge.max_values_per_facet = optional(value, |value| at.size(value))?;
    }
    Ok(merge)
}

impl IndexQuery {
    /// Refuses what only a federated search understands.
    ///
    /// # Errors
    /// The query has `federationOptions`.
    pub fn check_alone(&self) -> Result<(), ResponseError> {
        match self.options {
            None => Ok(()),
            Some(_) => Err(ResponseError::new(
                Code::InvalidMultiSearchFederationOptions,
                "Using `federationOptions` is not allowed in a non-federated search.\n - Hint: \
                 remove `federationOptions` from the query or add `federation` to the request.",
            )),
        }
    }

    /// Refuses what belongs to the federation and not to one of its queries.
    ///
    /// # Errors
    /// The query pages, counts facets, or asks for something else that is the federation's.
    pub fn check_federated(&self, federation: &Federation) -> Result<(), ResponseError> {
        let paging = ["offset", "limit", "page", "hitsPerPage"];
        if let Some(name) = paging.into_iter().find(|name| self.given.contains(name)) {
            return Err(ResponseError::new(
                Code::InvalidMultiSearchQueryPagination,
                format!(
                    "Using pagination options is not allowed in federated queries.\n - Hint: \
                     remove `{name}` from the query or remove `federation` from the request\n - \
                     Hint: pass `federation.limit` and `federation.offset` for pagination in \
                     federated search"
                ),
            ));
        }
        if let Some(facets) = self
            .query
            .facets
            .as_ref()
            .filter(|facets| !facets.is_empty())
        {
            let uid = &self.index_uid;
            return Err(ResponseError::new(
                Code::InvalidMultiSearchQueryFacets,
                format!(
                    "Using facet options is not allowed in federated queries.\n - Hint: remove \
                     `facets` from the query or remove `federation` from the request\n - Hint: \
                     pass `federation.facetsByIndex.{uid}: {facets:?}` for facets in federated \
                     search"
                ),
            ));
        }
        if self.query.personalize.is_some() {
            return Err(ResponseError::new(
                Code::InvalidMultiSearchQueryPersonalization,
                "Using `.personalize` is not allowed in federated queries.\n - Hint: remove \
                 `personalize` from the query or remove `federation` from the request\n - Hint: \
                 pass `federation.personalize` for personalization in federated search",
            ));
        }
        if self.given.contains(&"showPerformanceDetails") {
            return Err(ResponseError::new(
                Code::InvalidMultiSearchQueryShowPerformanceDetails,
                "Using `.showPerformanceDetails` is not allowed in federated queries.\n - Hint: \
                 remove `showPerformanceDetails` from the query or remove `federation` from the \
                 request",
            ));
        }
        if self.query.distinct.is_some() && federation.distinct.is_some() {
            return Err(ResponseError::new(
                Code::InvalidMultiSearchDistinct,
                "Using `distinct` options is not allowed in federated queries when it also \
                 appears in `.federation.distinct`.\n - Hint: remove `distinct` from the query or \
                 remove `federation` from the request\n  - Note: `distinct` at the query level is \
                 discouraged in federated search.",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refuse(body: Value) -> (String, String) {
        let error = read_body(&body).expect_err("the body is wrong");
        (error.code.into_owned(), error.message)
    }

    fn one(query: Value) -> Value {
        json!({ "queries": [query] })
    }

    #[test]
    fn wrong_bodies_are_refused_in_meilisearch_words() {
        let table = [
            (json!({}), "bad_request", "Missing field `queries`"),
            (
                one(json!({})),
                "missing_index_uid",
                "Missing field `indexUid` inside `.queries[0]`",
            ),
            (
                one(json!({"indexUid": "a", "q": 1})),
                "invalid_search_q",
                "Invalid value type at `.queries[0].q`: expected a string, but found a positive \
                 integer: `1`",
            ),
            (
                json!({"quer": 1}),
                "bad_request",
                "Unknown field `quer`: expected one of `queries`, `federation`",
            ),
            (
                one(json!({"indexUid": "a", "vector": [1]})),
                "missing_search_hybrid",
                "Inside `.queries[0]`: Invalid request: missing `hybrid` parameter when `vector` \
                 or `media` are present.",
            ),
            (
                one(json!({"indexUid": "a", "federationOptions": {"weight": -1}})),
                "invalid_multi_search_weight",
                "Invalid value at `.queries[0].federationOptions.weight`: the value of `weight` \
                 is invalid, expected a positive float (>= 0.0).",
            ),
            (
                one(json!({"indexUid": "a", "federationOptions": {"zz": 1}})),
                "bad_request",
                "Unknown field `zz` inside `.queries[0].federationOptions`: expected one of \
                 `weight`, `remote`, `queryPosition`",
            ),
            (
                json!({"federation": {"mergeFacets": {"x": 1}}, "queries": []}),
                "invalid_multi_search_merge_facets",
                "Unknown field `x` inside `.federation.mergeFacets`: expected one of \
                 `maxValuesPerFacet`",
            ),
            (
                json!({"federation": {"facetsByIndex": {"a": 1}}, "queries": []}),
                "invalid_multi_search_facets_by_index",
                "Invalid value type at `.federation.facetsByIndex.a`: expected an array, but \
                 found a positive integer: `1`",
            ),
        ];
        for (body, code, message) in table {
            assert_eq!(refuse(body), (code.to_owned(), message.to_owned()));
        }
        let (code, message) = refuse(one(json!({"indexUid": "a b"})));
        assert_eq!(code, "invalid_index_uid");
        let start = "Invalid value at `.queries[0].indexUid`: `a b` is not a valid index uid.";
        assert!(message.starts_with(start), "{message}");
        let (_, message) = refuse(one(json!({"indexUid": "a", "toto": 1})));
        let start = "Unknown field `toto` inside `.queries[0]`: expected one of `indexUid`, `q`,";
        assert!(message.starts_with(start), "{message}");
        assert!(message.ends_with("`federationOptions`"), "{message}");
    }

    #[test]
    fn what_is_the_federations_is_refused_in_its_queries() {
        let federation = Federation {
            distinct: Some("d".to_owned()),
            ..Federation::default()
        };
        let check = |fields: Value, code: Option<&str>| {
            let mut query = json!({"indexUid": "a"});
            let members = fields.as_object().expect("an object").clone();
            query.as_object_mut().expect("an object").extend(members);
            let body = read_body(&one(query)).expect("the body is right");
            let refused = body.queries[0].check_federated(&federation).err();
            assert_eq!(refused.map(|e| e.code).as_deref(), code, "{fields}");
        };
        check(
            json!({"limit": 1}),
            Some("invalid_multi_search_query_pagination"),
        );
        check(json!({"limit": null}), None);
        check(
            json!({"facets": ["x"]}),
            Some("invalid_multi_search_query_facets"),
        );
        check(json!({"facets": []}), None);
        check(
            json!({"personalize": {"userContext": "x"}}),
            Some("invalid_multi_search_query_personalization"),
        );
        check(
            json!({"showPerformanceDetails": false}),
            Some("invalid_multi_search_query_show_performance_details"),
        );
        check(
            json!({"distinct": "x"}),
            Some("invalid_multi_search_distinct"),
        );
    }

    #[test]
    fn a_null_federation_is_none_and_an_empty_one_has_defaults() {
        let read = |body: Value| read_body(&body).expect("the body is right").federation;
        assert_eq!(read(json!({"queries": [], "federation": null})), None);
        assert_eq!(
            read(json!({"queries": [], "federation": {}})),
            Some(Federation::default())
        );
    }
}
