//! One client that writes to one index, a mix of everything, and knows what it was told.

use super::book::Book;
use super::ledger::State;
use crate::{Client, Outcome, PATIENCE, Rng, Write, poll, send_write};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// Writes that have not ended; with more the client waits for all of them: it comes in bursts, as a
/// node that was away catches up only if the others are not at their limit all the time.
const UNFINISHED_MAX: u64 = 25;
/// Between two writes while the nemesis waits for such a node.
const CALM_MS: usize = 1_000;
/// Ids of small documents, and of those that come many at a time.
const SMALL_IDS: usize = 80;
const LARGE_IDS: u64 = 100;
const LARGE_COUNT: u64 = 60;
/// The first write after the index was made and set up.
const FIRST_LARGE: u64 = 3;
/// So large together that they become a file of their own.
const LARGE_TEXT_BYTES: usize = 1_500;
pub(crate) const GROUPS: u64 = 7;

pub(crate) fn run(book: &Book, client: &Client, index: usize, seed: u64) {
    let mut rng = Rng::of(&[seed, 1, index as u64]);
    let ledger = &book.ledgers[index];
    let mut is_waiting = false;
    while !book.is_over() {
        if let Err(error) = learn_ends(book, client, index) {
            book.violate(format!("tasks of index {index}: {error:#}"));
        }
        let unfinished = ledger.lock().unfinished();
        is_waiting = unfinished >= UNFINISHED_MAX || (is_waiting && unfinished > 0);
        if is_waiting || book.is_still.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(50));
            continue;
        }
        let (state, number) = {
            let ledger = ledger.lock();
            (ledger.state(), ledger.next_number())
        };
        let write = next(&mut rng, state, number, book.options().has_real_nodes);
        if let Err(error) = send(book, client, index, &write) {
            book.violate(format!("a write to index {index}: {error:#}"));
        }
        let is_calm = book.is_calm.load(Ordering::Relaxed);
        let most_ms = match is_calm {
            true => CALM_MS,
            false => book.options().write_pause.as_millis() as usize,
        };
        let pause = rng.between(0, most_ms);
        thread::sleep(Duration::from_millis(pause as u64));
    }
}

fn send(book: &Book, client: &Client, index: usize, write: &Write) -> Result<()> {
    let ledger = &book.ledgers[index];
    let (name, last) = {
        let mut ledger = ledger.lock();
        ledger.begin(write);
        (ledger.name.clone(), ledger.last_uid())
    };
    let began = Instant::now();
    match send_write(client, &name, write) {
        Ok(Outcome::Accepted(uid)) => {
            book.note_time(began, "a write");
            ledger.lock().accept(uid)
        }
        Ok(Outcome::Unknown) => {
            ensure!(
                book.is_proxy_disturbed(began, Instant::now()),
                "no answer from a proxy that nothing was done to"
            );
            // The proxy is gone; once it is back its list tells whether it had taken the write.
            let path = format!("/tasks?indexUids={name}&limit=1");
            let list = poll("the proxy's return", PATIENCE, || {
                Ok(client.get(&path).ok().filter(|reply| reply.status == 200))
            })?;
            let newest = list.body["results"][0]["uid"].as_u64();
            let mut ledger = ledger.lock();
            match newest {
                Some(uid) if Some(uid) > last => {
                    ledger.note_unknown();
                    ledger.accept(uid)
                }
                _ => {
                    ledger.retract();
                    Ok(())
                }
            }
        }
        Err(error) => {
            ledger.lock().retract();
            Err(error)
        }
    }
}

/// Asks which tasks have ended.
fn learn_ends(book: &Book, client: &Client, index: usize) -> Result<()> {
    let ledger = &book.ledgers[index];
    let (name, accepted) = {
        let ledger = ledger.lock();
        (ledger.name.clone(), ledger.accepted())
    };
    let began = Instant::now();
    let uid_of = |list: &Value| list["results"][0]["uid"].as_u64();
    let ask = |query: &str| -> Result<Option<Value>> {
        match client.get(&format!("/tasks?indexUids={name}&limit=1&{query}")) {
            Ok(reply) => reply.ok().map(Some),
            Err(error) => {
                let is_excused = book.is_proxy_disturbed(began, Instant::now());
                ensure!(is_excused, "{error:#}");
                Ok(None)
            }
        }
    };
    let newest_ended = ask("statuses=succeeded,failed,canceled")?;
    let Some(open) = ask("statuses=enqueued,processing&reverse=true")? else {
        return Ok(());
    };
    let oldest_open = uid_of(&open);
    let newest_ended = newest_ended.as_ref().and_then(uid_of);
    ensure!(
        oldest_open.is_none() || newest_ended < oldest_open,
        "task {newest_ended:?} has ended and {oldest_open:?} has not"
    );
    ledger.lock().note_ended(accepted, oldest_open);
    Ok(())
}

/// The next write, one that succeeds when all before it are done.
fn next(rng: &mut Rng, state: State, number: u64, has_real_nodes: bool) -> Write {
    match state {
        State::Absent => return Write::Create,
        State::Bare => {
            return Write::Settings(json!({
                "filterableAttributes": ["group"], "sortableAttributes": ["version", "id"],
            }));
        }
        State::Ready => {}
    }
    if number == FIRST_LARGE {
        // There is something to copy from the start.
        return Write::Add(many(rng, number));
    }
    let small = |rng: &mut Rng| rng.between(1, SMALL_IDS + 1) as u64;
    let some = |rng: &mut Rng, max: usize| -> Vec<u64> {
        (0..rng.between(1, max)).map(|_| small(rng)).collect()
    };
    match rng.below(100) {
        0..36 => {
            let ids = some(rng, 9);
            Write::Add(
                ids.into_iter()
                    .map(|id| document(rng, id, number, 30))
                    .collect(),
            )
        }
        36..62 => {
            let ids = some(rng, 9);
            Write::Update(ids.into_iter().map(|id| patch(rng, id, number)).collect())
        }
        62..72 => Write::DeleteOne(small(rng)),
        72..80 => Write::DeleteSome(some(rng, 6)),
        80..88 => Write::DeleteGroup(rng.below(GROUPS as usize) as u64),
        88..93 => {
            let word = rng.pick(&["the", "a", "of", "and"]);
            Write::Settings(match has_real_nodes {
                true => json!({ "stopWords": [word] }),
                false => json!({ "synonyms": { "wind": [word] } }),
            })
        }
        93..97 => Write::Add(many(rng, number)),
        97 | 98 => Write::DeleteAll,
        _ => Write::Drop,
    }
}

fn many(rng: &mut Rng, number: u64) -> Vec<Value> {
    let ids = LARGE_IDS..LARGE_IDS + LARGE_COUNT;
    ids.map(|id| document(rng, id, number, LARGE_TEXT_BYTES))
        .collect()
}

fn document(rng: &mut Rng, id: u64, number: u64, text_bytes: usize) -> Value {
    let mut text = String::with_capacity(text_bytes + 16);
    while text.len() < text_bytes {
        let word = *rng.pick(&["the ", "north ", "wind ", "sun ", "cloak ", "traveller "]);
        text.push_str(word);
    }
    json!({ "id": id, "group": id % GROUPS, "version": number, "text": text })
}

fn patch(rng: &mut Rng, id: u64, number: u64) -> Value {
    // An update can add a document too, which must then have a group.
    json!({ "id": id, "group": id % GROUPS, "version": number, "mark": rng.below(1000) })
}
