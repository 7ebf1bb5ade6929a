"""How good predicted click probabilities are: AUC, GAUC, log loss, calibration.

All take parallel arrays over displayed hints: ``clicked`` (bool), ``predicted`` (any order-bearing
number for AUC and GAUC, a probability for the others) and where asked ``weight``, how often each
counts: a bootstrap resample is a weighting, so that what is sorted once serves all resamples.
"""

from collections.abc import Callable

import numpy as np

from training.evaluate.metrics import Estimate

_BINS = 10
_TINY = 1e-7


def auc(clicked: np.ndarray, predicted: np.ndarray) -> float:
    """Chance that a clicked hint is predicted above one that was not (ties count half); NaN where
    there is only one kind."""
    return float(_Ranks(clicked, predicted).auc(np.ones(len(clicked))))


class _Ranks:
    """Predictions, sorted once."""

    def __init__(self, clicked: np.ndarray, predicted: np.ndarray):
        self._clicked = np.asarray(clicked, bool)
        _, self._level = np.unique(predicted, return_inverse=True)
        self._levels = int(self._level.max(initial=-1)) + 1

    def auc(self, weight: np.ndarray) -> float:
        good = np.bincount(self._level, weight * self._clicked, self._levels)
        bad = np.bincount(self._level, weight * ~self._clicked, self._levels)
        won = (good * (np.cumsum(bad) - 0.5 * bad)).sum()
        pairs = good.sum() * bad.sum()
        return won / pairs if pairs else np.nan


def user_aucs(
    clicked: np.ndarray, predicted: np.ndarray, users: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users (sorted), the AUC within each (NaN where the user has one kind only) and how many
    displayed hints each has."""
    names, user = np.unique(users, return_inverse=True)
    _, level = np.unique(predicted, return_inverse=True)
    # One group per user and prediction, in order.
    order = np.lexsort((level, user))
    user, level, hit = user[order], level[order], np.asarray(clicked, bool)[order]
    is_new = np.r_[True, (user[1:] != user[:-1]) | (level[1:] != level[:-1])]
    group = np.cumsum(is_new) - 1
    good, bad = np.bincount(group, hit), np.bincount(group, ~hit)
    owner = user[is_new]
    first = np.searchsorted(owner, np.arange(len(names)))
    below = np.cumsum(bad) - bad
    below = below - below[first][owner]
    won = np.bincount(owner, good * (below + 0.5 * bad), len(names))
    pairs = np.bincount(owner, good, len(names)) * np.bincount(owner, bad, len(names))
    with np.errstate(invalid="ignore"):
        return names, np.where(pairs > 0, won / pairs, np.nan), np.bincount(user)


def gauc(clicked: np.ndarray, predicted: np.ndarray, users: np.ndarray) -> float:
    """AUC within each user, averaged over users with both kinds, by displayed hints (Zhu et al.,
    Optimized Cost per Click in Taobao Display Advertising, KDD 2017); NaN without such users."""
    _, values, shown = user_aucs(clicked, predicted, users)
    return _weighted_mean(values, shown)


def _weighted_mean(values: np.ndarray, weight: np.ndarray) -> float:
    counts = ~np.isnan(values) & (weight > 0)
    total = weight[counts].sum()
    return float((values[counts] * weight[counts]).sum() / total) if total else float("nan")


def log_losses(clicked: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """-log of the probability given to what happened, in nats, of each displayed hint."""
    p = np.clip(np.asarray(predicted, float), _TINY, 1 - _TINY)
    return -np.where(clicked, np.log(p), np.log1p(-p))


def calibration_error(
    clicked: np.ndarray,
    predicted: np.ndarray,
    weight: np.ndarray | None = None,
) -> float:
    """ECE: |mean predicted - share clicked| over ten bins of equally many hints, by size."""
    weight = np.ones(len(predicted)) if weight is None else weight
    table = calibration_table(clicked, predicted, weight)
    return float(np.abs(table[:, 1] - table[:, 2]).sum() / weight.sum())


def calibration_table(
    clicked: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    """(bins, 3): displayed hints, predicted clicks, clicks. Hints are cut by prediction into ten
    bins of equally many; equal predictions share a bin."""
    weight = np.ones(len(predicted)) if weight is None else weight
    edges = np.unique(np.quantile(predicted, np.arange(1, _BINS) / _BINS))
    place = np.searchsorted(edges, predicted, side="right")
    columns = (weight, weight * predicted, weight * clicked)
    return np.stack([np.bincount(place, column, _BINS) for column in columns], axis=1)


def measure(
    clicked: np.ndarray,
    predicted: np.ndarray,
    users: np.ndarray,
    *,
    is_probability: bool = True,
    seed: int = 0,
    resamples: int = 500,
) -> dict[str, Estimate]:
    """All metrics; without ``is_probability`` those that only need an order (auc, gauc).

    ``predicted_over_observed``: predicted clicks over clicks. Users are drawn with replacement,
    each with all that was displayed to them.
    """
    clicked = np.asarray(clicked, bool)
    predicted = np.asarray(predicted, float)
    ranks = _Ranks(clicked, predicted)
    _, of_user, shown = user_aucs(clicked, predicted, users)
    _, user = np.unique(users, return_inverse=True)
    metrics: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        "auc": lambda draws, weight: float(ranks.auc(weight)),
        "gauc": lambda draws, weight: _weighted_mean(of_user, shown * draws),
    }
    if is_probability:
        losses = log_losses(clicked, predicted)
        metrics |= {
            "log_loss": lambda draws, weight: float((losses * weight).sum() / weight.sum()),
            "ece": lambda draws, weight: calibration_error(clicked, predicted, weight),
            "predicted_over_observed": lambda draws, weight: _ratio(
                (predicted * weight).sum(), (clicked * weight).sum()
            ),
        }
    rng = np.random.default_rng(seed)
    size = len(shown)
    every = rng.multinomial(size, np.full(size, 1 / size), size=resamples)
    found: dict[str, list[float]] = {name: [] for name in metrics}
    for draws in every:
        for name, metric in metrics.items():
            found[name].append(metric(draws, draws[user]))
    ones = np.ones(size)
    return {
        name: Estimate(metric(ones, ones[user]), *_interval(found[name]), len(clicked))
        for name, metric in metrics.items()
    }


def _interval(values: list[float]) -> tuple[float, float]:
    known = [value for value in values if not np.isnan(value)]
    if not known:
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
