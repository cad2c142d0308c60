//! The one thread that writes: group commit.
//!
//! Callers queue their work and wait. The thread takes all that waits (up to [`GROUP_OPS_MAX`]),
//! runs each in a savepoint of one transaction, commits once, and only then answers all of them.
//! Work that fails takes back its own savepoint and nothing else. While one group is being synced
//! the next one gathers, so the busier it gets the cheaper each write is; a lone write waits for
//! nothing but its own sync.
//!
//! **After a failed commit or sync** the connection is kept, and the group is rolled back: SQLite's
//! view ends before the frames that failed, so the next commit writes over them in the write-ahead
//! log. What a failed sync may have lost is therefore written and synced again before anything that
//! follows is answered, and nothing that was answered before lies in what was lost. (A second
//! connection that recovered the log from the file could take the failed frames for good ones; none
//! is opened for writing.) A page of the database itself is written anew by the next checkpoint,
//! since one that failed counts for nothing. A database found damaged takes no writes any more.
//!
//! **A file that was moved, removed or replaced** under the process is written no more: it would take
//! everything, and the next start would find another file or none.

use super::error::{DATABASE, Sql, SqlError};
use super::place::Place;
use miroir_engine::port::StoreError;
use rusqlite::{Connection, OptionalExtension, params};
use std::ops::Deref;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// The most pieces of work that share one commit, and the most that may wait. Bounds the memory of
/// waiting inline payloads (64 KiB each) to 64 MiB.
const GROUP_OPS_MAX: usize = 1_024;

const NEXT_TASK_UID: &str = "next_task_uid";

/// The handle of the writing thread; dropping it waits for the work already queued.
#[derive(Debug)]
pub(super) struct Writer {
    /// `None` only while dropping.
    ops: Option<mpsc::Sender<Box<dyn Op>>>,
    thread: Option<JoinHandle<()>>,
}

/// What work sees: the connection, and the next uid, which is written once for the whole group.
pub(super) struct Tx<'a> {
    connection: &'a Connection,
    next_task_uid: &'a mut u64,
}

impl Tx<'_> {
    /// A uid that was never given before.
    pub(super) fn take_task_uid(&mut self) -> u64 {
        let uid = *self.next_task_uid;
        *self.next_task_uid += 1;
        uid
    }

    /// No uid up to this one will be given.
    pub(super) fn pass_task_uid(&mut self, uid: u64) {
        *self.next_task_uid = (*self.next_task_uid).max(uid.saturating_add(1));
    }
}

impl Deref for Tx<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

/// Work of some type, waiting for its turn.
trait Op: Send {
    /// Runs the work and keeps its outcome.
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError>;
    /// Answers the caller: with the outcome, or with what became of the group.
    fn reply(self: Box<Self>, group: Result<(), StoreError>);
}

struct TypedOp<T, F> {
    work: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    caller: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Op for TypedOp<T, F>
where
    T: Send,
    F: FnOnce(&mut Tx<'_>) -> Sql<T> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let work = self.work.take().ok_or_else(stopped)?;
        let outcome = work(tx).map_err(|e| e.0);
        let failure = outcome.as_ref().err().cloned();
        self.outcome = Some(outcome);
        failure.map_or(Ok(()), Err)
    }

    fn reply(self: Box<Self>, group: Result<(), StoreError>) {
        let answer = match (self.outcome, group) {
            (Some(Err(e)), _) | (_, Err(e)) => Err(e),
            (Some(outcome), Ok(())) => outcome,
            (None, Ok(())) => Err(stopped()),
        };
        // A caller that went away does not want to know.
        let _ = self.caller.send(answer);
    }
}

fn stopped() -> StoreError {
    StoreError::Io("the writing thread has stopped".to_owned())
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(connection: Connection, place: Arc<Place>) -> Sql<Self> {
        let next_task_uid: Option<i64> = connection
            .query_row(
                "SELECT value FROM counters WHERE name = ?1",
                [NEXT_TASK_UID],
                |row| row.get(0),
            )
            .optional()?;
        let next_task_uid = super::row::uint(next_task_uid.unwrap_or(0), "task uid")?;
        let (ops, waiting) = mpsc::channel(GROUP_OPS_MAX);
        let thread = std::thread::Builder::new()
            .name("miroir-store".to_owned())
            .spawn(move || run(&connection, &place, waiting, next_task_uid))
            .map_err(|e| StoreError::Io(format!("the writing thread cannot start: {e}")))?;
        Ok(Self {
            ops: Some(ops),
            thread: Some(thread),
        })
    }

    /// Runs `work` in the next group and returns once it is durable. A caller that stops waiting
    /// does not stop the work.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Sql<T> + Send + 'static,
    {
        let (caller, answer) = oneshot::channel();
        let op = Box::new(TypedOp {
            work: Some(work),
            outcome: None,
            caller,
        });
        let ops = self.ops.as_ref().ok_or_else(stopped)?;
        ops.send(op).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.ops = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has told its callers already.
            let _ = thread.join();
        }
    }
}

fn run(
    connection: &Connection,
    place: &Place,
    mut waiting: mpsc::Receiver<Box<dyn Op>>,
    mut next_task_uid: u64,
) {
    let mut group = Vec::with_capacity(GROUP_OPS_MAX);
    let mut damage: Option<StoreError> = None;
    while let Some(first) = waiting.blocking_recv() {
        group.push(first);
        while group.len() < GROUP_OPS_MAX {
            let Ok(op) = waiting.try_recv() else { break };
            group.push(op);
        }
        if let Some(damage) = &damage {
            for op in group.drain(..) {
                op.reply(Err(damage.clone()));
            }
            continue;
        }
        if let Err(error) = place.check() {
            for op in group.drain(..) {
                op.reply(Err(error.clone()));
            }
            continue;
        }
        let before = next_task_uid;
        let outcome = commit_group(connection, &mut group, &mut next_task_uid).map_err(|e| e.0);
        if outcome.is_err() {
            next_task_uid = before;
            if !connection.is_autocommit() {
                // If even this fails, the next group's BEGIN fails too and says so.
                let _ = connection.execute_batch("ROLLBACK");
            }
            // On a full disk the log may be what fills it: what can be folded into the database is,
            // so that the log begins anew. If even this fails, the next write says so.
            let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        }
        if let Err(error @ StoreError::Corrupt { what: DATABASE, .. }) = &outcome {
            damage = Some(error.clone());
        }
        for op in group.drain(..) {
            op.reply(outcome.clone());
        }
    }
}

fn commit_group(
    connection: &Connection,
    group: &mut [Box<dyn Op>],
    next_task_uid: &mut u64,
) -> Sql<()> {
    let execute = |sql: &str| -> Sql<()> {
        connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    };
    let first_uid = *next_task_uid;
    execute("BEGIN IMMEDIATE")?;
    for op in group {
        let before = *next_task_uid;
        execute("SAVEPOINT op")?;
        if let Err(e) = op.run(&mut Tx {
            connection,
            next_task_uid,
        }) {
            if connection.is_autocommit() {
                // Some failures (a full disk, an IO error) make SQLite take the whole transaction
                // back: then nothing of the group has happened, and all are told.
                return Err(SqlError(e));
            }
            execute("ROLLBACK TO op")?;
            *next_task_uid = before;
        }
        execute("RELEASE op")?;
    }
    if *next_task_uid != first_uid {
        let next = super::row::int(*next_task_uid)?;
        connection
            .prepare_cached(
                "INSERT INTO counters VALUES (?1, ?2)
                 ON CONFLICT DO UPDATE SET value = excluded.value",
            )?
            .execute(params![NEXT_TASK_UID, next])?;
    }
    execute("COMMIT")
}
