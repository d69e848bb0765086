from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from penstock.errors import ConfigurationError
from penstock.settings import LoadedSettings, Settings, load_settings, names_of


def load(environ: Mapping[str, str] | None = None, env_file: Path | None = None) -> LoadedSettings:
    return load_settings(environ or {}, env_file=env_file)


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    path = tmp_path / ".env"
    path.write_text(
        "# comment\nPENSTOCK_PORT=9001\nCACHE_TTL='120'\nOPENAI_API_KEY=sk-from-file\n", "utf-8"
    )
    return path


def test_without_any_variable_the_defaults_hold():
    loaded = load()

    assert loaded.settings == Settings()
    assert {origin.source for origin in loaded.origins.values()} == {"default"}
    assert loaded.warnings == []


def test_the_defaults_are_one_local_process_with_keys_asked():
    settings = Settings()

    assert (settings.host, settings.port, settings.auth) == ("127.0.0.1", 8000, "on")
    assert (settings.cache, settings.cache_ttl) == (("memory", "disk"), 3600)
    assert settings.provider == ("local://",)
    assert settings.store_text is False


def test_a_value_comes_from_the_env_file(env_file: Path):
    """F-56"""
    loaded = load(env_file=env_file)

    assert (loaded.settings.port, loaded.settings.cache_ttl) == (9001, 120)
    assert loaded.origins["port"].source == ".env PENSTOCK_PORT"


def test_the_real_environment_beats_the_env_file(env_file: Path):
    """F-56: also under another of the setting's names."""
    loaded = load({"PORT": "9002", "CACHE_TTL_SECONDS": "60"}, env_file)

    assert (loaded.settings.port, loaded.settings.cache_ttl) == (9002, 60)
    assert loaded.origins["port"].source == "environment PORT"


def test_a_missing_env_file_is_no_error(tmp_path: Path):
    assert load(env_file=tmp_path / "none").settings == Settings()


@pytest.mark.parametrize(
    ("environ", "ttl"),
    [
        ({"CACHE_TTL": "1"}, 1),
        ({"CACHE_TTL": "1", "CACHE_TTL_SECONDS": "2"}, 2),
        ({"CACHE_TTL": "1", "CACHE_TTL_SECONDS": "2", "PENSTOCK_CACHE_TTL": "3"}, 3),
    ],
)
def test_of_several_names_the_own_one_wins_then_the_clearer_one(
    environ: dict[str, str], ttl: float
):
    """C-07"""
    loaded = load(environ)

    assert loaded.settings.cache_ttl == ttl
    assert len(loaded.warnings) == len(environ) - 1 or len(loaded.warnings) == 1


def test_names_that_disagree_are_told():
    (warning,) = load({"CACHE_TTL": "1", "PENSTOCK_CACHE_TTL": "3"}).warnings

    assert "environment PENSTOCK_CACHE_TTL is used" in warning
    assert "environment CACHE_TTL says otherwise" in warning


def test_names_that_agree_are_no_matter():
    assert load({"CACHE_TTL": "3", "PENSTOCK_CACHE_TTL": "3"}).warnings == []


def test_an_empty_variable_is_none_at_all():
    assert load({"PENSTOCK_PORT": "", "PORT": "9000"}).settings.port == 9000


def test_an_unknown_variable_of_ours_is_told():
    (warning,) = load({"PENSTOCK_PROT": "9000", "OTHER": "x"}).warnings

    assert warning.startswith("PENSTOCK_PROT is not a setting")


def test_the_variables_of_our_clients_are_no_strangers():
    assert load({"PENSTOCK_URL": "http://127.0.0.1:8000", "PENSTOCK_KEY": "psk_x"}).warnings == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PENSTOCK_PORT", "eighty"),
        ("PENSTOCK_PORT", "70000"),
        ("PENSTOCK_AUTH", "maybe"),
        ("CACHE_TTL", "-1"),
        ("ENABLE_CACHE", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("PENSTOCK_COMPAT", "fist,fits"),
        ("PENSTOCK_MAX_BODY_BYTES", "10"),
        ("PENSTOCK_CACHE_PREFIX", "x" * 65),
    ],
)
def test_a_wrong_value_is_told_with_the_variable_it_came_from(name: str, value: str):
    with pytest.raises(ConfigurationError) as caught:
        load({name: value})

    assert f"environment {name}: " in caught.value.detail


def test_all_wrong_values_are_told_at_once():
    with pytest.raises(ConfigurationError) as caught:
        load({"PENSTOCK_PORT": "x", "PENSTOCK_AUTH": "y"})

    assert "PENSTOCK_PORT" in caught.value.detail
    assert "PENSTOCK_AUTH" in caught.value.detail


def test_lists_are_separated_by_commas():
    environ = {"PENSTOCK_CACHE": "memory, disk,", "CORS_ORIGINS": "https://a.example,https://b"}

    settings = load(environ).settings

    assert settings.cache == ("memory", "disk")
    assert settings.cors_origins == ("https://a.example", "https://b")


@pytest.mark.parametrize("name", ["PENSTOCK_COMPAT", "PENSTOCK_CACHE", "CORS_ORIGINS"])
def test_none_is_an_empty_list(name: str):
    """F-86: the compat paths can be switched off from outside."""
    field = {"PENSTOCK_COMPAT": "compat", "PENSTOCK_CACHE": "cache"}.get(name, "cors_origins")

    assert getattr(load({name: "none"}).settings, field) == ()


@pytest.mark.parametrize(
    ("name", "field", "value", "meant"),
    [
        ("API_PORT", "port", "9000", 9000),
        ("CACHE_TTL", "cache_ttl", "5", 5),
        ("CACHE_MAX_TTL", "cache_max_ttl", "5", 5),
        ("CACHE_PREFIX", "cache_prefix", "pixel_ai", "pixel_ai"),
        ("ENABLE_CACHE", "enable_cache", "false", False),
        ("ENABLE_METRICS", "enable_metrics", "0", False),
        ("LOG_LEVEL", "log_level", "debug", "debug"),
        ("DATABASE_URL", "database_url", "sqlite:///x.db", "sqlite:///x.db"),
        ("OPENAI_BASE_URL", "provider", "https://h/v1", ("https://h/v1",)),
    ],
)
def test_the_source_systems_names_are_taken(name: str, field: str, value: str, meant: object):
    assert getattr(load({name: value}).settings, field) == meant


def test_secrets_are_not_shown(env_file: Path):
    settings = load({"PENSTOCK_ADMIN_KEY": "psk_secret" * 4}, env_file).settings

    assert "secret" not in repr(settings)
    assert "sk-from-file" not in repr(settings) + settings.model_dump_json()
    assert settings.admin_key is not None
    assert settings.admin_key.get_secret_value() == "psk_secret" * 4


def test_the_folders_follow_the_home():
    settings = Settings(home=Path("/data"))

    assert settings.logs == Path("/data/logs")
    assert settings.database == "sqlite:////data/penstock.db"


def test_every_setting_has_a_name_of_its_own_and_a_description():
    names = [name for field in Settings.model_fields.values() for name in names_of(field)]

    assert len(set(names)) == len(names)
    for name, field in Settings.model_fields.items():
        assert names_of(field)[0] == f"PENSTOCK_{name.upper()}"
        assert field.description
        assert field.description.endswith(".")


def test_a_redis_is_named_by_its_address_or_by_host_and_port():
    named = load_settings({"REDIS_URL": "redis://a:1/0", "REDIS_HOST": "b"}, env_file=None).settings
    built = load_settings(
        {"REDIS_HOST": "b", "REDIS_PORT": "7000", "REDIS_PASSWORD": "p@ss"}, env_file=None
    ).settings

    assert named.redis == "redis://a:1/0"
    assert built.redis == "redis://:p%40ss@b:7000/0"
    assert named.cache == built.cache == ("memory", "disk", "redis")
    assert Settings(redis_url="redis://a", cache="memory").cache == ("memory",)


def test_a_broker_chooses_celery_with_databases_one_and_two():
    by_redis = load_settings(
        {"REDIS_URL": "redis://a:1/0", "PENSTOCK_TASKS": "celery"}, env_file=None
    ).settings
    by_broker = load_settings(
        {"CELERY_BROKER_URL": "redis://b:1/1", "CELERY_RESULT_BACKEND": "redis://c:2/5"},
        env_file=None,
    ).settings
    kept = load_settings(
        {"CELERY_BROKER_URL": "redis://b:1/1", "PENSTOCK_TASKS": "embedded"}, env_file=None
    ).settings

    assert by_redis.task_engine == "celery+redis://a:1/1?backend=redis%3A%2F%2Fa%3A1%2F2"
    assert by_broker.task_engine == "celery+redis://b:1/1?backend=redis%3A%2F%2Fc%3A2%2F5"
    assert kept.task_engine.startswith("embedded://")


def test_a_redis_by_host_and_port_is_spoken_to_over_tls_where_that_is_set():
    environ = {"REDIS_HOST": "b", "REDIS_PASSWORD": "p", "REDIS_TLS": "true"}
    public = load_settings(environ, env_file=None).settings
    own = load_settings({**environ, "REDIS_CA_CERTS": "/etc/a b.pem"}, env_file=None).settings

    assert public.redis == "rediss://:p@b:6379/0"
    assert own.redis == "rediss://:p@b:6379/0?ssl_ca_certs=/etc/a%20b.pem"
    assert own.broker == "rediss://:p@b:6379/1?ssl_ca_certs=/etc/a%20b.pem"


MAIL = {"SMTP_URL": "smtp://a:b@c", "PENSTOCK_MAIL_FROM": "me@b.example"}


def test_who_is_told_by_mail_is_a_list_of_addresses():
    settings = load_settings(
        {**MAIL, "PENSTOCK_MAIL_TO": "a.b+c@d.example, e@f"}, env_file=None
    ).settings

    assert settings.mail_to == ("a.b+c@d.example", "e@f")
    assert settings.mail_events == ("alert.raised",)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PENSTOCK_MAIL_TO": "a@b.example"}, "needs SMTP_URL and PENSTOCK_MAIL_FROM"),
        ({**MAIL, "PENSTOCK_MAIL_FROM": "", "PENSTOCK_MAIL_TO": "a@b"}, "PENSTOCK_MAIL_FROM"),
        ({**MAIL, "PENSTOCK_MAIL_TO": "a@b\r\nBcc: c@d"}, "is no mail address"),
        ({**MAIL, "PENSTOCK_MAIL_TO": "A <a@b.example>"}, "is no mail address"),
        ({**MAIL, "PENSTOCK_MAIL_TO": ",".join(f"a{n}@b" for n in range(21))}, "at most 20"),
        ({**MAIL, "PENSTOCK_MAIL_FROM": "ä@b.example"}, "is no mail address"),
        ({"SMTP_URL": "smtp://a:sesame/@b.example"}, "percent-encoded"),
    ],
)
def test_mail_that_cannot_be_sent_says_why(environ: dict[str, str], said: str):
    with pytest.raises(ConfigurationError, match=said) as caught:
        load_settings(environ, env_file=None)

    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PENSTOCK_TASKS": "celery"}, "needs CELERY_BROKER_URL, or REDIS_URL"),
        ({"PENSTOCK_CACHE": "memory,redis"}, "set REDIS_URL"),
        ({"REDIS_HOST": "b", "REDIS_CA_CERTS": "/ca.pem"}, "set REDIS_TLS=true"),
        ({"REDIS_URL": "redis://b", "REDIS_TLS": "1"}, "write rediss:// there"),
    ],
)
def test_what_needs_a_redis_says_so(environ: dict[str, str], said: str):
    with pytest.raises(ConfigurationError, match=said):
        load_settings(environ, env_file=None)
