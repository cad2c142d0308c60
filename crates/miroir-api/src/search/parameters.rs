//! The query string of `GET /indexes/{uid}/search`.

use super::{MATCHING_STRATEGIES, SearchQuery, code_of, not_a_fraction};
use crate::error::{Code, ResponseError};
use crate::filter::filter_from_text;
use crate::locale::read_locales;
use crate::query::{Parameter, parameters, unknown_parameter};
use serde_json::{Value, json};

/// The parameters of a query string, in the order in which refusals list them.
#[rustfmt::skip]
const PARAMETERS: &[&str] = &[
    "q", "offset", "limit", "page", "hitsPerPage", "attributesToRetrieve", "attributesToCrop",
    "cropLength", "cropMarker", "attributesToHighlight", "highlightPreTag", "highlightPostTag",
    "showMatchesPosition", "filter", "sort", "distinct", "facets", "matchingStrategy",
    "attributesToSearchOn", "rankingScoreThreshold", "locales", "hybridEmbedder",
    "hybridSemanticRatio", "vector", "retrieveVectors", "personalizeUserContext", "useNetwork",
    "showRankingScore", "showRankingScoreDetails", "showPerformanceDetails",
];

/// Checks the query string of `GET /indexes/{uid}/search`.
///
/// # Errors
/// The first mistake.
pub fn read_parameters(raw: &str) -> Result<SearchQuery, ResponseError> {
    let mut query = SearchQuery::default();
    let mut embedder = None;
    let mut semantic_ratio = None;
    for (name, value) in parameters(raw) {
        let Some(code) = code_of(&name).filter(|_| PARAMETERS.contains(&name.as_str())) else {
            return Err(unknown_parameter(&name, PARAMETERS));
        };
        let parameter = Parameter::new(&name, &value, code);
        match name.as_str() {
            "hybridEmbedder" => embedder = Some(value),
            "hybridSemanticRatio" => {
                semantic_ratio = Some(read_fraction(&parameter, "semanticRatio")?);
            }
            _ => read_parameter(&mut query, &name, &parameter)?,
        }
    }
    query.hybrid = match (embedder, semantic_ratio) {
        (Some(embedder), Some(ratio)) => {
            Some(json!({"embedder": embedder, "semanticRatio": ratio}))
        }
        (Some(embedder), None) => Some(json!({"embedder": embedder})),
        (None, None) => None,
        (None, Some(_)) => {
            return Err(ResponseError::new(
                Code::InvalidSearchHybridQuery,
                "`hybridEmbedder` is mandatory when `hybridSemanticRatio` is present",
            ));
        }
    };
    if query.vector.is_some() && query.hybrid.is_none() {
        return Err(ResponseError::new(
            Code::MissingSearchHybrid,
            "`hybridEmbedder` is mandatory when `vector` is present",
        ));
    }
    Ok(query)
}

fn read_parameter(
    query: &mut SearchQuery,
    name: &str,
    parameter: &Parameter<'_>,
) -> Result<(), ResponseError> {
    let text = parameter.value().to_owned();
    match name {
        "q" => query.q = Some(text),
        "offset" => query.offset = parameter.size()?,
        "limit" => query.limit = parameter.size()?,
        "page" => query.page = Some(parameter.size()?),
        "hitsPerPage" => query.hits_per_page = Some(parameter.size()?),
        "attributesToRetrieve" => query.attributes_to_retrieve = Some(parameter.list()),
        "attributesToCrop" => query.attributes_to_crop = Some(parameter.list()),
        "attributesToHighlight" => query.attributes_to_highlight = Some(parameter.list()),
        "showMatchesPosition" => query.show_matches_position = parameter.boolean()?,
        "filter" => query.filter = Some(filter_from_text(&text)).filter(|value| !value.is_null()),
        "sort" => query.sort = Some(split_sort(&text)),
        "distinct" => query.distinct = Some(text),
        "facets" => query.facets = Some(parameter.list()),
        "rankingScoreThreshold" => {
            query.ranking_score_threshold = Some(read_fraction(parameter, name)?);
        }
        "vector" => query.vector = Some(read_numbers(parameter)?),
        "retrieveVectors" => query.retrieve_vectors = parameter.boolean()?,
        "personalizeUserContext" => query.personalize = Some(json!({ "userContext": text })),
        "useNetwork" => query.use_network = Some(parameter.boolean()?),
        "showRankingScore" => query.show_ranking_score = parameter.boolean()?,
        "showRankingScoreDetails" => query.show_ranking_score_details = parameter.boolean()?,
        "showPerformanceDetails" => query.show_performance_details = parameter.boolean()?,
        _ => {
            let value = match name {
                "cropLength" => json!(parameter.size()?),
                "matchingStrategy" => json!(parameter.one_of(MATCHING_STRATEGIES)?),
                "attributesToSearchOn" => json!(parameter.list()),
                "locales" => json!(read_locales(parameter)?),
                // `cropMarker` and the highlight tags.
                _ => Value::String(text),
            };
            query.passthrough.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

fn read_fraction(parameter: &Parameter<'_>, name: &str) -> Result<f64, ResponseError> {
    let number = parameter.value().parse::<f64>().ok();
    number
        .filter(|number| (0.0..=1.0).contains(number))
        .ok_or_else(|| parameter.invalid(not_a_fraction(name)))
}

fn read_numbers(parameter: &Parameter<'_>) -> Result<Value, ResponseError> {
    let mut numbers = Vec::new();
    for element in parameter.list() {
        let number = element
            .trim()
            .parse::<f32>()
            .map_err(|error| parameter.invalid(error))?;
        if !number.is_finite() {
            return Err(parameter.invalid("invalid float literal"));
        }
        numbers.push(number);
    }
    Ok(json!(numbers))
}

/// Splits the `sort` of a query string at its commas, but not at those of `_geoPoint(lat, lng)`.
#[must_use]
pub fn split_sort(text: &str) -> Vec<String> {
    const POINT: &str = "_geoPoint(";
    let mut criteria: Vec<String> = Vec::new();
    let mut is_inside = false;
    for part in text.trim_matches('"').split(',').map(str::trim) {
        match criteria.last_mut() {
            Some(point) if is_inside && !part.starts_with(POINT) => {
                point.push(',');
                point.push_str(part);
                is_inside = !(part.ends_with("):asc") || part.ends_with("):desc"));
            }
            _ => {
                is_inside = part.starts_with(POINT);
                criteria.push(part.to_owned());
            }
        }
    }
    criteria
}

#[cfg(test)]
mod tests {
    use super::super::read_body;
    use super::*;

    fn refuse_parameters(raw: &str) -> (String, String) {
        let error = read_parameters(raw).expect_err("the query string is wrong");
        (error.code.into_owned(), error.message)
    }

    #[test]
    fn a_query_string_says_the_same_as_a_body() {
        let raw = "q=a%20b&limit=3&facets=x,y&filter=%5B%22a%20%3D%201%22%5D&sort=p:asc,\
                   _geoPoint(1,2):desc&hybridEmbedder=e&vector=1,0.5&cropLength=4\
                   &matchingStrategy=all&showRankingScore=true";
        let body = json!({
            "q": "a b", "limit": 3, "facets": ["x", "y"], "filter": ["a = 1"],
            "sort": ["p:asc", "_geoPoint(1,2):desc"], "hybrid": {"embedder": "e"},
            "vector": [1.0, 0.5], "cropLength": 4, "matchingStrategy": "all",
            "showRankingScore": true,
        });
        assert_eq!(read_parameters(raw), read_body(&body));
    }

    #[test]
    fn wrong_parameters_are_refused_in_meilisearch_words() {
        assert_eq!(
            refuse_parameters("offset=doggo"),
            (
                "invalid_search_offset".to_owned(),
                "Invalid value in parameter `offset`: could not parse `doggo` as a positive integer"
                    .to_owned()
            )
        );
        assert_eq!(
            refuse_parameters("retrieveVectors=").1,
            "Invalid value in parameter `retrieveVectors`: could not parse `` as a boolean, \
             expected either `true` or `false`"
        );
        assert_eq!(
            refuse_parameters("matchingStrategy=doggo").1,
            "Unknown value `doggo` for parameter `matchingStrategy`: expected one of `last`, \
             `all`, `frequency`"
        );
        assert_eq!(
            refuse_parameters("hybridSemanticRatio=2").1,
            "Invalid value in parameter `hybridSemanticRatio`: the value of `semanticRatio` is \
             invalid, expected a float between `0.0` and `1.0`."
        );
        assert_eq!(refuse_parameters("vector=1").0, "missing_search_hybrid");
        assert_eq!(refuse_parameters("hybrid=x").0, "bad_request");
    }

    #[test]
    fn sorts_are_split_but_points_are_not() {
        // Only a point holds commas; what else has parentheses is split, to be refused.
        assert_eq!(split_sort("year(1,2):asc"), ["year(1", "2):asc"]);
        assert_eq!(
            split_sort("_geoPoint(12, 13):asc"),
            ["_geoPoint(12,13):asc"]
        );
        assert_eq!(
            split_sort("doggo:asc , _geoPoint(12.45, 13.56):desc , catto:desc"),
            ["doggo:asc", "_geoPoint(12.45,13.56):desc", "catto:desc"]
        );
    }
}
