//! Wakes the worker: new work, a changed fault switch, the end.

use parking_lot::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Rung by the routes, heard by the worker. A ring while nobody waits is not lost.
#[derive(Default)]
pub(crate) struct Bell {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    rung: bool,
    stopped: bool,
}

impl Bell {
    /// There may be something to do.
    pub(crate) fn ring(&self) {
        self.state.lock().rung = true;
        self.changed.notify_all();
    }

    /// The worker is to end, for good.
    pub(crate) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Waits for the next ring or the end.
    pub(crate) fn wait(&self) {
        let mut state = self.state.lock();
        while !state.rung && !state.stopped {
            self.changed.wait(&mut state);
        }
        state.rung = false;
    }

    /// Waits this long, or until the end.
    pub(crate) fn pause(&self, duration: Duration) {
        let Some(deadline) = Instant::now().checked_add(duration) else {
            return;
        };
        let mut state = self.state.lock();
        while !state.stopped {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return;
            }
        }
    }
}
