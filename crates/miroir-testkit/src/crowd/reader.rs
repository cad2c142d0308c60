//! One client that reads, and judges what it is shown.

use super::book::Book;
use super::ledger::{Ledger, State, Window};
use super::writer::GROUPS;
use crate::{Client, Reply, Rng};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy)]
enum Ask {
    /// A search for everything.
    Search,
    /// A search for everything of a group.
    Group(u64),
    /// A search with counts by group.
    Facets,
    /// A search for everything, as one of several.
    Multi,
    /// A list of everything.
    List,
    /// One document.
    Get(u64),
    /// The count of documents.
    Stats,
}

pub(crate) fn run(book: &Book, client: &Client, reader: u64, seed: u64) {
    let mut rng = Rng::of(&[seed, 2, reader]);
    while !book.is_over() {
        let index = rng.below(book.ledgers.len());
        let ask = match rng.below(12) {
            0..3 => Ask::Search,
            3 | 4 => Ask::Group(rng.below(GROUPS as usize) as u64),
            5 => Ask::Facets,
            6 => Ask::Multi,
            7 | 8 => Ask::List,
            9 | 10 => Ask::Get(rng.between(1, 90) as u64),
            _ => Ask::Stats,
        };
        let (name, from) = {
            let ledger = book.ledgers[index].lock();
            (ledger.name.clone(), ledger.open())
        };
        let began = Instant::now();
        let reply = send(client, &name, ask);
        book.reads.fetch_add(1, Ordering::Relaxed);
        book.note_time(began, "a read");
        match reply {
            Ok(reply) if reply.status >= 500 => {
                let code = reply.code().unwrap_or_default();
                book.count(&format!("reads answered {} {code}", reply.status));
                let text = format!(
                    "{ask:?} of {name} answered {}: {}",
                    reply.status, reply.body
                );
                // A shard without a replica that answers is a 503 and nothing else.
                if reply.status == 503 {
                    book.doubt(began, text);
                } else {
                    book.violate(text);
                }
            }
            Ok(reply) => {
                let ledger = book.ledgers[index].lock();
                let window = ledger.close(from);
                if let Err(error) = judge(&ledger, ask, &reply, window) {
                    let status = reply.status;
                    book.violate(format!("{ask:?} of {name} answered {status}: {error:#}"));
                }
            }
            Err(error) => {
                book.count("reads without an answer");
                book.doubt(began, format!("{ask:?} of {name}: {error:#}"));
            }
        }
        thread::sleep(Duration::from_millis(rng.between(0, 60) as u64));
    }
}

fn send(client: &Client, name: &str, ask: Ask) -> Result<Reply> {
    match ask {
        Ask::Search => client.search(name, &json!({ "limit": 1000 })),
        Ask::Group(group) => {
            let filter = format!("group = {group}");
            client.search(name, &json!({ "limit": 1000, "filter": filter }))
        }
        Ask::Facets => client.search(name, &json!({ "limit": 1000, "facets": ["group"] })),
        Ask::Multi => {
            let query = json!({ "indexUid": name, "limit": 1000 });
            client.post("/multi-search", &json!({ "queries": [query] }))
        }
        Ask::List => client.get(&format!("/indexes/{name}/documents?limit=1000")),
        Ask::Get(id) => client.get(&format!("/indexes/{name}/documents/{id}")),
        Ask::Stats => client.get(&format!("/indexes/{name}/stats")),
    }
}

fn judge(ledger: &Ledger, ask: Ask, reply: &Reply, window: Window) -> Result<()> {
    let degraded = reply
        .headers
        .iter()
        .any(|(name, _)| name == "x-miroir-degraded");
    ensure!(!degraded, "a partial answer that nobody has allowed");
    match (reply.status, reply.code()) {
        (200, _) => {}
        // As one of several searches: 400.
        (404 | 400, Some("index_not_found")) => {
            let is_possible = ledger.may_be(State::Absent, window);
            ensure!(is_possible, "there is the index, {window:?}");
            return Ok(());
        }
        (404, Some("document_not_found")) => {
            let Ask::Get(id) = ask else {
                anyhow::bail!("{}", reply.body);
            };
            return ledger.check_one(id, None, window);
        }
        // Without its settings nothing can be filtered.
        (400, Some("invalid_search_filter" | "invalid_search_facets")) => {
            let is_possible = ledger.may_be(State::Bare, window);
            ensure!(is_possible, "{}, {window:?}", reply.body);
            return Ok(());
        }
        _ => anyhow::bail!("{}", reply.body),
    }
    let body = &reply.body;
    match ask {
        Ask::Search => check_search(ledger, body, window, |_| true),
        Ask::Multi => check_search(ledger, &body["results"][0], window, |_| true),
        Ask::Group(group) => check_search(ledger, body, window, |d| d["group"] == group),
        Ask::Facets => {
            check_search(ledger, body, window, |_| true)?;
            let counts = body["facetDistribution"]["group"].as_object();
            let counts = counts.into_iter().flat_map(|counts| counts.values());
            let sum: u64 = counts.filter_map(Value::as_u64).sum();
            let total = &body["estimatedTotalHits"];
            ensure!(*total == sum, "{sum} documents have groups, of {total}");
            Ok(())
        }
        Ask::List => {
            let shown = body["results"].as_array().context("no results")?;
            let total = &body["total"];
            ensure!(
                *total == shown.len(),
                "{} are listed, of {total}",
                shown.len()
            );
            ledger.check_all(shown, window, |_| true)
        }
        Ask::Get(id) => ledger.check_one(id, Some(body), window),
        Ask::Stats => {
            let count = body["numberOfDocuments"].as_u64().context("no count")?;
            ledger.check_count(count, window)
        }
    }
}

fn check_search(
    ledger: &Ledger,
    answer: &Value,
    window: Window,
    is_chosen: impl Fn(&Value) -> bool,
) -> Result<()> {
    let hits = answer["hits"].as_array().context("no hits")?;
    let total = &answer["estimatedTotalHits"];
    ensure!(*total == hits.len(), "{} hits, of {total}", hits.len());
    ledger.check_all(hits, window, is_chosen)
}
