"""The Kubernetes manifests against the rules of the API server: none runs here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.errors import ConfigurationError
from penstock.settings import Settings, load_settings, names_of

DOCS = Path(__file__).parents[2] / "docs" / "howto"
FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"

VERSIONS = {
    "ConfigMap": "v1",
    "CronJob": "batch/v1",
    "Deployment": "apps/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "Ingress": "networking.k8s.io/v1",
    "Job": "batch/v1",
    "Namespace": "v1",
    "PodDisruptionBudget": "policy/v1",
    "Secret": "v1",
    "Service": "v1",
}
ROLES = {"penstock-api": "api", "penstock-worker": "worker", "penstock-beat": "beat"}
EXAMPLE = "secret.example.yaml"
OF_THE_IMAGE = {"CONCURRENCY", "DRAIN_SECONDS"}  # what deploy/entrypoint.sh reads


def all_of_them() -> list[dict[str, Any]]:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))
    files = kustomization["resources"]
    others = {"kustomization.yaml", EXAMPLE}
    assert set(files) == {path.name for path in FOLDER.glob("*.yaml")} - others
    return [
        each for name in files for each in yaml.safe_load_all((FOLDER / name).read_text("utf-8"))
    ]


OBJECTS = all_of_them()
PODS = [each for each in OBJECTS if each["kind"] in ("Deployment", "Job")]


def named(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in OBJECTS if each["kind"] == kind}


def name_of(each: dict[str, Any]) -> str:
    return f"{each['kind']}/{each['metadata']['name']}"


def the_example() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / EXAMPLE).read_text("utf-8"))
    return found


def the_container(each: dict[str, Any]) -> dict[str, Any]:
    (container,) = each["spec"]["template"]["spec"]["containers"]
    found: dict[str, Any] = container
    return found


@pytest.mark.parametrize("each", OBJECTS, ids=name_of)
def test_kind_version_and_name_are_known_to_the_server(each):
    assert each["apiVersion"] == VERSIONS[each["kind"]]
    assert each["metadata"]["name"].replace("-", "").isalnum()
    assert set(each) <= {"apiVersion", "kind", "metadata", "spec", "data", "stringData", "type"}


def test_the_replicas_and_the_port_are_those_of_the_source_system():
    deployments = named("Deployment")

    assert {name: each["spec"]["replicas"] for name, each in deployments.items()} == {
        "penstock-api": 3,
        "penstock-worker": 2,
        "penstock-beat": 1,
    }
    assert the_container(deployments["penstock-api"])["ports"] == [
        {"name": "http", "containerPort": 8000}
    ]


@pytest.mark.parametrize("each", named("Deployment").values(), ids=name_of)
def test_a_deployment_selects_its_own_pods(each):
    spec, labels = each["spec"], each["spec"]["template"]["metadata"]["labels"]

    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert the_container(each)["args"] == [ROLES[each["metadata"]["name"]]]


@pytest.mark.parametrize("each", named("Deployment").values(), ids=name_of)
def test_a_pod_says_whether_it_lives_and_is_ready(each):
    container = the_container(each)

    for probe in ("livenessProbe", "readinessProbe"):
        assert len({"httpGet", "exec"} & set(container[probe])) == 1
    if each["metadata"]["name"] == "penstock-api":
        assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
        assert container["startupProbe"]["httpGet"]["path"] == "/livez"


@pytest.mark.parametrize("each", PODS, ids=name_of)
def test_a_pod_is_bounded_and_may_nothing(each):
    pod, container = each["spec"]["template"]["spec"], the_container(each)

    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("each", PODS, ids=name_of)
def test_what_a_pod_mounts_and_reads_is_there(each):
    pod, container = each["spec"]["template"]["spec"], the_container(each)

    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    assert all(volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"])
    names = {
        next(iter(source.values()))["name"]: next(iter(source)) for source in container["envFrom"]
    }
    assert names == {"penstock": "secretRef"} or len(container["envFrom"]) == 2
    assert "penstock" in named("ConfigMap")
    assert the_example()["metadata"]["name"] == "penstock"


def test_no_service_may_set_a_variable_of_ours_by_its_name():
    """Kubernetes gives pods PENSTOCK_API_PORT=tcp://... for each service, unless told not to."""
    for each in named("Deployment").values():
        assert each["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_every_variable_is_a_setting_or_the_image_s():
    known = {name for field in Settings.model_fields.values() for name in names_of(field)}
    config = named("ConfigMap")["penstock"]["data"]
    given = {**config, **the_example()["stringData"]}
    for each in named("Deployment").values():
        given |= {one["name"]: one["value"] for one in the_container(each)["env"]}

    assert set(given) - OF_THE_IMAGE <= known
    assert all(isinstance(value, str) for value in given.values())
    settings = {name: value for name, value in given.items() if name not in OF_THE_IMAGE}
    assert not any("CHANGE-ME" in value for value in config.values())
    assert {"REDIS_URL", "CELERY_BROKER_URL", "DATABASE_URL"} <= set(settings)


def test_no_secret_is_applied_with_the_rest_and_the_example_is_refused():
    assert not named("Secret")
    for path in FOLDER.glob("*.yaml"):
        assert path.name == EXAMPLE or "CHANGE-ME" not in path.read_text("utf-8")
    with pytest.raises(ConfigurationError, match="it is the example's"):
        load_settings(the_example()["stringData"], env_file=None)


def test_whom_to_believe_about_the_caller_is_left_to_the_operator():
    assert "PENSTOCK_TRUSTED_PROXIES" not in named("ConfigMap")["penstock"]["data"]


def test_at_their_most_the_pods_take_the_connections_that_the_page_says():
    most = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]["maxReplicas"]
        for each in named("HorizontalPodAutoscaler").values()
    }
    total = 0
    for name, each in named("Deployment").items():
        env = {one["name"]: one["value"] for one in the_container(each)["env"]}
        pool = int(env["PENSTOCK_DB_POOL_SIZE"]) + int(env["PENSTOCK_DB_POOL_OVERFLOW"])
        concurrency = int(named("ConfigMap")["penstock"]["data"]["CONCURRENCY"])
        processes = concurrency if name == "penstock-worker" else 1
        total += pool * processes * (most.get(name, 1) + 1)  # and one during an update

    assert f"| **{total}** |" in (DOCS / "production.md").read_text("utf-8")
    assert total + 3 <= 500


def test_the_service_leads_to_the_servers_and_the_ingress_to_the_service():
    services, labels = named("Service"), {"app.kubernetes.io/name": "penstock-api"}
    (rule,) = named("Ingress")["penstock"]["spec"]["rules"]
    target = rule["http"]["paths"][0]["backend"]["service"]

    service = services[target["name"]]
    assert service["spec"]["selector"] == labels
    assert target["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
    assert service["spec"]["ports"][0]["targetPort"] == "http"


def test_what_scales_and_what_guards_names_a_deployment():
    deployments = named("Deployment")

    for each in named("HorizontalPodAutoscaler").values():
        target = each["spec"]["scaleTargetRef"]
        assert (target["apiVersion"], target["kind"]) == ("apps/v1", "Deployment")
        replicas = deployments[target["name"]]["spec"]["replicas"]
        assert each["spec"]["minReplicas"] == replicas < each["spec"]["maxReplicas"]
        assert each["spec"]["metrics"][0]["resource"]["target"]["type"] == "Utilization"
    for each in named("PodDisruptionBudget").values():
        labels = each["spec"]["selector"]["matchLabels"]
        assert labels["app.kubernetes.io/name"] in deployments


def test_a_pod_has_time_to_drain_and_to_end():
    api = named("Deployment")["penstock-api"]["spec"]["template"]["spec"]
    env = the_container(named("Deployment")["penstock-api"])["env"]
    (drain,) = [each["value"] for each in env if each["name"] == "DRAIN_SECONDS"]

    assert api["terminationGracePeriodSeconds"] > int(drain) + Settings().provider_timeout + 5 + 10
