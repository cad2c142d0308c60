//! The words of a query as a node takes them apart, for the conditions of rules.
//!
//! Only where they can be known for certain: in scripts that are written with spaces and whose
//! letters every node reads alike, and in indexes that do not say themselves what a word is.

use crate::settings::Settings;
use charabia::{Tokenize, TokenizerBuilder};
use serde_json::Value;
use std::collections::BTreeSet;
use unicode_normalization::UnicodeNormalization;

/// A node looks at so many words of a query.
const QUERY_WORDS_MAX: usize = 10;
/// And at so many pieces of it.
const TOKENS_MAX: usize = 1_000;

/// What of an index decides what the words of a query are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WordSettings {
    stop_words: BTreeSet<String>,
    /// The index, or the query, says what separates words or which language they are of.
    is_custom: bool,
}

impl WordSettings {
    /// By the logical settings of an index and the languages that a query names.
    #[must_use]
    pub fn new(settings: &Settings, locales: Option<&Value>) -> Self {
        let is_given = |value: &Value| match value {
            Value::Null => false,
            Value::Array(items) => !items.is_empty(),
            _ => true,
        };
        let names = [
            "dictionary",
            "separatorTokens",
            "nonSeparatorTokens",
            "localizedAttributes",
        ];
        let own = names.iter().filter_map(|name| settings.get(*name));
        let stop_words = settings.get("stopWords").and_then(Value::as_array);
        let stop_words = stop_words.into_iter().flatten().filter_map(Value::as_str);
        Self {
            // Nodes compare decomposed letters.
            stop_words: stop_words.map(|word| word.nfkd().collect()).collect(),
            is_custom: own.chain(locales).any(is_given),
        }
    }
}

/// What a query holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryTerms {
    /// No word at all.
    Empty,
    /// These words, which may be none where there are only phrases.
    Words(BTreeSet<String>),
    /// That is not certain.
    Unknown,
}

impl QueryTerms {
    /// The terms of a query on an index.
    ///
    /// ```
    /// use miroir_core::rules::{QueryTerms, WordSettings};
    ///
    /// let words = |q: &str| match QueryTerms::new(Some(q), &WordSettings::default()) {
    ///     QueryTerms::Words(words) => words.into_iter().collect::<Vec<_>>().join(" "),
    ///     other => format!("{other:?}"),
    /// };
    /// assert_eq!(words("Red  shoes, réd -blue"), "red shoes");
    /// assert_eq!(words("  "), "Empty");
    /// assert_eq!(words("赤い靴"), "Unknown");
    /// ```
    #[must_use]
    pub fn new(query: Option<&str>, settings: &WordSettings) -> Self {
        let query = query.unwrap_or_default();
        if query.trim().is_empty() {
            return Self::Empty;
        }
        if settings.is_custom || !is_readable(query) {
            return Self::Unknown;
        }
        let stop_words = &settings.stop_words;
        // A set of texts in order always is one of these.
        let Ok(stop_words) = fst::Set::from_iter(stop_words) else {
            return Self::Unknown;
        };
        let mut builder: TokenizerBuilder<'_, Vec<u8>> = TokenizerBuilder::new();
        if !settings.stop_words.is_empty() {
            builder.stop_words(&stop_words);
        }
        let tokenizer = builder.build();
        let mut reader = Reader::default();
        let tokens: Vec<charabia::Token<'_>> = tokenizer.tokenize(query).take(TOKENS_MAX).collect();
        for (at, token) in tokens.iter().enumerate() {
            if reader.count >= QUERY_WORDS_MAX {
                // Of a phrase that has no end here nothing counts.
                reader.phrase = None;
                break;
            }
            if !token.lemma().is_empty() {
                reader.read(token, at + 1 == tokens.len());
            }
        }
        reader.end()
    }
}

/// Reads the pieces of a query in order.
#[derive(Default)]
struct Reader {
    words: BTreeSet<String>,
    /// Words and phrases so far.
    count: usize,
    /// The words of the phrase being read; a stop word is `None`.
    phrase: Option<Vec<Option<String>>>,
    is_phrase_excluded: bool,
    excludes_next: bool,
    /// A sign excludes only behind a space or at the beginning.
    is_behind_word: bool,
}

impl Reader {
    fn read(&mut self, token: &charabia::Token<'_>, is_last: bool) {
        let lemma = token.lemma();
        if token.is_word() || token.is_stopword() {
            if let Some(phrase) = &mut self.phrase {
                phrase.push((!token.is_stopword()).then(|| lemma.to_owned()));
            } else if self.excludes_next {
                self.excludes_next = false;
            } else if token.is_word() || is_last {
                self.words.insert(lemma.to_owned());
                self.count += 1;
            }
        } else if token.is_separator() {
            let is_hard = token.separator_kind() == Some(charabia::SeparatorKind::Hard);
            if is_hard && self.phrase.is_some() {
                let is_excluded = self.is_phrase_excluded;
                self.end_phrase();
                (self.phrase, self.is_phrase_excluded) = (Some(Vec::new()), is_excluded);
            }
            let mut quotes = lemma.chars().filter(|c| *c == '"').count();
            if quotes > 0 {
                if self.phrase.is_some() {
                    quotes -= 1;
                    self.end_phrase();
                }
                if quotes % 2 == 1 {
                    self.phrase = Some(Vec::new());
                    self.is_phrase_excluded = self.excludes_next;
                }
            }
            self.excludes_next = self.phrase.is_none() && lemma == "-" && !self.is_behind_word;
        }
        self.is_behind_word = !lemma.chars().last().is_some_and(char::is_whitespace);
    }

    fn end_phrase(&mut self) {
        let phrase: Vec<_> = self.phrase.take().unwrap_or_default();
        let is_excluded = std::mem::take(&mut self.is_phrase_excluded);
        let mut words: Vec<String> = phrase.iter().flatten().cloned().collect();
        if words.is_empty() || is_excluded {
            return;
        }
        self.count += 1;
        // A phrase of one word is that word; one of several is no single word.
        if let (1, Some(word)) = (phrase.len(), words.pop()) {
            self.words.insert(word);
        }
    }

    fn end(mut self) -> QueryTerms {
        self.end_phrase();
        match self.count {
            0 => QueryTerms::Empty,
            _ => QueryTerms::Words(self.words),
        }
    }
}

/// The words of a rule's condition, in order, each as often as it stands there; `None` where they
/// are not certain.
#[must_use]
pub(super) fn rule_words(text: &str) -> Option<Vec<String>> {
    if !is_readable(text) {
        return None;
    }
    let tokens = text.tokenize().filter(|token| token.is_word());
    let words = tokens.map(|token| token.lemma().to_owned());
    Some(words.filter(|word| !word.is_empty()).collect())
}

/// Letters that are read alike by every node, whatever it knows of languages.
fn is_readable(text: &str) -> bool {
    text.chars().all(|c| {
        matches!(c, '\0'..'\u{250}' | '\u{300}'..'\u{370}' | '\u{400}'..'\u{530}' | '\u{1e00}'..'\u{1f00}' | '\u{2000}'..'\u{2070}' | '\u{20a0}'..'\u{20d0}')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn words(query: &str, settings: &Value) -> Option<String> {
        let settings = WordSettings::new(settings.as_object().unwrap(), None);
        match QueryTerms::new(Some(query), &settings) {
            QueryTerms::Words(words) => Some(words.into_iter().collect::<Vec<_>>().join(" ")),
            QueryTerms::Empty => Some("-".to_owned()),
            QueryTerms::Unknown => None,
        }
    }

    #[test]
    fn words_are_in_small_letters_and_without_accents() {
        let none = json!({});
        for (query, expected) in [
            ("Été à PARIS", "a ete paris"),
            ("l'eau", "eau l"),
            ("sci-fi", "fi sci"),
            ("!!!", "-"),
            ("-red", "-"),
            ("shoes -red -\"dark blue\" hat", "hat shoes"),
            ("\"red\" \"dark blue\" shoes", "red shoes"),
            ("\"dark blue\"", ""),
            ("\"open end", ""),
            ("a b c d e f g h i j k l", "a b c d e f g h i j"),
        ] {
            assert_eq!(words(query, &none).as_deref(), Some(expected), "{query}");
        }
    }

    #[test]
    fn stop_words_count_only_as_the_last() {
        let settings = json!({"stopWords": ["the", "of"]});
        assert_eq!(words("the red hat", &settings).as_deref(), Some("hat red"));
        assert_eq!(words("hat of the", &settings).as_deref(), Some("hat the"));
        assert_eq!(words("of ", &settings).as_deref(), Some("-"));
    }

    #[test]
    fn what_the_index_says_of_words_makes_them_uncertain() {
        for settings in [
            json!({"dictionary": ["J. R."]}),
            json!({"separatorTokens": ["#"]}),
            json!({"localizedAttributes": [{"locales": ["deu"]}]}),
        ] {
            assert_eq!(words("a", &settings), None, "{settings}");
            assert_eq!(words(" ", &settings).as_deref(), Some("-"), "{settings}");
        }
        let reset = json!({"dictionary": [], "localizedAttributes": null});
        assert_eq!(words("a", &reset).as_deref(), Some("a"));
    }
}
