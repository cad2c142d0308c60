//! All rules: how they change, how they are listed, and which documents they pin in a search.

use super::words::{QueryTerms, rule_words};
use super::{Action, Conditions, QueryCondition, Rule, RuleUpdate, TimeCondition};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// So many rules have a say in one search.
const ACTIVE_RULES_MAX: usize = 1_000;
/// A condition with more words than this is not looked at.
const COUNTED_WORDS_MAX: usize = 30;

/// The rules, each under the number that decides among equals: the smallest that was free when it
/// was made. The stored form is part of the database format.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleBook {
    rules: Vec<(u32, Rule)>,
}

/// A document that a search shows at a place of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The rank, from 0.
    pub position: u32,
    /// The document.
    pub id: String,
}

/// Which rules are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleListing {
    /// How many to skip.
    pub offset: usize,
    /// The most to show.
    pub limit: usize,
    /// Words in their descriptions and conditions.
    pub query: Option<String>,
    /// Only those that are active, or that are not.
    pub active: Option<bool>,
}

/// A page of rules, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulePage {
    /// The page.
    pub rules: Vec<Rule>,
    /// The number of all that were wanted.
    pub total: usize,
}

/// What rules ask of the words of a query cannot be told for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the words of the query cannot be told for certain")]
pub struct RuleQueryError;

impl RuleBook {
    /// Whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The number of rules.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// All rules, in the order in which they stand.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(|(_, rule)| rule)
    }

    /// The rule of that name.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<&Rule> {
        self.rules().find(|rule| rule.uid == uid)
    }

    /// Puts a rule in, in place of the one of its name.
    pub fn put(&mut self, rule: Rule) {
        if let Some((_, kept)) = self.rules.iter_mut().find(|(_, r)| r.uid == rule.uid) {
            *kept = rule;
            return;
        }
        let taken: BTreeSet<u32> = self.rules.iter().map(|(number, _)| *number).collect();
        let free = (0..u32::MAX).find(|number| !taken.contains(number));
        self.rules.push((free.unwrap_or(u32::MAX), rule));
        self.rules.sort_by_key(|(number, _)| *number);
    }

    /// Changes the rule of that name, or makes it.
    pub fn update(&mut self, uid: &str, update: &RuleUpdate, at: &str) {
        let mut rule = self.get(uid).cloned().unwrap_or_else(|| Rule::new(uid));
        rule.apply(update, at);
        self.put(rule);
    }

    /// Removes the rule of that name, if there is one.
    pub fn remove(&mut self, uid: &str) {
        self.rules.retain(|(_, rule)| rule.uid != uid);
    }

    /// The page of a listing: the rules that changed last come first.
    ///
    /// # Errors
    /// The order of several rules by several words is not known.
    pub fn list(&self, listing: &RuleListing) -> Result<RulePage, RuleQueryError> {
        let is_wanted = |rule: &&(u32, Rule)| listing.active.is_none_or(|is| rule.1.active == is);
        let wanted: Vec<&(u32, Rule)> = self.rules.iter().filter(is_wanted).collect();
        let terms = QueryTerms::new(listing.query.as_deref(), &super::WordSettings::default());
        let mut found: Vec<(u8, &(u32, Rule))> = match terms {
            QueryTerms::Empty => wanted.into_iter().map(|rule| (0, rule)).collect(),
            QueryTerms::Words(words) if words.len() == 1 => {
                let place = |rule: &&'_ (u32, Rule)| found_in(&rule.1, words.first()?);
                let found = wanted.iter().filter_map(|rule| Some((place(rule)?, *rule)));
                found.collect()
            }
            _ => return Err(RuleQueryError),
        };
        found.sort_by_key(|(place, (number, rule))| {
            let changed = rule.last_updated_at.as_ref();
            (
                *place,
                Reverse(changed.map(|date| date.to_lowercase())),
                *number,
            )
        });
        let page = found.iter().skip(listing.offset).take(listing.limit);
        Ok(RulePage {
            rules: page.map(|(_, (_, rule))| rule.clone()).collect(),
            total: found.len(),
        })
    }

    /// The documents of an index that a search begun at `now` (a date of RFC 3339) pins, by the
    /// precedence of their rules. Whether they exist, and pass the search's filter, is not
    /// known here.
    ///
    /// # Errors
    /// It hangs on what is not certain of the query's words.
    pub fn pins(
        &self,
        index: &str,
        now: &str,
        terms: &QueryTerms,
    ) -> Result<Vec<Pin>, RuleQueryError> {
        let mut active: Vec<&(u32, Rule)> = Vec::new();
        for numbered in &self.rules {
            let rule = &numbered.1;
            if rule.active && is_time(rule.conditions.time.as_ref(), now) {
                let speaks_of_index = rule.actions.iter().any(|action| {
                    let wanted = action.selector.index_uid.as_deref();
                    wanted.is_none_or(|wanted| wanted == index)
                });
                match is_query(&rule.conditions, terms) {
                    Ok(true) => active.push(numbered),
                    Ok(false) => {}
                    Err(error) if speaks_of_index => return Err(error),
                    Err(_) => {}
                }
            }
        }
        active.sort_by_key(|(number, rule)| {
            (
                rule.precedence.unwrap_or(u64::MAX),
                rule.precedence.is_none(),
                *number,
            )
        });
        let mut pins: Vec<Pin> = Vec::new();
        let mut seen = BTreeSet::new();
        for (_, rule) in active.into_iter().take(ACTIVE_RULES_MAX) {
            for action in &rule.actions {
                let selector = &action.selector;
                let Action::Pin { position } = action.action;
                let is_here = selector.index_uid.as_deref().is_none_or(|uid| uid == index);
                if is_here && seen.insert(&selector.id) {
                    pins.push(Pin {
                        position,
                        id: selector.id.clone(),
                    });
                }
            }
        }
        Ok(pins)
    }
}

/// One Meilisearch compares dates as texts, the rule's in small letters: so of the day on which a
/// rule begins nothing is in its time yet, and all of the day on which it ends is.
fn is_time(condition: Option<&TimeCondition>, now: &str) -> bool {
    let Some(TimeCondition { start, end }) = condition else {
        return true;
    };
    let is_over = |end: &String| end.to_lowercase().as_str() < now;
    let is_to_come = |start: &String| start.to_lowercase().as_str() > now;
    !start.as_ref().is_some_and(is_to_come) && !end.as_ref().is_some_and(is_over)
}

fn is_query(conditions: &Conditions, terms: &QueryTerms) -> Result<bool, RuleQueryError> {
    let Some(QueryCondition { is_empty, words }) = &conditions.query else {
        return Ok(true);
    };
    match (is_empty, terms) {
        (Some(_), QueryTerms::Unknown) => return Err(RuleQueryError),
        (Some(wanted), terms) if *wanted != (*terms == QueryTerms::Empty) => return Ok(false),
        _ => {}
    }
    let Some(words) = words else { return Ok(true) };
    let wanted = rule_words(words).ok_or(RuleQueryError)?;
    if wanted.is_empty() || wanted.len() > COUNTED_WORDS_MAX {
        return Ok(true);
    }
    let given = match terms {
        QueryTerms::Empty => return Ok(false),
        QueryTerms::Unknown => return Err(RuleQueryError),
        QueryTerms::Words(given) => given,
    };
    // Each word that stands there counts, and a query has each only once.
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for word in &wanted {
        *counts.entry(word).or_default() += 1;
    }
    Ok(counts
        .iter()
        .all(|(word, count)| *count == 1 && given.contains(*word)))
}

/// Where a rule holds a word: in its conditions (which count more) or in its description.
fn found_in(rule: &Rule, word: &str) -> Option<u8> {
    let query = rule.conditions.query.as_ref();
    let texts = [
        query.and_then(|query| query.words.as_deref()),
        rule.description.as_deref(),
    ];
    let holds = |text: &Option<&str>| {
        let words = text.and_then(rule_words);
        words.is_some_and(|words| words.iter().any(|own| own == word))
    };
    let at = texts.iter().position(holds)?;
    u8::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::WordSettings;
    use serde_json::{Value, json};

    const NOW: &str = "2026-11-23T08:00:00.5Z";

    fn book(rules: &[(&str, Value)]) -> RuleBook {
        let mut book = RuleBook::default();
        for (at, (uid, update)) in rules.iter().enumerate() {
            let update = serde_json::from_value(update.clone()).unwrap();
            book.update(uid, &update, &format!("2026-01-01T00:00:0{at}Z"));
        }
        book
    }

    fn pin(index: Option<&str>, id: &str, position: u32) -> Value {
        let mut selector = json!({"id": id});
        if let Some(index) = index {
            selector["indexUid"] = index.into();
        }
        json!({"selector": selector, "action": {"type": "pin", "position": position}})
    }

    fn pinned(book: &RuleBook, query: &str) -> String {
        let terms = QueryTerms::new(Some(query), &WordSettings::default());
        let pins = book.pins("p", NOW, &terms).unwrap();
        let shown: Vec<String> = pins
            .iter()
            .map(|pin| format!("{}@{}", pin.id, pin.position))
            .collect();
        shown.join(" ")
    }

    #[test]
    fn the_smallest_number_comes_first_and_none_last() {
        let rules = book(&[
            (
                "a",
                json!({"actions": [pin(None, "1", 4), pin(Some("q"), "9", 0)]}),
            ),
            (
                "b",
                json!({"precedence": 7, "actions": [pin(None, "2", 3), pin(None, "1", 9)]}),
            ),
            (
                "c",
                json!({"precedence": 0, "actions": [pin(Some("p"), "3", 2)]}),
            ),
            (
                "d",
                json!({"active": false, "actions": [pin(None, "4", 0)]}),
            ),
            ("e", json!({"actions": [pin(None, "5", 1)]})),
        ]);
        assert_eq!(pinned(&rules, ""), "3@2 2@3 1@9 5@1");
    }

    #[test]
    fn a_number_that_is_free_again_is_given_again() {
        let mut rules = book(&[
            ("a", json!({"actions": [pin(None, "1", 0)]})),
            ("b", json!({"actions": [pin(None, "2", 0)]})),
        ]);
        rules.remove("a");
        rules.update("c", &RuleUpdate::default(), "");
        let order: Vec<&str> = rules.rules().map(|rule| rule.uid.as_str()).collect();
        assert_eq!(order, ["c", "b"]);
        assert_eq!((rules.len(), rules.get("a")), (2, None));
    }

    #[test]
    fn words_are_wanted_all_and_in_any_order() {
        let condition = |words: &str| json!({"conditions": {"query": {"words": words}}, "actions": [pin(None, "1", 0)]});
        for (words, query, holds) in [
            ("red shoes", "new SHOES in réd", true),
            ("red shoes", "red", false),
            ("red", "reds", false),
            ("red red", "red red", false),
            ("", "", true),
            ("", "any", true),
            ("red", "", false),
            ("red", "-red hat", false),
            ("red", "\"red\"", true),
            ("red hat", "\"red hat\"", false),
        ] {
            let rules = book(&[("a", condition(words))]);
            assert_eq!(
                !pinned(&rules, query).is_empty(),
                holds,
                "{words:?} {query:?}"
            );
        }
    }

    #[test]
    fn emptiness_is_that_of_words() {
        for (is_empty, query, holds) in [
            (true, "", true),
            (true, " ! ", true),
            (true, "-red", true),
            (true, "red", false),
            (false, "red", true),
            (false, "\"red hat\"", true),
            (false, "", false),
        ] {
            let rules = book(&[(
                "a",
                json!({"conditions": {"query": {"isEmpty": is_empty}}, "actions": [pin(None, "1", 0)]}),
            )]);
            assert_eq!(
                !pinned(&rules, query).is_empty(),
                holds,
                "{is_empty} {query:?}"
            );
        }
    }

    #[test]
    fn dates_are_compared_as_one_meilisearch_does() {
        for (time, holds) in [
            (json!({"start": "2026-11-22T23:00:00Z"}), true),
            (json!({"start": "2026-11-23T00:00:00Z"}), false),
            (json!({"start": "2026-11-24T00:00:00Z"}), false),
            (json!({"end": "2026-11-22T23:59:59Z"}), false),
            (json!({"end": "2026-11-23T00:00:01Z"}), true),
            (
                json!({"start": "2020-01-01T00:00:00Z", "end": "2030-01-01T00:00:00Z"}),
                true,
            ),
            (json!({}), true),
        ] {
            let rules = book(&[(
                "a",
                json!({"conditions": {"time": time}, "actions": [pin(None, "1", 0)]}),
            )]);
            assert_eq!(!pinned(&rules, "").is_empty(), holds, "{time}");
        }
    }

    #[test]
    fn only_a_rule_of_the_index_that_asks_for_words_needs_certain_ones() {
        let words = json!({"words": "red"});
        let rule = |index: Option<&str>, query: &Value| {
            book(&[(
                "a",
                json!({"conditions": {"query": query}, "actions": [pin(index, "1", 0)]}),
            )])
        };
        let ask = |rules: RuleBook| rules.pins("p", NOW, &QueryTerms::Unknown);
        assert_eq!(ask(rule(None, &words)), Err(RuleQueryError));
        assert_eq!(ask(rule(Some("p"), &words)), Err(RuleQueryError));
        assert_eq!(ask(rule(Some("q"), &words)), Ok(Vec::new()));
        assert_eq!(ask(rule(None, &json!({}))).map(|pins| pins.len()), Ok(1));
    }

    #[test]
    fn the_last_changed_is_listed_first() {
        let rules = book(&[
            ("a", json!({"description": "Summer sale"})),
            (
                "b",
                json!({"active": false, "conditions": {"query": {"words": "sale"}}}),
            ),
            ("c", json!({})),
        ]);
        let list = |offset, limit, query: Option<&str>, active| {
            let query = query.map(str::to_owned);
            let page = rules.list(&RuleListing {
                offset,
                limit,
                query,
                active,
            });
            page.map(|page| {
                let uids: Vec<String> = page.rules.into_iter().map(|rule| rule.uid).collect();
                (uids.join(""), page.total)
            })
        };
        assert_eq!(list(0, 20, None, None), Ok(("cba".to_owned(), 3)));
        assert_eq!(list(1, 1, None, None), Ok(("b".to_owned(), 3)));
        assert_eq!(list(0, 20, None, Some(true)), Ok(("ca".to_owned(), 2)));
        assert_eq!(list(0, 20, Some("SALE"), None), Ok(("ba".to_owned(), 2)));
        assert_eq!(list(0, 20, Some("sal"), None), Ok((String::new(), 0)));
        assert_eq!(list(0, 20, Some("summer sale"), None), Err(RuleQueryError));
    }
}
