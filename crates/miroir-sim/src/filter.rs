//! The small filter language of the simulated nodes: `=`, `IN`, `NOT`, `AND`, `OR`, parentheses, and
//! the array form. Values are compared as text. What is beyond it is a mistake in a test.

use serde_json::{Map, Value};

/// A filter, read.
#[derive(Debug, Clone)]
pub(crate) enum Filter {
    In(String, Vec<String>),
    Not(Box<Filter>),
    All(Vec<Filter>),
    Any(Vec<Filter>),
}

impl Filter {
    /// Reads the form that requests carry.
    ///
    /// # Panics
    /// When it is no filter of this language.
    pub(crate) fn read(value: &Value) -> Self {
        match value {
            Value::String(text) => Reader::new(text).whole(),
            Value::Array(all) => Self::All(
                all.iter()
                    .map(|one| match one {
                        Value::Array(any) => Self::Any(any.iter().map(Self::read).collect()),
                        other => Self::read(other),
                    })
                    .collect(),
            ),
            other => panic!("no filter: {other}"),
        }
    }

    /// The document is chosen by it.
    pub(crate) fn matches(&self, document: &Map<String, Value>) -> bool {
        match self {
            Self::In(field, values) => document
                .get(field)
                .is_some_and(|value| values.contains(&text_of(value))),
            Self::Not(one) => !one.matches(document),
            Self::All(all) => all.iter().all(|one| one.matches(document)),
            Self::Any(any) => any.iter().any(|one| one.matches(document)),
        }
    }
}

/// A value as filters and ids see it.
pub(crate) fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

struct Reader {
    /// Last first.
    words: Vec<String>,
}

impl Reader {
    fn new(text: &str) -> Self {
        let mut words = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                ' ' | ',' => {}
                '(' | ')' | '[' | ']' | '=' => words.push(c.to_string()),
                '"' | '\'' => words.push(chars.by_ref().take_while(|next| *next != c).collect()),
                _ => {
                    let mut word = c.to_string();
                    while let Some(next) = chars.next_if(|next| !" ,()[]=".contains(*next)) {
                        word.push(next);
                    }
                    words.push(word);
                }
            }
        }
        words.reverse();
        Self { words }
    }

    fn whole(mut self) -> Filter {
        let filter = self.any();
        assert!(self.words.is_empty(), "left of a filter: {:?}", self.words);
        filter
    }

    fn skip(&mut self, word: &str) -> bool {
        let is_there = self.words.last().is_some_and(|next| next == word);
        if is_there {
            self.words.pop();
        }
        is_there
    }

    fn word(&mut self) -> String {
        self.words.pop().expect("a filter goes on")
    }

    fn any(&mut self) -> Filter {
        let mut any = vec![self.all()];
        while self.skip("OR") {
            any.push(self.all());
        }
        Filter::Any(any)
    }

    fn all(&mut self) -> Filter {
        let mut all = vec![self.one()];
        while self.skip("AND") {
            all.push(self.one());
        }
        Filter::All(all)
    }

    fn one(&mut self) -> Filter {
        if self.skip("NOT") {
            return Filter::Not(Box::new(self.one()));
        }
        if self.skip("(") {
            let inner = self.any();
            assert!(self.skip(")"), "a parenthesis is open");
            return inner;
        }
        let field = self.word();
        if self.skip("=") {
            return Filter::In(field, vec![self.word()]);
        }
        assert!(self.skip("IN") && self.skip("["), "neither = nor IN");
        let mut values = Vec::new();
        while !self.skip("]") {
            values.push(self.word());
        }
        Filter::In(field, values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn filters_choose_what_they_say() {
        let document = json!({"id": 3, "kind": 1, "tag": "⊰⊱"});
        let document = document.as_object().expect("an object");
        for (filter, expected) in [
            (json!("kind = 1"), true),
            (json!("kind = 2 OR id = 3"), true),
            (json!("kind IN [1, 2] AND NOT id = 3"), false),
            (json!("NOT (kind = 2 OR id = 4)"), true),
            (json!("tag IN [\"⊰⊰\", \"⊰⊱\"]"), true),
            (json!(["kind = 1", ["id = 4", "id = 3"]]), true),
            (json!("missing = 1"), false),
        ] {
            assert_eq!(
                Filter::read(&filter).matches(document),
                expected,
                "{filter}"
            );
        }
    }
}
