-- The tables of tables.py, written by `python -m penstock.db.tables`.

CREATE TABLE auth_keys (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    role TEXT NOT NULL,
    digest TEXT NOT NULL,
    prefix TEXT NOT NULL,
    rate_limit INTEGER,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    last_used_at BIGINT,
    CONSTRAINT pk_auth_keys PRIMARY KEY (id),
    CONSTRAINT uq_auth_keys_digest UNIQUE (digest)
);

CREATE INDEX ix_auth_keys_created_at_id ON auth_keys (created_at, id);

CREATE TABLE batch_batches (
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    status TEXT NOT NULL,
    completion_window TEXT NOT NULL,
    time_limit FLOAT,
    input_file_id TEXT,
    output_file_id TEXT,
    error_file_id TEXT,
    digest TEXT NOT NULL,
    options BLOB NOT NULL,
    metadata BLOB,
    errors BLOB,
    total INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    rate FLOAT NOT NULL,
    job_id TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    in_progress_at BIGINT,
    finalizing_at BIGINT,
    cancelling_at BIGINT,
    ended_at BIGINT,
    CONSTRAINT pk_batch_batches PRIMARY KEY (id)
);

CREATE INDEX ix_batch_batches_created_at_id ON batch_batches (created_at, id);

CREATE INDEX ix_batch_batches_live ON batch_batches (id) WHERE ended_at IS NULL;

CREATE INDEX ix_batch_batches_owner_created_at_id ON batch_batches (owner, created_at, id);

CREATE TABLE batch_chunks (
    file_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    data BLOB NOT NULL,
    CONSTRAINT pk_batch_chunks PRIMARY KEY (file_id, number)
);

CREATE TABLE batch_files (
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    purpose TEXT NOT NULL,
    name TEXT NOT NULL,
    size BIGINT,
    batch_id TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    CONSTRAINT pk_batch_files PRIMARY KEY (id)
);

CREATE INDEX ix_batch_files_batch_id ON batch_files (batch_id) WHERE batch_id IS NOT NULL;

CREATE INDEX ix_batch_files_created_at_id ON batch_files (created_at, id);

CREATE INDEX ix_batch_files_owner_created_at_id ON batch_files (owner, created_at, id);

CREATE TABLE batch_items (
    batch_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    custom_id TEXT,
    state INTEGER NOT NULL,
    cached BOOLEAN NOT NULL,
    body BLOB,
    outcome BLOB,
    CONSTRAINT pk_batch_items PRIMARY KEY (batch_id, number)
);

CREATE TABLE moderation_verdicts (
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    content_key TEXT NOT NULL,
    score_key TEXT NOT NULL,
    policy_version TEXT NOT NULL,
    decision TEXT NOT NULL,
    flagged BOOLEAN NOT NULL,
    reason TEXT NOT NULL,
    risk FLOAT NOT NULL,
    record BLOB NOT NULL,
    excerpt_share FLOAT NOT NULL,
    word_count INTEGER NOT NULL,
    content TEXT,
    user_id TEXT,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_moderation_verdicts PRIMARY KEY (id)
);

CREATE INDEX ix_moderation_verdicts_created_at_id ON moderation_verdicts (created_at, id);

CREATE INDEX ix_moderation_verdicts_owner_created_at_id ON moderation_verdicts (owner, created_at, id);

CREATE INDEX ix_moderation_verdicts_user_id ON moderation_verdicts (user_id) WHERE user_id IS NOT NULL;
