//! Query strings with known parameters, read with the API's messages.

use crate::error::ApiError;
use crate::http::object::quoted;
use http::Uri;
use std::collections::BTreeMap;

/// The parameters of a request; of one given twice the last counts.
pub(crate) struct Query {
    values: BTreeMap<String, String>,
}

impl Query {
    /// # Errors
    /// `bad_request` for a parameter that is not among the known ones.
    pub(crate) fn of(uri: &Uri, known: &[&str]) -> Result<Self, ApiError> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| ApiError::new("bad_request", error.to_string()))?;
        if let Some((unknown, _)) = pairs
            .iter()
            .find(|(name, _)| !known.contains(&name.as_str()))
        {
            let message = match known {
                [] => format!("Unknown parameter `{unknown}`: there are no parameters here"),
                known => format!(
                    "Unknown parameter `{unknown}`: expected one of {}",
                    quoted(known)
                ),
            };
            return Err(ApiError::new("bad_request", message));
        }
        Ok(Self {
            values: pairs.0.into_iter().collect(),
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    pub(crate) fn string(&self, name: &str) -> Option<String> {
        self.values.get(name).cloned()
    }

    pub(crate) fn usize_or(
        &self,
        name: &str,
        default: usize,
        code: &'static str,
    ) -> Result<usize, ApiError> {
        Ok(self.optional_usize(name, code)?.unwrap_or(default))
    }

    pub(crate) fn optional_usize(
        &self,
        name: &str,
        code: &'static str,
    ) -> Result<Option<usize>, ApiError> {
        self.get(name)
            .map(|text| parse_integer(name, text, code))
            .transpose()
    }

    pub(crate) fn boolean(&self, name: &str, code: &'static str) -> Result<bool, ApiError> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(ApiError::new(
                code,
                format!(
                    "Invalid value in parameter `{name}`: could not parse `{other}` as a boolean, \
                     expected either `true` or `false`"
                ),
            )),
        }
    }

    pub(crate) fn number(&self, name: &str, code: &'static str) -> Result<Option<f64>, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        number.map(Some).ok_or_else(|| {
            ApiError::new(
                code,
                format!(
                    "Invalid value in parameter `{name}`: could not parse `{text}` as a number"
                ),
            )
        })
    }

    /// The parts of a list; `None` when it is not given.
    pub(crate) fn csv(&self, name: &str) -> Option<Vec<String>> {
        self.get(name)
            .map(|text| text.split(',').map(|part| part.trim().to_owned()).collect())
    }

    /// The parts of a list where `*` means no restriction.
    pub(crate) fn csv_or_star(&self, name: &str) -> Option<Vec<String>> {
        self.csv(name)
            .filter(|parts| !parts.iter().any(|part| part == "*"))
    }

    /// Sort criteria: commas inside parentheses do not separate.
    pub(crate) fn sort(&self, name: &str) -> Option<Vec<String>> {
        let text = self.get(name)?;
        let mut criteria = vec![String::new()];
        let mut depth = 0_usize;
        for character in text.chars() {
            match character {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                ',' if depth == 0 => {
                    criteria.push(String::new());
                    continue;
                }
                _ => {}
            }
            if let Some(last) = criteria.last_mut() {
                last.push(character);
            }
        }
        Some(
            criteria
                .into_iter()
                .map(|criterion| criterion.trim().to_owned())
                .collect(),
        )
    }
}

/// An unsigned number of a query string.
pub(crate) fn parse_integer<T: std::str::FromStr>(
    name: &str,
    text: &str,
    code: &'static str,
) -> Result<T, ApiError> {
    text.trim().parse().map_err(|_error| {
        ApiError::new(
            code,
            format!(
                "Invalid value in parameter `{name}`: could not parse `{text}` as a positive integer"
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_inside_a_point_does_not_cut_a_sort() {
        let uri: Uri = "/x?sort=_geoPoint(1,%202):asc,price:desc".parse().unwrap();
        let query = Query::of(&uri, &["sort"]).unwrap();
        assert_eq!(
            query.sort("sort").unwrap(),
            ["_geoPoint(1, 2):asc", "price:desc"]
        );
    }

    #[test]
    fn unknown_parameters_are_refused() {
        let uri: Uri = "/x?a=1&b=2".parse().unwrap();
        assert_eq!(Query::of(&uri, &["a"]).err().unwrap().code, "bad_request");
    }
}
