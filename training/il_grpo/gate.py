"""The gate of daily continuation: may a candidate take the place of the policy that it began as?

Both are measured on the user-days of a day that neither has seen, by the same lists a user-day and
the same draws of users. A candidate is promoted unless

1. ``too few``: fewer than ``least_instances`` user-days were measured, which tell nothing;
2. ``fell``: the 95% paired interval of Query HR@10 or Cate HR@10 lies below 0 whole;
3. ``fell``: the mean of one of them is more than ``most_fall`` below, whatever chance may explain;
4. ``malformed``: its share of malformed lists is more than ``most_malformed`` above the policy's;
5. ``no number``: one of these figures is none.

Cate HR is not judged where no user-day has a true category. A fall that is smaller than chance and
``most_fall`` passes, and many of them add up: measure against the policy of some days ago as well.
"""

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from aigq import models, warehouse
from aigq.days import Days
from aigq.settings import Home, Settings, UserError

_VERDICT = "gate.json"
# Title, by metric and K; of all true queries.
_QUERY_HR = ("query_hr", 10)
_JUDGED = {_QUERY_HR: "Query HR@10", ("cate_hr", 10): "Cate HR@10"}
_MALFORMED = ("malformed", 0)


class GateSettings(Settings):
    """How a candidate is measured, and what is too few or too low."""

    instances: int = Field(1000, ge=1, description="User-days to measure at most.")
    lists: int = Field(6, ge=1, description="Lists of a user-day and model.")
    seed: int = Field(0, description="Of sampled lists and the bootstrap.")
    least_instances: int = Field(200, ge=1, description="Fewer user-days than this promote none.")
    most_fall: float = Field(
        0.02, ge=0, description="Most that mean Query HR@10 and Cate HR@10 may fall by."
    )
    most_malformed: float = Field(
        0.02, ge=0, description="Most that the share of malformed lists may rise by."
    )


@dataclass(frozen=True)
class Compared:
    """Candidate minus policy: mean difference over ``instances``, its 95% paired interval."""

    difference: float
    low: float
    high: float
    instances: int

    def __str__(self) -> str:
        return f"{self.difference:+.4f} [{self.low:+.4f} {self.high:+.4f}]"


Figures = Mapping[tuple[str, int], Compared]


def objections(figures: Figures, rule: GateSettings) -> list[str]:
    """Why a candidate with these figures, by metric and K, is not promoted; empty where it is."""
    found = []
    measured = figures[_QUERY_HR].instances if _QUERY_HR in figures else 0
    if measured < rule.least_instances:
        found.append(f"too few: {measured} user-days, at least {rule.least_instances} are wanted")
    for key, title in _JUDGED.items():
        compared = figures.get(key)
        if compared is None:
            continue
        if not all(map(math.isfinite, (compared.difference, compared.low, compared.high))):
            found.append(f"no number: {title} {compared}")
        if compared.high < 0:
            found.append(f"fell: {title} {compared}")
        elif compared.difference < -rule.most_fall:
            found.append(f"fell: {title} {compared}, by more than {rule.most_fall}")
    malformed = figures.get(_MALFORMED)
    if malformed is None or not math.isfinite(malformed.difference):
        found.append(f"no number: share of malformed lists {malformed}")
    elif malformed.difference > rule.most_malformed:
        found.append(
            f"malformed: share of lists {malformed.difference:+.4f}, more than"
            f" {rule.most_malformed:+}"
        )
    return found


def read_figures(
    home: Home, candidate: models.Model, policy: models.Model, days: Days
) -> tuple[Figures, str]:
    """What ``aigq evaluate`` left in lake.eval.comparisons about the two, and the run that did.

    Raises :class:`UserError` where that is about other days than ``days``: someone else has
    measured the two meanwhile.
    """
    con = warehouse.connect(home, read_only=True)
    try:
        rows = con.execute(
            """
            SELECT metric, k, difference, interval_low, interval_high, instances, run_id,
                parameters
            FROM lake.eval.comparisons
            INNER JOIN lake.meta.runs USING (run_id)
            WHERE (model, model_version, other_model, other_version) = (?, ?, ?, ?)
                AND slice = 'all'
            """,
            [candidate.name, candidate.version, policy.name, policy.version],
        ).fetchall()
    finally:
        con.close()
    wanted = {*_JUDGED, _MALFORMED}
    figures = {(row[0], row[1]): Compared(*row[2:6]) for row in rows if (row[0], row[1]) in wanted}
    measured = {(row[6], json.loads(row[7]).get("days")) for row in rows}
    if len(measured) != 1 or _QUERY_HR not in figures:
        raise UserError(
            f"eval.comparisons has no Query HR@10 of {candidate.reference} and {policy.reference}"
        )
    ((run_id, of_days),) = measured
    if of_days != days.text:
        raise UserError(
            f"run {run_id} has measured {candidate.reference} on days {of_days} meanwhile, not on"
            f" {days.text}: run the command again"
        )
    return figures, run_id


def verdict_of(candidate: models.Model) -> dict[str, Any] | None:
    """What the gate said of a candidate, None before it has."""
    path = candidate.path / _VERDICT
    return json.loads(path.read_text()) if path.is_file() else None


def record_verdict(
    candidate: models.Model,
    policy: models.Model,
    days: Days,
    figures: Figures,
    run_id: str,
    rule: GateSettings,
) -> dict[str, Any]:
    """Judge, and keep the verdict beside the candidate; there whole or not at all."""
    against = objections(figures, rule)
    verdict = {
        "policy": policy.reference,
        "candidate": candidate.reference,
        "days": days.text,
        "evaluation": run_id,
        "is_passed": not against,
        "objections": against,
        "figures": {f"{metric}@{k}": vars(of) for (metric, k), of in sorted(figures.items())},
        "rule": rule.model_dump(),
    }
    partial = candidate.path / f".{_VERDICT}"
    partial.write_text(json.dumps(verdict, indent=2) + "\n")
    partial.replace(candidate.path / _VERDICT)
    return verdict


def promote(
    home: Home,
    name: str,
    candidate: models.Model,
    work: Path,
    *,
    run_id: str,
    verdict: Mapping[str, Any],
) -> models.Model:
    """Publish ``candidate`` as version ``run_id`` of ``name``, by one rename of a copy in ``work``.

    Its manifest stays, with the verdict and where it comes from added.
    """
    build = work / "build"
    models.discard_work(build)
    own = {models.MANIFEST, _VERDICT, f".{_VERDICT}"}
    shutil.copytree(candidate.path, build, ignore=lambda _folder, files: own & set(files))
    manifest = {k: v for k, v in candidate.manifest.items() if k not in ("name", "version")}
    manifest |= {"promoted_from": candidate.reference, "promoted_by": run_id, "gate": verdict}
    return models.publish(home, name, run_id, build, manifest)
