//! Name, unit and help of every metric, and the page that Prometheus reads.
//!
//! What happens is counted as it happens (`Metrics`); what is, is looked up when somebody asks
//! ([`Engine::metrics_page`]), into gauges of their own, so that what is gone leaves no line. The
//! names that begin with `meilisearch_` are Meilisearch's, for dashboards made for it; those of its
//! search queue and of its database are missing, since a proxy has neither.

use crate::completer::Lag;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::port::TaskQuery;
use crate::state::Snapshot;
use miroir_api::admin;
use miroir_core::health::NodeHealth;
use miroir_core::id::NodeId;
use miroir_core::task::{TaskFilter, TaskKind, TaskStatus};
use prometheus::core::Collector;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The content type of the page.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The bounds that Meilisearch has for its answers, in seconds.
const ANSWER_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// Nodes stand near, so the bounds begin lower.
const NODE_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// What is counted and measured as it happens.
pub(crate) struct Metrics {
    registry: Registry,
    http_requests: IntCounterVec,
    http_seconds: HistogramVec,
    scatter_seconds: HistogramVec,
    scatter_failures: IntCounterVec,
    hedges: IntCounterVec,
    degraded: IntCounter,
    cache: IntCounterVec,
    merges: IntCounter,
    payload_bytes: IntCounter,
}

const OWN: &str = "the names are constants of this file, well-formed and distinct";

impl Metrics {
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels).expect(OWN);
            add(&registry, counters)
        };
        let counter =
            |name: &str, help: &str| add(&registry, IntCounter::new(name, help).expect(OWN));
        let seconds = |name: &str, help: &str, bounds: &[f64], labels: &[&str]| {
            let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
            add(&registry, HistogramVec::new(options, labels).expect(OWN))
        };
        Self {
            http_requests: counters(
                "meilisearch_http_requests_total",
                "HTTP requests answered",
                &["method", "path", "status"],
            ),
            http_seconds: seconds(
                "meilisearch_http_response_time_seconds",
                "Time to an answer",
                ANSWER_SECONDS,
                &["method", "path"],
            ),
            scatter_seconds: seconds(
                "miroir_scatter_seconds",
                "Time of one node's answer to a part of a read",
                NODE_SECONDS,
                &["node"],
            ),
            scatter_failures: counters(
                "miroir_scatter_failures_total",
                "Parts of reads that a node did not answer",
                &["node"],
            ),
            hedges: counters(
                "miroir_hedges_total",
                "Parts of reads asked of other nodes too because this one was silent, and those of \
                 them that another answered first",
                &["node", "outcome"],
            ),
            degraded: counter(
                "miroir_degraded_answers_total",
                "Answers that lacked shards and said so",
            ),
            cache: counters(
                "miroir_search_cache_total",
                "Searches by what the cache had for them",
                &["outcome"],
            ),
            merges: counter(
                "miroir_merges_total",
                "Searches merged from the answers of nodes",
            ),
            payload_bytes: counter(
                "miroir_payload_bytes_total",
                "Bytes of payloads accepted into the log",
            ),
            registry,
        }
    }

    pub(crate) fn note_scatter(&self, node: &NodeId, elapsed: Duration, is_answered: bool) {
        let node = [node.as_str()];
        if is_answered {
            let seconds = self.scatter_seconds.with_label_values(&node);
            seconds.observe(elapsed.as_secs_f64());
        } else {
            self.scatter_failures.with_label_values(&node).inc();
        }
    }

    pub(crate) fn note_hedge(&self, node: &NodeId, is_won: bool) {
        let outcome = if is_won { "won" } else { "sent" };
        let hedges = self.hedges.with_label_values(&[node.as_str(), outcome]);
        hedges.inc();
    }

    pub(crate) fn note_degraded(&self) {
        self.degraded.inc();
    }

    pub(crate) fn note_cache(&self, is_hit: bool) {
        let outcome = if is_hit { "hit" } else { "miss" };
        self.cache.with_label_values(&[outcome]).inc();
        if !is_hit {
            self.merges.inc();
        }
    }

    pub(crate) fn note_payload(&self, bytes: u64) {
        self.payload_bytes.inc_by(bytes);
    }
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> C {
    registry.register(Box::new(collector.clone())).expect(OWN);
    collector
}

/// Gauges of one reading.
struct Reading(Registry);

impl Reading {
    /// One gauge for each set of labels.
    #[expect(
        clippy::cast_precision_loss,
        reason = "gauges are floats; what they show is rounded"
    )]
    fn put<'l>(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        values: impl IntoIterator<Item = (Vec<&'l str>, u64)>,
    ) {
        let gauges = self.gauges(name, help, labels);
        for (labels, value) in values {
            gauges.with_label_values(&labels).set(value as f64);
        }
    }

    fn put_float(&self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, &[])
            .with_label_values::<&str>(&[])
            .set(value);
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        add(
            &self.0,
            GaugeVec::new(Opts::new(name, help), labels).expect(OWN),
        )
    }
}

impl Engine {
    /// Counts an answered request; `path` is the route's pattern.
    pub fn note_http(&self, method: &str, path: &str, status: &str, elapsed: Duration) {
        let metrics = &self.shared().metrics;
        let requests = &metrics.http_requests;
        requests.with_label_values(&[method, path, status]).inc();
        let seconds = metrics.http_seconds.with_label_values(&[method, path]);
        seconds.observe(elapsed.as_secs_f64());
    }

    /// The page of metrics, in the text format of Prometheus.
    ///
    /// # Errors
    /// The store failed. What only nodes know is left out while they do not answer.
    pub async fn metrics_page(&self) -> Result<String, EngineError> {
        let reading = Reading(Registry::new());
        if let Err(error) = self.read_stats(&reading).await {
            // When nodes are away is when the rest of the page is wanted most.
            tracing::debug!(%error, "metrics without what nodes know");
        }
        self.read_tasks(&reading).await?;
        self.read_cluster(&reading).await?;
        let mut families = self.shared().metrics.registry.gather();
        families.extend(reading.0.gather());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        TextEncoder::new()
            .encode_to_string(&families)
            .map_err(|error| EngineError::Answer(format!("metrics cannot be written: {error}")))
    }

    async fn read_stats(&self, reading: &Reading) -> Result<(), EngineError> {
        let stats = self.stats().await?;
        let number = |name: &str| stats.get(name).and_then(Value::as_u64).unwrap_or(0);
        reading.put(
            "meilisearch_db_size_bytes",
            "Size of the databases of all nodes",
            &[],
            [(vec![], number("databaseSize"))],
        );
        reading.put(
            "meilisearch_used_db_size_bytes",
            "Used size of the databases of all nodes",
            &[],
            [(vec![], number("usedDatabaseSize"))],
        );
        let indexes = stats.get("indexes").and_then(Value::as_object);
        reading.put(
            "meilisearch_index_docs_count",
            "Documents of an index",
            &["index"],
            indexes.into_iter().flatten().map(|(uid, stats)| {
                let count = stats.get("numberOfDocuments").and_then(Value::as_u64);
                (vec![uid.as_str()], count.unwrap_or(0))
            }),
        );
        let last_update = stats.get("lastUpdate").and_then(Value::as_str);
        let last_update = last_update
            .and_then(|date| OffsetDateTime::parse(date, &Rfc3339).ok())
            .and_then(|date| u64::try_from(date.unix_timestamp()).ok());
        if let Some(last_update) = last_update {
            reading.put(
                "meilisearch_last_update",
                "When an index was last changed, in seconds since the Unix epoch",
                &[],
                [(vec![], last_update)],
            );
        }
        Ok(())
    }

    async fn read_tasks(&self, reading: &Reading) -> Result<(), EngineError> {
        let shared = self.shared();
        let store = &shared.ports.store;
        let by_status = store.count_tasks().await?;
        let mut counts: Vec<(Vec<&str>, u64)> = Vec::new();
        for status in TaskStatus::ALL {
            let count = by_status.get(&status).copied().unwrap_or(0);
            counts.push((vec!["statuses", status.as_str()], count));
        }
        for kind in TaskKind::ALL {
            let filter = TaskFilter {
                types: Some(vec![*kind]),
                ..TaskFilter::default()
            };
            counts.push((
                vec!["types", kind.as_str()],
                self.count_tasks(filter).await?,
            ));
        }
        let snapshot = shared.snapshot.load_full();
        reading.put(
            "meilisearch_index_count",
            "Indexes",
            &[],
            [(vec![], snapshot.indexes.len() as u64)],
        );
        for uid in snapshot.indexes.keys() {
            let filter = TaskFilter {
                index_uids: Some(vec![uid.as_str().to_owned()]),
                ..TaskFilter::default()
            };
            counts.push((
                vec!["indexes", uid.as_str()],
                self.count_tasks(filter).await?,
            ));
        }
        reading.put("meilisearch_nb_tasks", "Tasks", &["kind", "value"], counts);

        let processing = by_status.get(&TaskStatus::Processing).copied().unwrap_or(0);
        reading.put(
            "meilisearch_is_indexing",
            "Whether some task is on its way to nodes",
            &[],
            [(vec![], u64::from(processing > 0))],
        );
        let unfinished = TaskFilter {
            statuses: Some(vec![TaskStatus::Enqueued, TaskStatus::Processing]),
            ..TaskFilter::default()
        };
        let oldest = TaskQuery {
            filter: unfinished,
            limit: 1,
            is_reversed: true,
            ..TaskQuery::default()
        };
        let oldest = store.list_tasks(oldest).await?.tasks.into_iter().next();
        let latency = oldest.map_or(0.0, |task| (self.now() - task.enqueued_at).as_seconds_f64());
        reading.put_float(
            "meilisearch_task_queue_latency_seconds",
            "Age of the oldest task that has not ended",
            latency,
        );
        let newest = TaskQuery {
            limit: 1,
            ..TaskQuery::default()
        };
        let newest = store.list_tasks(newest).await?.tasks.into_iter().next();
        reading.put(
            "miroir_log_position",
            "Entries accepted into the log",
            &[],
            [(vec![], newest.map_or(0, |task| task.uid.0 + 1))],
        );
        Ok(())
    }

    async fn count_tasks(&self, filter: TaskFilter) -> Result<u64, EngineError> {
        let query = TaskQuery {
            filter,
            ..TaskQuery::default()
        };
        Ok(self.tasks(query).await?.total)
    }

    async fn read_cluster(&self, reading: &Reading) -> Result<(), EngineError> {
        let shared = self.shared();
        let in_flight = shared.in_flight.lock().len() as u64;
        reading.put(
            "miroir_batches_in_flight",
            "Batches whose tasks have not ended",
            &[],
            [(vec![], in_flight)],
        );
        let reshards = self.reshards();
        let copying = || reshards.iter().filter(|one| one.state == "copying");
        reading.put(
            "miroir_reshard_copied_documents",
            "Documents copied of an index that is being cut into another number of shards",
            &["index"],
            copying().map(|one| (vec![one.index_uid.as_str()], one.documents)),
        );
        reading.put(
            "miroir_reshard_documents",
            "Documents to be copied of such an index, as there were when it began",
            &["index"],
            copying().map(|one| (vec![one.index_uid.as_str()], one.documents_total)),
        );
        let snapshot = shared.snapshot.load_full();
        let lags = shared.lags().await?;
        let nodes = || snapshot.nodes.iter();
        reading.put(
            "miroir_node_up",
            "Whether the node answers",
            &["node"],
            nodes().map(|(id, view)| {
                let is_up = matches!(view.health, NodeHealth::Up | NodeHealth::Suspect);
                (vec![id.as_str()], u64::from(is_up))
            }),
        );
        reading.put(
            "miroir_node_in_sync",
            "Whether the node has applied all that was reported done",
            &["node"],
            nodes().map(|(id, view)| (vec![id.as_str()], u64::from(view.record.is_in_sync))),
        );
        reading.put(
            "miroir_node_queued_batches",
            "Batches that the node has not applied: the depth of its lane, and its lag",
            &["node"],
            nodes().map(|(id, _)| {
                let lag = lags.get(id);
                (vec![id.as_str()], lag.map_or(0, |lag| lag.batches))
            }),
        );
        self.read_standing(reading, &snapshot, &lags);
        self.read_reads(reading, &snapshot);
        let replicas = replicas(&snapshot);
        reading.put(
            "miroir_shards",
            "Shards of all indexes by how many of their replicas may be read",
            &["replicas"],
            [
                (vec!["all"], replicas.all),
                (vec!["some"], replicas.some),
                (vec!["none"], replicas.none),
            ],
        );
        Ok(())
    }
}

impl Engine {
    /// How far behind nodes are, and what is wrong with them.
    fn read_standing(&self, reading: &Reading, snapshot: &Snapshot, lags: &BTreeMap<NodeId, Lag>) {
        let shown = crate::admin::node::shown(self.shared(), snapshot, lags);
        let each = |of: fn(&admin::Node) -> u64| {
            let nodes = shown.iter();
            let values = nodes.map(move |node| (vec![node.name.as_str()], of(node)));
            values.collect::<Vec<_>>()
        };
        reading.put(
            "miroir_node_lag_entries",
            "Entries of the log that the node has not applied",
            &["node"],
            each(|node| node.lag_entries),
        );
        reading.put(
            "miroir_node_lag_bytes",
            "Size of the payloads that the node has not applied",
            &["node"],
            each(|node| node.lag_bytes),
        );
        let seconds = reading.gauges(
            "miroir_node_lag_seconds",
            "Age of the oldest batch that the node has not applied",
            &["node"],
        );
        for node in &shown {
            let gauge = seconds.with_label_values(&[node.name.as_str()]);
            gauge.set(node.lag_seconds);
        }
        reading.put(
            "miroir_node_slows_writes",
            "Whether new writes are slowed so that this node, which comes back, gets level",
            &["node"],
            each(|node| u64::from(node.slows_writes)),
        );
        let holds = self.shared().convoy.holds();
        reading.put(
            "miroir_node_write_waits",
            "How often new writes had to wait for this node, which came back",
            &["node"],
            holds
                .iter()
                .map(|(node, count)| (vec![node.as_str()], *count)),
        );
        reading.put(
            "miroir_node_shards",
            "Shard replicas placed on the node",
            &["node"],
            each(|node| node.shard_count),
        );
        reading.put(
            "miroir_node_in_sync_shards",
            "Shard replicas on the node that hold all that was reported done",
            &["node"],
            each(|node| node.in_sync_shards),
        );
        let conditions = shown.iter().flat_map(|node| {
            let found = node.conditions.iter();
            found.map(|c| (vec![node.name.as_str(), c.condition.as_str()], 1))
        });
        reading.put(
            "miroir_node_condition",
            "1 for each thing that is wrong with a node, by name",
            &["node", "condition"],
            conditions,
        );
    }

    fn read_reads(&self, reading: &Reading, snapshot: &Snapshot) {
        let shared = self.shared();
        let (working, resting) = shared.toil.counts();
        reading.put(
            "miroir_copies",
            "Copies and comparisons under way: working, or resting because searches felt them",
            &["state"],
            [(vec!["working"], working), (vec!["resting"], resting)],
        );
        let now = shared.ports.clock.monotonic();
        let shown: Vec<_> = snapshot
            .nodes
            .keys()
            .map(|id| (id.as_str(), shared.reads.node(id).shown(now)))
            .collect();
        let latency = reading.gauges(
            "miroir_node_read_seconds",
            "Running mean of the time to a node's answers, by kind of read",
            &["node", "kind"],
        );
        for (node, reads) in &shown {
            for (kind, millis) in &reads.latency_ms {
                let gauge = latency.with_label_values(&[*node, kind.as_str()]);
                gauge.set(millis / 1000.0);
            }
        }
        reading.put(
            "miroir_node_reads_in_flight",
            "Reads under way at the node",
            &["node"],
            shown
                .iter()
                .map(|(node, reads)| (vec![*node], reads.in_flight)),
        );
        reading.put(
            "miroir_node_breaker",
            "1 for the state of the node's breaker: closed, open, half-open or busy",
            &["node", "state"],
            shown
                .iter()
                .map(|(node, reads)| (vec![*node, reads.breaker.as_str()], 1)),
        );
    }
}

#[derive(Default)]
struct Replicas {
    all: u64,
    some: u64,
    none: u64,
}

fn replicas(snapshot: &Snapshot) -> Replicas {
    let is_readable = |node: &NodeId| {
        let view = snapshot.nodes.get(node);
        view.is_some_and(crate::state::NodeView::is_readable)
    };
    let mut replicas = Replicas::default();
    for replica_set in snapshot
        .indexes
        .values()
        .flat_map(|entry| entry.replica_sets.iter())
    {
        match replica_set.iter().filter(|node| is_readable(node)).count() {
            0 => replicas.none += 1,
            count if count == replica_set.len() => replicas.all += 1,
            _ => replicas.some += 1,
        }
    }
    replicas
}
