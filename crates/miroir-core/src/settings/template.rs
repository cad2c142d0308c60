//! Document templates that do not see the reserved fields.
//!
//! A text embedder is given what a template makes of a document, and templates walk over all of its
//! fields: the default one does. On a node the reserved fields are among them, so what would be
//! embedded there is another text than one Meilisearch embeds. A loop over `fields` or `doc` is
//! therefore sent with a *guard* at its beginning that passes the reserved fields by, and shown
//! without it. So is every text of the fragments that are sent in place of a template. Fields that
//! are reached in other ways (`fields | size`, `{{ doc }}`) are not guarded.

use super::embedders::{FRAGMENTS, INDEXING_PART, SEARCH_PART, TEMPLATE_BYTES, has_fragments};
use crate::reserved::{SEQ_FIELD, SHARD_FIELD};
use serde_json::{Map, Value};

/// What an embedder without a template of its own uses. Meilisearch's own.
const DEFAULT: &str = "{% for field in fields %}{% if field.is_searchable and field.value != nil \
                       %}{{ field.name }}: {{ field.value }}\n{% endif %}{% endfor %}";
const TEMPLATE: &str = "documentTemplate";

/// The change of embedders as nodes are to get it; `logical` holds all embedders after it.
pub(super) fn guard_embedders(patch: &Value, logical: Option<&Value>) -> Value {
    let mut sent = patch.clone();
    for (name, embedder) in members_mut(&mut sent) {
        let Value::Object(embedder) = embedder else {
            continue;
        };
        let whole = logical.and_then(|all| all.get(name));
        guard_embedder(embedder, whole);
        // The part for searches sees no document, and must not have a template.
        if let Some(Value::Object(part)) = embedder.get_mut(INDEXING_PART) {
            guard_embedder(part, whole.and_then(|whole| whole.get(INDEXING_PART)));
        }
    }
    sent
}

/// Embedders as a client set them, of those that a node shows.
pub(super) fn reveal_embedders(shown: &mut Value) {
    for (_, embedder) in members_mut(shown) {
        reveal_embedder(embedder);
        for part in [SEARCH_PART, INDEXING_PART] {
            embedder.get_mut(part).map(reveal_embedder);
        }
    }
}

fn members_mut(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flatten()
}

/// Guards the fragments and the template of the change, or the default template where that is in
/// force after it.
fn guard_embedder(patch: &mut Map<String, Value>, logical: Option<&Value>) {
    for name in FRAGMENTS {
        if let Some(fragments) = patch.get_mut(name) {
            *fragments = guarded_value(fragments);
        }
    }
    if let Some(Value::String(template)) = patch.get_mut(TEMPLATE) {
        *template = guarded(template);
        return;
    }
    let setting = |name: &str| logical.and_then(|whole| whole.get(name));
    let has_template = match setting("source").and_then(Value::as_str) {
        // What a node takes where no source is named.
        None => logical.is_some(),
        Some("openAi" | "huggingFace" | "ollama" | "rest") => true,
        Some(_) => false,
    };
    let uses_fragments = logical
        .and_then(Value::as_object)
        .is_some_and(has_fragments);
    if has_template && !uses_fragments && setting(TEMPLATE).is_none() {
        patch.insert(TEMPLATE.to_owned(), guarded(DEFAULT).into());
        // Without a template it counts as the default; with one it is refused.
        if let Some(bytes) = patch.get_mut(TEMPLATE_BYTES)
            && bytes.as_u64() == Some(0)
        {
            *bytes = Value::Null;
        }
    }
}

fn reveal_embedder(embedder: &mut Value) {
    for name in FRAGMENTS {
        if let Some(fragments) = embedder.get_mut(name) {
            *fragments = revealed_value(fragments);
        }
    }
    if let Some(Value::String(template)) = embedder.get_mut(TEMPLATE) {
        *template = revealed(template);
    }
}

/// The value with a guard in each loop of each of its texts.
#[must_use]
pub fn guarded_value(value: &Value) -> Value {
    each_text(value, guarded)
}

/// The value without the guards of [`guarded_value`].
#[must_use]
pub fn revealed_value(value: &Value) -> Value {
    each_text(value, revealed)
}

fn each_text(value: &Value, change: fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => change(text).into(),
        Value::Array(items) => items.iter().map(|item| each_text(item, change)).collect(),
        Value::Object(members) => {
            let members = members.iter();
            members
                .map(|(name, value)| (name.clone(), each_text(value, change)))
                .collect()
        }
        other => other.clone(),
    }
}

/// The template with a guard in each loop over the fields of a document.
///
/// ```
/// use miroir_core::settings::{guarded, revealed};
///
/// let template = "{% for f in fields %}{{ f.value }}{% endfor %}";
/// assert!(guarded(template).contains("_miroir_seq"));
/// assert_eq!(revealed(&guarded(template)), template);
/// ```
#[must_use]
pub fn guarded(template: &str) -> String {
    walk(template, |out, guard, rest| {
        out.push_str(guard);
        rest
    })
}

/// The template without the guards of [`guarded`].
#[must_use]
pub fn revealed(template: &str) -> String {
    walk(template, |_, guard, rest| {
        rest.strip_prefix(guard).unwrap_or(rest)
    })
}

/// Copies the template; behind the head of each loop `at_loop` gets the loop's guard and the rest
/// of the template, and says where to go on.
fn walk<'t>(template: &'t str, at_loop: impl Fn(&mut String, &str, &'t str) -> &'t str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else {
            break;
        };
        let end = start + length + "%}".len();
        let tag = &rest[start..end];
        out.push_str(&rest[..end]);
        rest = &rest[end..];
        let trims = tag.ends_with("-%}");
        let inner = tag.trim_start_matches("{%").trim_end_matches("%}");
        let inner = inner.trim_matches('-').trim();
        if inner == "raw" {
            // Its content is text, whatever it looks like.
            let raw = rest.find("endraw").unwrap_or(rest.len());
            out.push_str(&rest[..raw]);
            rest = &rest[raw..];
        } else if let Some(guard) = guard_of(inner, trims) {
            rest = at_loop(&mut out, &guard, rest);
        }
    }
    out.push_str(rest);
    out
}

/// The guard of a loop with this head; `None` where the tag is no loop over a document's fields.
fn guard_of(head: &str, trims: bool) -> Option<String> {
    let mut words = head.split_whitespace();
    let (Some("for"), Some(name), Some("in"), Some(list)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return None;
    };
    let key = match list {
        "fields" => format!("{name}.name"),
        // The members of an object come as pairs.
        "doc" => format!("{name}[0]"),
        _ => return None,
    };
    // White space that the head trims away would else come back behind the guard.
    let end = if trims { "-%}" } else { "%}" };
    Some(format!(
        "{{% if {key} == \"{SHARD_FIELD}\" or {key} == \"{SEQ_FIELD}\" %}}{{% continue %}}{{% endif \
         {end}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const GUARD: &str = "{% if f.name == \"_miroir_shard\" or f.name == \"_miroir_seq\" %}\
                         {% continue %}{% endif %}";

    #[test]
    fn loops_over_the_fields_pass_the_reserved_ones_by() {
        assert_eq!(
            guarded("a {% for f in fields %}{{ f.name }}{% endfor %} b"),
            format!("a {{% for f in fields %}}{GUARD}{{{{ f.name }}}}{{% endfor %}} b")
        );
        let trimmed = guarded("{%- for f in fields -%} x {%- endfor -%}");
        assert!(trimmed.contains("{% endif -%} x "), "{trimmed}");
        assert!(guarded("{%for p in doc%}{%endfor%}").contains("p[0] == \"_miroir_seq\""));
        for other in [
            "{{ doc.title }}",
            "{% for word in doc.words %}{{ word }}{% endfor %}",
            "{% raw %}{% for f in fields %}{% endraw %}",
            "{% for f in fields",
            "%} {% for %}",
        ] {
            assert_eq!(guarded(other), other);
        }
    }

    #[test]
    fn an_embedder_without_a_template_gets_the_guarded_default() {
        let sent = |patch: Value, logical: Value| {
            let sent = guard_embedders(&json!({ "e": patch }), Some(&json!({ "e": logical })));
            sent["e"][TEMPLATE].clone()
        };
        let default = Value::from(guarded(DEFAULT));
        let rest = json!({"source": "rest", "url": "u"});
        assert_eq!(sent(rest.clone(), rest.clone()), default);
        assert_eq!(sent(json!({"apiKey": "k"}), rest.clone()), default);
        assert_eq!(
            sent(json!({"documentTemplate": null}), rest.clone()),
            default
        );
        assert_eq!(sent(json!({"model": "m"}), json!({"model": "m"})), default);
        let none = json!({"source": "rest", "documentTemplateMaxBytes": 0});
        let sent_whole = guard_embedders(&json!({ "e": none }), Some(&json!({ "e": rest })));
        assert_eq!(sent_whole["e"]["documentTemplateMaxBytes"], Value::Null);
        // One that is there already is on the nodes, guarded.
        let own = json!({"source": "rest", "documentTemplate": "{{doc.a}}"});
        assert_eq!(sent(json!({"apiKey": "k"}), own), Value::Null);
        let manual = json!({"source": "userProvided", "dimensions": 3});
        assert_eq!(sent(manual.clone(), manual), Value::Null);
        assert_eq!(sent(Value::Null, Value::Null), Value::Null);
    }

    #[test]
    fn only_the_part_that_embeds_documents_gets_a_template() {
        let rest = json!({"source": "rest", "url": "u"});
        let whole = json!({
            "source": "composite", "searchEmbedder": rest, "indexingEmbedder": rest,
        });
        let sent = guard_embedders(&json!({ "e": whole }), Some(&json!({ "e": whole })));
        assert_eq!(sent["e"]["indexingEmbedder"][TEMPLATE], guarded(DEFAULT));
        assert_eq!(sent["e"]["searchEmbedder"], rest);
        assert_eq!(sent["e"].get(TEMPLATE), None);
    }

    #[test]
    fn fragments_are_guarded_in_place_of_a_template() {
        let value = |text: &str| json!({"a": {"value": {"text": [text, 1]}}});
        let patch = json!({
            "source": "rest", "indexingFragments": value("{% for p in doc %}"),
            "searchFragments": {"q": {"value": "{{q}}"}},
        });
        let sent = guard_embedders(&json!({ "e": patch }), Some(&json!({ "e": patch })));
        let guard = guarded("{% for p in doc %}");
        assert_eq!(sent["e"]["indexingFragments"], value(&guard));
        assert_eq!(sent["e"]["searchFragments"], patch["searchFragments"]);
        assert_eq!(sent["e"].get(TEMPLATE), None);
        // Where they go the default template is in force again.
        let none = json!({"indexingFragments": null, "searchFragments": null});
        let rest = json!({"source": "rest"});
        let sent = guard_embedders(&json!({ "e": none }), Some(&json!({ "e": rest })));
        assert_eq!(sent["e"][TEMPLATE], guarded(DEFAULT));
    }

    #[test]
    fn embedders_show_what_the_client_set() {
        let mut shown = json!({
            "a": {"documentTemplate": guarded(DEFAULT)},
            "b": {"indexingEmbedder": {"documentTemplate": guarded("{% for f in fields %}")}},
            "c": {"source": "userProvided"},
            "d": {"indexingFragments": {"f": {"value": ["x", guarded("{% for p in doc %}")]}}},
        });
        reveal_embedders(&mut shown);
        let expected = json!({
            "a": {"documentTemplate": DEFAULT},
            "b": {"indexingEmbedder": {"documentTemplate": "{% for f in fields %}"}},
            "c": {"source": "userProvided"},
            "d": {"indexingFragments": {"f": {"value": ["x", "{% for p in doc %}"]}}},
        });
        assert_eq!(shown, expected);
    }

    proptest! {
        #[test]
        fn what_is_guarded_is_revealed_again(parts in proptest::collection::vec(
            prop_oneof![
                Just("{% for f in fields %}".to_owned()),
                Just("{%- for x in doc -%}".to_owned()),
                Just("{% endfor %}".to_owned()),
                Just("{% raw %}".to_owned()),
                Just("{% endraw %}".to_owned()),
                "[ a-z{}%\"é-]{0,6}",
            ],
            0..8,
        )) {
            let template = parts.concat();
            prop_assert_eq!(revealed(&guarded(&template)), template);
        }
    }
}
