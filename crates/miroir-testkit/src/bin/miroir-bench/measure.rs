//! What is measured. Contestants take turns within each measure, so that whatever else the
//! machine does meets all of them.

use crate::contestant::{Contestant, Cpu};
use crate::data::Data;
use anyhow::{Context, Result, ensure};
use miroir_testkit::{Body, Client, Rng};
use serde_json::{Value, json};
use std::thread;
use std::time::{Duration, Instant};

/// Searches before the clock runs: caches and connections.
const WARM_UP: usize = 30;
/// The rank of the first hit of a deep page, below the usual limit of a thousand.
const DEEP_OFFSET: usize = 900;

/// A kind of search.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Search {
    Plain,
    Faceted,
    Sorted,
    DeepPage,
    Facets,
    Distinct,
    Federated,
}

impl Search {
    pub(crate) const ALL: &[Self] = &[
        Self::Plain,
        Self::Faceted,
        Self::Sorted,
        Self::DeepPage,
        Self::Facets,
        Self::Distinct,
        Self::Federated,
    ];

    /// The name of its row.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain search",
            Self::Faceted => "with a facet",
            Self::Sorted => "sorted by a number",
            Self::DeepPage => "hits 900 to 920",
            Self::Facets => "with all facets",
            Self::Distinct => "one hit for each facet value",
            Self::Federated => "two queries, federated",
        }
    }

    /// The path and the body of one; `None` if the data has no field for it.
    pub(crate) fn request(
        self,
        index: &str,
        data: &Data,
        rng: &mut Rng,
    ) -> Option<(String, Value)> {
        let path = match self {
            Self::Federated => "/multi-search".to_owned(),
            _ => format!("/indexes/{index}/search"),
        };
        let body = match self {
            Self::Plain => json!({ "q": data.words(rng) }),
            Self::Faceted => json!({ "q": data.words(rng), "facets": [data.facet.as_ref()?] }),
            Self::Sorted => {
                json!({ "q": data.words(rng), "sort": [format!("{}:desc", data.sort.as_ref()?)] })
            }
            Self::DeepPage => json!({ "q": data.letter(rng), "offset": DEEP_OFFSET, "limit": 20 }),
            Self::Facets => {
                let facets = Some(&data.facets).filter(|facets| !facets.is_empty())?;
                json!({ "q": data.words(rng), "facets": facets })
            }
            Self::Distinct => json!({ "q": data.letter(rng), "distinct": data.facet.as_ref()? }),
            Self::Federated => {
                let mut query = || json!({ "indexUid": index, "q": data.words(rng) });
                let (first, mut second) = (query(), query());
                second["federationOptions"] = json!({ "weight": 0.5 });
                json!({ "federation": {}, "queries": [first, second] })
            }
        };
        Some((path, body))
    }
}

/// All documents, in bulk requests of so many.
pub(crate) fn batches(data: &Data, size: usize) -> Vec<Vec<u8>> {
    let lines = |documents: &[Value]| -> String {
        let documents = documents.iter();
        documents.map(|document| format!("{document}\n")).collect()
    };
    data.documents
        .chunks(size.max(1))
        .map(|documents| lines(documents).into_bytes())
        .collect()
}

/// Sends one of them; returns its task.
pub(crate) fn send_batch(client: &Client, index: &str, batch: &[u8]) -> Result<u64> {
    let headers = [("content-type", "application/x-ndjson")];
    let path = format!("/indexes/{index}/documents");
    client
        .send_as("POST", &path, &headers, Body::Bytes(batch))?
        .accepted()
}

/// Loading all documents.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ingest {
    pub(crate) wall: Duration,
    pub(crate) cpu: Cpu,
}

/// Many searches of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Searches {
    /// One duration each, sorted.
    pub(crate) durations: Vec<Duration>,
    /// The proxy's processor time for one search.
    pub(crate) proxy_cpu: Duration,
}

impl Searches {
    /// The duration that `percent` of a hundred searches stay within.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let last = self.durations.len().saturating_sub(1);
        self.durations
            .get(last * percent / 100)
            .copied()
            .unwrap_or_default()
    }
}

/// Many writes of one document each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writes {
    /// Until the last was accepted.
    pub(crate) accepted: Duration,
    /// Until the last could be found.
    pub(crate) searchable: Duration,
}

/// Creates an index with the settings of the data.
pub(crate) fn create(client: &Client, index: &str, data: &Data) -> Result<()> {
    client.write(
        "POST",
        "/indexes",
        Some(&json!({ "uid": index, "primaryKey": "id" })),
    )?;
    client.write(
        "PATCH",
        &format!("/indexes/{index}/settings"),
        Some(&data.settings()),
    )?;
    Ok(())
}

/// Loads all documents into a new index, in batches that are sent without waiting.
pub(crate) fn ingest(
    contestant: &Contestant,
    index: &str,
    data: &Data,
    batches: &[Vec<u8>],
) -> Result<Ingest> {
    let client = contestant.client();
    create(client, index, data)?;
    let cpu_before = contestant.cpu()?;
    let started = Instant::now();
    let mut last = None;
    for batch in batches {
        last = Some(send_batch(client, index, batch)?);
    }
    client.wait_succeeded(last.context("no documents")?)?;
    let wall = started.elapsed();
    let cpu = contestant.cpu()?;
    let cpu = Cpu {
        proxy: cpu.proxy - cpu_before.proxy,
        nodes: cpu.nodes - cpu_before.nodes,
    };
    let stats = client.get(&format!("/indexes/{index}/stats"))?.ok()?;
    ensure!(
        stats["numberOfDocuments"] == data.documents.len(),
        "after the load: {stats}"
    );
    Ok(Ingest { wall, cpu })
}

/// Makes every facet of the data usable, which no load is charged with.
pub(crate) fn prepare_searches(contestants: &[Contestant], index: &str, data: &Data) -> Result<()> {
    let settings = json!({ "filterableAttributes": data.facets });
    for contestant in contestants {
        let path = format!("/indexes/{index}/settings");
        contestant.client().write("PATCH", &path, Some(&settings))?;
    }
    Ok(())
}

/// Asks every contestant the same searches, each in turn; `None` if the data has no such field.
pub(crate) fn search(
    contestants: &[Contestant],
    index: &str,
    data: &Data,
    search: Search,
    count: usize,
) -> Result<Option<Vec<Searches>>> {
    let mut rng = Rng::of(&[search as u64, 5]);
    let mut durations = vec![Vec::with_capacity(count); contestants.len()];
    let mut cpu_before = Vec::new();
    for number in 0..WARM_UP + count {
        if number == WARM_UP {
            cpu_before = contestants
                .iter()
                .map(Contestant::cpu)
                .collect::<Result<_>>()?;
        }
        let Some((path, body)) = search.request(index, data, &mut rng) else {
            return Ok(None);
        };
        for turn in 0..contestants.len() {
            // Nobody is always first.
            let idx = (number + turn) % contestants.len();
            let started = Instant::now();
            let reply = contestants[idx].client().post(&path, &body)?;
            let duration = started.elapsed();
            reply.ok().with_context(|| body.to_string())?;
            if number >= WARM_UP {
                durations[idx].push(duration);
            }
        }
    }
    let mut searches = Vec::new();
    for (idx, mut durations) in durations.into_iter().enumerate() {
        durations.sort_unstable();
        let seconds = contestants[idx].cpu()?.proxy - cpu_before[idx].proxy;
        let proxy_cpu = Duration::from_secs_f64((seconds / count as f64).max(0.0));
        searches.push(Searches {
            durations,
            proxy_cpu,
        });
    }
    Ok(Some(searches))
}

/// Sends one document at a time to a new index, from this many clients at once.
pub(crate) fn write(
    contestant: &Contestant,
    index: &str,
    data: &Data,
    count: usize,
    clients: usize,
) -> Result<Writes> {
    let client = contestant.client();
    create(client, index, data)?;
    let path = format!("/indexes/{index}/documents");
    let address = client.http().address();
    let started = Instant::now();
    let uids = thread::scope(|scope| {
        let senders: Vec<_> = (0..clients)
            .map(|sender| {
                let path = &path;
                scope.spawn(move || -> Result<u64> {
                    let client = Client::new(address, None);
                    let mut last = 0;
                    for document in data
                        .documents
                        .iter()
                        .skip(sender)
                        .step_by(clients)
                        .take(count / clients)
                    {
                        last = client.post(path, &json!([document]))?.accepted()?;
                    }
                    Ok(last)
                })
            })
            .collect();
        let joined = senders.into_iter().map(|sender| match sender.join() {
            Ok(uid) => uid,
            Err(_) => Err(anyhow::anyhow!("a sender panicked")),
        });
        joined.collect::<Result<Vec<u64>>>()
    })?;
    let accepted = started.elapsed();
    for uid in uids {
        client.wait_succeeded(uid)?;
    }
    Ok(Writes {
        accepted,
        searchable: started.elapsed(),
    })
}
