"""Ground truth of a simulated shop: what any user would click and buy, at any time.

Reads ``truth/`` beside the shop's log, for simulated A/B tests and for judging models by more than
what happened to be shown. Training and serving must never read it; ingest skips it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aigq.contract import TRUTH
from aigq.settings import UserError
from aigq.simulator import given
from aigq.simulator import relevance as formulas
from aigq.simulator.interests import Interests
from aigq.simulator.landing import SETTINGS_FILE
from aigq.simulator.population import DAY_MS, FIRST_MS
from aigq.simulator.queries import made_up
from aigq.simulator.seasons import Seasons
from aigq.simulator.settings import ShopSettings

# More than any log has milliseconds, so that slot and time make one key.
_SPAN = 1 << 40


@dataclass(frozen=True)
class Scores:
    """Of n users and C queries each: ``relevance`` (n, C) in [0, 1]; ``click`` (n, C, 3), chance of
    a click at position 1, 2, 3 by one who does not only browse; ``purchase`` (n, C), chance of one
    order or more once clicked."""

    relevance: np.ndarray
    click: np.ndarray
    purchase: np.ndarray


class Truth:
    """The truth of the shop that ``aigq simulate`` wrote into ``folder``.

    Raises :class:`UserError` where ``folder`` has none.
    """

    def __init__(self, folder: Path):
        truth = folder / TRUTH
        if not (truth / SETTINGS_FILE).exists():
            raise UserError(f"{folder}: no {TRUTH}/{SETTINGS_FILE}; expected a simulated shop")
        self.settings = s = ShopSettings.load(truth / SETTINGS_FILE)
        self.language = given.load_written(s, folder / "items.parquet", truth) or made_up(s)
        leaf_ids = self.language.catalog.leaf_ids
        self._seasons = Seasons(s, len(leaf_ids))
        table = pq.read_table(truth / "interests.parquet")
        user = pc.utf8_slice_codeunits(table["user_id"], 1).cast(pa.int64()).to_numpy()
        time = table["changed_at"].cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64()).to_numpy()
        key = (user * s.interests + table["slot"].to_numpy()) * _SPAN + time - FIRST_MS
        # Stable: of two changes at one moment the later row holds.
        order = np.argsort(key, kind="stable")
        self._key = key[order]
        taste = pc.list_flatten(table["taste"]).to_numpy().reshape(len(table), -1)
        leaf = pc.index_in(table["leaf_category_id"], pa.array(leaf_ids)).to_numpy()
        parts = (leaf, taste, table["strength"].to_numpy(), table["half_life_days"].to_numpy())
        self._known = Interests(*parts, since=(time - FIRST_MS) // DAY_MS).of(order)

    def score(
        self,
        users: Sequence[str],
        times: Sequence[datetime],
        texts: Sequence[Sequence[str]],
        aims: Sequence[int] | None = None,
    ) -> Scores:
        """Scores of ``texts`` (n lists of C queries) for n ``users``, each at its time (aware, from
        day 1 on; interests only fade after the log's end).

        ``aims``: the slots of the interests that brought the users, as in ``truth/requests``; by
        default the mean over what may bring them. Texts are normalised; one slip of the finger is
        forgiven; a text that nobody of this shop would type has relevance 0.
        """
        at = np.array([round(time.timestamp() * 1000) for time in times], np.int64)
        if len(at) and at.min() < FIRST_MS:
            raise ValueError(f"times begin with day 1, got {min(times)}")
        wanted = self._interests(self._users(users), at)
        day = (at - FIRST_MS) // DAY_MS
        days, place = np.unique(day, return_inverse=True)
        season = self._seasons.factors(days)[place]
        aim = np.full(len(at), -1) if aims is None else np.asarray(aims)
        weight = formulas.weights(wanted, day[:, None], season, aim)
        codes = np.array([[self.language.read(text) for text in row] for row in texts], np.int64)
        codes = codes.reshape(len(at), -1)
        relevance = formulas.relevance(self.language, wanted, weight, codes)
        s = self.settings
        return Scores(relevance, formulas.click(s, relevance), formulas.purchase(s, relevance))

    def _users(self, users: Sequence[str]) -> np.ndarray:
        numbers = np.array([int(u[1:]) if u[1:].isdecimal() else -1 for u in users], np.int64)
        for user, number in zip(users, numbers, strict=True):
            if user != f"u{number:07d}" or number >= self.settings.users:
                raise UserError(f"unknown user {user!r}; this shop has u0000000 and on")
        return numbers

    def _interests(self, users: np.ndarray, at: np.ndarray) -> Interests:
        """What ``users`` (n,) wanted at ``at`` (ms): arrays (n, K)."""
        slots = np.arange(self.settings.interests)
        key = (users[:, None] * len(slots) + slots) * _SPAN + (at - FIRST_MS)[:, None]
        return self._known.of(np.searchsorted(self._key, key, side="right") - 1)
