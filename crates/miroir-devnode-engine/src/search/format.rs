//! `_formatted` and `_matchesPosition`: highlighting and cropping over whole documents.
//!
//! The engine formats one string at a time; walking nested values and showing numbers as text is
//! done here.

use crate::error::EngineError;
use crate::query::SearchQuery;
use crate::selector::{Attributes, is_related, visit_leaves};
use milli_core::heed::RoTxn;
use milli_core::tokenizer::{Language, TokenizerBuilder};
use milli_core::{
    FieldId, FieldsIdsMap, FormatOptions, Index, LocalizedAttributesRule, MatchBounds,
    MatcherBuilder, MatchingWords, PatternMatch,
};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What the tokenizer needs to know of an index; it borrows from here.
pub(crate) struct Dictionary {
    separators: Option<BTreeSet<String>>,
    words: Option<BTreeSet<String>>,
    localized: Vec<LocalizedAttributesRule>,
}

impl Dictionary {
    pub(crate) fn load(index: &Index, rtxn: &RoTxn<'_>) -> Result<Self, EngineError> {
        Ok(Dictionary {
            separators: index.allowed_separators(rtxn)?,
            words: index.dictionary(rtxn)?,
            localized: index.localized_attributes_rules(rtxn)?.unwrap_or_default(),
        })
    }

    /// The languages an attribute is declared to be in.
    pub(crate) fn locales_of(&self, attribute: &str) -> Option<&[Language]> {
        self.localized
            .iter()
            .find(|rule| rule.match_str(attribute) == PatternMatch::Match)
            .map(LocalizedAttributesRule::locales)
    }
}

/// What to do to which attributes; made once for each search.
pub(crate) struct Plan {
    /// Attributes to highlight or crop, in the order in which the index met them.
    options: Vec<(String, FormatOptions)>,
    /// What `_formatted` shows; `None` leaves it out.
    formatted: Option<Attributes>,
    shows_positions: bool,
}

impl Plan {
    /// Attributes that are unknown or not displayed are left aside; if none remains there is no
    /// `_formatted` at all.
    pub(crate) fn new(
        query: &SearchQuery,
        fields: &FieldsIdsMap,
        displayed: &Attributes,
        retrieved: &Attributes,
    ) -> Self {
        let mut options: BTreeMap<FieldId, FormatOptions> = BTreeMap::new();
        for name in query.attributes_to_highlight.iter().flatten() {
            for id in displayed_ids(name, fields, displayed) {
                options.entry(id).or_default().highlight = true;
            }
        }
        for text in query.attributes_to_crop.iter().flatten() {
            let (name, length) = parse_crop(text, query.crop_length);
            for id in displayed_ids(name, fields, displayed) {
                options.entry(id).or_default().crop = Some(length);
            }
        }

        let formatted = (!options.is_empty()).then(|| {
            let shown = fields.iter().filter(|(id, name)| {
                options.contains_key(id) || (displayed.contains(name) && retrieved.contains(name))
            });
            let names: Vec<String> = shown.map(|(_, name)| name.to_owned()).collect();
            if names.len() == fields.len() {
                Attributes::All
            } else {
                Attributes::Named(names)
            }
        });
        let options = options
            .into_iter()
            .filter_map(|(id, options)| Some((fields.name(id)?.to_owned(), options)))
            .collect();
        Plan {
            options,
            formatted,
            shows_positions: query.show_matches_position,
        }
    }

    /// Whether hits need no formatting at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.formatted.is_none() && !self.shows_positions
    }

    fn options_of(&self, attribute: &str) -> FormatOptions {
        self.options
            .iter()
            .filter(|(name, _)| is_related(name, attribute))
            .fold(FormatOptions::default(), |merged, (_, options)| {
                merged.merge(*options)
            })
    }
}

/// The displayed attributes that a name stands for.
fn displayed_ids(name: &str, fields: &FieldsIdsMap, displayed: &Attributes) -> Vec<FieldId> {
    let is_meant = |field: &str| (name == "*" || name == field) && displayed.contains(field);
    fields
        .iter()
        .filter(|(_, field)| is_meant(field))
        .map(|(id, _)| id)
        .collect()
}

/// `attribute` or `attribute:length`; a length that is no number counts as not given.
fn parse_crop(text: &str, default_length: usize) -> (&str, usize) {
    match text.rsplit_once(':') {
        Some((name, length)) => (name, length.parse().unwrap_or(default_length)),
        None => (text, default_length),
    }
}

/// What formatting adds to a hit.
#[derive(Default)]
pub(crate) struct Formatted {
    pub(crate) document: Option<Map<String, Value>>,
    pub(crate) positions: Option<Map<String, Value>>,
}

/// Formats documents by a plan.
pub(crate) struct Formatter<'a> {
    plan: &'a Plan,
    dictionary: &'a Dictionary,
    locales: Option<&'a [Language]>,
    matcher: MatcherBuilder<'a>,
}

impl<'a> Formatter<'a> {
    /// `separators` and `words` are the dictionary's, in the form that the tokenizer borrows.
    pub(crate) fn new(
        plan: &'a Plan,
        dictionary: &'a Dictionary,
        (separators, words): &'a (Option<Vec<&'a str>>, Option<Vec<&'a str>>),
        query: &SearchQuery,
        locales: Option<&'a [Language]>,
        matching_words: MatchingWords,
    ) -> Self {
        let mut builder: TokenizerBuilder<'a, Vec<u8>> = TokenizerBuilder::default();
        // The map from shown to normalized characters: without it positions would be wrong.
        builder.create_char_map(true);
        if let Some(separators) = separators {
            builder.separators(separators);
        }
        if let Some(words) = words {
            builder.words_dict(words);
        }
        let mut matcher = MatcherBuilder::new(matching_words, builder.into_tokenizer());
        matcher.crop_marker(query.crop_marker.clone());
        matcher.highlight_prefix(query.highlight_pre_tag.clone());
        matcher.highlight_suffix(query.highlight_post_tag.clone());
        Formatter {
            plan,
            dictionary,
            locales,
            matcher,
        }
    }

    /// The additions for one document, given with all its displayed attributes.
    pub(crate) fn format(
        &self,
        mut document: Map<String, Value>,
        displayed: &Attributes,
    ) -> Result<Formatted, EngineError> {
        if self.plan.is_empty() {
            return Ok(Formatted::default());
        }
        let mut positions: BTreeMap<String, Vec<MatchBounds>> = BTreeMap::new();
        visit_leaves(
            &mut document,
            displayed,
            &mut |name, array_positions, value| {
                let text = match &*value {
                    Value::String(text) => text.clone(),
                    Value::Number(number) => number.to_string(),
                    _ => return,
                };
                let options = self.plan.options_of(name);
                let needs_formatting = self.plan.formatted.is_some() && options.should_format();
                if !needs_formatting && !self.plan.shows_positions {
                    *value = Value::String(text);
                    return;
                }
                let locales = self.locales.or_else(|| self.dictionary.locales_of(name));
                let mut matcher = self.matcher.build(&text, locales);
                if self.plan.shows_positions {
                    let found = matcher.matches(array_positions);
                    if !found.is_empty() {
                        // As in Meilisearch, the last matching value of an array stands for the attribute.
                        positions.insert(name.to_owned(), found);
                    }
                }
                let shown = if needs_formatting {
                    matcher.format(options).into_owned()
                } else {
                    text.clone()
                };
                *value = Value::String(shown);
            },
        );

        let positions = if self.plan.shows_positions {
            let mut map = Map::new();
            for (name, bounds) in positions {
                map.insert(name, serde_json::to_value(bounds)?);
            }
            Some(map)
        } else {
            None
        };
        let document = self
            .plan
            .formatted
            .as_ref()
            .map(|shown| shown.select(document));
        let document = document.filter(|document| !document.is_empty());
        Ok(Formatted {
            document,
            positions,
        })
    }
}

impl Dictionary {
    /// Separators and words as the slices of slices that the tokenizer wants.
    pub(crate) fn as_slices(&self) -> (Option<Vec<&str>>, Option<Vec<&str>>) {
        fn slices(set: Option<&BTreeSet<String>>) -> Option<Vec<&str>> {
            set.map(|set| set.iter().map(String::as_str).collect())
        }
        (
            slices(self.separators.as_ref()),
            slices(self.words.as_ref()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crop_length_follows_the_last_colon() {
        assert_eq!(parse_crop("title", 10), ("title", 10));
        assert_eq!(parse_crop("title:3", 10), ("title", 3));
        assert_eq!(parse_crop("*:4", 10), ("*", 4));
        assert_eq!(parse_crop("a:b", 10), ("a", 10));
        assert_eq!(parse_crop("a:b:2", 10), ("a:b", 2));
    }
}
