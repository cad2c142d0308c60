//! A crowd around a cluster: writers that know what they were told, readers that judge what they are
//! shown, and a watch that notes when which node is well.
//!
//! Each index has one writer and one [`Ledger`], so that what a reader may see at any moment is
//! known. Whatever else happens to the cluster meanwhile (faults, other nodes) is the test's own
//! business; it tells the [`Book`] what it breaks. In the end the clients' view, the nodes' own
//! content and a node alone that got the same writes are compared.

mod answers;
mod book;
mod ledger;
mod reader;
mod replicas;
mod watch;
mod writer;

pub use book::{Book, BookOptions, Part, Shared};
pub use ledger::Ledger;

use crate::{Client, PATIENCE, poll};
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::thread::Scope;

/// Starts a writer for each index, so many readers, and the watch. They end when the book says so.
pub fn gather<'scope>(
    scope: &'scope Scope<'scope, '_>,
    book: &'scope Book,
    proxy: SocketAddr,
    readers: u64,
    seed: u64,
) {
    for index in 0..book.ledgers.len() {
        scope.spawn(move || writer::run(book, &Client::new(proxy, None), index, seed));
    }
    for reader in 0..readers {
        scope.spawn(move || reader::run(book, &Client::new(proxy, None), reader, seed));
    }
    scope.spawn(move || watch::run(book, &Client::new(proxy, None)));
}

/// Waits until every task has ended, and checks that each write was one, once, and succeeded.
///
/// # Errors
/// What is not so.
pub fn check_tasks(book: &Book, proxy: &Client) -> Result<()> {
    poll("the end of all tasks", PATIENCE, || {
        let open = proxy.get("/tasks?statuses=enqueued,processing&limit=1")?;
        Ok((open.ok()?["total"] == 0).then_some(()))
    })?;
    for ledger in &book.ledgers {
        ledger.lock().check_tasks(proxy)?;
    }
    Ok(())
}

/// Checks every index at rest: as clients see it, and as the nodes hold it, asked one by one. Each
/// shard is whole on as many nodes as shall have it, the same on all, and nowhere else.
///
/// # Errors
/// The first thing that is not so.
pub fn check_indexes(
    book: &Book,
    proxy: &Client,
    nodes: &[(String, Client)],
    replication_factor: u32,
) -> Result<()> {
    let ledgers: Vec<_> = book.ledgers.iter().map(|ledger| ledger.lock()).collect();
    for ledger in &ledgers {
        ledger.check_whole(proxy)?;
    }
    let ledgers: Vec<&Ledger> = ledgers.iter().map(|ledger| &**ledger).collect();
    let asked = replicas::Asked { proxy, nodes };
    replicas::check(asked, &ledgers, replication_factor)
}

/// Writes the same to a node alone, and compares what both answer.
///
/// # Errors
/// The first answer that differs.
pub fn check_against(book: &Book, proxy: &Client, alone: &Client) -> Result<()> {
    for ledger in &book.ledgers {
        let ledger = ledger.lock();
        ledger.replay(alone)?;
        ledger.check_whole(alone).context("a node alone")?;
        answers::check(proxy, alone, &ledger)?;
    }
    Ok(())
}
