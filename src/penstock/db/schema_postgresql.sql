-- The tables of tables.py, written by `python -m penstock.db.tables`.

CREATE TABLE audit_entries (
    number BIGSERIAL NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    detail BYTEA NOT NULL,
    CONSTRAINT pk_audit_entries PRIMARY KEY (number)
);

CREATE INDEX ix_audit_entries_action_number ON audit_entries (action, number);

CREATE INDEX ix_audit_entries_actor_number ON audit_entries (actor, number);

CREATE INDEX ix_audit_entries_subject_number ON audit_entries (subject, number);

CREATE TABLE auth_keys (
    id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    role TEXT COLLATE "C" NOT NULL,
    digest TEXT COLLATE "C" NOT NULL,
    prefix TEXT COLLATE "C" NOT NULL,
    rate_limit BIGINT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    last_used_at BIGINT,
    route_limits TEXT COLLATE "C",
    budget_micros BIGINT,
    budget_tokens BIGINT,
    budget_period TEXT COLLATE "C",
    CONSTRAINT pk_auth_keys PRIMARY KEY (id),
    CONSTRAINT uq_auth_keys_digest UNIQUE (digest)
);

CREATE INDEX ix_auth_keys_created_at_id ON auth_keys (created_at, id);

CREATE TABLE batch_batches (
    id TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    endpoint TEXT COLLATE "C" NOT NULL,
    status TEXT COLLATE "C" NOT NULL,
    completion_window TEXT COLLATE "C" NOT NULL,
    time_limit FLOAT,
    input_file_id TEXT COLLATE "C",
    output_file_id TEXT COLLATE "C",
    error_file_id TEXT COLLATE "C",
    digest TEXT COLLATE "C" NOT NULL,
    options BYTEA NOT NULL,
    metadata BYTEA,
    errors BYTEA,
    total BIGINT NOT NULL,
    completed BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    rate FLOAT NOT NULL,
    job_id TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    in_progress_at BIGINT,
    finalizing_at BIGINT,
    cancelling_at BIGINT,
    ended_at BIGINT,
    key_id TEXT COLLATE "C",
    CONSTRAINT pk_batch_batches PRIMARY KEY (id)
);

CREATE INDEX ix_batch_batches_created_at_id ON batch_batches (created_at, id);

CREATE INDEX ix_batch_batches_live ON batch_batches (id) WHERE ended_at IS NULL;

CREATE INDEX ix_batch_batches_owner_created_at_id ON batch_batches (owner, created_at, id);

CREATE TABLE batch_chunks (
    file_id TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    data BYTEA NOT NULL,
    CONSTRAINT pk_batch_chunks PRIMARY KEY (file_id, number)
);

CREATE TABLE batch_files (
    id TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    purpose TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    size BIGINT,
    batch_id TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    CONSTRAINT pk_batch_files PRIMARY KEY (id)
);

CREATE INDEX ix_batch_files_batch_id ON batch_files (batch_id) WHERE batch_id IS NOT NULL;

CREATE INDEX ix_batch_files_created_at_id ON batch_files (created_at, id);

CREATE INDEX ix_batch_files_owner_created_at_id ON batch_files (owner, created_at, id);

CREATE TABLE batch_items (
    batch_id TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    custom_id TEXT COLLATE "C",
    state BIGINT NOT NULL,
    cached BOOLEAN NOT NULL,
    body BYTEA,
    outcome BYTEA,
    CONSTRAINT pk_batch_items PRIMARY KEY (batch_id, number)
);

CREATE TABLE moderation_activations (
    number BIGSERIAL NOT NULL,
    policy_id TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    is_rollback BOOLEAN NOT NULL,
    activated_by TEXT COLLATE "C" NOT NULL,
    activated_at BIGINT NOT NULL,
    CONSTRAINT pk_moderation_activations PRIMARY KEY (number)
);

CREATE INDEX ix_moderation_activations_policy_id_number ON moderation_activations (policy_id, number);

CREATE TABLE moderation_assignments (
    key_id TEXT COLLATE "C" NOT NULL,
    policy_id TEXT COLLATE "C" NOT NULL,
    assigned_at BIGINT NOT NULL,
    CONSTRAINT pk_moderation_assignments PRIMARY KEY (key_id)
);

CREATE TABLE moderation_entries (
    id BIGSERIAL NOT NULL,
    list_id TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    note TEXT COLLATE "C" NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    deleted_at BIGINT,
    change BIGINT NOT NULL,
    CONSTRAINT pk_moderation_entries PRIMARY KEY (id),
    CONSTRAINT uq_moderation_entries_list_id_kind_value UNIQUE (list_id, kind, value)
);

CREATE INDEX ix_moderation_entries_change ON moderation_entries (change);

CREATE TABLE moderation_lists (
    id TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C",
    disguises BOOLEAN NOT NULL,
    enabled BOOLEAN NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT pk_moderation_lists PRIMARY KEY (id)
);

CREATE INDEX ix_moderation_lists_created_at_id ON moderation_lists (created_at, id);

CREATE TABLE moderation_policies (
    id TEXT COLLATE "C" NOT NULL,
    revision BIGINT NOT NULL,
    version TEXT COLLATE "C" NOT NULL,
    document BYTEA NOT NULL,
    note TEXT COLLATE "C" NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_moderation_policies PRIMARY KEY (id, revision)
);

CREATE TABLE moderation_verdicts (
    id TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    content_hash TEXT COLLATE "C" NOT NULL,
    content_key TEXT COLLATE "C" NOT NULL,
    score_key TEXT COLLATE "C" NOT NULL,
    policy_version TEXT COLLATE "C" NOT NULL,
    decision TEXT COLLATE "C" NOT NULL,
    flagged BOOLEAN NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    risk FLOAT NOT NULL,
    record BYTEA NOT NULL,
    excerpt_share FLOAT NOT NULL,
    word_count BIGINT NOT NULL,
    content TEXT COLLATE "C",
    user_id TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    key_id TEXT COLLATE "C",
    scores BYTEA,
    is_foreign BOOLEAN,
    degraded TEXT COLLATE "C",
    listed TEXT COLLATE "C",
    rowid BIGINT GENERATED BY DEFAULT AS IDENTITY,
    CONSTRAINT pk_moderation_verdicts PRIMARY KEY (id)
);

CREATE INDEX ix_moderation_verdicts_created_at_id ON moderation_verdicts (created_at, id);

CREATE INDEX ix_moderation_verdicts_owner_created_at_id ON moderation_verdicts (owner, created_at, id);

CREATE UNIQUE INDEX ix_moderation_verdicts_rowid ON moderation_verdicts (rowid);

CREATE INDEX ix_moderation_verdicts_user_id ON moderation_verdicts (user_id) WHERE user_id IS NOT NULL;

CREATE TABLE notify_waiting (
    number BIGSERIAL NOT NULL,
    webhook_id TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    event BYTEA NOT NULL,
    CONSTRAINT pk_notify_waiting PRIMARY KEY (number)
);

CREATE TABLE notify_webhooks (
    id TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    url TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    events BYTEA NOT NULL,
    everyone BOOLEAN NOT NULL,
    secret TEXT COLLATE "C" NOT NULL,
    old_secret TEXT COLLATE "C",
    old_secret_until BIGINT,
    enabled BOOLEAN NOT NULL,
    disabled_reason TEXT COLLATE "C",
    last_status BIGINT,
    last_error TEXT COLLATE "C",
    last_at BIGINT,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_notify_webhooks PRIMARY KEY (id)
);

CREATE INDEX ix_notify_webhooks_created_at_id ON notify_webhooks (created_at, id);

CREATE INDEX ix_notify_webhooks_owner_created_at_id ON notify_webhooks (owner, created_at, id);

CREATE TABLE perspective_curves (
    attribute TEXT COLLATE "C" NOT NULL,
    model_version TEXT COLLATE "C" NOT NULL,
    curve BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_perspective_curves PRIMARY KEY (attribute, model_version)
);

CREATE TABLE perspective_suggestions (
    number BIGSERIAL NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    content_hash TEXT COLLATE "C" NOT NULL,
    content TEXT COLLATE "C",
    scores BYTEA NOT NULL,
    model_version TEXT COLLATE "C" NOT NULL,
    community TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_perspective_suggestions PRIMARY KEY (number)
);

CREATE TABLE review_bands (
    band BIGINT NOT NULL,
    case_id TEXT COLLATE "C" NOT NULL,
    CONSTRAINT pk_review_bands PRIMARY KEY (band, case_id)
);

CREATE TABLE review_cases (
    id TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    decision TEXT COLLATE "C",
    owner TEXT COLLATE "C" NOT NULL,
    assignee TEXT COLLATE "C",
    risk FLOAT NOT NULL,
    category TEXT COLLATE "C",
    reason TEXT COLLATE "C" NOT NULL,
    signature BYTEA,
    similar_to TEXT COLLATE "C",
    items BIGINT NOT NULL,
    contents BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    claimed_at BIGINT,
    decided_at BIGINT,
    decided_by TEXT COLLATE "C",
    settled_at BIGINT,
    rowid BIGINT GENERATED BY DEFAULT AS IDENTITY,
    CONSTRAINT pk_review_cases PRIMARY KEY (id)
);

CREATE INDEX ix_review_cases_appeals ON review_cases (owner) WHERE decided_at IS NULL AND kind = 'appeal';

CREATE INDEX ix_review_cases_created_at_id ON review_cases (created_at, id);

CREATE INDEX ix_review_cases_decided_at_id ON review_cases (decided_at, id);

CREATE INDEX ix_review_cases_live ON review_cases (due_at, id) WHERE decided_at IS NULL;

CREATE UNIQUE INDEX ix_review_cases_rowid ON review_cases (rowid);

CREATE TABLE review_contents (
    case_id TEXT COLLATE "C" NOT NULL,
    content_hash TEXT COLLATE "C" NOT NULL,
    risk FLOAT NOT NULL,
    category TEXT COLLATE "C",
    content TEXT COLLATE "C",
    content_until BIGINT,
    created_at BIGINT NOT NULL,
    rowid BIGINT GENERATED BY DEFAULT AS IDENTITY,
    CONSTRAINT pk_review_contents PRIMARY KEY (case_id, content_hash)
);

CREATE INDEX ix_review_contents_content_until ON review_contents (content_until) WHERE content IS NOT NULL;

CREATE UNIQUE INDEX ix_review_contents_rowid ON review_contents (rowid);

CREATE TABLE review_events (
    number BIGSERIAL NOT NULL,
    case_id TEXT COLLATE "C" NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    detail TEXT COLLATE "C" NOT NULL,
    at BIGINT NOT NULL,
    CONSTRAINT pk_review_events PRIMARY KEY (number)
);

CREATE INDEX ix_review_events_case_id_number ON review_events (case_id, number);

CREATE TABLE review_examples (
    id TEXT COLLATE "C" NOT NULL,
    case_id TEXT COLLATE "C" NOT NULL,
    content TEXT COLLATE "C",
    content_hash TEXT COLLATE "C" NOT NULL,
    category TEXT COLLATE "C",
    was TEXT COLLATE "C" NOT NULL,
    decision TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    CONSTRAINT pk_review_examples PRIMARY KEY (id),
    CONSTRAINT uq_review_examples_content_hash UNIQUE (content_hash)
);

CREATE INDEX ix_review_examples_created_at_id ON review_examples (created_at, id);

CREATE TABLE review_items (
    verdict_id TEXT COLLATE "C" NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    case_id TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C",
    content_key TEXT COLLATE "C" NOT NULL,
    content_hash TEXT COLLATE "C" NOT NULL,
    decision TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    appealed_at BIGINT,
    CONSTRAINT pk_review_items PRIMARY KEY (verdict_id, key_id, case_id)
);

CREATE INDEX ix_review_items_case_id_created_at_verdict_id ON review_items (case_id, created_at, verdict_id);

CREATE INDEX ix_review_items_content_hash_owner ON review_items (content_hash, owner);

CREATE INDEX ix_review_items_user_id ON review_items (user_id) WHERE user_id IS NOT NULL;

CREATE TABLE usage_counters (
    day BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    value BIGINT NOT NULL,
    CONSTRAINT pk_usage_counters PRIMARY KEY (day, kind, name)
);

CREATE TABLE usage_days (
    day BIGINT NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    service TEXT COLLATE "C" NOT NULL,
    currency TEXT COLLATE "C" NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
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

CREATE FUNCTION audit_entries_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'integrity_constraint_violation'; END
$$;

CREATE TRIGGER audit_entries_no_update BEFORE UPDATE ON audit_entries
FOR EACH ROW EXECUTE FUNCTION audit_entries_refuse();

CREATE TRIGGER audit_entries_no_delete BEFORE DELETE ON audit_entries
FOR EACH ROW EXECUTE FUNCTION audit_entries_refuse();

CREATE TRIGGER audit_entries_no_truncate BEFORE TRUNCATE ON audit_entries
FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_refuse();
