//! How much is kept for nodes that do not take it.

use super::{Completer, GOING_ON_MAX, RETENTION_LOOK_INTERVAL};
use miroir_core::health::NodeHealth;

impl Completer {
    /// A node for which too much is kept, or for too long, is to be copied anew instead: one that does
    /// not answer, or answers and does not go on. Not while what it has may be all there is of some
    /// shard.
    pub(super) fn bound_retention(&mut self) {
        let now = self.shared.ports.clock.monotonic();
        if now.saturating_sub(self.looked_at) < RETENTION_LOOK_INTERVAL {
            return;
        }
        self.looked_at = now;
        let config = &self.shared.config.copy;
        let snapshot = self.shared.snapshot.load();
        let in_sync = snapshot.in_sync();
        let wall_now = self.shared.ports.clock.now();
        for (node, view) in &snapshot.nodes {
            let went_on_at = self.went_on_at.get(node).copied().unwrap_or_default();
            let is_away = view.health == NodeHealth::Down;
            let goes_on = !is_away && now.saturating_sub(went_on_at) < GOING_ON_MAX;
            if view.record.is_in_sync || goes_on || !self.may_leave(node, &in_sync, &[]) {
                continue;
            }
            let owed = self.tallies.values().filter(|tally| {
                tally.done.is_some()
                    && tally.batch.nodes.contains(node)
                    && !tally.outcomes.contains_key(node)
            });
            let mut kept_bytes = 0u64;
            let mut oldest = None;
            for tally in owed {
                kept_bytes = kept_bytes.saturating_add(tally.batch.payload_bytes);
                let started_at = tally.batch.tasks.iter().filter_map(|task| task.started_at);
                oldest = oldest.or(started_at.min());
            }
            let age = oldest.map_or(time::Duration::ZERO, |oldest| wall_now - oldest);
            let what = if is_away { "was away" } else { "did not go on" };
            let reason = if kept_bytes > config.retention_bytes {
                format!("it {what} while {kept_bytes} bytes of writes came: more than are kept")
            } else if age > config.retention_age {
                format!("it {what} for longer than writes are kept")
            } else {
                continue;
            };
            self.shared.copy.want(node.clone(), reason);
            self.shared.nodes_changed.ring();
        }
    }
}
