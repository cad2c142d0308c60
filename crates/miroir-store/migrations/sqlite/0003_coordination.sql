-- What several proxies share besides the log.

-- One row at most.
CREATE TABLE IF NOT EXISTS leader_lease (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    holder     TEXT,             -- null: released
    epoch      INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS jobs (
    id               TEXT    PRIMARY KEY,
    kind             TEXT    NOT NULL,
    params           TEXT    NOT NULL, -- JSON
    state            TEXT    NOT NULL,
    claim_holder     TEXT,
    claim_expires_at INTEGER,
    progress         TEXT    NOT NULL, -- JSON
    error            TEXT,             -- JSON
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, created_at);

CREATE TABLE IF NOT EXISTS moves (
    id         TEXT    PRIMARY KEY,
    state      TEXT    NOT NULL, -- JSON
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS sessions (
    id         TEXT    PRIMARY KEY,
    min_task   INTEGER,
    pinned     TEXT,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS sessions_by_expiry ON sessions (expires_at);

CREATE TABLE IF NOT EXISTS idempotency_cache (
    key         TEXT    PRIMARY KEY,
    body_sha256 BLOB    NOT NULL,
    task_uid    INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS idempotency_by_expiry ON idempotency_cache (expires_at);

CREATE TABLE IF NOT EXISTS aliases (
    name       TEXT    PRIMARY KEY,
    target     TEXT    NOT NULL, -- JSON
    version    INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The states an alias was in, the present one included; a removal is one, with a null target.
CREATE TABLE IF NOT EXISTS alias_history (
    name       TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    target     TEXT,             -- JSON
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS api_keys (
    uid    TEXT PRIMARY KEY,
    record TEXT NOT NULL -- JSON
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS features (
    name       TEXT    PRIMARY KEY,
    is_enabled INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS webhooks (
    uuid   TEXT PRIMARY KEY,
    record TEXT NOT NULL -- JSON
) STRICT, WITHOUT ROWID;
