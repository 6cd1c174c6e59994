-- Times are microseconds since 1970, UTC; 0 or NULL: no time.
-- There is only one writer, so tables are narrow, and rows are written as seldom as
-- possible. {prefix} and the names in braces are replaced before use.

CREATE TABLE {schema_version} (
    version INTEGER PRIMARY KEY
) STRICT;

-- One row. seq numbers events, and the deliveries created by replays; clock is the
-- latest time of a publication. With them, numbers and times have the same order
-- even if the clocks of two processes differ.
CREATE TABLE {counters} (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    seq   INTEGER NOT NULL,
    clock INTEGER NOT NULL
) STRICT;
INSERT INTO {counters} (id, seq, clock) VALUES (1, 0, 0);

-- A deleted webhook stays, without its settings, while it has deliveries.
CREATE TABLE {webhooks} (
    wkey            INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL,
    tenant          TEXT NOT NULL,
    name            TEXT NOT NULL,
    url             TEXT NOT NULL,
    description     TEXT NOT NULL,
    events          TEXT NOT NULL, -- JSON
    headers         TEXT NOT NULL, -- JSON
    secrets         TEXT NOT NULL, -- JSON
    active          INTEGER NOT NULL,
    verify_tls      INTEGER NOT NULL,
    timeout         INTEGER NOT NULL,
    max_retries     INTEGER NOT NULL,
    disabled_reason TEXT NOT NULL,
    disabled_at     INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    deleted_at      INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX {prefix}webhooks_id ON {webhooks} (id) WHERE deleted_at = 0;
CREATE INDEX {prefix}webhooks_list ON {webhooks} (tenant, created_at, id);

-- Event patterns of active webhooks.
CREATE TABLE {subscriptions} (
    tenant  TEXT NOT NULL,
    pattern TEXT NOT NULL,
    wkey    INTEGER NOT NULL,
    name    TEXT NOT NULL,
    PRIMARY KEY (tenant, pattern, wkey)
) STRICT, WITHOUT ROWID;
CREATE INDEX {prefix}subscriptions_wkey ON {subscriptions} (wkey);

-- The changing part of each webhook: its queue and its health. Deliveries after
-- head, up to tail, were never claimed and are due.
CREATE TABLE {lanes} (
    wkey           INTEGER PRIMARY KEY,
    head           INTEGER NOT NULL DEFAULT 0, -- the last delivery claimed for the first time
    tail           INTEGER NOT NULL DEFAULT 0, -- the last delivery created
    ready          INTEGER NOT NULL DEFAULT 0, -- 1: it may have due deliveries
    next_due       INTEGER,                    -- of its waiting deliveries
    version        INTEGER NOT NULL,
    last_triggered INTEGER NOT NULL,
    last_success   INTEGER NOT NULL,
    failing_since  INTEGER NOT NULL
) STRICT;
CREATE INDEX {prefix}lanes_ready ON {lanes} (wkey) WHERE ready = 1;
CREATE INDEX {prefix}lanes_due ON {lanes} (next_due) WHERE ready = 0 AND next_due IS NOT NULL;

CREATE TABLE {events} (
    seq       INTEGER PRIMARY KEY,
    tenant    TEXT NOT NULL,
    id        TEXT NOT NULL,
    type      TEXT NOT NULL,
    only_id   TEXT,               -- the only webhook it was published to
    time      INTEGER NOT NULL,
    published INTEGER NOT NULL,
    data      BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX {prefix}events_id ON {events} (tenant, id);

-- Each delivery with the first record of its results. seq is the event's, or a number
-- of its own if a replay created the delivery.
CREATE TABLE {deliveries} (
    wkey        INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    created     INTEGER NOT NULL,
    state       INTEGER NOT NULL DEFAULT 1, -- 1 pending, 2 succeeded, 3 failed, 4 canceled
    attempts    INTEGER NOT NULL DEFAULT 0,
    tries       INTEGER NOT NULL DEFAULT 0,
    crashes     INTEGER NOT NULL DEFAULT 0,
    last_status INTEGER NOT NULL DEFAULT 0,
    number      INTEGER,
    status      INTEGER,
    truncated   INTEGER,
    type        TEXT NOT NULL,
    name        TEXT NOT NULL,
    ekey        INTEGER,             -- the event, if seq is not its number
    due         INTEGER,             -- if it waits or has waited
    finished    INTEGER,
    token       INTEGER,             -- of the first record
    started     INTEGER,             -- null: a record without an attempt
    duration    INTEGER,
    reason      TEXT,
    last_class  TEXT,
    class       TEXT,
    error       TEXT,
    headers     TEXT,
    body        BLOB,
    pad         BLOB, -- space for the first record, which avoids page splits
    PRIMARY KEY (wkey, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX {prefix}deliveries_failed ON {deliveries} (wkey, seq) WHERE state > 2;
CREATE INDEX {prefix}deliveries_ekey ON {deliveries} (ekey, wkey) WHERE ekey IS NOT NULL;

-- Deliveries with a due time of their own: retries, and released or resent deliveries.
CREATE TABLE {waiting} (
    wkey INTEGER NOT NULL,
    due  INTEGER NOT NULL,
    seq  INTEGER NOT NULL,
    PRIMARY KEY (wkey, due, seq)
) STRICT, WITHOUT ROWID;

-- One row per claim: which deliveries it holds, and until when.
CREATE TABLE {claims} (
    token  INTEGER PRIMARY KEY,
    expiry INTEGER NOT NULL, -- of the first lease
    items  BLOB NOT NULL
) STRICT;
CREATE INDEX {prefix}claims_expiry ON {claims} (expiry);

-- Records after the first, and late records.
CREATE TABLE {attempts} (
    wkey      INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    ord       INTEGER NOT NULL,
    token     INTEGER NOT NULL,
    started   INTEGER,
    duration  INTEGER,
    number    INTEGER,
    status    INTEGER,
    truncated INTEGER,
    late      INTEGER NOT NULL,
    class     TEXT,
    error     TEXT,
    headers   TEXT,
    body      BLOB,
    PRIMARY KEY (wkey, seq, ord)
) STRICT, WITHOUT ROWID;

CREATE TABLE {stats} (
    wkey      INTEGER NOT NULL,
    hour      INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    duration  INTEGER NOT NULL,
    PRIMARY KEY (wkey, hour)
) STRICT, WITHOUT ROWID;

INSERT INTO {schema_version} (version) VALUES (1);
