"""Every setting: its names, default, unit and meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic.fields import FieldInfo

from penstock.settings.kinds import Address, AdminKey, MailAddress, MailAddresses, Words, split

System = Literal["fist", "halilit", "pixel", "filterx", "perspective"]
Systems = Annotated[tuple[System, ...], BeforeValidator(split)]


TaskEngine = Literal["embedded", "celery", "inline"]


def _setting(default: Any, *names: str, about: str, **rules: Any) -> Any:
    return Field(default, description=about, json_schema_extra={"names": list(names)}, **rules)


class Settings(BaseModel):
    """Penstock's settings. `load_settings()` reads them; tests construct them."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    home: Path = _setting(
        Path("./.penstock"), "PENSTOCK_HOME", about="Folder of the database, cache, logs and keys."
    )
    redis_url: Address | None = _setting(
        None,
        "PENSTOCK_REDIS_URL",
        "REDIS_URL",
        about="Redis that servers share: cache, limits, events; rediss:// for TLS.",
    )
    redis_host: str | None = _setting(
        None,
        "PENSTOCK_REDIS_HOST",
        "REDIS_HOST",
        about="Host of that Redis, where REDIS_URL is not set.",
    )
    redis_port: int = _setting(
        6379,
        "PENSTOCK_REDIS_PORT",
        "REDIS_PORT",
        about="Its port, beside REDIS_HOST.",
        ge=1,
        le=65535,
    )
    redis_password: SecretStr | None = _setting(
        None, "PENSTOCK_REDIS_PASSWORD", "REDIS_PASSWORD", about="Its password, beside REDIS_HOST."
    )
    redis_tls: bool = _setting(
        False,
        "PENSTOCK_REDIS_TLS",
        "REDIS_TLS",
        about="Speak TLS to it and check its certificate, beside REDIS_HOST.",
    )
    redis_ca_certs: Path | None = _setting(
        None,
        "PENSTOCK_REDIS_CA_CERTS",
        "REDIS_CA_CERTS",
        about="PEM file of who signed its certificate, beside REDIS_TLS; the system's authorities.",
    )

    host: str = _setting(
        "127.0.0.1", "PENSTOCK_HOST", "HOST", about="Address that the server listens on."
    )
    port: int = _setting(
        8000, "PENSTOCK_PORT", "PORT", "API_PORT", about="Port of the HTTP API.", ge=0, le=65535
    )
    workers: int = _setting(
        1, "PENSTOCK_WORKERS", about="Server processes on the one port.", ge=1, le=64
    )
    compat: Systems = _setting(
        ("fist", "halilit", "pixel", "filterx", "perspective"),
        "PENSTOCK_COMPAT",
        about="Source systems whose own paths are served; none: no one's.",
    )
    cors_origins: Words = _setting(
        (), "PENSTOCK_CORS_ORIGINS", "CORS_ORIGINS", about="Origins that browsers may call from."
    )
    max_body_bytes: int = _setting(
        1 << 20, "PENSTOCK_MAX_BODY_BYTES", about="Largest request body, bytes.", ge=1024
    )
    max_image_bytes: int = _setting(
        8 << 20, "PENSTOCK_MAX_IMAGE_BYTES", about="Largest image, bytes.", ge=1024, le=64 << 20
    )
    normalise_texts: bool = _setting(
        False,
        "PENSTOCK_NORMALISE_TEXTS",
        about="Whether texts to moderate are put in one form first: Unicode NFC, one kind of line "
        "end, no outer blanks. More hits; spans then count in that form.",
    )
    allow_private: Words = _setting(
        (),
        "PENSTOCK_ALLOW_PRIVATE",
        about="`host:port` pairs that images and webhooks may name although they are not public.",
    )
    max_inputs: int = _setting(
        1000, "PENSTOCK_MAX_INPUTS", about="Most texts in one moderation request.", ge=1
    )

    auth: Literal["on", "off"] = _setting(
        "on", "PENSTOCK_AUTH", about="off: no keys asked, loopback only."
    )
    admin_key: AdminKey | None = _setting(
        None,
        "PENSTOCK_ADMIN_KEY",
        about="A key that is admin without being stored; 32 characters or more.",
        min_length=32,
    )
    trusted_proxies: Words = _setting(
        (),
        "PENSTOCK_TRUSTED_PROXIES",
        about="Addresses of proxies whose X-Forwarded-For names the caller.",
    )
    rate_limit: int = _setting(
        0, "PENSTOCK_RATE_LIMIT", about="Requests per minute and key; 0: none.", ge=0
    )
    rate_limits: Words = _setting(
        (),
        "PENSTOCK_RATE_LIMITS",
        about="Limits of routes, per key: `/v1/moderations=600/m,/v1/batches=10/m`.",
    )

    enable_cache: bool = _setting(
        True, "PENSTOCK_ENABLE_CACHE", "ENABLE_CACHE", about="Whether results are cached at all."
    )
    cache: Words = _setting(
        ("memory", "disk"),
        "PENSTOCK_CACHE",
        about="Cache tiers, in order: memory, disk, redis; with a Redis set, all three.",
    )
    cache_ttl: float = _setting(
        3600,
        "PENSTOCK_CACHE_TTL",
        "CACHE_TTL_SECONDS",
        "CACHE_TTL",
        about="Seconds that a cached result lives.",
        gt=0,
    )
    cache_max_ttl: float = _setting(
        86400,
        "PENSTOCK_CACHE_MAX_TTL",
        "CACHE_MAX_TTL",
        about="Longest life of a cached result, seconds.",
        gt=0,
    )
    cache_prefix: str = _setting(
        "penstock",
        "PENSTOCK_CACHE_PREFIX",
        "CACHE_PREFIX",
        about="First part of every cache key.",
        min_length=1,
        max_length=64,
    )
    cache_memory_bytes: int = _setting(
        64 << 20, "PENSTOCK_CACHE_MEMORY_BYTES", about="Bound of the memory tier.", ge=1 << 16
    )
    cache_disk_bytes: int = _setting(
        1 << 30, "PENSTOCK_CACHE_DISK_BYTES", about="Bound of the disk tier.", ge=1 << 20
    )

    database_url: Address | None = _setting(
        None,
        "PENSTOCK_DATABASE_URL",
        "DATABASE_URL",
        about="Database: postgresql://user:password@host/name; SQLite in the home folder.",
    )
    db_pool_size: int = _setting(
        10, "PENSTOCK_DB_POOL_SIZE", about="PostgreSQL connections kept open.", ge=1, le=1000
    )
    db_pool_overflow: int = _setting(
        20, "PENSTOCK_DB_POOL_OVERFLOW", about="Further ones under load.", ge=0, le=1000
    )
    durability: Literal["normal", "full"] = _setting(
        "normal",
        "PENSTOCK_DURABILITY",
        about="normal survives kill -9; full also a power cut, at one fsync per group of writes.",
    )

    provider: Words = _setting(
        ("local://",),
        "PENSTOCK_PROVIDER",
        "OPENAI_BASE_URL",
        about="Who judges after the local model: local:// or https://host/v1; a list falls back.",
    )
    provider_key: SecretStr | None = _setting(
        None, "PENSTOCK_PROVIDER_KEY", "OPENAI_API_KEY", about="API key of the provider."
    )
    model: str | None = _setting(None, "PENSTOCK_MODEL", about="Model name at the provider.")
    provider_timeout: float = _setting(
        20.0, "PENSTOCK_PROVIDER_TIMEOUT", about="Seconds for one answer, retries included.", gt=0
    )
    provider_connect_timeout: float = _setting(
        2.0, "PENSTOCK_PROVIDER_CONNECT_TIMEOUT", about="Seconds to connect.", gt=0
    )
    provider_read_timeout: float = _setting(
        10.0, "PENSTOCK_PROVIDER_READ_TIMEOUT", about="Seconds between two bytes.", gt=0
    )
    provider_retries: int = _setting(
        2, "PENSTOCK_PROVIDER_RETRIES", about="Further tries after a failure.", ge=0, le=10
    )
    provider_concurrency: int = _setting(
        16, "PENSTOCK_PROVIDER_CONCURRENCY", about="Most calls at once; shrinks on 429.", ge=1
    )
    provider_vision: Literal["auto", "on", "off"] = _setting(
        "auto",
        "PENSTOCK_PROVIDER_VISION",
        about="Whether the provider's model looks at images; auto: by the model's name.",
    )
    provider_price_in: float = _setting(
        0.0, "PENSTOCK_PROVIDER_PRICE_IN", about="Price of a million input tokens, USD.", ge=0
    )
    provider_price_out: float = _setting(
        0.0, "PENSTOCK_PROVIDER_PRICE_OUT", about="Price of a million output tokens, USD.", ge=0
    )
    provider_excerpt_words: int = _setting(
        600, "PENSTOCK_PROVIDER_EXCERPT_WORDS", about="Most words of a text sent out.", ge=50
    )

    policy: Path | None = _setting(
        None, "PENSTOCK_POLICY", about="TOML file with thresholds and actions."
    )
    store_text: bool = _setting(
        False, "PENSTOCK_STORE_TEXT", about="Keep moderated texts beside their verdicts."
    )

    retention_days: int = _setting(
        90, "PENSTOCK_RETENTION_DAYS", about="Days that verdicts stay on record; 0: for ever.", ge=0
    )

    tasks: TaskEngine = _setting(
        "embedded",
        "PENSTOCK_TASKS",
        about="What runs jobs: embedded, a file in the home folder; celery, also chosen by "
        "CELERY_BROKER_URL; inline, in the call that enqueues, for tests and serverless.",
    )
    celery_broker_url: Address | None = _setting(
        None,
        "PENSTOCK_CELERY_BROKER_URL",
        "CELERY_BROKER_URL",
        about="Broker of Celery; database 1 of REDIS_URL.",
    )
    celery_result_backend: Address | None = _setting(
        None,
        "PENSTOCK_CELERY_RESULT_BACKEND",
        "CELERY_RESULT_BACKEND",
        about="Results of Celery; database 2 of the broker's Redis.",
    )
    include: Words = _setting(
        (), "PENSTOCK_INCLUDE", about="Modules whose tasks are run here, as in an import."
    )
    task_workers: int = _setting(
        4,
        "PENSTOCK_TASK_WORKERS",
        "TASK_QUEUE_WORKERS",
        about="Jobs of each queue that run at once in this process; 0: none run here.",
        ge=0,
        le=1024,
    )
    job_retention_days: int = _setting(
        30,
        "PENSTOCK_JOB_RETENTION_DAYS",
        about="Days that ended jobs stay on record at most; 0: as long as their tasks say.",
        ge=0,
    )

    smtp_url: Address | None = _setting(
        None,
        "PENSTOCK_SMTP_URL",
        "SMTP_URL",
        about="Server that mail is handed to: smtp://user:password@host:587, or smtps://.",
    )
    mail_from: MailAddress | None = _setting(
        None, "PENSTOCK_MAIL_FROM", about="Address that mail is sent from."
    )
    mail_to: MailAddresses = _setting(
        (),
        "PENSTOCK_MAIL_TO",
        about="Addresses that are told of events by mail, each by a message of its own.",
        max_length=20,
    )
    mail_events: Words = _setting(
        ("alert.raised",),
        "PENSTOCK_MAIL_EVENTS",
        about="Which events those are, of all owners, named as for webhooks: `case.*`.",
    )

    max_batch_size: int = _setting(
        100,
        "PENSTOCK_MAX_BATCH_SIZE",
        "MAX_BATCH_SIZE",
        about="Most contents of one FIST batch.",
        ge=1,
        le=10_000,
    )
    batch_timeout: float = _setting(
        300,
        "PENSTOCK_BATCH_TIMEOUT",
        "BATCH_TIMEOUT",
        about="Seconds after which a FIST batch ends; what is finished stays.",
        gt=0,
    )
    batch_concurrency: int = _setting(
        16,
        "PENSTOCK_BATCH_CONCURRENCY",
        about="Items of a batch that wait for a provider at once; shrinks on 429.",
        ge=1,
        le=256,
    )
    batch_max_items: int = _setting(
        50_000, "PENSTOCK_BATCH_MAX_ITEMS", about="Most requests of one batch on /v1/batches.", ge=1
    )
    batch_retention_days: int = _setting(
        30, "PENSTOCK_BATCH_RETENTION_DAYS", about="Days that batches and files are kept.", ge=1
    )
    max_file_bytes: int = _setting(
        100 << 20,
        "PENSTOCK_MAX_FILE_BYTES",
        about="Largest body on /v1/files, bytes.",
        ge=1024,
    )

    enable_metrics: bool = _setting(
        True, "PENSTOCK_ENABLE_METRICS", "ENABLE_METRICS", about="Whether requests are measured."
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "info", "PENSTOCK_LOG_LEVEL", "LOG_LEVEL", about="Least level that is logged."
    )
    log_format: Literal["auto", "json", "console"] = _setting(
        "auto", "PENSTOCK_LOG_FORMAT", about="auto: console on a terminal, JSON elsewhere."
    )
    log_dir: Path | None = _setting(
        None, "PENSTOCK_LOG_DIR", about="Folder of the log files; logs in the home folder."
    )

    @model_validator(mode="before")
    @classmethod
    def _follow(cls, values: Any) -> Any:
        """What one setting makes of others that nobody set."""
        if not isinstance(values, dict):
            return values
        given = {name for name, value in values.items() if value not in (None, "")}
        followed: dict[str, Any] = {}
        if "cache" not in given and given & {"redis_url", "redis_host"}:
            followed["cache"] = ("memory", "disk", "redis")
        if "tasks" not in given and given & {"celery_broker_url", "celery_result_backend"}:
            followed["tasks"] = "celery"
        return {**values, **followed}

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        if self.tasks == "celery" and self.broker is None:
            raise ValueError("PENSTOCK_TASKS=celery needs CELERY_BROKER_URL, or REDIS_URL")
        if "redis" in self.cache and self.redis is None:
            raise ValueError("PENSTOCK_CACHE names redis; set REDIS_URL, or REDIS_HOST")
        if self.mail_to and not (self.smtp_url and self.mail_from):
            raise ValueError("PENSTOCK_MAIL_TO needs SMTP_URL and PENSTOCK_MAIL_FROM")
        if self.redis_ca_certs and not self.redis_tls:
            raise ValueError("REDIS_CA_CERTS means nothing without TLS; set REDIS_TLS=true")
        if self.redis_tls and (self.redis_url or "").startswith("redis:"):
            raise ValueError("REDIS_TLS asks for TLS, REDIS_URL for none; write rediss:// there")
        return self

    @property
    def admin_token(self) -> str | None:
        """The admin key in the clear, for the key ring alone."""
        return self.admin_key.get_secret_value() if self.admin_key else None

    @property
    def logs(self) -> Path:
        """Where log files are."""
        return self.log_dir or self.home / "logs"

    @property
    def database(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{(self.home / 'penstock.db').absolute()}"

    @property
    def redis(self) -> str | None:
        """The address of the Redis that servers share; None: they share a folder."""
        if self.redis_url or self.redis_host is None:
            return self.redis_url
        password = self.redis_password.get_secret_value() if self.redis_password else ""
        who = f":{quote(password, safe='')}@" if password else ""
        where = f"{who}{self.redis_host}:{self.redis_port}/0"
        if not self.redis_tls:
            return f"redis://{where}"
        trusted = f"?ssl_ca_certs={quote(str(self.redis_ca_certs))}" if self.redis_ca_certs else ""
        return f"rediss://{where}{trusted}"

    @property
    def broker(self) -> str | None:
        """The address of Celery's broker."""
        return self.celery_broker_url or _at(self.redis, 1)

    @property
    def result_backend(self) -> str | None:
        """The address of Celery's results."""
        return self.celery_result_backend or _at(self.broker, 2)

    @property
    def task_engine(self) -> str:
        """The URL of the engine that runs jobs."""
        if self.tasks == "celery":
            broker, results = self.broker or "", self.result_backend or ""
            joint = "&" if "?" in broker else "?"
            return f"celery+{broker}{joint}backend={quote(results, safe='')}"
        path = quote(str((self.home / "tasks.db").absolute()))
        return "inline://" if self.tasks == "inline" else f"embedded://{path}"


def _at(url: str | None, number: int) -> str | None:
    """The same Redis' database of this number."""
    return None if url is None else urlsplit(url)._replace(path=f"/{number}").geturl()


def names_of(field: FieldInfo) -> list[str]:
    """The variables that a field is read from, its own name first."""
    extra = field.json_schema_extra
    names = extra.get("names", []) if isinstance(extra, dict) else []
    return [str(name) for name in names] if isinstance(names, list) else []
