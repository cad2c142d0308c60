//! Faults that tests turn on: `GET` and `POST /_devnode/faults`.
//!
//! `submitDelayMs` delays the answer of requests that would register a task, before they do;
//! `taskDelayMs` delays each batch; `searchDelayMs` delays searches and document listings;
//! `reject503` refuses all requests but `/health` as an overloaded node does; `holdQueue` keeps
//! tasks enqueued; `loseAnswers` is the number of next task-making requests that are carried out
//! but whose connection is cut instead of answered.

use crate::error::ApiError;
use crate::http::object::Object;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::time::Duration;

/// The faults turned on at present.
#[derive(Default)]
pub(crate) struct Faults(Mutex<Switches>);

#[derive(Clone, Default)]
struct Switches {
    submit_delay_ms: u64,
    task_delay_ms: u64,
    search_delay_ms: u64,
    reject_503: bool,
    hold_queue: bool,
    lose_answers: u64,
}

const NAMES: &[&str] = &[
    "submitDelayMs",
    "taskDelayMs",
    "searchDelayMs",
    "reject503",
    "holdQueue",
    "loseAnswers",
];

impl Faults {
    pub(crate) fn new(task_delay: Option<Duration>) -> Self {
        let task_delay_ms = task_delay.map_or(0, |delay| {
            u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)
        });
        Self(Mutex::new(Switches {
            task_delay_ms,
            ..Switches::default()
        }))
    }

    /// Changes the switches that are named; the others stay.
    pub(crate) fn update(&self, body: &Value) -> Result<(), ApiError> {
        let code = "bad_request";
        let object = Object::root(body, NAMES)?;
        let mut switches = self.0.lock();
        let now = switches.clone();
        *switches = Switches {
            submit_delay_ms: object.integer_or("submitDelayMs", now.submit_delay_ms, code)?,
            task_delay_ms: object.integer_or("taskDelayMs", now.task_delay_ms, code)?,
            search_delay_ms: object.integer_or("searchDelayMs", now.search_delay_ms, code)?,
            reject_503: object.boolean_or("reject503", now.reject_503, code)?,
            hold_queue: object.boolean_or("holdQueue", now.hold_queue, code)?,
            lose_answers: object.integer_or("loseAnswers", now.lose_answers, code)?,
        };
        Ok(())
    }

    pub(crate) fn view(&self) -> Value {
        let now = self.0.lock();
        json!({
            "submitDelayMs": now.submit_delay_ms,
            "taskDelayMs": now.task_delay_ms,
            "searchDelayMs": now.search_delay_ms,
            "reject503": now.reject_503,
            "holdQueue": now.hold_queue,
            "loseAnswers": now.lose_answers,
        })
    }

    pub(crate) fn submit_delay(&self) -> Duration {
        Duration::from_millis(self.0.lock().submit_delay_ms)
    }

    pub(crate) fn task_delay(&self) -> Duration {
        Duration::from_millis(self.0.lock().task_delay_ms)
    }

    pub(crate) fn search_delay(&self) -> Duration {
        Duration::from_millis(self.0.lock().search_delay_ms)
    }

    pub(crate) fn is_rejecting(&self) -> bool {
        self.0.lock().reject_503
    }

    pub(crate) fn is_holding_queue(&self) -> bool {
        self.0.lock().hold_queue
    }

    /// Whether this answer is to be lost; counts it.
    pub(crate) fn take_lost_answer(&self) -> bool {
        let mut switches = self.0.lock();
        let lost = switches.lose_answers > 0;
        switches.lose_answers = switches.lose_answers.saturating_sub(1);
        lost
    }
}
