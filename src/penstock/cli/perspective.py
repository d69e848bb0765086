"""`penstock perspective`: score as Perspective did, map to your own logged scores, pin a model."""

from __future__ import annotations

import io
from array import array
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import click

from penstock.cli import lines, opening
from penstock.cli.failure import USAGE, Failure
from penstock.cli.output import as_json, instant, print_json, print_table, size
from penstock.errors import InvalidInput

if TYPE_CHECKING:
    from penstock.runtime import Runtime
    from penstock.services.moderation.calibration import Curve, Fit
    from penstock.services.moderation.logged_scores import LoggedScores
    from penstock.services.moderation.perspective import Analysis

ACTOR = "cli"
OTHER_LANGUAGE = "a text that is not English"

with_model = click.option("--model", help="Model version.  [default: the pinned one]")


@click.group()
def perspective() -> None:
    """Score as Perspective did; map to your own logged scores; pin a model version."""


@perspective.command()
@click.argument("text")
@click.option("--attribute", "attributes", multiple=True, help="One of several; without it all.")
@click.option("--spans", is_flag=True, help="Score each sentence too.")
@click.option("--html", "is_html", is_flag=True, help="TEXT is HTML.")
@with_model
@as_json
def analyze(
    text: str,
    attributes: tuple[str, ...],
    spans: bool,
    is_html: bool,
    model: str | None,
    json_: bool,
) -> None:
    """Score TEXT on Perspective's attributes."""
    from penstock.services.moderation.attributes import ATTRIBUTES
    from penstock.services.moderation.passages import Comment

    names = [name.upper() for name in attributes] or list(ATTRIBUTES)
    for name in names:
        if name not in ATTRIBUTES:
            raise click.UsageError(f"{name} is not served; known: {', '.join(ATTRIBUTES)}")

    async def score(runtime: Runtime) -> Analysis:
        comment = Comment(text, is_html=is_html)
        read = await runtime.perspective.read(comment, owner=ACTOR, model=model)
        return await runtime.perspective.analyze(read, names, spans=spans)

    found = opening.with_runtime(score)
    if json_:
        print_json(_document(found))
        return
    marked = {name: "yes" if name in found.calibrated else "" for name in names}
    rows = [(name, f"{found.whole.values[name]:.4f}", marked[name]) for name in names]
    print_table(rows, header=("attribute", "score", "calibrated"))
    for part in found.sentences:
        values = ", ".join(f"{name} {value:.2f}" for name, value in part.values.items())
        click.echo(f"{part.passage.begin}-{part.passage.end}: {values}")
    seems = ", ".join(found.languages) or "unknown"
    click.echo(f"model {found.model_version}, language {seems}")


@perspective.command()
@click.argument("file", type=click.File("rb"))
@click.option("--text-column", help="Column of the texts.  [default: text, comment, ...]")
@with_model
@click.option("--dry-run", is_flag=True, help="Report the fit and save nothing.")
@as_json
def calibrate(
    file: IO[bytes], text_column: str | None, model: str | None, dry_run: bool, json_: bool
) -> None:
    """Fit our scores to yours: FILE is CSV with texts and the scores that Perspective gave them.

    Columns are found by name: TOXICITY, toxicity_score, perspective_toxicity. The fit of each
    attribute is reported by cross-validation. What is saved acts at once on every answer of that
    model version, in running servers too.
    """
    found = opening.with_runtime(
        lambda runtime: _calibrate(runtime, file, text_column, model=model, dry_run=dry_run)
    )
    if json_:
        print_json(found._asdict())
    else:
        _tell(found, dry_run)
    if not found.fits:
        raise Failure(
            "nothing could be fitted", fix="see the reasons above; log more scores", exit_code=USAGE
        )


@perspective.command()
@as_json
def curves(json_: bool) -> None:
    """List the curves that are applied, with their error."""

    async def look(runtime: Runtime) -> list[tuple[str, str, Fit, str | None]]:
        return [
            (each.attribute, each.model_version, each.curve.fit, instant(each.created_at))
            for each in await runtime.perspective.curves()
        ]

    found = opening.with_runtime(look)
    if json_:
        print_json(
            [
                {"attribute": name, "model_version": version, "fit": fit, "created_at": at}
                for name, version, fit, at in found
            ]
        )
        return
    rows = [
        (name, version, fit.rows, f"{fit.mean_error:.3f}", f"{fit.rank_correlation:.2f}", at)
        for name, version, fit, at in found
    ]
    header = ("attribute", "model version", "rows", "mean error", "rank correlation", "made")
    print_table(rows, header=header)


@perspective.command()
@click.option("--attribute", help="Only curves of this attribute.")
@click.option("--model", help="Only curves of this model version.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def forget(attribute: str | None, model: str | None, yes: bool, json_: bool) -> None:
    """Delete curves: scores are our own again. Without an option, all of them."""
    if not yes:
        meant = " ".join(filter(None, (attribute, model))) or "all curves"
        click.confirm(f"{meant} will be deleted. Go on?", abort=True, err=True)
    wanted = attribute.upper() if attribute else None
    gone = opening.with_runtime(
        lambda runtime: runtime.perspective.forget(attribute=wanted, version=model, actor=ACTOR)
    )
    if json_:
        print_json({"deleted": len(gone)})
    else:
        click.echo(f"{len(gone)} curves deleted")


@perspective.command()
@as_json
def models(json_: bool) -> None:
    """List the model versions that can answer; the pinned one does unless another is named."""

    async def look(runtime: Runtime) -> list[dict[str, Any]]:
        pinned = await runtime.perspective.version()
        return [
            {
                "version": each.version,
                "pinned": each.version == pinned,
                "current": each.is_current,
                "origin": each.origin,
                "path": str(each.path),
                "size_bytes": each.size_bytes,
            }
            for each in await runtime.perspective.versions()
        ]

    found = opening.with_runtime(look)
    if json_:
        print_json(found)
        return
    rows = [
        (
            each["version"],
            "yes" if each["pinned"] else "",
            "yes" if each["current"] else "",
            each["origin"],
            size(each["size_bytes"]),
        )
        for each in found
    ]
    print_table(rows, header=("version", "pinned", "current", "from", "size"))


@perspective.command()
@click.argument("version")
def use(version: str) -> None:
    """Let VERSION answer from now on where no request names another, in running servers too.

    Curves belong to a model version: calibrate again for it.
    """

    async def pin(runtime: Runtime) -> tuple[str, dict[str, list[str]]]:
        before = await runtime.perspective.version()
        await runtime.perspective.use(version, actor=ACTOR)
        known: dict[str, list[str]] = {before: [], version: []}
        for each in await runtime.perspective.curves():
            known.setdefault(each.model_version, []).append(each.attribute)
        return before, known

    before, known = opening.with_runtime(pin)
    click.echo(f"{version} answers from now on")
    if known[version]:
        click.echo(f"its curves apply: {', '.join(known[version])}")
    if lost := [name for name in known[before] if name not in known[version]]:
        click.echo(
            f"curves of {before} no longer apply: {', '.join(lost)}; calibrate again, or go back "
            f"with: penstock perspective use {before}",
            err=True,
        )


@perspective.command()
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.option("--before", type=click.IntRange(1), help="Only older ones than this number.")
def suggestions(limit: int, before: int | None) -> None:
    """Print suggested scores, newest first, one JSON object a line."""
    found = opening.with_runtime(
        lambda runtime: runtime.perspective.suggestions(before=before, limit=limit)
    )
    for number, each in found:
        fields = {name: getattr(each, name) for name in each.__struct_fields__}
        print_json({"number": number, **fields, "created_at": instant(each.created_at)})


class Calibration(NamedTuple):
    """What came of a file."""

    model_version: str
    rows: int  # that could be used for at least one attribute
    fits: Mapping[str, Fit]
    refused: Mapping[str, str]  # attribute -> why it has no curve
    skipped: Mapping[str, int]  # why rows were left out -> how many
    ignored_columns: list[str]
    saved: bool


async def _calibrate(
    runtime: Runtime, file: IO[bytes], text_column: str | None, *, model: str | None, dry_run: bool
) -> Calibration:
    from penstock.services.moderation.calibration import calibrate as fit
    from penstock.services.moderation.logged_scores import LoggedScores

    perspective = runtime.perspective
    version = await perspective.version(model)
    with lines.progress(file, "calibrate") as meter:
        # Bytes that are no UTF-8 become surrogates, by which the row is known and left out.
        text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
        logged = LoggedScores(
            iter(lambda: text.readline(lines.LONGEST), ""), text_column=text_column
        )
        rows, pairs = await _measure(runtime, logged, version, meter)
        text.detach()
    curves: dict[str, Curve] = {}
    refused: dict[str, str] = {}
    for name, (ours, theirs) in pairs.items():
        try:
            curves[name] = fit(ours, theirs)
        except InvalidInput as error:
            refused[name] = error.detail
    if curves and not dry_run:
        await perspective.save(curves, version=version, actor=ACTOR)
    return Calibration(
        model_version=version,
        rows=rows,
        fits={name: curve.fit for name, curve in curves.items()},
        refused=refused,
        skipped=dict(logged.skipped),
        ignored_columns=logged.ignored,
        saved=bool(curves) and not dry_run,
    )


async def _measure(
    runtime: Runtime, logged: LoggedScores, version: str, meter: lines.Meter
) -> tuple[int, dict[str, tuple[array[float], array[float]]]]:
    """Our scores beside theirs, by attribute."""
    pairs = {name: (array("d"), array("d")) for name in logged.columns}
    rows = 0
    for row in logged:
        ours = await runtime.perspective.measure(row.text, model=version)
        meter.advance(1)
        if ours is None:
            logged.skipped[OTHER_LANGUAGE] += 1
            continue
        rows += 1
        for name, score in row.scores.items():
            pairs[name][0].append(ours[name])
            pairs[name][1].append(score)
    return rows, pairs


def _tell(found: Calibration, dry_run: bool) -> None:
    click.echo(f"{found.rows} rows, model {found.model_version}")
    table = [
        (
            name,
            fit.rows,
            f"{fit.mean_error_before:.3f}",
            f"{fit.mean_error:.3f}",
            f"{fit.rank_correlation:.2f}",
            *(f"{each.agree:.1%}" for each in fit.agreement),
        )
        for name, fit in found.fits.items()
    ]
    thresholds = ("same side of 0.5", "0.7", "0.8", "0.9")
    header = ("attribute", "rows", "mean error before", "after", "rank correlation", *thresholds)
    if table:
        print_table(table, header=header)
    for name, why in found.refused.items():
        click.echo(f"no curve for {name}: {why}")
    for why, count in found.skipped.items():
        click.echo(f"left out {count}: {why}")
    if found.ignored_columns:
        click.echo(f"columns not used: {', '.join(found.ignored_columns)[:500]}")
    if found.saved:
        click.echo("saved; every answer of this model version is mapped from now on")
    elif dry_run:
        click.echo("nothing saved")


def _document(found: Analysis) -> dict[str, Any]:
    return {
        "scores": found.whole.values,
        "spans": [
            {"begin": part.passage.begin, "end": part.passage.end, "scores": part.values}
            for part in found.sentences
        ],
        "languages": found.languages,
        "model_version": found.model_version,
        "models": found.models,
        "calibrated": sorted(found.calibrated),
    }
