//! Webhooks that keep what they are told.

use async_trait::async_trait;
use miroir_engine::port::{HookClient, HookError, HookRequest};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use std::time::Duration;

/// What hooks were told, by address.
#[derive(Default)]
pub struct Hooks {
    told: Mutex<BTreeMap<String, Vec<u64>>>,
    /// The headers of each call.
    pub headers: Mutex<Vec<BTreeMap<String, String>>>,
    /// It does not answer.
    pub is_away: AtomicBool,
    /// What is answered; 0 is 200.
    pub status: AtomicU16,
    /// Calls made.
    pub calls: AtomicU32,
}

#[async_trait]
impl HookClient for Hooks {
    async fn post(&self, request: HookRequest, _: Duration) -> Result<u16, HookError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.is_away.load(Ordering::SeqCst) {
            return Err(HookError::Unreachable("the test says so".into()));
        }
        let status = self.status.load(Ordering::SeqCst);
        if status != 0 {
            return Ok(status);
        }
        let lines = request.body.split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.is_empty()) {
            let task: Value = serde_json::from_slice(line).expect("a task a line");
            assert!(!task["finishedAt"].is_null(), "{task}");
            let uid = task["uid"].as_u64().expect("a uid");
            self.told
                .lock()
                .entry(request.url.clone())
                .or_default()
                .push(uid);
        }
        self.headers.lock().push(request.headers);
        Ok(200)
    }
}

impl Hooks {
    /// The tasks that this address was told of.
    pub fn told(&self, url: &str) -> Vec<u64> {
        self.told.lock().get(url).cloned().unwrap_or_default()
    }
}
