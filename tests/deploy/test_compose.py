"""The compose files against what Compose asks of them: no engine runs here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPAT = DEPLOY.parent / "compat"

FIVE = "default,conversations,analytics,notifications,maintenance"

# The keys of a service that these files use, with their types: the Compose specification.
SERVICE: dict[str, type | tuple[type, ...]] = {
    "build": dict,
    "cap_drop": list,
    "command": list,
    "depends_on": dict,
    "deploy": dict,
    "entrypoint": list,
    "environment": dict,
    "healthcheck": dict,
    "image": str,
    "logging": dict,
    "mem_limit": str,
    "networks": (list, dict),
    "ports": list,
    "profiles": list,
    "read_only": bool,
    "restart": str,
    "security_opt": list,
    "shm_size": str,
    "stop_grace_period": str,
    "stop_signal": str,
    "tmpfs": list,
    "user": str,
    "volumes": list,
}
PORT = re.compile(r"\$\{(?:ADMIN_)?BIND:-127\.0\.0\.1\}:(\$\{PORT:-\d+\}|\d+):\d+")


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text("utf-8"))
    return found


@pytest.fixture(params=["compose.yaml", "compose.scale.yaml"])
def file(request: pytest.FixtureRequest) -> dict[str, Any]:
    return load(request.param)


@pytest.fixture
def scale() -> dict[str, Any]:
    return load("compose.scale.yaml")


def test_every_key_is_one_of_compose_with_its_type(file):
    assert {key for key in file if not key.startswith("x-")} <= {
        *("name", "services", "networks", "volumes")
    }
    for name, service in file["services"].items():
        for key, value in service.items():
            assert isinstance(value, SERVICE[key]), f"{name}.{key}"
        assert service.get("restart", "no") in ("no", "unless-stopped"), name


def test_whatever_a_service_names_is_declared(file):
    services, volumes = file["services"], file.get("volumes", {})
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        networks = service.get("networks", [])
        assert set(networks) <= {"default", *file.get("networks", {})}, name
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in volumes or (DEPLOY / source).exists(), volume


def test_a_service_that_is_waited_for_until_it_is_healthy_says_when_it_is(file):
    services = file["services"]
    waited = {
        name
        for service in services.values()
        for name, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_healthy"
    }

    # Penstock's image has a HEALTHCHECK of its own.
    own = {name for name, service in services.items() if service["image"] == "penstock:latest"}
    assert {name for name in waited - own if "healthcheck" not in services[name]} == set()


def test_ports_are_published_on_this_machine_unless_told_otherwise(file):
    ports = [port for service in file["services"].values() for port in service.get("ports", [])]

    assert ports
    assert [port for port in ports if not PORT.fullmatch(port)] == []


def test_no_container_may_more_than_it_needs(file):
    for name, service in file["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "mem_limit" in service or name == "migrate", name
        assert service["logging"]["options"]["max-size"], name


def test_the_embedded_service_is_called_backend_and_stands_alone():
    file = load("compose.yaml")

    usual = [name for name, each in file["services"].items() if "profiles" not in each]
    assert usual == ["backend"]


def test_the_compat_profile_publishes_both_ports_of_the_source_systems():
    services = load("compose.yaml")["services"]

    compat = services["compat"]
    assert compat["profiles"] == ["compat"]
    assert {port.rpartition("}:")[2] for port in compat["ports"]} == {"8080:8080", "8002:8080"}
    assert services["backend"]["networks"]["default"]["aliases"] == ["api"]  # whom nginx asks


def test_the_scale_file_has_every_part(scale):
    assert set(scale["services"]) == {
        *("migrate", "api", "celery-worker", "celery-beat", "celery-flower"),
        *("redis", "postgres", "nginx", "prometheus", "grafana"),
    }
    assert scale["services"]["api"]["deploy"] == {"replicas": 2}


def test_the_worker_serves_five_queues_with_four_at_once(scale):
    environ = scale["services"]["celery-worker"]["environment"]

    assert (environ["PENSTOCK_QUEUES"], environ["CONCURRENCY"]) == (FIVE, "4")
    assert environ["CELERY_BROKER_URL"].endswith("@redis:6379/1")


def test_flower_is_on_5556_and_asks_who(scale):
    flower = scale["services"]["celery-flower"]

    assert flower["ports"] == ["${ADMIN_BIND:-127.0.0.1}:5556:5555"]
    assert flower["environment"]["FLOWER_BASIC_AUTH"].startswith("${FLOWER_BASIC_AUTH:?")


def test_publishing_the_servers_publishes_nothing_that_only_operators_need(scale):
    published = {
        name
        for name, each in scale["services"].items()
        if "${BIND" in "".join(each.get("ports", ()))
    }

    assert published == {"nginx"}


def test_the_example_has_no_half_of_a_password():
    example = (DEPLOY / "scale.env.example").read_text("utf-8")

    assert set(re.findall(r"^\w+=(.*)$", example, re.M)) == {""}


def test_a_worker_is_asked_seldom_and_patiently_and_a_server_often(scale):
    image = (DEPLOY / "Dockerfile").read_text("utf-8")

    assert "HEALTHCHECK --interval=60s --timeout=20s" in image
    assert "healthcheck" not in scale["services"]["celery-worker"]
    for server in (scale["services"]["api"], load("compose.yaml")["services"]["backend"]):
        assert server["healthcheck"]["test"] == ["CMD", "/opt/bin/healthcheck.py"]
        assert server["healthcheck"]["interval"] == "10s"


def test_scaled_as_documented_all_pools_together_fit_into_postgresql(scale):
    services = scale["services"]

    def pool(name: str) -> int:
        environ = services[name]["environment"]
        return int(environ["PENSTOCK_DB_POOL_SIZE"]) + int(environ["PENSTOCK_DB_POOL_OVERFLOW"])

    concurrency = int(services["celery-worker"]["environment"]["CONCURRENCY"])
    total = 4 * pool("api") + 2 * concurrency * pool("celery-worker") + pool("celery-beat")

    page = (DEPLOY.parent / "docs" / "howto" / "production.md").read_text("utf-8")
    assert f"| **{total}** |" in page
    (most,) = re.findall(r"max_connections=(\d+)", " ".join(services["postgres"]["command"]))
    assert total + 3 < int(most)


def test_redis_and_postgresql_are_reached_by_penstock_alone(scale):
    back = {name for name, each in scale["services"].items() if "back" in each["networks"]}

    assert scale["networks"]["back"] == {"internal": True}
    for name in ("redis", "postgres"):
        assert scale["services"][name]["networks"] == ["back"]
        assert "ports" not in scale["services"][name]
    assert not back & {"nginx", "prometheus", "grafana"}


def test_no_password_has_a_default(scale):
    text = (DEPLOY / "compose.scale.yaml").read_text("utf-8")
    example = (DEPLOY / "scale.env.example").read_text("utf-8")
    asked = set(re.findall(r"\$\{(\w+):\?", text))

    assert asked == {
        *("REDIS_PASSWORD", "POSTGRES_PASSWORD", "PENSTOCK_ADMIN_KEY"),
        *("FLOWER_BASIC_AUTH", "GRAFANA_PASSWORD"),
    }
    assert asked <= set(re.findall(r"^(\w+)=", example, re.M))
    assert not re.findall(r"\$\{\w*(?:PASSWORD|ADMIN_KEY|AUTH)\w*:-[^}]", text)


@pytest.mark.parametrize("name", ["docker-compose.yml", "docker-compose.lite.yml"])
def test_the_files_of_the_source_systems_are_the_same_ones(name):
    found = yaml.safe_load((COMPAT / name).read_text("utf-8"))

    (included,) = found["include"]
    path = included["path"] if isinstance(included, dict) else included
    assert (COMPAT / path).resolve().parent == DEPLOY.resolve()
    wanted = "backend" if "lite" in name else "celery-worker"
    assert wanted in load(Path(path).name)["services"]


def test_prometheus_and_grafana_read_their_files():
    prometheus = yaml.safe_load((DEPLOY / "prometheus.yml").read_text("utf-8"))
    folder = DEPLOY / "grafana" / "provisioning"
    source = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text("utf-8"))
    boards = yaml.safe_load((folder / "dashboards" / "penstock.yaml").read_text("utf-8"))

    assert [job["job_name"] for job in prometheus["scrape_configs"]] == ["prometheus"]
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    assert boards["providers"][0]["options"]["path"] == "/var/lib/grafana/dashboards"


def test_the_prepared_scrape_job_is_valid_once_it_is_switched_on():
    text = (DEPLOY / "prometheus.yml").read_text("utf-8")
    on = re.sub(r"^  # (?=[- ])", "  ", text, flags=re.M)

    jobs = {job["job_name"]: job for job in yaml.safe_load(on)["scrape_configs"]}
    assert jobs["penstock"]["dns_sd_configs"] == [{"names": ["api"], "type": "A", "port": 8000}]
