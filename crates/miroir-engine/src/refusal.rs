//! Refusals that nodes would word wrongly, or not give at all, because Miroir made more fields
//! usable on them than the client's index has: here the client reads what one Meilisearch holding
//! that index would say.

use crate::engine::Engine;
use crate::error::EngineError;
use crate::features::FOREIGN_KEYS;
use crate::port::{IndexRecord, NodeError, NodeRead};
use crate::state::NodeView;
use crate::translate::without_hidden;
use bytes::Bytes;
use miroir_core::id::{IndexUid, PhysicalIndex};
use miroir_core::merge::SearchPlanError;
use miroir_core::reserved::{RESERVED_PREFIX, is_reserved};
use miroir_core::settings::{self, Settings, SettingsFacts};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// A name that no node has: those of physical indexes end with a number.
pub(crate) const NO_INDEX: &str = "miroir-no-such-index";

impl Engine {
    /// Checks the syntax of a filter, which Meilisearch does before it looks for the index: a node is
    /// asked, since only it knows its version's grammar. Without a node that answers the filter
    /// passes; whoever applies it will find the mistake again.
    ///
    /// # Errors
    /// [`EngineError::Refused`] in the node's words, with `code` as the code of a wrong filter.
    pub async fn check_filter_syntax(
        &self,
        filter: &Value,
        code: &'static str,
    ) -> Result<(), EngineError> {
        let shared = self.shared();
        let snapshot = shared.snapshot.load_full();
        let body = Bytes::from(json!({ "filter": filter, "limit": 0 }).to_string());
        for (node, _) in snapshot
            .nodes
            .iter()
            .filter(|(_, view)| NodeView::is_readable(view))
        {
            let index = PhysicalIndex::from_stored(NO_INDEX);
            let read = NodeRead::Search {
                index,
                body: body.clone(),
            };
            let timeout = shared.config.search_timeout;
            match shared.ports.nodes.read(node, read, timeout).await {
                Err(NodeError::Refused {
                    code: found,
                    status,
                    mut body,
                    ..
                }) => {
                    return match found.as_str() {
                        "invalid_search_filter" => {
                            body["code"] = code.into();
                            body["link"] =
                                format!("https://docs.meilisearch.com/errors#{code}").into();
                            Err(EngineError::Refused { status, body })
                        }
                        // Miroir answers these conditions itself, and nodes know nothing of it.
                        "feature_not_enabled"
                            if is_foreign_refusal(&body) && self.has_feature(FOREIGN_KEYS) =>
                        {
                            Ok(())
                        }
                        "feature_not_enabled" => Err(EngineError::Refused { status, body }),
                        _ => Ok(()),
                    };
                }
                Ok(_) => return Ok(()),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Refuses a filter that names a field which only nodes have.
    ///
    /// # Errors
    /// [`EngineError::IndexNotFound`], and [`EngineError::Client`] with `code`.
    pub fn check_filter_fields(
        &self,
        uid: &IndexUid,
        filter: &Value,
        code: &'static str,
    ) -> Result<(), EngineError> {
        let snapshot = self.shared().snapshot.load();
        let record = &snapshot.index(uid)?.record;
        match reserved_filter(filter, record, names_index(code)) {
            Some(message) => Err(EngineError::Client { code, message }),
            None => Ok(()),
        }
    }

    /// Refuses to sort by a field which only nodes have.
    ///
    /// # Errors
    /// [`EngineError::IndexNotFound`], and [`EngineError::Client`] with `code`.
    pub fn check_sort_fields(
        &self,
        uid: &IndexUid,
        sort: &[String],
        code: &'static str,
    ) -> Result<(), EngineError> {
        let snapshot = self.shared().snapshot.load();
        let record = &snapshot.index(uid)?.record;
        let fields = sort
            .iter()
            .map(|rule| rule.rsplit_once(':').map_or(rule.as_str(), |(f, _)| f));
        match fields.into_iter().find(|field| is_reserved(field)) {
            Some(field) => Err(not_sortable(record, field, code)),
            None => Ok(()),
        }
    }
}

/// A node with foreign keys off found nothing else wrong with a filter than that it uses them.
fn is_foreign_refusal(body: &Value) -> bool {
    let message = body.get("message").and_then(Value::as_str);
    message.is_some_and(|message| message.starts_with("using a foreign filter"))
}

const NONE_FILTERABLE: &str = "This index does not have configured filterable attributes.";

/// What is said of a filter that names a reserved field, if it does: what Meilisearch says of any
/// field that is not filterable.
pub(crate) fn reserved_filter(
    filter: &Value,
    record: &IndexRecord,
    names_index: bool,
) -> Option<String> {
    let distinct = settings::distinct_attribute(&record.settings)
        .filter(|name| !settings::is_filterable(&record.settings, name));
    let (text, found) = hidden_in(filter, distinct)?;
    let available = match listed(&filterable(&record.settings), "`, `") {
        Some(names) => format!("Available filterable attribute patterns are: {names}."),
        None => NONE_FILTERABLE.to_owned(),
    };
    let name = found.name;
    let (from, to) = (found.at + 1, found.at + 1 + name.chars().count());
    let prefix = prefix(&record.uid, names_index);
    Some(format!(
        "{prefix}Attribute `{name}` is not filterable. {available}\n{from}:{to} {text}"
    ))
}

/// What the client is told of a search that cannot be planned.
pub(crate) fn plan_error(error: SearchPlanError, record: &IndexRecord) -> EngineError {
    let (parameter, name) = match error {
        SearchPlanError::Unsupported(what) => return EngineError::Unsupported(what.to_string()),
        SearchPlanError::Reserved { parameter, name } => (parameter, name),
    };
    if parameter == "sort" {
        return not_sortable(record, &name, "invalid_search_sort");
    }
    let available = match listed(&filterable(&record.settings), ", ") {
        Some(names) => format!("Available filterable attributes patterns are: {names}."),
        None => NONE_FILTERABLE.to_owned(),
    };
    // Only a rule that does not allow it can match: else the name would be usable.
    let rule = settings::filter_features(&record.settings, &name).map(|(rule, _)| rule);
    let rule = rule.filter(|_| !is_reserved(&name));
    if parameter == "facets" {
        let reason = match rule {
            Some(rule) => format!(
                "Attribute `{name}` matched rule #{rule} in filterableAttributes, but this rule \
                 does not enable filtering.\nHint: enable filtering in rule #{rule} by modifying \
                 the features.filter object\nHint: prepend another rule matching `{name}` with \
                 appropriate filter features before rule #{rule}"
            ),
            None => format!("Pattern `{name}` is not filterable. {available}"),
        };
        return EngineError::Client {
            code: "invalid_search_facets",
            message: format!("Invalid facet distribution: {reason}"),
        };
    }
    let reason = match rule {
        Some(rule) => format!(
            "Note: this attribute matches rule #{rule} in filterableAttributes, but this rule does \
             not enable filtering.\nHint: enable filtering in rule #{rule} by adding appropriate \
             filter features.\nHint: prepend another rule matching {name} with filter features \
             before rule #{rule}"
        ),
        None => available,
    };
    let message = format!(
        "Index `{}`: Attribute `{name}` is not filterable and thus, cannot be used as distinct \
         attribute. {reason}",
        record.uid
    );
    as_shown(record, "invalid_search_distinct", &message)
}

/// The refusal as a client reads it who may not see all attributes.
fn as_shown(record: &IndexRecord, code: &'static str, message: &str) -> EngineError {
    let displayed = settings::displayed_attributes(&record.settings);
    let message = without_hidden(code, message, displayed.as_deref());
    EngineError::Client { code, message }
}

/// The number of rules that Miroir puts before the client's filterable attributes on the nodes.
pub(crate) fn hidden_rule_count(logical: &Settings, facts: &SettingsFacts) -> usize {
    let patch = Map::from_iter([("filterableAttributes".to_owned(), Value::Null)]);
    let sent = settings::to_node_settings(&patch, logical, facts);
    let count = |settings: &Settings| {
        settings
            .get("filterableAttributes")
            .and_then(Value::as_array)
            .map_or(0, Vec::len)
    };
    count(&sent).saturating_sub(count(logical))
}

fn not_sortable(record: &IndexRecord, field: &str, code: &'static str) -> EngineError {
    let names = record
        .settings
        .get("sortableAttributes")
        .and_then(Value::as_array);
    let names = names
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let available = match listed(&names, ", ") {
        Some(names) => format!("Available sortable attributes are: {names}."),
        None => "This index does not have configured sortable attributes.".to_owned(),
    };
    let prefix = prefix(&record.uid, names_index(code));
    let message = format!("{prefix}Attribute `{field}` is not sortable. {available}");
    as_shown(record, code, &message)
}

/// Refusals of searches (and failed tasks) name the index, those of listings do not.
fn names_index(code: &str) -> bool {
    code.starts_with("invalid_search")
}

fn prefix(uid: &IndexUid, names_index: bool) -> String {
    if names_index {
        format!("Index `{uid}`: ")
    } else {
        String::new()
    }
}

fn filterable(settings: &Settings) -> BTreeSet<&str> {
    let rules = settings
        .get("filterableAttributes")
        .and_then(Value::as_array);
    let mut patterns = BTreeSet::new();
    for rule in rules.into_iter().flatten() {
        if !settings::allows_filtering(rule) {
            continue;
        }
        let listed = rule.get("attributePatterns").and_then(Value::as_array);
        patterns.extend(rule.as_str());
        patterns.extend(listed.into_iter().flatten().filter_map(Value::as_str));
    }
    patterns
}

/// Names in backticks, `None` for no name.
fn listed(names: &BTreeSet<&str>, separator: &str) -> Option<String> {
    let names: Vec<&str> = names.iter().copied().collect();
    (!names.is_empty()).then(|| format!("`{}`", names.join(separator)))
}

/// A reserved field in a filter.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// Characters before it.
    at: usize,
    name: String,
}

/// The first expression of a filter that names a field which only nodes can filter by: a reserved
/// one, or the distinct attribute if it is given.
fn hidden_in<'f>(filter: &'f Value, distinct: Option<&str>) -> Option<(&'f str, Found)> {
    match filter {
        Value::String(text) => Some((text.as_str(), hidden_attribute(text, distinct)?)),
        Value::Array(all) => all.iter().find_map(|filter| hidden_in(filter, distinct)),
        _ => None,
    }
}

/// The first such name that stands where an attribute stands: something other than the end of a
/// condition follows. As a value it is as good as any.
fn hidden_attribute(text: &str, distinct: Option<&str>) -> Option<Found> {
    let is_hidden = |name: &str| is_reserved(name) || Some(name) == distinct;
    if !text.contains(RESERVED_PREFIX) && !distinct.is_some_and(|name| text.contains(name)) {
        return None;
    }
    let chars: Vec<char> = text.chars().collect();
    let is_word = |c: char| !c.is_whitespace() && !"()[],=!<>\"'".contains(c);
    let mut at = 0;
    while at < chars.len() {
        let (start, end, after) = match chars[at] {
            quote @ ('"' | '\'') => {
                let mut end = at + 1;
                while end < chars.len() && chars[end] != quote {
                    end += if chars[end] == '\\' { 2 } else { 1 };
                }
                let end = end.min(chars.len());
                (at + 1, end, end + 1)
            }
            c if is_word(c) => {
                let length = chars[at..].iter().take_while(|c| is_word(**c)).count();
                (at, at + length, at + length)
            }
            _ => {
                at += 1;
                continue;
            }
        };
        let name: String = chars.get(start..end).unwrap_or_default().iter().collect();
        let rest: String = chars.get(after..).unwrap_or_default().iter().collect();
        if is_hidden(&name) && !ends_condition(&rest) {
            return Some(Found { at: start, name });
        }
        at = after;
    }
    None
}

fn ends_condition(rest: &str) -> bool {
    let rest = rest.trim_start();
    let word = rest
        .split(|c: char| c.is_whitespace() || c == '(')
        .next()
        .unwrap_or_default();
    rest.is_empty() || rest.starts_with([')', ',', ']']) || matches!(word, "AND" | "OR")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_found_where_attributes_stand() {
        let found =
            |text: &str| hidden_attribute(text, Some("sku")).map(|found| (found.at, found.name));
        let tag = |at| Some((at, "_miroir_shard".to_owned()));
        assert_eq!(found("_miroir_shard = 1"), tag(0));
        assert_eq!(found("a = 1 AND NOT (_miroir_shard EXISTS)"), tag(15));
        assert_eq!(found("é = 1 OR '_miroir_shard' IN [a]"), tag(10));
        assert_eq!(found("\"_miroir_shard\" 1 TO 2"), tag(1));
        assert_eq!(found("a = sku AND sku = 1"), Some((12, "sku".to_owned())));
        for harmless in [
            "a = _miroir_shard",
            "a = sku AND sku2 = 1",
            "a = '_miroir_shard' AND b = 1",
            "(a = _miroir_x) OR b = 2",
            "a IN [_miroir_x, b]",
            "a = \"x _miroir_shard = 1\"",
            "'unended _miroir_",
            "a = '\\",
        ] {
            assert_eq!(found(harmless), None, "{harmless}");
        }
    }

    #[test]
    fn the_rules_of_miroir_are_counted() {
        let logical = |value: Value| value.as_object().cloned().unwrap_or_default();
        let facts = SettingsFacts::default();
        let count = |value| hidden_rule_count(&logical(value), &facts);
        assert_eq!(count(json!({})), 1);
        assert_eq!(count(json!({"filterableAttributes": ["a", "b"]})), 1);
        assert_eq!(
            count(json!({"filterableAttributes": ["a"], "distinctAttribute": "b"})),
            2
        );
        assert_eq!(
            count(json!({"filterableAttributes": ["a"], "distinctAttribute": "a"})),
            1
        );
    }
}
