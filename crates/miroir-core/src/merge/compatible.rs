//! Whether the hits of two queries can be compared at all: at each position both must rank by
//! relevance, or both sort in the same way and direction.

use crate::search::SearchRequest;
use serde_json::Value;

/// What a position of a query's ranking compares. Neighbouring relevancy rules are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Relevancy,
    Sort { is_descending: bool },
    Distance { is_descending: bool },
}

impl Kind {
    fn describe(self) -> &'static str {
        match self {
            Self::Relevancy => "a relevancy rule",
            Self::Sort { .. } => "a sort rule",
            Self::Distance { .. } => "a geosort rule",
        }
    }

    fn of_sort(rule: &str) -> Self {
        let is_descending = rule.ends_with(":desc");
        if rule.starts_with("_geoPoint(") {
            Self::Distance { is_descending }
        } else {
            Self::Sort { is_descending }
        }
    }
}

/// Why the hits of these queries cannot be compared, with the position of the query that is the
/// first to differ; `None` if they can.
///
/// `queries` are in the order in which they are looked at, each with its position in the request
/// and the ranking rules of its index.
///
/// ```
/// use miroir_core::merge::find_incompatible;
/// use miroir_core::search::SearchRequest;
///
/// let rules = ["words".to_owned(), "sort".to_owned()];
/// let by = |sort: &str| SearchRequest {
///     sort: Some(vec![sort.to_owned()]), ..SearchRequest::default()
/// };
/// let (up, down) = (by("p:asc"), by("p:desc"));
/// let found = find_incompatible([(0, &up, &rules[..]), (1, &down, &rules[..])]);
/// assert_eq!(found.unwrap().0, 1);
/// ```
#[must_use]
pub fn find_incompatible<'a>(
    queries: impl IntoIterator<Item = (usize, &'a SearchRequest, &'a [String])>,
) -> Option<(usize, String)> {
    let mut longest: Option<(usize, Vec<Kind>)> = None;
    for (at, request, rules) in queries {
        let kinds = kinds_of(request, rules);
        if let Some((previous_at, previous)) = &longest {
            let mut pairs = previous.iter().zip(&kinds);
            if let Some((before, now)) = pairs.find(|(before, now)| before != now) {
                return Some((at, message(*previous_at, at, *before, *now)));
            }
        }
        if longest
            .as_ref()
            .is_none_or(|(_, previous)| previous.len() <= kinds.len())
        {
            longest = Some((at, kinds));
        }
    }
    None
}

fn message(previous: usize, current: usize, before: Kind, now: Kind) -> String {
    let reason = if before.describe() == now.describe() {
        let plural = before.describe().trim_start_matches("a ").to_owned() + "s";
        format!("cannot compare two {plural} in opposite directions")
    } else {
        // Always named in this order.
        let order = |kind: Kind| match kind {
            Kind::Relevancy => 0,
            Kind::Sort { .. } => 1,
            Kind::Distance { .. } => 2,
        };
        let (first, second) = if order(before) <= order(now) {
            (before, now)
        } else {
            (now, before)
        };
        format!(
            "cannot compare {} with {}",
            first.describe(),
            second.describe()
        )
    };
    format!("The results of queries #{previous} and #{current} are incompatible: \n  - {reason}\n")
}

fn kinds_of(request: &SearchRequest, rules: &[String]) -> Vec<Kind> {
    let is_semantic = request
        .hybrid
        .as_ref()
        .is_some_and(|hybrid| hybrid.get("semanticRatio").and_then(Value::as_f64) == Some(1.0));
    let has_words = request.q.as_deref().is_some_and(|q| !q.trim().is_empty());
    let mut kinds = Vec::new();
    // The words are looked at first where no rule says when.
    if has_words && !is_semantic && rules.iter().all(|rule| rule != "words") {
        kinds.push(Kind::Relevancy);
    }
    for rule in rules {
        match rule.as_str() {
            "sort" => {
                let sort = request.sort.iter().flatten();
                kinds.extend(sort.map(|rule| Kind::of_sort(rule)));
            }
            rule if rule.contains(':') => kinds.push(Kind::of_sort(rule)),
            _ if is_semantic => {
                // The similarity leaves no ties that a later rule could decide.
                kinds.push(Kind::Relevancy);
                break;
            }
            _ if has_words && kinds.last() != Some(&Kind::Relevancy) => {
                kinds.push(Kind::Relevancy);
            }
            _ => {}
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(q: &str, sort: &[&str]) -> SearchRequest {
        let sort: Vec<String> = sort.iter().map(|&rule| rule.to_owned()).collect();
        SearchRequest {
            q: Some(q.to_owned()),
            sort: Some(sort).filter(|sort| !sort.is_empty()),
            ..SearchRequest::default()
        }
    }

    #[test]
    fn positions_must_agree_as_far_as_both_go() {
        let rules: Vec<String> = ["words", "typo", "sort", "exactness", "p:desc"]
            .map(str::to_owned)
            .to_vec();
        let check = |a: &SearchRequest, b: &SearchRequest, reason: Option<&str>| {
            let found = find_incompatible([(0, a, &rules[..]), (1, b, &rules[..])]);
            assert_eq!(found.is_some(), reason.is_some(), "{found:?}");
            if let (Some((_, message)), Some(reason)) = (found, reason) {
                assert!(message.contains(reason), "{message}");
            }
        };
        check(&request("a", &[]), &request("b", &[]), None);
        check(
            &request("a", &["x:asc"]),
            &request("b", &["y:desc"]),
            Some("two sort rules in opposite directions"),
        );
        check(
            &request("a", &[]),
            &request("", &[]),
            Some("a relevancy rule with a sort rule"),
        );
        check(
            &request("a", &["_geoPoint(1,2):asc"]),
            &request("b", &["y:asc"]),
            Some("a sort rule with a geosort rule"),
        );
        check(
            &request("", &["x:asc"]),
            &request("", &["y:asc", "z:desc"]),
            None,
        );
    }
}
