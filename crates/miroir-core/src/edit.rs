//! What a node is given to run in place of a client's edit function, so that the function neither
//! sees nor changes the reserved fields.
//!
//! A node hands the function the whole stored document as the variable `doc`, and stores what the
//! function leaves in it. A document without its shard tag would be found no more, one with another
//! number would change its place. So the client's text becomes the body of a function of ours:
//! before it runs the reserved fields are taken out of `doc`, after it they are put back as they
//! were, and whatever the function put under a reserved name is taken out.
//!
//! Laws: on a document without reserved fields the wrapped function leaves what the function leaves;
//! whatever the function does, the reserved fields are what they were, or the node fails the task.

use serde_json::Value;

/// The function that holds the client's text. Nothing else is called so.
const NAME: &str = "miroir_edit";

/// The reserved names, as in [`crate::reserved`]; a test keeps them equal.
const TAIL: &str = r#"
}
fn exit() { throw "`exit` is not supported"; }
fn exit(value) { throw "`exit` is not supported"; }
const MIROIR_SHARD = doc["_miroir_shard"];
const MIROIR_SEQ = doc["_miroir_seq"];
doc.remove("_miroir_shard");
doc.remove("_miroir_seq");
miroir_edit!();
if type_of(doc) == "map" {
    for miroir_name in doc.keys() {
        if miroir_name.starts_with("_miroir_") { doc.remove(miroir_name); }
    }
    if type_of(MIROIR_SHARD) == "string" { doc["_miroir_shard"] = MIROIR_SHARD; }
    if type_of(MIROIR_SEQ) == "string" { doc["_miroir_seq"] = MIROIR_SEQ; }
}
"#;

/// The text a node gets.
///
/// The client's text begins on the second line, in its first column, and ends before a line break
/// of ours: so that positions in messages are off by one line and no more, and a comment at its end
/// ends there. That it is whole by itself, and cannot close our function, is checked by having a node
/// compile it alone first.
///
/// ```
/// let text = miroir_core::edit::wrap("doc.title = 1");
/// assert!(text.lines().nth(1) == Some("doc.title = 1"));
/// ```
#[must_use]
pub fn wrap(function: &str) -> String {
    format!("fn {NAME}() {{\n{function}{TAIL}")
}

/// Why a function cannot be wrapped, although it is right by itself.
#[must_use]
pub fn obstacle(function: &str) -> Option<&'static str> {
    let words: Vec<&str> = function
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .collect();
    let declares = |pair: &[&str]| matches!(pair, ["let" | "const", "doc"]);
    // It would end with our function, and the document would be left as it was.
    words
        .windows(2)
        .any(declares)
        .then_some("An edit function that declares a variable named `doc`")
}

/// A node's error object in the terms of the client's text: positions one line up, and nothing said
/// of our function.
#[must_use]
pub fn translate_error(mut error: Value) -> Value {
    if let Some(Value::String(message)) = error.get_mut("message") {
        *message = translate_text(message);
    }
    error
}

fn translate_text(text: &str) -> String {
    const LINE: &str = "(line ";
    let said = text
        .split_once(&format!("\nin call to function '{NAME}'"))
        .map_or(text, |(said, _)| said);
    let mut parts = said.split(LINE);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = part.split_at(digits);
        out.push_str(LINE);
        match number.parse::<u64>().ok().and_then(|n| n.checked_sub(1)) {
            Some(number) => out.push_str(&number.to_string()),
            None => out.push_str(number),
        }
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reserved::{RESERVED_PREFIX, SEQ_FIELD, SHARD_FIELD};
    use serde_json::json;

    #[test]
    fn the_wrapping_speaks_of_the_reserved_fields() {
        for name in [SHARD_FIELD, SEQ_FIELD] {
            let text = format!("doc[\"{name}\"]");
            assert_eq!(TAIL.matches(&text).count(), 2, "{name}");
            assert!(TAIL.contains(&format!("doc.remove(\"{name}\")")), "{name}");
        }
        assert!(TAIL.contains(&format!("starts_with(\"{RESERVED_PREFIX}\")")));
        assert!(TAIL.contains(&format!("{NAME}!();")));
    }

    #[test]
    fn a_comment_at_the_end_of_a_function_ends_there() {
        assert!(wrap("doc.a = 1 // done").contains("// done\n}"));
    }

    #[test]
    fn a_function_that_hides_doc_is_named() {
        for hiding in [
            "let doc = #{};",
            "const  doc = 1",
            "if x { let\n doc = 2; }",
        ] {
            assert!(obstacle(hiding).is_some(), "{hiding}");
        }
        for fine in ["doc = #{}", "let docs = 1", "let x = doc;", "outlet doc"] {
            assert_eq!(obstacle(fine), None, "{fine}");
        }
    }

    #[test]
    fn errors_are_told_in_terms_of_the_clients_text() {
        let told = json!({"message": "Index `m__1`: it failed: Runtime error: \"no\" (line 3, \
            position 9)\nin call to function 'miroir_edit' (line 10, position 1)"});
        assert_eq!(
            translate_error(told)["message"],
            "Index `m__1`: it failed: Runtime error: \"no\" (line 2, position 9)"
        );
    }
}
