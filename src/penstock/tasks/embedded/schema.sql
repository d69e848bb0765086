-- Jobs, and the processes that share the file. Times are milliseconds since 1970, UTC.
-- What is not known is 0 or '', not NULL: Python binds those several times faster.

CREATE TABLE IF NOT EXISTS job (
    id           INTEGER PRIMARY KEY,          -- grows with time, see numbers.py
    task         TEXT NOT NULL,
    queue        TEXT NOT NULL,
    priority     INTEGER NOT NULL,             -- 0 first
    state        INTEGER NOT NULL,             -- see states.py
    attempt      INTEGER NOT NULL DEFAULT 0,   -- the running one, or the last
    max_attempts INTEGER NOT NULL,
    run_at       INTEGER NOT NULL,             -- not before
    created_at   INTEGER NOT NULL,
    started_at   INTEGER NOT NULL DEFAULT 0,
    finished_at  INTEGER NOT NULL DEFAULT 0,
    deadline     INTEGER NOT NULL DEFAULT 0,   -- not started after
    expires_at   INTEGER NOT NULL DEFAULT 0,   -- forgotten after
    worker       INTEGER NOT NULL DEFAULT 0,   -- the process that runs it, or ran it last
    once         INTEGER NOT NULL DEFAULT 0,   -- a death of its process ends it
    cancelling   INTEGER NOT NULL DEFAULT 0,   -- it was asked to end
    rerun        INTEGER NOT NULL DEFAULT 0,   -- enqueued again while it ran
    key          TEXT,
    owner        TEXT NOT NULL DEFAULT '',     -- whose it is
    batch_id     TEXT NOT NULL DEFAULT '',
    request_id   TEXT NOT NULL DEFAULT '',
    trace_id     TEXT NOT NULL DEFAULT '',
    progress     TEXT NOT NULL DEFAULT '',     -- JSON, as are the rest
    errors       TEXT NOT NULL DEFAULT '',
    arguments    TEXT NOT NULL,
    result       TEXT
);

-- Partial, so that each is as small as what it is asked for. There is none for what has ended: it
-- would cost every job a third of its writing, and pruning can sweep.
CREATE INDEX IF NOT EXISTS job_ready ON job (queue, priority, id) WHERE state = 0;
CREATE INDEX IF NOT EXISTS job_running ON job (worker) WHERE state = 1;
CREATE INDEX IF NOT EXISTS job_delayed ON job (run_at) WHERE state = 6;
CREATE INDEX IF NOT EXISTS job_deadline ON job (deadline) WHERE deadline > 0 AND state IN (0, 6);
CREATE INDEX IF NOT EXISTS job_failed ON job (id) WHERE state = 3;
CREATE INDEX IF NOT EXISTS job_owned ON job (owner, id) WHERE owner <> '';
CREATE INDEX IF NOT EXISTS job_batch ON job (batch_id) WHERE batch_id <> '';
CREATE UNIQUE INDEX IF NOT EXISTS job_key ON job (key, task) WHERE key IS NOT NULL AND state IN (0, 1, 6);

CREATE TABLE IF NOT EXISTS worker (
    id         INTEGER PRIMARY KEY,            -- 1 to 1023; its lock file says whether it lives
    pid        INTEGER NOT NULL,
    host       TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    runs       INTEGER NOT NULL DEFAULT 0      -- whether it runs jobs, or only adds them
);

CREATE TABLE IF NOT EXISTS queue (
    name   TEXT PRIMARY KEY,
    paused INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
