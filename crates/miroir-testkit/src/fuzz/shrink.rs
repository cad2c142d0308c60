//! A small case with the same fault: fewer parameters, documents, settings and fields.
//!
//! Greedy: something is taken away, and stays away if the fault still shows. What is asked is made
//! small on the data that are there; each other trial is a new index.

use super::{Arena, Ask, Case, WriteStep};
use crate::Kind;
use anyhow::Result;
use serde_json::{Map, Value};
use std::time::{Duration, Instant};

/// Makes the case of one request smaller for at most about `budget`, keeping a difference of this
/// kind that nothing excuses.
///
/// # Errors
/// When a server does not answer.
pub fn shrink(
    arena: &mut Arena,
    case: &Case,
    ask: &Ask,
    kind: Kind,
    budget: Duration,
) -> Result<Case> {
    let mut shrinker = Shrinker {
        arena,
        kind,
        deadline: Instant::now() + budget,
        best: Case {
            requests: vec![ask.clone()],
            ..case.clone()
        },
    };
    shrinker.shrink_request()?;
    shrinker.shrink_writes()?;
    shrinker.shrink_documents()?;
    shrinker.shrink_settings()?;
    shrinker.shrink_fields()?;
    shrinker.shrink_request()?;
    Ok(shrinker.best)
}

struct Shrinker<'a> {
    arena: &'a mut Arena,
    kind: Kind,
    deadline: Instant,
    best: Case,
}

impl Shrinker<'_> {
    fn is_out_of_time(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Whether the fault shows in a case; a case that a server cannot be asked about shows none.
    fn shows(&mut self, case: &Case) -> Result<bool> {
        let stage = self.arena.load(case)?;
        let shown = self.shows_on(&stage, case, &case.requests[0]);
        self.arena.clear(&stage)?;
        Ok(shown)
    }

    fn shows_on(&self, stage: &super::Stage, case: &Case, ask: &Ask) -> bool {
        let findings = self.arena.judge(stage, case, ask).unwrap_or_default();
        findings
            .iter()
            .any(|(difference, cause)| difference.kind == self.kind && cause.is_unexplained())
    }

    /// Takes `candidate` if the fault still shows.
    fn keep(&mut self, candidate: Case) -> Result<bool> {
        if self.is_out_of_time() || !self.shows(&candidate)? {
            return Ok(false);
        }
        self.best = candidate;
        Ok(true)
    }

    fn shrink_request(&mut self) -> Result<()> {
        let case = self.best.clone();
        let stage = self.arena.load(&case)?;
        let mut ask = case.requests[0].clone();
        while !self.is_out_of_time() {
            let smaller = smaller_values(&ask.body).into_iter().find(|body| {
                let candidate = Ask {
                    body: body.clone(),
                    ..ask
                };
                self.shows_on(&stage, &case, &candidate)
            });
            let Some(body) = smaller else { break };
            ask.body = body;
        }
        self.arena.clear(&stage)?;
        self.best.requests = vec![ask];
        Ok(())
    }

    fn shrink_writes(&mut self) -> Result<()> {
        for position in (0..self.best.writes.len()).rev() {
            let mut candidate = self.best.clone();
            candidate.writes.remove(position);
            self.keep(candidate)?;
        }
        // All in one payload, if the grouping does not matter.
        let is_plain = |step: &&WriteStep| step.method == "POST" && step.body[0].is_object();
        if self.best.writes.len() > 1 && self.best.writes.iter().all(|step| is_plain(&step)) {
            let mut candidate = self.best.clone();
            let all = candidate
                .writes
                .iter()
                .filter_map(|step| step.body.as_array());
            let all: Vec<Value> = all.flatten().cloned().collect();
            candidate.writes.truncate(1);
            candidate.writes[0].body = Value::Array(all);
            self.keep(candidate)?;
        }
        Ok(())
    }

    /// Drops runs of items from each payload, halving the length of the runs.
    fn shrink_documents(&mut self) -> Result<()> {
        for step in 0..self.best.writes.len() {
            let length = |case: &Case| case.writes[step].body.as_array().map_or(0, Vec::len);
            let mut run = length(&self.best).div_ceil(2);
            while run > 0 && !self.is_out_of_time() {
                let mut start = 0;
                while start < length(&self.best) && !self.is_out_of_time() {
                    let mut candidate = self.best.clone();
                    let Some(items) = candidate.writes[step].body.as_array_mut() else {
                        break;
                    };
                    let end = (start + run).min(items.len());
                    items.drain(start..end);
                    if !self.keep(candidate)? {
                        start += run;
                    }
                }
                run /= 2;
            }
        }
        Ok(())
    }

    fn shrink_settings(&mut self) -> Result<()> {
        loop {
            let mut is_smaller = false;
            for settings in smaller_values(&self.best.settings) {
                if self.is_out_of_time() {
                    return Ok(());
                }
                let candidate = Case {
                    settings,
                    ..self.best.clone()
                };
                if self.keep(candidate)? {
                    is_smaller = true;
                    break;
                }
            }
            if !is_smaller {
                return Ok(());
            }
        }
    }

    /// Drops a field from all documents at once, then from each.
    fn shrink_fields(&mut self) -> Result<()> {
        let mut names: Vec<String> = Vec::new();
        for document in documents(&self.best) {
            names.extend(document.keys().cloned());
        }
        names.sort();
        names.dedup();
        names.retain(|name| *name != self.best.key_field);
        for name in &names {
            let mut candidate = self.best.clone();
            for step in &mut candidate.writes {
                for document in step.body.as_array_mut().into_iter().flatten() {
                    if let Some(document) = document.as_object_mut() {
                        document.remove(name);
                    }
                }
            }
            self.keep(candidate)?;
        }
        Ok(())
    }
}

fn documents(case: &Case) -> impl Iterator<Item = &Map<String, Value>> {
    let items = case.writes.iter().filter_map(|step| step.body.as_array());
    items.flatten().filter_map(Value::as_object)
}

/// Every value that is this one with one part taken away, the largest parts first.
fn smaller_values(value: &Value) -> Vec<Value> {
    let mut smaller = Vec::new();
    match value {
        Value::Object(members) => {
            for name in members.keys() {
                let mut rest = members.clone();
                rest.remove(name);
                smaller.push(Value::Object(rest));
            }
            for (name, member) in members {
                for part in smaller_values(member) {
                    let mut changed = members.clone();
                    changed.insert(name.clone(), part);
                    smaller.push(Value::Object(changed));
                }
            }
        }
        Value::Array(items) => {
            for position in 0..items.len() {
                let mut rest = items.clone();
                rest.remove(position);
                smaller.push(Value::Array(rest));
            }
            if let [only] = items.as_slice() {
                smaller.push(only.clone());
            }
            for (position, item) in items.iter().enumerate() {
                for part in smaller_values(item) {
                    let mut changed = items.clone();
                    changed[position] = part;
                    smaller.push(Value::Array(changed));
                }
            }
        }
        Value::String(text) => smaller.extend(smaller_texts(text).into_iter().map(Value::String)),
        _ => {}
    }
    smaller
}

/// A text with one word less, and a condition's sides alone.
fn smaller_texts(text: &str) -> Vec<String> {
    let mut smaller = Vec::new();
    for operator in [" AND ", " OR "] {
        if let Some((left, right)) = text.split_once(operator) {
            let bare = |side: &str| side.trim_matches(['(', ')', ' ']).to_owned();
            smaller.extend([bare(left), bare(right)]);
        }
    }
    let words: Vec<&str> = text.split(' ').collect();
    if (2..30).contains(&words.len()) {
        for position in 0..words.len() {
            let mut rest = words.clone();
            rest.remove(position);
            smaller.push(rest.join(" "));
        }
    }
    smaller
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_part_of_a_value_can_be_taken_away() {
        let smaller = smaller_values(&json!({"a": [1, 2], "q": "x y"}));
        for expected in [
            json!({"a": [1, 2]}),
            json!({"q": "x y"}),
            json!({"a": [1], "q": "x y"}),
            json!({"a": [2], "q": "x y"}),
            json!({"a": [1, 2], "q": "x"}),
            json!({"a": [1, 2], "q": "y"}),
        ] {
            assert!(smaller.contains(&expected), "{expected}");
        }
    }

    #[test]
    fn taking_parts_away_comes_to_an_end() {
        let mut value = json!({"a": [["x = 1", "y = 2"], "z AND w"], "b": {"c": "d e f"}});
        let mut steps = 0;
        while let Some(next) = smaller_values(&value).into_iter().last() {
            value = next;
            steps += 1;
            assert!(steps < 100);
        }
    }
}
