-- The tables of a celeriac file: messages, the places where they are, who holds and who waits, results.
--
-- A message lies in `message` from publish until it is done, and its payload is never copied on the way. Where it is
-- says the one row that points to it: in ready, delayed, claim or dead. A move is "delete there, insert here" in one
-- transaction, so a message is in exactly one place also after a kill at any instant.
-- Every statement must hold no other semicolon than its last: store.py runs them one by one.

CREATE TABLE message (
    -- Larger than that of every message alive at its birth: the order of the tail.
    id         INTEGER PRIMARY KEY,
    queue      TEXT    NOT NULL,
    step       INTEGER NOT NULL,
    deliveries INTEGER NOT NULL DEFAULT 0,
    begun      INTEGER NOT NULL DEFAULT 0,
    -- How its owners died, a JSON array. NULL: none has.
    deaths     TEXT,
    -- Last, so that what stands before is read without the pages of a large payload.
    payload    BLOB    NOT NULL
);

CREATE TABLE ready (
    queue    TEXT    NOT NULL,
    step     INTEGER NOT NULL,
    -- The message's id at the tail, one less than the smallest at the head.
    position INTEGER NOT NULL,
    message  INTEGER NOT NULL,
    PRIMARY KEY (queue, step, position)
) WITHOUT ROWID;

CREATE TABLE delayed (
    eta     REAL    NOT NULL,
    message INTEGER NOT NULL,
    queue   TEXT    NOT NULL,
    PRIMARY KEY (eta, message)
) WITHOUT ROWID;

CREATE TABLE claim (
    owner   INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    message INTEGER NOT NULL,
    PRIMARY KEY (owner, number)
) WITHOUT ROWID;

CREATE TABLE dead (
    -- In the order of dying, whatever the clock says.
    place   INTEGER PRIMARY KEY,
    message INTEGER NOT NULL,
    name    TEXT    NOT NULL,
    reason  TEXT    NOT NULL,
    died_at REAL    NOT NULL
);

CREATE INDEX dead_name ON dead (name);

CREATE TABLE owner (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    name     TEXT    NOT NULL UNIQUE,
    node     TEXT    NOT NULL,
    -- No claim has a larger number than this; written in steps, see moves.py.
    reserved INTEGER NOT NULL DEFAULT 0
);

-- A lease runs by the monotonic clock of the host, which nobody can set. It starts anew with the host, so a lease
-- that was renewed in the future is one from before a restart, and has run out.
CREATE TABLE node (
    name    TEXT PRIMARY KEY,
    renewed REAL NOT NULL,
    lease   REAL NOT NULL
) WITHOUT ROWID;

-- Whose turn found nothing and waits: one row for each of its queues.
CREATE TABLE waiter (
    queue   TEXT NOT NULL,
    address TEXT NOT NULL,
    -- Monotonic: it waits no longer than until then.
    until   REAL NOT NULL,
    -- Epoch seconds at which it will look by itself, for the sake of a delayed message. NULL: it will not.
    alarm   REAL,
    PRIMARY KEY (queue, address)
) WITHOUT ROWID;

CREATE INDEX waiter_address ON waiter (address);

-- Tasks that must not begin any more.
CREATE TABLE revoked (
    task    TEXT PRIMARY KEY,
    -- Epoch seconds.
    expires REAL NOT NULL
) WITHOUT ROWID;

CREATE INDEX revoked_expires ON revoked (expires);

-- Chords whose members are being counted.
CREATE TABLE chord (
    id      TEXT PRIMARY KEY,
    -- How many were (one that came twice may be among them), -1 when all were: so much is kept for a while, for a member
    -- that comes once more.
    counted INTEGER NOT NULL,
    -- Epoch seconds. NULL is for ever.
    expires REAL
) WITHOUT ROWID;

CREATE INDEX chord_expires ON chord (expires) WHERE expires IS NOT NULL;

-- Their members, as many in a row as were counted in one step: an entry for each would cost more than all else that is
-- done with it.
CREATE TABLE run (
    id      INTEGER PRIMARY KEY,
    chord   TEXT NOT NULL,
    -- MessagePack: [[index, member, item], ...]
    members BLOB NOT NULL,
    expires REAL
);

CREATE INDEX run_chord ON run (chord);
CREATE INDEX run_expires ON run (expires) WHERE expires IS NOT NULL;

-- What was told of the headers of chords that are not through.
CREATE TABLE header (
    chord   TEXT PRIMARY KEY,
    size    INTEGER NOT NULL,
    -- The messages that come if it fails, as JSON.
    broken  BLOB    NOT NULL,
    -- Epoch seconds until which its producer, who has sent a part of it, is waited for. NULL: it is whole.
    patience REAL,
    -- Epoch seconds. NULL is for ever.
    expires REAL
) WITHOUT ROWID;

CREATE INDEX header_patience ON header (patience) WHERE patience IS NOT NULL;
CREATE INDEX header_expires ON header (expires) WHERE expires IS NOT NULL;

CREATE TABLE result (
    task    TEXT PRIMARY KEY,
    payload BLOB NOT NULL,
    -- Epoch seconds. NULL is for ever.
    expires REAL
);

CREATE INDEX result_expires ON result (expires) WHERE expires IS NOT NULL;

-- What tasks that stream have yielded. The number of the last one lies in `result`, as "stream:<task>".
CREATE TABLE part (
    task    TEXT    NOT NULL,
    number  INTEGER NOT NULL,
    body    BLOB    NOT NULL,
    expires REAL,
    PRIMARY KEY (task, number)
) WITHOUT ROWID;

CREATE INDEX part_expires ON part (expires) WHERE expires IS NOT NULL;

-- Who wants to be told of which result; `fresh` since a result was saved that it was not told of.
CREATE TABLE watcher (
    task    TEXT    NOT NULL,
    address TEXT    NOT NULL,
    fresh   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (task, address)
) WITHOUT ROWID;

CREATE INDEX watcher_address ON watcher (address, fresh);

-- Who listens on the bus.
CREATE TABLE listener (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    address TEXT NOT NULL,
    -- JSON array; a * at the end of one stands for any rest.
    topics  TEXT NOT NULL,
    -- Monotonic: who has not renewed it by then was killed.
    until   REAL NOT NULL
);

-- What was said to whom and is not heard yet.
CREATE TABLE heard (
    id       INTEGER PRIMARY KEY,
    listener INTEGER NOT NULL,
    topic    TEXT NOT NULL,
    payload  BLOB NOT NULL
);

CREATE INDEX heard_listener ON heard (listener, id);

-- Queues that nobody may claim from.
CREATE TABLE paused (
    queue TEXT PRIMARY KEY
) WITHOUT ROWID;
