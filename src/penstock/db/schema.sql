-- The tables of tables.py, written by `python -m penstock.db.tables`.

CREATE TABLE audit_entries (
    number INTEGER NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail BLOB NOT NULL,
    CONSTRAINT pk_audit_entries PRIMARY KEY (number)
);

CREATE INDEX ix_audit_entries_action_number ON audit_entries (action, number);

CREATE INDEX ix_audit_entries_actor_number ON audit_entries (actor, number);

CREATE INDEX ix_audit_entries_subject_number ON audit_entries (subject, number);

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
    route_limits TEXT,
    budget_micros BIGINT,
    budget_tokens BIGINT,
    budget_period TEXT,
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
    key_id TEXT,
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

CREATE TABLE moderation_activations (
    number INTEGER NOT NULL,
    policy_id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    is_rollback BOOLEAN NOT NULL,
    activated_by TEXT NOT NULL,
    activated_at BIGINT NOT NULL,
    CONSTRAINT pk_moderation_activations PRIMARY KEY (number)
);

CREATE INDEX ix_moderation_activations_policy_id_number ON moderation_activations (policy_id, number);

CREATE TABLE moderation_assignments (
    key_id TEXT NOT NULL,
    policy_id TEXT NOT NULL,
    assigned_at BIGINT NOT NULL,
    CONSTRAINT pk_moderation_assignments PRIMARY KEY (key_id)
);

CREATE TABLE moderation_entries (
    id INTEGER NOT NULL,
    list_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    note TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    deleted_at BIGINT,
    change INTEGER NOT NULL,
    CONSTRAINT pk_moderation_entries PRIMARY KEY (id),
    CONSTRAINT uq_moderation_entries_list_id_kind_value UNIQUE (list_id, kind, value)
);

CREATE INDEX ix_moderation_entries_change ON moderation_entries (change);

CREATE TABLE moderation_lists (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    key_id TEXT,
    disguises BOOLEAN NOT NULL,
    enabled BOOLEAN NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT pk_moderation_lists PRIMARY KEY (id)
);

CREATE INDEX ix_moderation_lists_created_at_id ON moderation_lists (created_at, id);

CREATE TABLE moderation_policies (
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    version TEXT NOT NULL,
    document BLOB NOT NULL,
    note TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_moderation_policies PRIMARY KEY (id, revision)
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
    key_id TEXT,
    scores BLOB,
    is_foreign BOOLEAN,
    degraded TEXT,
    listed TEXT,
    CONSTRAINT pk_moderation_verdicts PRIMARY KEY (id)
);

CREATE INDEX ix_moderation_verdicts_created_at_id ON moderation_verdicts (created_at, id);

CREATE INDEX ix_moderation_verdicts_owner_created_at_id ON moderation_verdicts (owner, created_at, id);

CREATE INDEX ix_moderation_verdicts_user_id ON moderation_verdicts (user_id) WHERE user_id IS NOT NULL;

CREATE TABLE notify_waiting (
    number INTEGER NOT NULL,
    webhook_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    event BLOB NOT NULL,
    CONSTRAINT pk_notify_waiting PRIMARY KEY (number)
);

CREATE TABLE notify_webhooks (
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    url TEXT NOT NULL,
    description TEXT NOT NULL,
    events BLOB NOT NULL,
    everyone BOOLEAN NOT NULL,
    secret TEXT NOT NULL,
    old_secret TEXT,
    old_secret_until BIGINT,
    enabled BOOLEAN NOT NULL,
    disabled_reason TEXT,
    last_status INTEGER,
    last_error TEXT,
    last_at BIGINT,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_notify_webhooks PRIMARY KEY (id)
);

CREATE INDEX ix_notify_webhooks_created_at_id ON notify_webhooks (created_at, id);

CREATE INDEX ix_notify_webhooks_owner_created_at_id ON notify_webhooks (owner, created_at, id);

CREATE TABLE perspective_curves (
    attribute TEXT NOT NULL,
    model_version TEXT NOT NULL,
    curve BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_perspective_curves PRIMARY KEY (attribute, model_version)
);

CREATE TABLE perspective_suggestions (
    number INTEGER NOT NULL,
    owner TEXT NOT NULL,
    key_id TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    content TEXT,
    scores BLOB NOT NULL,
    model_version TEXT NOT NULL,
    community TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_perspective_suggestions PRIMARY KEY (number)
);

CREATE TABLE review_bands (
    band BIGINT NOT NULL,
    case_id TEXT NOT NULL,
    CONSTRAINT pk_review_bands PRIMARY KEY (band, case_id)
);

CREATE TABLE review_cases (
    id TEXT NOT NULL,
    state TEXT NOT NULL,
    kind TEXT NOT NULL,
    decision TEXT,
    owner TEXT NOT NULL,
    assignee TEXT,
    risk FLOAT NOT NULL,
    category TEXT,
    reason TEXT NOT NULL,
    signature BLOB,
    similar_to TEXT,
    items INTEGER NOT NULL,
    contents INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    claimed_at BIGINT,
    decided_at BIGINT,
    decided_by TEXT,
    settled_at BIGINT,
    CONSTRAINT pk_review_cases PRIMARY KEY (id)
);

CREATE INDEX ix_review_cases_appeals ON review_cases (owner) WHERE decided_at IS NULL AND kind = 'appeal';

CREATE INDEX ix_review_cases_created_at_id ON review_cases (created_at, id);

CREATE INDEX ix_review_cases_decided_at_id ON review_cases (decided_at, id);

CREATE INDEX ix_review_cases_live ON review_cases (due_at, id) WHERE decided_at IS NULL;

CREATE TABLE review_contents (
    case_id TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    risk FLOAT NOT NULL,
    category TEXT,
    content TEXT,
    content_until BIGINT,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_review_contents PRIMARY KEY (case_id, content_hash)
);

CREATE INDEX ix_review_contents_content_until ON review_contents (content_until) WHERE content IS NOT NULL;

CREATE TABLE review_events (
    number INTEGER NOT NULL,
    case_id TEXT NOT NULL,
    action TEXT NOT NULL,
    actor TEXT NOT NULL,
    detail TEXT NOT NULL,
    at BIGINT NOT NULL,
    CONSTRAINT pk_review_events PRIMARY KEY (number)
);

CREATE INDEX ix_review_events_case_id_number ON review_events (case_id, number);

CREATE TABLE review_examples (
    id TEXT NOT NULL,
    case_id TEXT NOT NULL,
    content TEXT,
    content_hash TEXT NOT NULL,
    category TEXT,
    was TEXT NOT NULL,
    decision TEXT NOT NULL,
    user_id TEXT,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_review_examples PRIMARY KEY (id),
    CONSTRAINT uq_review_examples_content_hash UNIQUE (content_hash)
);

CREATE INDEX ix_review_examples_created_at_id ON review_examples (created_at, id);

CREATE TABLE review_items (
    verdict_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    case_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    user_id TEXT,
    content_key TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    decision TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    appealed_at BIGINT,
    CONSTRAINT pk_review_items PRIMARY KEY (verdict_id, key_id, case_id)
);

CREATE INDEX ix_review_items_case_id_created_at_verdict_id ON review_items (case_id, created_at, verdict_id);

CREATE INDEX ix_review_items_content_hash_owner ON review_items (content_hash, owner);

CREATE INDEX ix_review_items_user_id ON review_items (user_id) WHERE user_id IS NOT NULL;

CREATE TABLE usage_counters (
    day BIGINT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    value BIGINT NOT NULL,
    CONSTRAINT pk_usage_counters PRIMARY KEY (day, kind, name)
);

CREATE TABLE usage_days (
    day BIGINT NOT NULL,
    key_id TEXT NOT NULL,
    service TEXT NOT NULL,
    currency TEXT NOT NULL,
    owner TEXT NOT NULL,
    calls BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    tokens_in BIGINT NOT NULL,
    tokens_out BIGINT NOT NULL,
    tokens_saved BIGINT NOT NULL,
    spent_micros BIGINT NOT NULL,
    saved_micros BIGINT NOT NULL,
    CONSTRAINT pk_usage_days PRIMARY KEY (day, key_id, service, currency)
);

CREATE INDEX ix_usage_days_key_id_day ON usage_days (key_id, day);

CREATE INDEX ix_usage_days_owner_day ON usage_days (owner, day);

CREATE TRIGGER audit_entries_no_update BEFORE UPDATE ON audit_entries
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

CREATE TRIGGER audit_entries_no_delete BEFORE DELETE ON audit_entries
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
