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
