//! What the client's filterable rules allow for one field, in the words of a node that has those
//! rules and no hidden ones.

use super::Settings;
use super::read::{displayed_attributes, is_field_or_below, matches_pattern};
use serde_json::Value;
use std::collections::BTreeSet;

/// What a field may be used for in filters and facets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FilterFeatures {
    /// Its values can be searched.
    pub facet_search: bool,
    /// `=`, `!=`, `IN` and the like.
    pub equality: bool,
    /// `<`, `>` and `TO`.
    pub comparison: bool,
}

impl FilterFeatures {
    /// A plain name allows everything.
    const ALL: Self = Self {
        facet_search: true,
        equality: true,
        comparison: true,
    };

    /// Whether it can be used at all.
    #[must_use]
    pub fn is_any(self) -> bool {
        self.facet_search || self.equality || self.comparison
    }

    fn of_rule(rule: &Value) -> Self {
        if rule.is_string() {
            return Self::ALL;
        }
        let allows = |path: &str, default: bool| {
            let set = rule.pointer(path).and_then(Value::as_bool);
            set.unwrap_or(default)
        };
        Self {
            facet_search: allows("/features/facetSearch", false),
            equality: allows("/features/filter/equality", true),
            comparison: allows("/features/filter/comparison", false),
        }
    }
}

/// The first rule that matches `field`, by its position, and what it allows.
///
/// ```
/// use miroir_core::settings::filter_features;
///
/// let settings = serde_json::json!({"filterableAttributes": ["genre"]});
/// let (rule, features) = filter_features(settings.as_object().unwrap(), "genre").unwrap();
/// assert!(rule == 0 && features.facet_search);
/// ```
#[must_use]
pub fn filter_features(logical: &Settings, field: &str) -> Option<(usize, FilterFeatures)> {
    let is_match = |rule: &Value| match rule {
        Value::String(name) => is_field_or_below(name, field),
        _ => patterns_of(rule).any(|pattern| matches_pattern(pattern, field)),
    };
    let (at, rule) = rules(logical)
        .enumerate()
        .find(|(_, rule)| is_match(rule))?;
    Some((at, FilterFeatures::of_rule(rule)))
}

/// Why the values of `facet` cannot be searched, as a message for the client; `None` if they can.
#[must_use]
pub fn facet_search_refusal(logical: &Settings, facet: &str) -> Option<String> {
    let found = filter_features(logical, facet);
    if found.is_some_and(|(_, features)| features.facet_search) {
        return None;
    }
    let reason = if let Some((rule, _)) = found {
        format!(
            "Note: this attribute matches rule #{rule} in filterableAttributes, but this rule \
             does not enable facetSearch.\nHint: enable facetSearch in rule #{rule} by adding \
             `\"facetSearch\": true` to the rule.\nHint: prepend another rule matching {facet} \
             with facetSearch: true before rule #{rule}"
        )
    } else {
        let searchable = rules(logical).filter(|rule| FilterFeatures::of_rule(rule).facet_search);
        let mut patterns: BTreeSet<&str> = searchable.flat_map(names_of).collect();
        let all = patterns.len();
        let displayed = displayed_attributes(logical);
        if let Some(displayed) = &displayed {
            patterns.retain(|pattern| displayed.iter().any(|name| name == pattern));
        }
        let hidden = if patterns.len() < all {
            ", <..hidden-attributes>"
        } else {
            ""
        };
        let patterns: Vec<&str> = patterns.into_iter().collect();
        let available = if patterns.is_empty() {
            "This index does not have configured facet-searchable attributes.".to_owned()
        } else {
            let patterns = patterns.join(", ");
            format!("Available facet-searchable attributes patterns are: `{patterns}{hidden}`.")
        };
        format!(
            "{available} To make it facet-searchable add it to the `filterableAttributes` index \
             settings."
        )
    };
    Some(format!(
        "Attribute `{facet}` is not facet-searchable. {reason}"
    ))
}

fn rules(logical: &Settings) -> impl Iterator<Item = &Value> {
    let rules = logical
        .get("filterableAttributes")
        .and_then(Value::as_array);
    rules.into_iter().flatten()
}

fn names_of(rule: &Value) -> Vec<&str> {
    match rule {
        Value::String(name) => vec![name],
        _ => patterns_of(rule).collect(),
    }
}

fn patterns_of(rule: &Value) -> impl Iterator<Item = &str> {
    let patterns = rule.get("attributePatterns").and_then(Value::as_array);
    patterns.into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(filterable: Value) -> Settings {
        let mut settings = Settings::new();
        settings.insert("filterableAttributes".to_owned(), filterable);
        settings
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = settings(json!([
            {"attributePatterns": ["a*"], "features": {"facetSearch": true}}, "ab", "n",
        ]));
        let expected = FilterFeatures {
            facet_search: true,
            equality: true,
            comparison: false,
        };
        assert_eq!(filter_features(&rules, "ab"), Some((0, expected)));
        assert_eq!(
            filter_features(&rules, "n.x"),
            Some((2, FilterFeatures::ALL))
        );
        assert_eq!(filter_features(&rules, "m"), None);
    }

    #[test]
    fn a_refusal_says_what_could_be_searched_instead() {
        let mut rules = settings(json!([
            "genre", "n",
            {"attributePatterns": ["q"], "features": {"facetSearch": false}},
        ]));
        assert_eq!(facet_search_refusal(&rules, "genre"), None);
        assert_eq!(
            facet_search_refusal(&rules, "zz").unwrap(),
            "Attribute `zz` is not facet-searchable. Available facet-searchable attributes \
             patterns are: `genre, n`. To make it facet-searchable add it to the \
             `filterableAttributes` index settings."
        );
        let refusal = facet_search_refusal(&rules, "q").unwrap();
        assert!(refusal.contains("matches rule #2 in"), "{refusal}");
        rules.insert("displayedAttributes".to_owned(), json!(["n"]));
        let refusal = facet_search_refusal(&rules, "zz").unwrap();
        assert!(refusal.contains("`n, <..hidden-attributes>`"), "{refusal}");
        let refusal = facet_search_refusal(&Settings::new(), "zz").unwrap();
        assert!(
            refusal.contains("does not have configured facet-searchable attributes."),
            "{refusal}"
        );
    }
}
