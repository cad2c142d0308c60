//! Dynamic search rules: what a request about them must be, in Meilisearch's words.

use crate::error::{Code, ResponseError};
use crate::index::{invalid_uid_reason, is_index_uid};
use crate::key::invalid_date_reason;
use crate::validate::{At, optional};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Rules on a page when the client names no number.
const LIMIT_DEFAULT: usize = 20;

/// The fields of an update, in the order in which they are shown.
const FIELDS: [&str; 5] = [
    "description",
    "precedence",
    "active",
    "conditions",
    "actions",
];

/// There is no such rule.
#[must_use]
pub fn rule_not_found(uid: &str) -> ResponseError {
    let message = format!("Dynamic search rule `{uid}` not found.");
    ResponseError::new(Code::DynamicSearchRuleNotFound, message)
}

/// Rules were asked for while they are off.
#[must_use]
pub fn rules_not_enabled(asked: &str) -> ResponseError {
    ResponseError::new(
        Code::FeatureNotEnabled,
        format!(
            "{asked} requires enabling the `dynamic search rules` experimental feature. See \
             https://github.com/orgs/meilisearch/discussions/884"
        ),
    )
}

/// Checks the body of `PATCH /dynamic-search-rules/{uid}`; returns it as it is kept and shown:
/// fields in their order, dates as Meilisearch writes them, and nothing that has no meaning.
///
/// # Errors
/// The first mistake.
pub fn read_update(body: &Value) -> Result<Map<String, Value>, ResponseError> {
    let root = At::root(Code::BadRequest);
    let mut read = Map::new();
    for (field, value) in root.object(body)? {
        let value = match field.as_str() {
            "description" => {
                let at = root.field("description", Code::InvalidDynamicSearchRuleDescription);
                optional(value, |value| at.string(value).map(Value::from))?
            }
            "precedence" => {
                let at = root.field("precedence", Code::InvalidDynamicSearchRulePriority);
                optional(value, |value| at.positive_integer(value).map(Value::from))?
            }
            "active" => {
                let at = root.field("active", Code::InvalidDynamicSearchRuleActive);
                optional(value, |value| at.boolean(value).map(Value::from))?
            }
            "conditions" => {
                let at = root.field("conditions", Code::InvalidDynamicSearchRuleConditions);
                optional(value, |value| read_conditions(&at, value))?
            }
            "actions" => {
                let at = root.field("actions", Code::InvalidDynamicSearchRuleActions);
                optional(value, |value| read_actions(&at, value))?
            }
            _ => return Err(root.unknown_field(field, &FIELDS)),
        };
        read.insert(field.clone(), value.unwrap_or(Value::Null));
    }
    Ok(ordered(read, &FIELDS))
}

fn read_conditions(at: &At<'_>, value: &Value) -> Result<Value, ResponseError> {
    const ACCEPTED: [&str; 3] = ["time", "query", "filter"];
    let mut read = Map::new();
    for (field, value) in at.object(value)? {
        let inner = at.inner(field);
        let value = match field.as_str() {
            "time" => optional(value, |value| read_time(&inner, value))?,
            "query" => optional(value, |value| read_query(&inner, value))?,
            "filter" => optional(value, |value| read_filter(&inner, value))?,
            _ => return Err(at.unknown_field(field, &ACCEPTED)),
        };
        read.extend(value.map(|value| (field.clone(), value)));
    }
    // What is wrong between fields is told last, and under the code of the whole.
    let at = at.with_code(Code::BadRequest);
    let words = read.get("query").filter(|query| query["isEmpty"] == true);
    if words.is_some_and(|query| query.get("words").is_some()) {
        let reason = "either `isEmpty` or `words` can be used, not both at once";
        return Err(at.inner("query").unexpected(reason));
    }
    let date = |name: &str| {
        let text = read.get("time")?.get(name)?.as_str()?;
        OffsetDateTime::parse(text, &Rfc3339).ok()
    };
    if let (Some(start), Some(end)) = (date("start"), date("end"))
        && start > end
    {
        let reason = format!("`end` (`{end}`) should be later than `start` (`{start}`)");
        return Err(at.inner("time").unexpected(reason));
    }
    Ok(Value::Object(ordered(read, &ACCEPTED)))
}

/// Fields that mean nothing are passed over here, as by Meilisearch.
fn read_time(at: &At<'_>, value: &Value) -> Result<Value, ResponseError> {
    let mut read = Map::new();
    for (field, value) in at.object(value)? {
        if !matches!(field.as_str(), "start" | "end") {
            continue;
        }
        let at = at.inner(field);
        let date = optional(value, |value| {
            let text = at.string(value)?;
            let date = OffsetDateTime::parse(text, &Rfc3339).ok();
            let date = date.and_then(|date| date.format(&Rfc3339).ok());
            date.ok_or_else(|| at.unexpected(invalid_date_reason(text)))
        })?;
        read.extend(date.map(|date| (field.clone(), date.into())));
    }
    Ok(Value::Object(ordered(read, &["start", "end"])))
}

fn read_query(at: &At<'_>, value: &Value) -> Result<Value, ResponseError> {
    const ACCEPTED: [&str; 2] = ["isEmpty", "words"];
    let mut read = Map::new();
    for (field, value) in at.object(value)? {
        let inner = at.inner(field);
        let value = match field.as_str() {
            "isEmpty" => optional(value, |value| inner.boolean(value).map(Value::from))?,
            "words" => optional(value, |value| inner.string(value).map(Value::from))?,
            _ => return Err(at.unknown_field(field, &ACCEPTED)),
        };
        read.extend(value.map(|value| (field.clone(), value)));
    }
    Ok(Value::Object(ordered(read, &ACCEPTED)))
}

fn read_filter(at: &At<'_>, value: &Value) -> Result<Value, ResponseError> {
    let mut values = Map::new();
    for (field, value) in at.object(value)? {
        match field.as_str() {
            "values" => values.clone_from(at.inner("values").object(value)?),
            _ => return Err(at.unknown_field(field, &["values"])),
        }
    }
    Ok(json!({ "values": values }))
}

fn read_actions(at: &At<'_>, value: &Value) -> Result<Value, ResponseError> {
    let mut actions = Vec::new();
    for (index, value) in at.array(value)?.iter().enumerate() {
        actions.push(read_action(&at.index(index), value)?);
    }
    Ok(actions.into())
}

fn read_action(at: &At<'_>, value: &Value) -> Result<Value, ResponseError> {
    const ACCEPTED: [&str; 2] = ["selector", "action"];
    let mut read = Map::new();
    for (field, value) in at.object(value)? {
        let inner = at.inner(field);
        let value = match field.as_str() {
            "selector" => read_selector(&inner, value)?,
            "action" => read_pin(&inner, value)?,
            _ => return Err(at.unknown_field(field, &ACCEPTED)),
        };
        read.insert(field.clone(), value);
    }
    for name in ACCEPTED {
        if !read.contains_key(name) {
            return Err(at.missing_field(name, at.code()));
        }
    }
    Ok(Value::Object(ordered(read, &ACCEPTED)))
}

fn read_selector(at: &At<'_>, value: &Value) -> Result<Value, ResponseError> {
    const ACCEPTED: [&str; 2] = ["indexUid", "id"];
    let mut read = Map::new();
    for (field, value) in at.object(value)? {
        let inner = at.inner(field);
        match field.as_str() {
            "indexUid" => {
                let uid = optional(value, |value| {
                    let uid = inner.string(value)?;
                    match is_index_uid(uid) {
                        true => Ok(Value::from(uid)),
                        false => Err(inner.unexpected(invalid_uid_reason(uid))),
                    }
                })?;
                read.extend(uid.map(|uid| (field.clone(), uid)));
            }
            "id" => {
                read.insert(field.clone(), inner.string(value)?.into());
            }
            _ => return Err(at.unknown_field(field, &ACCEPTED)),
        }
    }
    if !read.contains_key("id") {
        return Err(at.missing_field("id", at.code()));
    }
    Ok(Value::Object(ordered(read, &ACCEPTED)))
}

/// The kind of an action is read before its other fields.
fn read_pin(at: &At<'_>, value: &Value) -> Result<Value, ResponseError> {
    let object = at.object(value)?;
    let Some(kind) = object.get("type") else {
        return Err(at.missing_field("type", at.code()));
    };
    if at.inner("type").string(kind)? != "pin" {
        return Err(at.unexpected("Incorrect tag value"));
    }
    let mut position = None;
    for (field, value) in object {
        match field.as_str() {
            "type" => {}
            "position" => {
                let at = at.inner("position");
                let number = at.positive_integer(value)?;
                position = Some(u32::try_from(number).map_err(|_| {
                    at.unexpected(format_args!(
                        "value: `{number}` is too large to be deserialized, maximum value \
                         authorized is `{}`",
                        u32::MAX
                    ))
                })?);
            }
            _ => return Err(at.unknown_field(field, &["position"])),
        }
    }
    match position {
        Some(position) => Ok(json!({"type": "pin", "position": position})),
        None => Err(at.missing_field("position", at.code())),
    }
}

fn ordered(mut read: Map<String, Value>, names: &[&str]) -> Map<String, Value> {
    let fields = names.iter();
    let fields = fields.filter_map(|name| read.shift_remove_entry(*name));
    fields.collect()
}

/// Which rules are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleListing {
    /// How many to skip.
    pub offset: usize,
    /// The most to show.
    pub limit: usize,
    /// Words in them.
    pub query: Option<String>,
    /// Only those that are active, or that are not.
    pub active: Option<bool>,
}

/// Checks the body of `POST /dynamic-search-rules`.
///
/// # Errors
/// The first mistake.
pub fn read_listing(body: &Value) -> Result<RuleListing, ResponseError> {
    let root = At::root(Code::BadRequest);
    let mut listing = RuleListing {
        offset: 0,
        limit: LIMIT_DEFAULT,
        query: None,
        active: None,
    };
    for (field, value) in root.object(body)? {
        match field.as_str() {
            "offset" => {
                let at = root.field("offset", Code::InvalidDynamicSearchRuleOffset);
                listing.offset = at.size(value)?;
            }
            "limit" => {
                let at = root.field("limit", Code::InvalidDynamicSearchRuleLimit);
                listing.limit = at.size(value)?;
            }
            "filter" => {
                let at = root.field("filter", Code::InvalidDynamicSearchRuleFilter);
                let filter = optional(value, |value| at.object(value).cloned())?;
                read_listing_filter(&at, &filter.unwrap_or_default(), &mut listing)?;
            }
            _ => return Err(root.unknown_field(field, &["offset", "limit", "filter"])),
        }
    }
    Ok(listing)
}

fn read_listing_filter(
    at: &At<'_>,
    filter: &Map<String, Value>,
    listing: &mut RuleListing,
) -> Result<(), ResponseError> {
    for (field, value) in filter {
        match field.as_str() {
            "query" => {
                let at = at.field("query", Code::InvalidDynamicSearchRuleFilterQuery);
                listing.query = optional(value, |value| Ok(at.string(value)?.to_owned()))?;
            }
            "active" => {
                let at = at.field("active", Code::InvalidDynamicSearchRuleFilterActive);
                listing.active = optional(value, |value| at.boolean(value))?;
            }
            _ => return Err(at.unknown_field(field, &["query", "active"])),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_is_kept_in_the_order_of_its_fields() {
        let read = read_update(&json!({
            "actions": [{
                "action": {"position": 1, "type": "pin"},
                "selector": {"id": "1", "indexUid": null},
            }],
            "conditions": {
                "query": {"words": "red", "isEmpty": null},
                "time": {"end": "2026-01-01T00:00:00.500Z", "start": null, "any": 3},
                "filter": null,
            },
            "description": null,
        }));
        let expected = json!({
            "description": null,
            "conditions": {"time": {"end": "2026-01-01T00:00:00.5Z"}, "query": {"words": "red"}},
            "actions": [{"selector": {"id": "1"}, "action": {"type": "pin", "position": 1}}],
        });
        assert_eq!(
            Value::Object(read.unwrap()).to_string(),
            expected.to_string()
        );
    }

    #[test]
    fn mistakes_are_told_in_meilisearch_words() {
        let refused = |body: Value| {
            let error = read_update(&body).expect_err("it is wrong");
            format!("{}: {}", error.code, error.message)
        };
        let action =
            |action: Value| json!({"actions": [{"selector": {"id": "1"}, "action": action}]});
        for (body, message) in [
            (
                json!({"conditions": {"query": {"isEmpty": true, "words": "a"}}}),
                "bad_request: Invalid value at `.conditions.query`: either `isEmpty` or `words` \
                 can be used, not both at once",
            ),
            (
                json!({"conditions": {"time": {"start": "2025-01-01T00:00:00Z", "end": "2024-01-01T00:00:00Z"}}}),
                "bad_request: Invalid value at `.conditions.time`: `end` (`2024-01-01 0:00:00.0 \
                 +00:00:00`) should be later than `start` (`2025-01-01 0:00:00.0 +00:00:00`)",
            ),
            (
                json!({"conditions": {"foo": 1}}),
                "invalid_dynamic_search_rule_conditions: Unknown field `foo` inside \
                 `.conditions`: expected one of `time`, `query`, `filter`",
            ),
            (
                action(json!({"type": "pon", "position": 1})),
                "invalid_dynamic_search_rule_actions: Invalid value at `.actions[0].action`: \
                 Incorrect tag value",
            ),
            (
                action(json!({"position": 1})),
                "invalid_dynamic_search_rule_actions: Missing field `type` inside \
                 `.actions[0].action`",
            ),
            (
                action(json!({"type": "pin", "position": 4_294_967_296_u64})),
                "invalid_dynamic_search_rule_actions: Invalid value at \
                 `.actions[0].action.position`: value: `4294967296` is too large to be \
                 deserialized, maximum value authorized is `4294967295`",
            ),
            (
                json!({"precedence": -1}),
                "invalid_dynamic_search_rule_priority: Invalid value type at `.precedence`: \
                 expected a positive integer, but found a negative integer: `-1`",
            ),
        ] {
            assert_eq!(refused(body), message);
        }
    }

    #[test]
    fn a_listing_has_twenty_rules_unless_it_says_otherwise() {
        let read = |body: Value| read_listing(&body);
        let listing = read(json!({"filter": null})).unwrap();
        assert_eq!(
            (listing.offset, listing.limit, listing.active),
            (0, 20, None)
        );
        let listing =
            read(json!({"filter": {"active": false, "query": "a"}, "offset": 3})).unwrap();
        assert_eq!((listing.offset, listing.active), (3, Some(false)));
        let error = read(json!({"filter": {"active": 3}})).expect_err("it is no boolean");
        assert_eq!(&*error.code, "invalid_dynamic_search_rule_filter_active");
    }
}
