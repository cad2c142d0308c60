-- Indexes, placements, nodes and facts.

CREATE TABLE IF NOT EXISTS indexes (
    uid                TEXT    PRIMARY KEY,
    physical           TEXT    NOT NULL,
    primary_key        TEXT,
    shard_count        INTEGER NOT NULL,
    replication_factor INTEGER NOT NULL,
    epoch              INTEGER NOT NULL,
    settings           TEXT    NOT NULL, -- JSON
    settings_version   INTEGER,
    next_seq           INTEGER NOT NULL,
    changed_by         INTEGER,
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row for each physical index: a placement is read and written whole.
CREATE TABLE IF NOT EXISTS placements (
    physical     TEXT    PRIMARY KEY,
    epoch        INTEGER NOT NULL,
    replica_sets TEXT    NOT NULL -- JSON: by shard, names of nodes in order
) STRICT;

-- `applied_batch` is the node's cursor in the sequence of batches.
CREATE TABLE IF NOT EXISTS nodes (
    id                 TEXT    PRIMARY KEY,
    url                TEXT    NOT NULL,
    zone               TEXT,
    weight_milli       INTEGER NOT NULL,
    is_in_sync         INTEGER NOT NULL,
    out_of_sync_reason TEXT,
    applied_batch      INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS node_settings_version (
    physical   TEXT    NOT NULL,
    node       TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (physical, node)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS facts (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL -- JSON
) STRICT, WITHOUT ROWID;
