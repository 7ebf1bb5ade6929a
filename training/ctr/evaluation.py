"""A CTR model on days that it has not seen, beside what is known without one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import torch

from aigq.ctr_network import CtrNetwork
from training.ctr.data import Batches, Exposures
from training.ctr.metrics import Estimate, calibration_table, measure
from training.workspace import Snapshot

# Displays at the shop's rate that counted rates are drawn towards; see training/LOG.md.
_PRIOR = 100
_BATCH = 512

_COUNTS = """
with exposures as (
    select unnest(exposures, recursive := true)
    from lake.samples.samples_ctr
    where list_contains(?, session_date)
)
select query_text, coalesce(position, 0) as position, count(*) as shown,
    count(*) filter (is_clicked) as clicked
from exposures
group by all
"""


@dataclass(frozen=True)
class Counts:
    """How queries and positions fared on the days that a model has seen."""

    query: dict[str, tuple[int, int]]
    position: dict[int, tuple[int, int]]

    def rate(self) -> float:
        """Clicks over displays."""
        shown, clicked = np.sum(list(self.position.values()), axis=0)
        return float(clicked / shown)

    def of_queries(self, texts: Sequence[str]) -> np.ndarray:
        """CTR of each query, smoothed with displays at the shop's rate."""
        known = np.array([self.query.get(text, (0, 0)) for text in texts], float).reshape(-1, 2)
        return (known[:, 1] + _PRIOR * self.rate()) / (known[:, 0] + _PRIOR)

    def of_positions(self, positions: np.ndarray) -> np.ndarray:
        """CTR of each position."""
        found, place = np.unique(positions, return_inverse=True)
        known = np.array([self.position.get(int(p), (0, 0)) for p in found], float)
        rates = (known[:, 1] + _PRIOR * self.rate()) / (known[:, 0] + _PRIOR)
        return rates[place]


def read_counts(snapshot: Snapshot, days: Sequence[date]) -> Counts:
    """Displays and clicks on the shop days ``days``."""
    query: dict[str, tuple[int, int]] = {}
    position: dict[int, tuple[int, int]] = {}
    for row in snapshot.rows(_COUNTS, [list(days)]):
        for counts, key in ((query, row["query_text"]), (position, row["position"])):
            shown, clicked = counts.get(key, (0, 0))
            counts[key] = (shown + row["shown"], clicked + row["clicked"])
    return Counts(query, position)


@torch.inference_mode()
def predict(network: CtrNetwork, data: Exposures) -> tuple[np.ndarray, np.ndarray]:
    """Click probabilities of all displayed hints: at the position each had, and at position 1."""
    network.eval()
    batches = Batches(data, network.config)
    as_shown, first = np.empty((2, len(data.clicked)))
    for start in range(0, len(data), _BATCH):
        batch = batches.make(np.arange(start, min(start + _BATCH, len(data))))
        logits, _ = network(batch.texts, batch.behaviors, batch.queries, batch.position)
        there = network.position_logits(batch.position)
        front = network.position_logits(torch.ones_like(batch.position))
        as_shown[batch.exposures] = logits.sigmoid()[batch.mask].numpy()
        first[batch.exposures] = (logits - there + front).sigmoid()[batch.mask].numpy()
    return as_shown, first


@dataclass(frozen=True)
class Result:
    """``estimates``: predictor -> metric -> estimate. ``calibration``: of the model, see
    :func:`training.ctr.metrics.calibration_table`."""

    estimates: dict[str, dict[str, Estimate]]
    calibration: np.ndarray
    exposures: int
    clicks: int
    users: int


def evaluate(network: CtrNetwork, data: Exposures, counts: Counts, *, seed: int) -> Result:
    """Measure the model and its baselines on what was displayed in ``data``.

    ``ctr``: predictions for the positions that hints were displayed at; ``ctr at position 1``: what
    :class:`aigq.ctr.CtrScorer` returns. ``query CTR`` and ``position CTR`` are counts of the days
    that the model has seen, smoothed, and ``query x position CTR`` their odds multiplied; ``ranker
    score`` is the production ranker's, no probability.
    """
    as_shown, first = predict(network, data)
    texts = [data.texts[number] for number in data.query]
    of_query, of_position = counts.of_queries(texts), counts.of_positions(data.position)
    both = _sigmoid(_logit(of_query) + _logit(of_position) - _logit(counts.rate()))
    users = data.exposure_user
    predictors: dict[str, tuple[np.ndarray, bool]] = {
        "ctr": (as_shown, True),
        "ctr at position 1": (first, False),
        "query x position CTR": (both, True),
        "query CTR": (of_query, True),
        "position CTR": (of_position, True),
        "ranker score": (np.nan_to_num(data.rank_score, nan=-np.inf), False),
    }
    return Result(
        {
            name: measure(data.clicked, values, users, is_probability=is_probability, seed=seed)
            for name, (values, is_probability) in predictors.items()
        },
        calibration_table(data.clicked, as_shown),
        len(data.clicked),
        int(data.clicked.sum()),
        len(np.unique(users)),
    )


def _logit(p):
    return np.log(p) - np.log1p(-p)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


_METRICS = ("auc", "gauc", "log_loss", "ece", "predicted_over_observed")


def table(result: Result, days: Sequence[date]) -> str:
    """What a person reads: predictors down, metrics across, with intervals."""
    lines = [f"{'':<22}" + "".join(f"{name.replace('_', ' '):>25}" for name in _METRICS)]
    for predictor, estimates in result.estimates.items():
        cells = [
            f"{e.value:.4f} [{e.low:.4f} {e.high:.4f}]" if (e := estimates.get(name)) else "-"
            for name in _METRICS
        ]
        lines.append(f"{predictor:<22}" + "".join(f"{cell:>25}" for cell in cells))
    lines += [
        "",
        f"{result.exposures:,} displayed hints of {result.users:,} users, {result.clicks:,} of them"
        f" clicked, {days[0]} to {days[-1]}; mean and 95% bootstrap interval over users.",
    ]
    return "\n".join(lines)


def as_json(result: Result, days: Sequence[date]) -> dict[str, Any]:
    """The same for the manifest and meta.runs, with the calibration table's rows."""
    return {
        "days": [day.isoformat() for day in days],
        "exposures": result.exposures,
        "clicks": result.clicks,
        "users": result.users,
        "metrics": {
            predictor: {
                name: {"value": _known(e.value), "interval": [_known(e.low), _known(e.high)]}
                for name, e in estimates.items()
            }
            for predictor, estimates in result.estimates.items()
        },
        "calibration": [
            {"shown": int(shown), "predicted_clicks": predicted, "clicks": int(clicks)}
            for shown, predicted, clicks in result.calibration
        ],
    }


def _known(value: float) -> float | None:
    """NaN, which JSON lacks, as None."""
    return None if np.isnan(value) else value
