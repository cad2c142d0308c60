//! The form of each setting but the embedders.

use crate::error::ResponseError;
use crate::locale::check_locales;
use crate::validate::At;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The checked value of a setting, in the form it is kept in.
type Checked = Result<Value, ResponseError>;

/// A list of text, order kept.
pub(super) fn list(at: &At<'_>, value: &Value) -> Checked {
    Ok(json!(at.strings(value)?))
}

/// A set of text: sorted, without repetition.
pub(super) fn set(at: &At<'_>, value: &Value) -> Checked {
    let set: BTreeSet<String> = at.strings(value)?.into_iter().collect();
    Ok(json!(set))
}

/// One text.
pub(super) fn text(at: &At<'_>, value: &Value) -> Checked {
    at.string(value)?;
    Ok(value.clone())
}

/// One boolean.
pub(super) fn boolean(at: &At<'_>, value: &Value) -> Checked {
    at.boolean(value)?;
    Ok(value.clone())
}

/// One integer from 0.
pub(super) fn positive_integer(at: &At<'_>, value: &Value) -> Checked {
    at.positive_integer(value)?;
    Ok(value.clone())
}

/// Fields that name documents of other indexes. Whether they may be set is asked elsewhere.
pub(super) fn foreign_keys(at: &At<'_>, value: &Value) -> Checked {
    const MEMBERS: &[&str] = &["foreignIndexUid", "fieldName"];
    for (index, key) in at.array(value)?.iter().enumerate() {
        let at = at.index(index);
        let key = at.object(key)?;
        for (name, value) in key {
            if !MEMBERS.contains(&name.as_str()) {
                return Err(at.unknown_field(name, MEMBERS));
            }
            at.inner(name).string(value)?;
        }
        if let Some(missing) = MEMBERS.iter().find(|name| !key.contains_key(**name)) {
            return Err(at.missing_field(missing, at.code()));
        }
    }
    Ok(value.clone())
}

pub(super) fn proximity_precision(at: &At<'_>, value: &Value) -> Checked {
    at.one_of(value, &["byWord", "byAttribute"])?;
    Ok(value.clone())
}

pub(super) fn prefix_search(at: &At<'_>, value: &Value) -> Checked {
    at.one_of(value, &["indexingTime", "disabled"])?;
    Ok(value.clone())
}

pub(super) fn synonyms(at: &At<'_>, value: &Value) -> Checked {
    for (word, equals) in at.object(value)? {
        at.inner(word).strings(equals)?;
    }
    Ok(value.clone())
}

/// The checked members of an object; `null` members reset and need no check.
pub(super) fn members(
    at: &At<'_>,
    value: &Value,
    accepted: &[&str],
    check: impl Fn(&At<'_>, &str, &Value) -> Checked,
) -> Result<Map<String, Value>, ResponseError> {
    let mut checked = Map::new();
    for (name, value) in at.object(value)? {
        if !accepted.contains(&name.as_str()) {
            return Err(at.unknown_field(name, accepted));
        }
        let value = if value.is_null() {
            Value::Null
        } else {
            check(&at.inner(name), name, value)?
        };
        checked.insert(name.clone(), value);
    }
    Ok(checked)
}

pub(super) fn typo_tolerance(at: &At<'_>, value: &Value) -> Checked {
    #[rustfmt::skip]
    const MEMBERS: &[&str] = &[
        "enabled", "minWordSizeForTypos", "disableOnWords", "disableOnAttributes",
        "disableOnNumbers",
    ];
    let checked = members(at, value, MEMBERS, |at, name, value| match name {
        "minWordSizeForTypos" => min_word_size(at, value),
        "disableOnWords" | "disableOnAttributes" => set(at, value),
        _ => boolean(at, value),
    })?;
    Ok(Value::Object(checked))
}

fn min_word_size(at: &At<'_>, value: &Value) -> Checked {
    let sizes = members(at, value, &["oneTypo", "twoTypos"], |at, _, value| {
        at.small_integer(value)?;
        Ok(value.clone())
    })?;
    let size = |name: &str| sizes.get(name).and_then(Value::as_u64);
    if let (Some(one), Some(two)) = (size("oneTypo"), size("twoTypos"))
        && one > two
    {
        return Err(at.unexpected(format_args!(
            "`minWordSizeForTypos` setting is invalid. `oneTypo` and `twoTypos` fields should be \
             between `0` and `255`, and `twoTypos` should be greater or equals to `oneTypo` but \
             found `oneTypo: {one}` and twoTypos: {two}`."
        )));
    }
    Ok(Value::Object(sizes))
}

pub(super) fn faceting(at: &At<'_>, value: &Value) -> Checked {
    const MEMBERS: &[&str] = &["maxValuesPerFacet", "sortFacetValuesBy"];
    let checked = members(at, value, MEMBERS, |at, name, value| {
        if name == "maxValuesPerFacet" {
            return positive_integer(at, value);
        }
        for (facet, order) in at.object(value)? {
            at.inner(facet).one_of(order, &["alpha", "count"])?;
        }
        Ok(value.clone())
    })?;
    Ok(Value::Object(checked))
}

pub(super) fn pagination(at: &At<'_>, value: &Value) -> Checked {
    let checked = members(at, value, &["maxTotalHits"], |at, _, value| {
        match at.positive_integer(value)? {
            0 => Err(at.unexpected(format_args!(
                "a non-zero integer value lower than `{}` was expected, but found a zero",
                u64::MAX
            ))),
            _ => Ok(value.clone()),
        }
    })?;
    Ok(Value::Object(checked))
}

pub(super) fn filterable_attributes(at: &At<'_>, value: &Value) -> Checked {
    let mut rules = Vec::new();
    for (index, rule) in at.array(value)?.iter().enumerate() {
        let at = at.index(index);
        rules.push(if rule.is_object() {
            filterable_rule(&at, rule)?
        } else {
            text(&at, rule)?
        });
    }
    Ok(Value::Array(rules))
}

fn filterable_rule(at: &At<'_>, rule: &Value) -> Checked {
    let mut patterns = None;
    let mut features = features_as_kept(false, true, false);
    for (name, value) in at.object(rule)? {
        match name.as_str() {
            "attributePatterns" => patterns = Some(at.inner(name).strings(value)?),
            "features" => features = filterable_features(&at.inner(name), value)?,
            _ => return Err(at.unknown_field(name, &["attributePatterns", "features"])),
        }
    }
    match patterns {
        Some(patterns) => Ok(json!({"attributePatterns": patterns, "features": features})),
        None => Err(at.missing_field("attributePatterns", at.code())),
    }
}

fn filterable_features(at: &At<'_>, value: &Value) -> Checked {
    let (mut facet_search, mut equality, mut comparison) = (false, true, false);
    for (name, value) in at.object(value)? {
        match name.as_str() {
            "facetSearch" => facet_search = at.inner(name).boolean(value)?,
            "filter" => (equality, comparison) = filter_features(&at.inner(name), value)?,
            _ => return Err(at.unknown_field(name, &["facetSearch", "filter"])),
        }
    }
    Ok(features_as_kept(facet_search, equality, comparison))
}

fn features_as_kept(facet_search: bool, equality: bool, comparison: bool) -> Value {
    json!({
        "facetSearch": facet_search,
        "filter": {"equality": equality, "comparison": comparison},
    })
}

fn filter_features(at: &At<'_>, value: &Value) -> Result<(bool, bool), ResponseError> {
    let (mut equality, mut comparison) = (true, false);
    for (name, value) in at.object(value)? {
        match name.as_str() {
            "equality" => equality = at.inner(name).boolean(value)?,
            "comparison" => comparison = at.inner(name).boolean(value)?,
            _ => return Err(at.unknown_field(name, &["equality", "comparison"])),
        }
    }
    Ok((equality, comparison))
}

pub(super) fn localized_attributes(at: &At<'_>, value: &Value) -> Checked {
    const MEMBERS: &[&str] = &["attributePatterns", "locales"];
    for (index, rule) in at.array(value)?.iter().enumerate() {
        let at = at.index(index);
        let rule = at.object(rule)?;
        for (name, value) in rule {
            match name.as_str() {
                "attributePatterns" => drop(at.inner(name).strings(value)?),
                "locales" => check_locales(&at.inner(name), value)?,
                _ => return Err(at.unknown_field(name, MEMBERS)),
            }
        }
        if let Some(missing) = MEMBERS.iter().find(|name| !rule.contains_key(**name)) {
            return Err(at.missing_field(missing, at.code()));
        }
    }
    Ok(value.clone())
}

pub(super) fn ranking_rules(at: &At<'_>, value: &Value) -> Checked {
    let mut has_attribute = false;
    let mut has_split_attribute = false;
    for (index, rule) in at.array(value)?.iter().enumerate() {
        let at = at.index(index);
        match at.string(rule)? {
            "words" | "typo" | "proximity" | "sort" | "exactness" => {}
            "attribute" => has_attribute = true,
            "attributeRank" | "wordPosition" => has_split_attribute = true,
            custom => check_custom_rule(&at, custom)?,
        }
    }
    if has_attribute && has_split_attribute {
        return Err(ResponseError::new(
            at.code(),
            "Mixed usage of the attribute, attributeRank, and wordPosition ranking rules. You must \
             either use the attribute ranking rule alone or the attributeRank and wordPosition \
             ranking rules.",
        ));
    }
    Ok(value.clone())
}

/// `field:asc` or `field:desc`, where the field is none of the reserved names.
fn check_custom_rule(at: &At<'_>, rule: &str) -> Result<(), ResponseError> {
    let field = match rule.rsplit_once(':') {
        Some((field, "asc" | "desc")) => field,
        _ => {
            return Err(at.unexpected(format_args!(
                "`{rule}` ranking rule is invalid. Valid ranking rules are words, typo, sort, \
                 proximity, attribute, exactness and custom ranking rules."
            )));
        }
    };
    let name = field.split('(').next().unwrap_or(field);
    let moment = match name {
        "_geoPoint" => Some("sorting"),
        "_geoRadius" | "_geoBoundingBox" => Some("filtering"),
        "_geo" | "_geoDistance" => None,
        _ => return Ok(()),
    };
    Err(match moment {
        Some(moment) => at.unexpected(format_args!(
            "`{name}` is a reserved keyword and thus can't be used as a ranking rule. `{name}` can \
             only be used for {moment} at search time"
        )),
        None => at.unexpected(format_args!(
            "`{field}` is a reserved keyword and thus can't be used as a ranking rule"
        )),
    })
}
