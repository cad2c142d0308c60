-- The ordered log, its tasks, and the batches made of them.
-- Timestamps are nanoseconds since the Unix epoch. Codes of `status` and `kind`: src/sqlite/row.rs.

-- Numbers that only grow: next_task_uid, last_batch_uid. They survive the rows they numbered.
CREATE TABLE IF NOT EXISTS counters (
    name  TEXT    PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS tasks (
    uid             INTEGER PRIMARY KEY,
    batch_uid       INTEGER,
    index_uid       TEXT    NOT NULL, -- '' if no index is concerned: no index is called so
    status          INTEGER NOT NULL,
    kind            INTEGER NOT NULL,
    operation       TEXT    NOT NULL, -- JSON
    payload         TEXT,             -- JSON: where a payload file lies
    canceled_by     INTEGER,
    details         TEXT    NOT NULL, -- JSON
    error           TEXT,             -- JSON
    custom_metadata TEXT,
    enqueued_at     INTEGER NOT NULL,
    started_at      INTEGER,
    finished_at     INTEGER
) STRICT;

-- Each walk of a listing is a range of one of these two, for each (status, kind) that occurs: the
-- uid ends every index entry, so the range is in the order of the page.
CREATE INDEX IF NOT EXISTS tasks_by_status ON tasks (status, kind);
CREATE INDEX IF NOT EXISTS tasks_by_index ON tasks (index_uid, status, kind);
CREATE INDEX IF NOT EXISTS tasks_by_batch ON tasks (batch_uid) WHERE batch_uid IS NOT NULL;
CREATE INDEX IF NOT EXISTS tasks_by_canceler ON tasks (canceled_by) WHERE canceled_by IS NOT NULL;
CREATE INDEX IF NOT EXISTS tasks_pending ON tasks (uid) WHERE status = 0 AND batch_uid IS NULL;

-- Small payloads. Apart from `tasks`, so that updating a task does not rewrite them.
CREATE TABLE IF NOT EXISTS inline_payloads (
    task_uid INTEGER PRIMARY KEY,
    bytes    BLOB NOT NULL
) STRICT;

-- How many tasks there are of each sort, kept by triggers: the total of a listing without a count.
CREATE TABLE IF NOT EXISTS task_counts (
    index_uid TEXT    NOT NULL,
    status    INTEGER NOT NULL,
    kind      INTEGER NOT NULL,
    count     INTEGER NOT NULL,
    PRIMARY KEY (index_uid, status, kind)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER IF NOT EXISTS tasks_count_insert AFTER INSERT ON tasks
BEGIN
    INSERT INTO task_counts VALUES (new.index_uid, new.status, new.kind, 1)
        ON CONFLICT DO UPDATE SET count = count + 1;
END;

CREATE TRIGGER IF NOT EXISTS tasks_count_delete AFTER DELETE ON tasks
BEGIN
    UPDATE task_counts SET count = count - 1
        WHERE index_uid = old.index_uid AND status = old.status AND kind = old.kind;
    DELETE FROM task_counts
        WHERE index_uid = old.index_uid AND status = old.status AND kind = old.kind AND count = 0;
END;

CREATE TRIGGER IF NOT EXISTS tasks_count_update AFTER UPDATE OF status, index_uid ON tasks
WHEN old.status <> new.status OR old.index_uid <> new.index_uid
BEGIN
    INSERT INTO task_counts VALUES (new.index_uid, new.status, new.kind, 1)
        ON CONFLICT DO UPDATE SET count = count + 1;
    UPDATE task_counts SET count = count - 1
        WHERE index_uid = old.index_uid AND status = old.status AND kind = old.kind;
    DELETE FROM task_counts
        WHERE index_uid = old.index_uid AND status = old.status AND kind = old.kind AND count = 0;
END;

CREATE TABLE IF NOT EXISTS batches (
    uid         INTEGER PRIMARY KEY,
    is_done     INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;

-- The large part of a batch, written once. Apart from `batches`, so that finishing does not
-- rewrite it.
CREATE TABLE IF NOT EXISTS batch_contents (
    batch_uid INTEGER PRIMARY KEY,
    tasks     TEXT NOT NULL, -- JSON: task uids in log order
    plan      TEXT NOT NULL  -- JSON, opaque
) STRICT;

CREATE INDEX IF NOT EXISTS batches_open ON batches (uid) WHERE is_done = 0;

-- How far each node is with each batch.
CREATE TABLE IF NOT EXISTS deliveries (
    batch_uid  INTEGER NOT NULL,
    node       TEXT    NOT NULL,
    is_applied INTEGER NOT NULL, -- as in `delivery`, for the index
    delivery   TEXT    NOT NULL, -- JSON
    PRIMARY KEY (batch_uid, node)
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS deliveries_open ON deliveries (batch_uid) WHERE is_applied = 0;
