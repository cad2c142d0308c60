//! Takes our names out of what nodes say, so that clients read of their index and their fields.

use miroir_core::id::{IndexUid, PhysicalIndex};
use miroir_core::reserved::{DISTINCT_MARK, SEQ_FIELD, SHARD_FIELD};
use serde_json::Value;

/// A node's error object with the client's index name and without reserved fields.
#[must_use]
pub(crate) fn translate_error(mut error: Value, physical: &PhysicalIndex, uid: &IndexUid) -> Value {
    if let Some(Value::String(message)) = error.get_mut("message") {
        *message = translate_text(message, physical, uid);
    }
    error
}

/// The same for a message alone.
///
/// A list of attributes loses the reserved ones; a list of nothing else reads as Meilisearch says
/// it of an index without any.
#[must_use]
pub(crate) fn translate_text(text: &str, physical: &PhysicalIndex, uid: &IndexUid) -> String {
    let mut text = without_shard_filter(&text.replace(physical.as_str(), uid.as_str()));
    for field in [SHARD_FIELD, SEQ_FIELD] {
        // Lists come as `a, b` or as `a`, `b`, by the server's version.
        for (listed, rest) in [
            (format!("`{field}`, "), ""),
            (format!(", `{field}`"), ""),
            (format!("`{field}, "), "`"),
            (format!(", {field}"), ""),
        ] {
            text = text.replace(&listed, rest);
        }
        for (kind, none) in [
            ("filterable attribute patterns", "filterable attributes"),
            ("filterable attributes patterns", "filterable attributes"),
            ("filterable attributes", "filterable attributes"),
            ("sortable attributes", "sortable attributes"),
        ] {
            let only = format!("Available {kind} are: `{field}`.");
            text = text.replace(
                &only,
                &format!("This index does not have configured {none}."),
            );
        }
    }
    text
}

/// Takes the distinct attribute out of a proposal of filterable attributes where it stands only
/// because Miroir made it filterable on nodes, which the mark beside it tells.
pub(crate) fn hide_distinct(error: &mut Value, attribute: Option<&str>) {
    if let Some(Value::String(message)) = error.get_mut("message") {
        *message = without_distinct(message, attribute);
    }
}

fn without_distinct(text: &str, attribute: Option<&str>) -> String {
    let shorten = || {
        let opening = "Available filterable attribute";
        let (before, proposal) = text.split_once(opening)?;
        let (kind, list) = proposal.split_once(" are: `")?;
        let (list, after) = list.split_once("`.")?;
        // By the server's version each has its own signs or all have one pair.
        let between = if list.contains("`, `") { "`, `" } else { ", " };
        if list.split(between).all(|name| name != DISTINCT_MARK) {
            return None;
        }
        let is_own = |name: &&str| *name != DISTINCT_MARK && Some(*name) != attribute;
        let own: Vec<&str> = list.split(between).filter(is_own).collect();
        if own.is_empty() {
            return Some(format!(
                "{before}This index does not have configured filterable attributes.{after}"
            ));
        }
        let own = own.join(between);
        Some(format!("{before}{opening}{kind} are: `{own}`.{after}"))
    };
    shorten().unwrap_or_else(|| text.to_owned())
}

/// Takes Miroir's condition out of the filter that a message shows below itself as
/// `from:to filter`, and moves the positions (in characters) accordingly.
fn without_shard_filter(text: &str) -> String {
    let shorten = || {
        let (said, shown) = text.rsplit_once('\n')?;
        let (range, filter) = shown.split_once(' ')?;
        let (from, to) = range.split_once(':')?;
        let (from, to): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
        let (before, clients) = match behind_shards(filter) {
            Some(end) => filter.split_at_checked(end)?,
            None => ("", before_shards(filter)?),
        };
        let mut gone = before.chars().count();
        // What is no conjunction by itself stands in parentheses only because of the one taken out.
        let inner = whole_parenthesis(clients);
        gone += usize::from(inner.is_some());
        let (from, to) = (from.checked_sub(gone)?, to.checked_sub(gone)?);
        Some(format!("{said}\n{from}:{to} {}", inner.unwrap_or(clients)))
    };
    shorten().unwrap_or_else(|| text.to_owned())
}

/// Where the client's own filter begins, if Miroir's condition stands before it.
fn behind_shards(filter: &str) -> Option<usize> {
    let condition = filter.strip_prefix('(')?;
    let (condition, end) = match condition.strip_prefix("NOT (") {
        Some(condition) => (condition, "])) AND "),
        None => (condition, "]) AND "),
    };
    condition.strip_prefix(&format!("\"{SHARD_FIELD}\" "))?;
    // Tags hold no bracket.
    Some(filter.find(end)? + end.len())
}

/// The client's own filter, if Miroir's condition stands behind it.
fn before_shards(filter: &str) -> Option<&str> {
    let mut starts = [" AND (", " AND (NOT ("].into_iter();
    let start = starts.find_map(|start| filter.rfind(&format!("{start}\"{SHARD_FIELD}\" ")));
    filter
        .get(..start?)
        .filter(|_| filter.ends_with("])") || filter.ends_with("]))"))
}

/// What is inside, if one pair of parentheses encloses the whole text.
fn whole_parenthesis(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let (mut depth, mut is_quoted, mut is_escaped) = (0_usize, false, false);
    for c in inner.chars() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            '(' if !is_quoted => depth += 1,
            ')' if !is_quoted => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    Some(inner)
}

/// [`without_hidden`] of a node's error object.
pub(crate) fn hide_attributes(error: &mut Value, displayed: Option<&[String]>) {
    let code = error["code"].as_str().unwrap_or_default().to_owned();
    if let Some(Value::String(message)) = error.get_mut("message") {
        *message = without_hidden(&code, message, displayed);
    }
}

/// Takes the attributes that clients may not see out of the list of those that a refusal of this
/// code proposes: nodes display all, and so propose all.
pub(crate) fn without_hidden(code: &str, text: &str, displayed: Option<&[String]>) -> String {
    let kind = match code {
        "invalid_search_sort" => "sortable attributes",
        "invalid_search_distinct" => "filterable attributes patterns",
        "invalid_search_attributes_to_search_on" => "searchable attributes",
        "invalid_facet_search_facet_name" => "facet-searchable attributes patterns",
        _ => return text.to_owned(),
    };
    let opening = format!("Available {kind} are: `");
    let shorten = || {
        let displayed = displayed?;
        let (before, list) = text.split_once(&opening)?;
        let (list, after) = list.split_once("`.")?;
        let names: Vec<&str> = list.split(", ").collect();
        let is_shown = |name: &&str| displayed.iter().any(|displayed| displayed == name);
        let shown: Vec<&str> = names.iter().copied().filter(is_shown).collect();
        if shown.len() == names.len() {
            return None;
        }
        if shown.is_empty() && kind != "searchable attributes" {
            let kind = kind.strip_suffix(" patterns").unwrap_or(kind);
            return Some(format!(
                "{before}This index does not have configured {kind}.{after}"
            ));
        }
        let shown = shown.join(", ");
        Some(format!(
            "{before}{opening}{shown}, <..hidden-attributes>`.{after}"
        ))
    };
    shorten().unwrap_or_else(|| text.to_owned())
}

/// Counts the rules of `filterableAttributes` that a message names (`rule #3`) without the first
/// `hidden` ones, which are Miroir's.
pub(crate) fn renumber_rules(error: &mut Value, hidden: usize) {
    const RULE: &str = "rule #";
    let Some(Value::String(message)) = error.get_mut("message") else {
        return;
    };
    let mut parts = message.split(RULE);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        text.push_str(RULE);
        match number
            .parse::<usize>()
            .ok()
            .and_then(|number| number.checked_sub(hidden))
        {
            Some(number) => text.push_str(&number.to_string()),
            None => text.push_str(number),
        }
        text.push_str(rest);
    }
    *message = text;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_attribute_that_only_miroir_made_filterable_is_not_proposed() {
        let check = |list: &str, expected: &str| {
            let text = format!("Attribute `x` is not filterable. {list}\n2:3 \"x\"");
            let expected = format!("Attribute `x` is not filterable. {expected}\n2:3 \"x\"");
            assert_eq!(without_distinct(&text, Some("author")), expected);
        };
        let nothing = "This index does not have configured filterable attributes.";
        check(
            "Available filterable attribute patterns are: `_miroir_distinct`, `author`, `code`.",
            "Available filterable attribute patterns are: `code`.",
        );
        check(
            "Available filterable attribute patterns are: `Code`, `_miroir_distinct`, `authors`, `author`.",
            "Available filterable attribute patterns are: `Code`, `authors`.",
        );
        check(
            "Available filterable attributes patterns are: `_miroir_distinct, author, code`.",
            "Available filterable attributes patterns are: `code`.",
        );
        check(
            "Available filterable attribute patterns are: `_miroir_distinct`, `author`.",
            nothing,
        );
        // The client's own.
        let own = "Available filterable attribute patterns are: `author`, `code`.";
        check(own, own);
        check(nothing, nothing);
    }

    #[test]
    fn what_is_not_displayed_is_not_proposed() {
        let displayed = ["b".to_owned(), "id".to_owned()];
        let check = |code: &str, text: &str, expected: &str| {
            assert_eq!(without_hidden(code, text, Some(&displayed)), expected);
            assert_eq!(without_hidden(code, text, None), text);
        };
        check(
            "invalid_search_sort",
            "Attribute `x` is not sortable. Available sortable attributes are: `a, b`.",
            "Attribute `x` is not sortable. Available sortable attributes are: `b, <..hidden-attributes>`.",
        );
        check(
            "invalid_search_distinct",
            "No. Available filterable attributes patterns are: `a, c`.",
            "No. This index does not have configured filterable attributes.",
        );
        // Only lists of names by which documents are told apart, sorted or searched are cut.
        let facets = "No. Available filterable attributes patterns are: `a, c`.";
        check("invalid_search_facets", facets, facets);
    }

    #[test]
    fn the_shard_filter_leaves_a_shown_filter_and_its_positions() {
        let tags = r#"("_miroir_shard" IN ["⊰⊰", "⊰⊱"]) AND "#;
        let not = r#"(NOT ("_miroir_shard" IN ["⊰⊰"])) AND "#;
        let shifted = |prefix: &str, by: usize| prefix.chars().count() + by;
        let from = shifted(tags, 3);
        check(
            &format!(
                "Attribute `t` x.\n{from}:{} {tags}(\"t\" = \"(\")",
                from + 1
            ),
            "Attribute `t` x.\n2:3 \"t\" = \"(\"",
        );
        let from = shifted(not, 14);
        check(
            &format!(
                "m\n{from}:{} {not}(\"a\" = \"b\") AND (\"t\" = \"\\\")\")",
                from + 2
            ),
            "m\n14:16 (\"a\" = \"b\") AND (\"t\" = \"\\\")\")",
        );
        // The client's own brackets are not taken for its end.
        let from = shifted(not, 28);
        check(
            &format!(
                "m\n{from}:{} {not}(\"author\" IN [\"a1\"]) AND (\"zz\" = \"a b\")",
                from + 2
            ),
            "m\n28:30 (\"author\" IN [\"a1\"]) AND (\"zz\" = \"a b\")",
        );
        // It stands behind a place.
        for tags in [
            r#" AND ("_miroir_shard" IN ["⊰⊰", "⊰⊱"])"#,
            r#" AND (NOT ("_miroir_shard" IN ["⊰⊰"]))"#,
        ] {
            check(
                &format!("m\n13:15 (_geoRadius(91, 2, 3)){tags}"),
                "m\n12:14 _geoRadius(91, 2, 3)",
            );
            check(
                &format!("m\n13:15 (_geoRadius(91, 2, 3)) AND (\"a\" = \"b\"){tags}"),
                "m\n13:15 (_geoRadius(91, 2, 3)) AND (\"a\" = \"b\")",
            );
        }
        check("m\n1:2 a = 1", "m\n1:2 a = 1");
    }

    #[test]
    fn rules_are_counted_without_those_of_miroir() {
        let mut error = json!({"message": "matched rule #2 in x\nbefore rule #12"});
        renumber_rules(&mut error, 2);
        assert_eq!(error["message"], "matched rule #0 in x\nbefore rule #10");
    }

    fn check(text: &str, expected: &str) {
        let uid = IndexUid::new("movies").expect("a valid uid");
        let physical = PhysicalIndex::from_stored("movies__12");
        assert_eq!(translate_text(text, &physical, &uid), expected);
    }

    #[test]
    fn clients_read_of_their_own_index_and_fields() {
        check("Index `movies__12`: x", "Index `movies`: x");
        check(
            "Index `movies__12`: Attribute `a` is not filterable. Available filterable attribute patterns are: `_miroir_shard, genre`.",
            "Index `movies`: Attribute `a` is not filterable. Available filterable attribute patterns are: `genre`.",
        );
        check(
            "Attribute `a` is not filterable. Available filterable attribute patterns are: `_miroir_shard`.",
            "Attribute `a` is not filterable. This index does not have configured filterable attributes.",
        );
        check(
            "Attribute `a` is not filterable. Available filterable attribute patterns are: `_miroir_shard`, `year`.",
            "Attribute `a` is not filterable. Available filterable attribute patterns are: `year`.",
        );
        check(
            "Attribute `a` is not sortable. Available sortable attributes are: `_miroir_seq`.",
            "Attribute `a` is not sortable. This index does not have configured sortable attributes.",
        );
        check(
            "Attribute `a` is not sortable. Available sortable attributes are: `_miroir_seq, price`.",
            "Attribute `a` is not sortable. Available sortable attributes are: `price`.",
        );
    }
}
