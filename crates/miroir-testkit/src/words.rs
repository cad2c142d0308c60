//! A made-up language: its words, how often each is used, and how people mistype them.

use crate::Rng;
use std::collections::BTreeSet;

const ONSETS: &[&str] = &[
    "b", "br", "c", "ch", "d", "dr", "f", "g", "gr", "h", "k", "l", "m", "n", "p", "pl", "r", "s",
    "st", "t", "tr", "v", "w", "z", "",
];
const VOWELS: &[&str] = &["a", "e", "i", "o", "u", "ai", "ou", "é", "ö"];
const CODAS: &[&str] = &["", "", "", "n", "r", "s", "l", "t", "m", "ck", "nd"];
/// Families of words with one stem: prefixes and near-misses that are words themselves.
const SUFFIXES: &[&str] = &["s", "er", "ing", "ly", "ed"];
/// Words of one or two letters exist in every language, and are hard for a search.
const SHORT: &[&str] = &["a", "of", "to", "in", "is", "ou", "y"];

/// The words of the language, the most used first.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    words: Vec<String>,
    /// The sum of the weights up to and with each word.
    cumulated: Vec<u64>,
}

impl Vocabulary {
    /// A language of `count` words.
    #[must_use]
    pub fn new(seed: u64, count: usize) -> Self {
        let mut rng = Rng::of(&[seed, 1]);
        let mut words: Vec<String> = Vec::with_capacity(count);
        let mut known = BTreeSet::new();
        let mut add = |word: String, words: &mut Vec<String>| {
            if words.len() < count && known.insert(word.clone()) {
                words.push(word);
            }
        };
        for word in SHORT {
            add((*word).to_owned(), &mut words);
        }
        while words.len() < count {
            let mut word = String::new();
            for _ in 0..rng.between(1, 4) {
                let onset = *rng.pick(ONSETS);
                word.push_str(onset);
                // Accented vowels are rarer than their number says.
                let vowel = if rng.chance(85) {
                    rng.below(7)
                } else {
                    rng.below(VOWELS.len())
                };
                word.push_str(VOWELS[vowel]);
            }
            let coda = *rng.pick(CODAS);
            word.push_str(coda);
            if word.len() < 3 {
                continue;
            }
            if rng.chance(30) {
                add(format!("{word}{}", rng.pick(SUFFIXES)), &mut words);
            }
            add(word, &mut words);
        }
        // Zipf: the weight of a word is the inverse of its rank; the constant flattens the top.
        let mut sum = 0;
        let cumulated = (0..words.len() as u64)
            .map(|rank| {
                sum += 1_000_000 / (rank + 4);
                sum
            })
            .collect();
        Self { words, cumulated }
    }

    /// All words, the most used first.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// A word, the more used the likelier.
    pub fn word(&self, rng: &mut Rng) -> &str {
        let total = self.cumulated.last().copied().unwrap_or(0);
        let drawn = rng.below(usize::try_from(total).unwrap_or(usize::MAX)) as u64;
        let position = self.cumulated.partition_point(|sum| *sum <= drawn);
        &self.words[position]
    }

    /// A text of `count` words.
    pub fn text(&self, rng: &mut Rng, count: usize) -> String {
        let mut text = String::new();
        for idx in 0..count {
            if idx > 0 {
                // Texts have separators of two strengths.
                text.push_str(if rng.chance(8) { ". " } else { " " });
            }
            let word = self.word(rng);
            if rng.chance(10) {
                text.push_str(&capitalized(word))
            } else {
                text.push_str(word)
            }
        }
        text
    }
}

/// The word with its first letter in upper case.
pub(crate) fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// The word with one letter dropped, doubled, replaced or swapped with its neighbour.
pub(crate) fn mistyped(word: &str, rng: &mut Rng) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    if letters.len() < 2 {
        return word.to_owned();
    }
    // The first letter stays more often than not: a typo there counts double.
    let first = usize::from(rng.chance(85));
    let at = rng.between(first, letters.len());
    match rng.below(4) {
        0 => {
            letters.remove(at);
        }
        1 => letters.insert(at, letters[at]),
        2 => letters[at] = *rng.pick(&['e', 'x', 'a', 't', 'o']),
        _ => letters.swap(at, at - usize::from(at > 0)),
    }
    letters.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_distinct_and_the_first_ones_are_used_most() {
        let vocabulary = Vocabulary::new(3, 1200);
        let distinct: BTreeSet<_> = vocabulary.words().iter().collect();
        assert_eq!(distinct.len(), 1200);
        let mut rng = Rng::new(1);
        let top: BTreeSet<_> = vocabulary.words()[..120]
            .iter()
            .map(String::as_str)
            .collect();
        let hits = (0..2000)
            .filter(|_| top.contains(vocabulary.word(&mut rng)))
            .count();
        assert!(
            (800..1800).contains(&hits),
            "a tenth of the words made {hits} of 2000"
        );
    }

    #[test]
    fn a_mistyped_word_is_near_the_word() {
        let mut rng = Rng::new(2);
        for _ in 0..200 {
            let typed = mistyped("breton", &mut rng);
            assert!(typed.chars().count().abs_diff(6) <= 1, "{typed}");
        }
    }
}
