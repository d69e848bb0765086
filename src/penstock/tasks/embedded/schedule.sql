-- Schedules and the ticks that were fired. Times are milliseconds since 1970, UTC.

CREATE TABLE IF NOT EXISTS schedule (
    name     TEXT PRIMARY KEY,
    task     TEXT NOT NULL,
    spec     TEXT NOT NULL,              -- a cron line, or 'every 900s'
    tz       TEXT NOT NULL,
    misfire  TEXT NOT NULL,              -- last, skip, all
    queue    TEXT NOT NULL,
    template TEXT NOT NULL,              -- the job to insert: NewJob as JSON
    paused   INTEGER NOT NULL DEFAULT 0,
    next_ms  INTEGER NOT NULL,           -- the first tick that was not dealt with yet
    last_ms  INTEGER,                    -- what ran last: a tick, or when it was run by hand
    last_job INTEGER                     -- number of that job
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS schedule_next ON schedule (next_ms) WHERE paused = 0;

-- One row per tick that has its job: what makes it happen once, whatever the clocks do.
CREATE TABLE IF NOT EXISTS fired (
    name    TEXT NOT NULL,
    tick_ms INTEGER NOT NULL,
    job     INTEGER,                     -- number of the job
    PRIMARY KEY (name, tick_ms)
) WITHOUT ROWID;
