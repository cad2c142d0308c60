//! How much: sizes, counts, times.

use super::raw::At;
use super::{Check, DEFAULT_PAYLOAD_BYTES_MAX, DEFAULT_SEARCH_CACHE_BYTES, DEFAULT_SHARDS, unit};
use miroir_engine::convoy::SHARES;
use miroir_engine::copy::CopyConfig;
use miroir_engine::gate::Limits;
use miroir_engine::kept::LogRetention;
use std::time::Duration;

/// Past this many shards of one index a search spends its time on joining answers.
const SHARDS_MAX: u32 = 4096;
/// What the documents of finished tasks may take, where they are kept.
const DEFAULT_LOG_RETENTION_BYTES: u64 = 16 << 30;

impl Check {
    pub(super) fn payload_limit(&mut self, raw: Option<At<String>>) -> u64 {
        let Some(At { value, line }) = raw else {
            return DEFAULT_PAYLOAD_BYTES_MAX;
        };
        match unit::parse_bytes(&value) {
            Ok(0) => self.add(line, "`http_payload_size_limit` must be above 0"),
            Ok(bytes) => return bytes,
            Err(text) => self.add(line, format!("`http_payload_size_limit`: {text}")),
        }
        DEFAULT_PAYLOAD_BYTES_MAX
    }

    pub(super) fn search_cache(&mut self, raw: Option<At<String>>) -> u64 {
        self.bytes(raw, "search_cache", DEFAULT_SEARCH_CACHE_BYTES)
    }

    pub(super) fn bytes(&mut self, raw: Option<At<String>>, key: &str, default: u64) -> u64 {
        let Some(At { value, line }) = raw else {
            return default;
        };
        match unit::parse_bytes(&value) {
            Ok(bytes) => return bytes,
            Err(text) => self.add(line, format!("`{key}`: {text}")),
        }
        default
    }

    /// A number of hundredths.
    pub(super) fn share(&mut self, raw: Option<At<i64>>, key: &str, default: u32) -> u32 {
        let Some(At { value, line }) = raw else {
            return default;
        };
        let share = u32::try_from(value).ok();
        share
            .filter(|share| SHARES.contains(share))
            .unwrap_or_else(|| {
                let text = format!(
                    "`{key}` must be a number from {} to {}, not {value}",
                    SHARES.start(),
                    SHARES.end()
                );
                self.add(line, text);
                default
            })
    }

    pub(super) fn copy_documents(&mut self, raw: Option<At<i64>>) -> u64 {
        let default = CopyConfig::default().documents_per_second;
        let Some(At { value, line }) = raw else {
            return default;
        };
        u64::try_from(value).unwrap_or_else(|_| {
            let text = format!("`copy_documents_per_second` must be at least 0, not {value}");
            self.add(line, text);
            default
        })
    }

    /// For what is off by default, since it costs much. Nothing of it is off too.
    pub(super) fn optional_duration(
        &mut self,
        raw: Option<At<String>>,
        key: &str,
    ) -> Option<Duration> {
        let At { value, line } = raw?;
        match unit::parse_duration(&value) {
            Ok(interval) => return (!interval.is_zero()).then_some(interval),
            Err(text) => self.add(line, format!("`{key}`: {text}")),
        }
        None
    }

    /// Off by default: it takes as much disk as the writes of that time.
    pub(super) fn log_retention(
        &mut self,
        age: Option<At<String>>,
        size: Option<At<String>>,
    ) -> Option<LogRetention> {
        let bytes = self.bytes(size, "log_retention_size", DEFAULT_LOG_RETENTION_BYTES);
        let age = self.optional_duration(age, "log_retention")?;
        Some(LogRetention { age, bytes })
    }

    pub(super) fn limits(
        &mut self,
        tasks: Option<At<i64>>,
        payload_disk: Option<At<String>>,
    ) -> Limits {
        let mut limits = Limits::default();
        if let Some(At { value, line }) = payload_disk {
            match unit::parse_bytes(&value) {
                Ok(0) => self.add(line, "`payload_disk_max` must be above 0"),
                Ok(bytes) => limits.payload_bytes_max = bytes,
                Err(text) => self.add(line, format!("`payload_disk_max`: {text}")),
            }
        }
        if let Some(At { value, line }) = tasks {
            match u64::try_from(value) {
                Ok(count) if count > 0 => limits.unfinished_tasks_max = count,
                _ => {
                    let text = format!("`unfinished_tasks_max` must be at least 1, not {value}");
                    self.add(line, text);
                }
            }
        }
        limits
    }

    /// Those that are named, or else as many as the rule gives on these nodes.
    pub(super) fn shards(
        &mut self,
        raw: Option<At<i64>>,
        node_count: usize,
        replication_factor: Option<&At<i64>>,
    ) -> u32 {
        let Some(At { value, line }) = raw else {
            let named = replication_factor.and_then(|at| u32::try_from(at.value).ok());
            let factor = named
                .unwrap_or(2)
                .clamp(1, node_count.clamp(1, 1000) as u32);
            return miroir_core::capacity::shards_for(node_count as u64, factor);
        };
        match u32::try_from(value) {
            Ok(count) if (1..=SHARDS_MAX).contains(&count) => return count,
            _ => {
                let text = format!("`default_shards` must be from 1 to {SHARDS_MAX}, not {value}");
                self.add(line, text);
            }
        }
        DEFAULT_SHARDS
    }

    pub(super) fn replication_factor(&mut self, raw: Option<At<i64>>, node_count: usize) -> u32 {
        // Two replicas survive the loss of a node; one node cannot hold two.
        let Some(At { value, line }) = raw else {
            return node_count.clamp(1, 2) as u32;
        };
        match u32::try_from(value) {
            Ok(factor) if factor >= 1 && factor as usize <= node_count.max(1) => return factor,
            Ok(factor) if factor >= 1 && node_count > 0 => self.add(
                line,
                format!(
                    "`replication_factor` is {factor} but there are {node_count} nodes, and one \
                     node holds at most one replica of a shard: write at most {node_count}, or \
                     add a [[nodes]] table"
                ),
            ),
            Ok(factor) if factor >= 1 => return factor,
            _ => self.add(
                line,
                format!("`replication_factor` must be at least 1, not {value}"),
            ),
        }
        1
    }
}
