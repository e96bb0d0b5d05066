-- The tables of schedules, made at their first use: a file without schedules has none of them.
-- All moments are epoch milliseconds, 0 is none.

CREATE TABLE IF NOT EXISTS plan (
    family     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    occurrence INTEGER NOT NULL,
    due        INTEGER NOT NULL,
    runs       INTEGER NOT NULL,
    last       INTEGER NOT NULL,
    last_id    TEXT    NOT NULL,
    paused     INTEGER NOT NULL,
    spec       TEXT    NOT NULL,
    PRIMARY KEY (family, name)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS plan_due ON plan (family, due) WHERE due > 0;

CREATE TABLE IF NOT EXISTS plan_note (
    id     INTEGER PRIMARY KEY,
    family TEXT NOT NULL,
    name   TEXT NOT NULL,
    note   BLOB NOT NULL
);

CREATE INDEX IF NOT EXISTS plan_note_name ON plan_note (family, name, id);

-- A lease runs by the monotonic clock of the host, as that of a node does.
CREATE TABLE IF NOT EXISTS plan_leader (
    family    TEXT PRIMARY KEY,
    scheduler TEXT    NOT NULL,
    term      INTEGER NOT NULL,
    renewed   REAL    NOT NULL,
    lease     REAL    NOT NULL
) WITHOUT ROWID;
