"""Writes what is told in two places: reference pages, clients/openapi.json and README's tables.

`python docs/generate.py` writes them; `--check` writes nothing and fails when one differs. What a
page says comes from the code it describes: settings' fields, the error tree, click's commands, the
running app's OpenAPI document, the metric names that the source records.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from penstock.errors import InvalidInput, PenstockError

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
SOURCE = ROOT / "src" / "penstock"
MEANINGS = REFERENCE / "metrics.toml"
REPORT = ROOT / "training" / "REPORT.md"
RESULTS = ROOT / "benchmarks" / "results"

# What README shows; the whole, and what was not met, is in docs/reference/measured.md.
HEADLINES = (
    "moderation_path",
    "http_cached",
    "cached_upstream",
    "batch",
    "prescreen",
    "cache_memory",
    "zipf_replay",
    "task_throughput",
    "celery_throughput",
    "redis_bookkeeping",
    "postgres_reads",
    "dry_run",
    "startup",
)

METRIC = re.compile(r"(?:penstock|http_server|gen_ai)(?:_[a-z0-9]+)+")
KINDS = {
    "count": "counter",
    "counter": "counter",
    "Counter": "counter",
    "gauge": "gauge",
    "bound_gauge": "gauge",
    "observe": "histogram",
    "histogram": "histogram",
}


def main() -> int:
    """Write all, or with --check say which differ."""
    check = "--check" in sys.argv[1:]
    stale = {path: text for path, text in pages() if differs(path, text)}
    for path, text in stale.items():
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        click.echo(f"{'differs, run make docs' if check else 'written'}: {path.relative_to(ROOT)}")
    return 1 if check and stale else 0


def pages() -> Iterator[tuple[Path, str]]:
    """Every generated file with what it should hold."""
    document = openapi()
    yield (
        ROOT / "clients" / "openapi.json",
        json.dumps(document, indent=1, ensure_ascii=False) + "\n",
    )
    yield REFERENCE / "http.md", http_page(document)
    yield REFERENCE / "settings.md", settings_page()
    yield REFERENCE / "errors.md", errors_page()
    yield REFERENCE / "cli.md", cli_page()
    yield REFERENCE / "metrics.md", metrics_page()
    yield REFERENCE / "measured.md", measured_page()
    yield ROOT / "README.md", readme()


def differs(path: Path, text: str) -> bool:
    """Whether the file does not hold exactly that."""
    return not path.is_file() or path.read_text("utf-8") != text


def openapi() -> dict[str, Any]:
    """The document as the app serves it, on a runtime in a temporary folder."""
    with tempfile.TemporaryDirectory() as home:
        return asyncio.run(_served_document(Path(home)))


async def _served_document(home: Path) -> dict[str, Any]:
    from httpx import ASGITransport, AsyncClient

    from penstock.server.app import Server
    from penstock.settings import Settings

    server = Server(Settings(home=home))
    app: Any = server  # httpx has its own word for an ASGI application
    async with (
        server.running(),
        AsyncClient(transport=ASGITransport(app), base_url="http://localhost") as client,
    ):
        document: dict[str, Any] = (await client.get("/openapi.json")).json()
    return document


def http_page(document: dict[str, Any]) -> str:
    """Every route by tag."""
    sections: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            line = f"| `{method.upper()} {path}` | {_key_of(operation)} | {_summary(operation)} |"
            sections.setdefault(operation["tags"][0], []).append(line)
    parts = [
        _intro("HTTP API", "the app's OpenAPI document"),
        "The document itself is [clients/openapi.json](../../clients/openapi.json); a running "
        "server shows it at `/docs`.\n"
        "A key is sent as `Authorization: Bearer <key>` or `X-API-Key: <key>`.\n"
        "Every error is a problem document; they are listed in [errors.md](errors.md).\n",
    ]
    for tag, lines in sections.items():
        head = "| route | key | does |\n|---|---|---|\n"
        parts.append(f"## {tag}\n\n{head}" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _key_of(operation: dict[str, Any]) -> str:
    """The weakest role that may call it: OpenAPI 3.1 lists roles in the security requirement."""
    required = operation.get("security", [])
    if not required:
        return "none"
    roles = [role for scheme in required for names in scheme.values() for role in names]
    return roles[0] if roles else "any" if {} not in required else "optional"


def _summary(operation: dict[str, Any]) -> str:
    told = operation.get("description") or operation.get("summary", "")
    return _cell(told.split("\n\n")[0])


def settings_page() -> str:
    """Every variable."""
    from penstock.settings import Settings, names_of

    rows = [
        f"| {_names(names_of(field))} | {_default(field)} | {_cell(field.description or '')}"
        f"{_rule(field)} |"
        for field in Settings.model_fields.values()
    ]
    return "\n".join(
        [
            _intro("Settings", "`src/penstock/settings/values.py`"),
            "A value is looked for under each of its names, first in the environment, then in "
            "`.env`.\n"
            "The first name wins; a warning says when two of them disagree.\n"
            "`penstock config show` prints every value and where it came from.\n"
            "A list is separated by commas; a time is in seconds, a size in bytes.\n",
            "| variable, further names | default | meaning |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _names(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _default(field: FieldInfo) -> str:
    value = field.default
    match value:
        case None | ():
            return "none"
        case SecretStr():
            return "(secret)"
        case bool():
            return f"`{str(value).lower()}`"
        case tuple():
            return f"`{','.join(value)}`"
        case Path():
            return f"`./{value}`"
        case _:
            return f"`{value}`"


def _rule(field: FieldInfo) -> str:
    """What values are taken, where the type restricts them."""
    choices = getattr(field.annotation, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return f" One of {', '.join(f'`{choice}`' for choice in choices)}."
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    bounds = [
        f"{word} {getattr(rule, name)}"
        for rule in field.metadata
        for name, word in words.items()
        if getattr(rule, name, None) is not None
    ]
    return f" ({', '.join(bounds)})" if bounds else ""


def errors_page() -> str:
    """Every error as the problem that a caller sees."""
    parts = [
        _intro("Errors", "`src/penstock/errors.py`"),
        "Every error of the HTTP API is a problem document (RFC 9457), "
        "`Content-Type: application/problem+json`:\n",
        "```json",
        json.dumps(_example(), indent=1),
        "```\n",
        "`type` ends in the heading below; `errors` is there where input is wrong, each with a "
        "JSON pointer into it.\n"
        "On OpenAI's paths the document also has OpenAI's `error` object.\n"
        "With status 429 and 503 `Retry-After` says when to come back.\n"
        "An error with status 500 says nothing of itself: quote `request_id` to whoever reads the "
        "log.\n"
        "In Python each is a class of `penstock.errors`.\n",
    ]
    for kind, depth in error_tree():
        told = inspect.getdoc(kind) or ""
        base = f", a kind of `{_parent(kind).__name__}`" if depth else ""
        parts.append(
            f"## {kind.slug}\n\n{kind.title}: status {kind.status}, `{kind.__name__}`{base}.\n"
        )
        parts.append(f"{told}\n")
    return "\n".join(parts)


def error_tree() -> Iterator[tuple[type[PenstockError], int]]:
    """Every class with its depth, as drawn in the docstring of `errors`."""

    def below(kind: type[PenstockError], depth: int) -> Iterator[tuple[type[PenstockError], int]]:
        yield kind, depth
        for child in kind.__subclasses__():
            if child.__module__ == "penstock.errors":
                yield from below(child, depth + 1)

    return below(PenstockError, 0)


def _parent(kind: type[PenstockError]) -> type:
    return next(base for base in kind.__bases__ if issubclass(base, PenstockError))


def _example() -> dict[str, Any]:
    from penstock.http.asgi import fresh_notes
    from penstock.http.problems import render

    pointer = {"pointer": "/input", "detail": "is empty"}
    notes = fresh_notes(request_id="1a2007bc0b711f66-0000004")
    scope = {"path": "/v1/keys", "penstock": notes}
    document: dict[str, Any] = json.loads(
        render(InvalidInput("the text is empty", errors=[pointer]), scope).body
    )
    return document


def cli_page() -> str:
    """Every command's help."""
    from penstock.cli import root

    parts = [_intro("Command line", "the commands' own help")]
    for words, command in commands(root, ("penstock",)):
        name = " ".join(words)
        context = click.Context(command, info_name=name, terminal_width=80, max_content_width=80)
        parts.append(f"## {name}\n\n```text\n{_help(command, context)}\n```\n")
    return "\n".join(parts)


def _help(command: click.Command, context: click.Context) -> str:
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


def commands(
    command: click.Command, words: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The command and all below it, in the order of its help."""
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=words[-1])
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from commands(child, (*words, name))


def metrics_page() -> str:
    """Every metric that the source records, with its meaning from metrics.toml."""
    meanings = tomllib.loads(MEANINGS.read_text("utf-8"))
    rows = [
        f"| `{name}` | {told['kind']} | {_labels(told)} | {_cell(told['about'])} |"
        for name, told in sorted(meanings.items())
    ]
    return "\n".join(
        [
            _intro("Metrics", "the names in the source and `docs/reference/metrics.toml`"),
            "Counters only grow; a gauge is what is the case now; a histogram keeps count, sum, "
            "least, greatest and percentiles.\n"
            "A metric has at most 2000 series; what does not fit has the label value `overflow`.\n"
            "`GET /api/metrics` sums them up, of the process that answers; with `?scope=all` of "
            "all that share a `REDIS_URL`, since midnight UTC. `?series=true` lists them. "
            "Exposition as Prometheus text does not exist yet.\n",
            "| metric | kind | labels | counts |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _labels(told: dict[str, Any]) -> str:
    return ", ".join(f"`{label}`" for label in told.get("labels", [])) or "none"


def recorded_metrics() -> dict[str, dict[str, set[str]]]:
    """Names in the source, with the kinds and labels of the calls that record them directly."""
    found: dict[str, dict[str, set[str]]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        strangers = _context_variables(tree)
        for node in ast.walk(tree):
            name = node.value if isinstance(node, ast.Constant) else None
            if isinstance(name, str) and METRIC.fullmatch(name) and name not in strangers:
                found.setdefault(name, {"kinds": set(), "labels": set()})
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            _note(call, found)
    return found


def _context_variables(tree: ast.Module) -> set[str]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {
        str(call.args[0].value)
        for call in calls
        if getattr(call.func, "id", "") == "ContextVar" and isinstance(call.args[0], ast.Constant)
    }


def _note(call: ast.Call, found: dict[str, dict[str, set[str]]]) -> None:
    function = getattr(call.func, "attr", getattr(call.func, "id", ""))
    kind = KINDS.get(function)
    first = call.args[0] if call.args else None
    if kind and isinstance(first, ast.Constant) and first.value in found:
        entry = found[str(first.value)]
        entry["kinds"].add(kind)
        entry["labels"] |= {word.arg for word in call.keywords if word.arg}


def readme() -> str:
    """README with its tables made anew."""
    text = (ROOT / "README.md").read_text("utf-8")
    text = between(text, "benchmarks", lambda: benchmark_table(names=HEADLINES))
    return between(text, "quality", quality_table)


def between(text: str, name: str, make: Callable[[], str]) -> str:
    """`text` with what stands between the markers of `name` replaced."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{make().strip()}\n{end}{tail}"


def measured_page() -> str:
    """Every claim with what was measured."""
    about = (
        "`make bench` measures each claim against the baseline named in its file, rounds taking "
        "turns in one run.\nRatios are medians of the rounds; machines are shared and noisy, so "
        "only what was measured in one run is compared."
    )
    table = benchmark_table(folder="../../benchmarks")
    return f"{_intro('Measured', '`benchmarks/results`')}\n{about}\n\n{table}\n"


def benchmark_table(
    results: Path = RESULTS, *, names: Sequence[str] = (), folder: str = "benchmarks"
) -> str:
    """One row per claim: each ratio, its median and spread, the bound, the file."""
    lines = ["| claim | ratio | median (min..max) | target | file |", "|---|---|---|---|---|"]
    known = {path.stem: path for path in sorted(results.glob("*.json"))}
    for path in [known[name] for name in names or known if name in known]:
        report = json.loads(path.read_text("utf-8"))
        cells = [
            (_cell(label), _spread(found), found["target"] + ("" if found["ok"] else " (not met)"))
            for label, found in report["ratios"].items()
        ]
        columns = " | ".join("<br>".join(column) for column in zip(*cells, strict=True))
        link = f"[{path.stem}]({folder}/{path.stem}.py)"
        lines.append(f"| {_cell(report['claim'])} | {columns} | {link} |")
    return "\n".join(lines if len(lines) > 2 else ["Nothing was measured yet: run `make bench`."])


def _spread(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.3g} ({ratio['min']:.3g}..{ratio['max']:.3g})"


def quality_table() -> str:
    """From the training report: each head, and what is decided about whole sets."""
    text = REPORT.read_text("utf-8") if REPORT.is_file() else ""
    tables = []
    for title in ("### Each head", "### Decisions"):
        _, _, rest = text.partition(title)
        _, _, rest = rest.partition("\n")
        tables.append(rest.partition("\n#")[0].strip())
    return "\n\n".join(tables).strip() or "Not evaluated yet: run `make eval DATA=folder`."


def _intro(title: str, source: str) -> str:
    return f"# {title}\n\nGenerated by `make docs` from {source}; do not edit.\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
