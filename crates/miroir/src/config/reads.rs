//! Reads under faults: hedging, slow starts, partial answers.

use super::Check;
use super::raw::{At, RawIndex};
use miroir_engine::reads::{PartialPolicy, ReadConfig};
use std::collections::BTreeMap;

/// What the file says of reads under faults.
pub(super) struct Reads {
    pub(super) hedge_percent: Option<At<f64>>,
    pub(super) hedge_floor: Option<At<String>>,
    pub(super) slow_start: Option<At<String>>,
    pub(super) partial_answers: Option<At<String>>,
    pub(super) indexes: Vec<RawIndex>,
}

/// Whether an answer may lack shards that cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PartialAnswers {
    /// The request fails instead.
    Deny,
    /// The answer says what it lacks.
    Allow,
}

impl Check {
    pub(super) fn reads(&mut self, raw: Reads) -> ReadConfig {
        let default = ReadConfig::default();
        let mut partial_of = BTreeMap::new();
        for index in raw.indexes {
            let Some(At { value: uid, .. }) = index.uid else {
                self.add(index.line, "this index has no `uid`");
                continue;
            };
            let policy = self.partial(index.partial_answers);
            if partial_of.insert(uid.clone(), policy).is_some() {
                self.add(index.line, format!("the index \"{uid}\" has two tables"));
            }
        }
        ReadConfig {
            hedge_milli: self.hedge_milli(raw.hedge_percent, default.hedge_milli),
            hedge_after_min: self.duration(raw.hedge_floor, "hedge_floor", default.hedge_after_min),
            slow_start: self.duration(raw.slow_start, "slow_start", default.slow_start),
            partial: self.partial(raw.partial_answers),
            partial_of,
        }
    }

    fn partial(&mut self, raw: Option<At<String>>) -> PartialPolicy {
        match self.choice(raw, "partial_answers", PartialAnswers::Deny) {
            PartialAnswers::Deny => PartialPolicy::Error,
            PartialAnswers::Allow => PartialPolicy::Partial,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the value was checked to be from 0 to 100"
    )]
    fn hedge_milli(&mut self, raw: Option<At<f64>>, default: u32) -> u32 {
        let Some(At { value, line }) = raw else {
            return default;
        };
        if (0.0..=100.0).contains(&value) {
            return (value * 10.0).round() as u32;
        }
        let text = format!("`hedge_percent` must be from 0 to 100, not {value}");
        self.add(line, text);
        default
    }
}
