//! Words and texts of several scripts, and what people type who look for them.

use crate::words::{capitalized, mistyped};
use crate::{Rng, Vocabulary};

/// Words that test a tokenizer: other scripts, marks apart from their letters, digits, signs.
const ODD: &[&str] = &[
    "日本語",
    "東京都",
    "検索エンジン",
    "カタカナ",
    "ひらがな",
    "全文検索",
    "中文搜索",
    "한국어",
    "русский",
    "Ёлка",
    "ελληνικά",
    "שלום",
    "مرحبا",
    "ไทย",
    "cafe\u{301}",
    "café",
    "CAFÉ",
    "naı\u{308}ve",
    "ﬁne",
    "Straße",
    "STRASSE",
    "İstanbul",
    "résumé",
    "a\u{308}pfel",
    "²",
    "½",
    "Ａｂｃ",
    "👩‍💻",
    "42",
    "007",
    "3.14",
    "1e3",
    "-5",
    "x",
    "C++",
    "c#",
    "foo_bar",
    "e-mail",
    "o'neil",
    "l'été",
    "user@example.org",
    "1,000",
    "camelCase",
    "snake_case",
];
/// Signs that stand between words.
const SEPARATORS: &[&str] = &[" ", " ", " ", " ", " ", ", ", ". ", " - ", "\n", "/", "  "];

/// A text of `count` words.
pub(super) fn text(vocabulary: &Vocabulary, rng: &mut Rng, count: usize) -> String {
    let mut text = String::new();
    for position in 0..count {
        if position > 0 {
            text.push_str(rng.pick::<&str>(SEPARATORS));
        }
        text.push_str(&word(vocabulary, rng));
    }
    text
}

/// One word, mostly of the language.
pub(super) fn word(vocabulary: &Vocabulary, rng: &mut Rng) -> String {
    let word = if rng.chance(10) {
        (*rng.pick(ODD)).to_owned()
    } else {
        vocabulary.word(rng).to_owned()
    };
    if rng.chance(8) {
        capitalized(&word)
    } else {
        word
    }
}

/// What somebody types who looks for a document with this text.
pub(super) fn query(vocabulary: &Vocabulary, rng: &mut Rng, source: &str) -> String {
    let known: Vec<&str> = source.split_whitespace().take(400).collect();
    let count = rng.between(1, 5);
    let start = rng.below(known.len().saturating_sub(count) + 1);
    let mut words: Vec<String> = known
        .iter()
        .skip(start)
        .take(count)
        .map(|word| (*word).to_owned())
        .collect();
    if words.is_empty() {
        words.push(word(vocabulary, rng));
    }
    let last = words.len() - 1;
    match rng.below(16) {
        0..=2 => {}
        3 | 4 => words[last] = prefix(&words[last], rng),
        5 => {
            let at = rng.below(words.len());
            words[at] = mistyped(&words[at], rng);
        }
        6 => {
            words[0] = mistyped(&words[0], rng);
            words[last] = prefix(&words[last], rng);
        }
        7 => return format!("\"{}\"", words.join(" ").replace('"', "")),
        8 => {
            let phrase = words.join(" ").replace('"', "");
            return format!("\"{phrase}\" {}", word(vocabulary, rng));
        }
        9 => return format!("{} -{}", words.join(" "), word(vocabulary, rng)),
        10 => {
            let phrase = words.join(" ").replace('"', "");
            return format!("{} -\"{phrase}\"", word(vocabulary, rng));
        }
        11 => {
            for place in &mut words {
                *place = word(vocabulary, rng);
            }
        }
        12 => words.reverse(),
        13 if last > 0 => {
            let joined = words.remove(1);
            words[0].push_str(&joined);
        }
        14 => {
            // More words than a server looks at.
            for _ in 0..rng.between(4, 12) {
                words.push(word(vocabulary, rng));
            }
        }
        _ => return (*rng.pick(ODD)).to_owned(),
    }
    let mut text = words.join(" ");
    match rng.below(12) {
        0 => text.push(' '),
        1 => text = text.to_uppercase(),
        _ => {}
    }
    text
}

/// The beginning of a word, at least one letter of it.
fn prefix(word: &str, rng: &mut Rng) -> String {
    let length = word.chars().count();
    word.chars().take(rng.between(1, length.max(2))).collect()
}
