"""Toy logs of displayed hints: as arrays, and as a lake of ten days."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from aigq import warehouse
from aigq.context import ACTIONS
from aigq.settings import Home
from training.ctr.data import Exposures

FIRST_DAY = date(2026, 3, 1)
TOPICS = ["tent", "lamp", "kettle", "scarf", "camera", "piano", "bicycle", "garden hose"]
COLORS = ["red", "blue", "green", "black"]


class Toy(NamedTuple):
    """A log and the true click probability of each displayed hint."""

    data: Exposures
    truth: np.ndarray


def planted(requests: int, seed: int, *, first_user: int = 0) -> Toy:
    """Clicks follow one thing only: whether the user has done something about the query's topic.

    Every request is another user's, three behaviours on two topics, in other words than the
    query's. A hint of those topics is clicked with probability 0.7, any other with 0.05. Three of
    four search one of their topics next.
    """
    rng = np.random.default_rng(seed)
    rows, truth = [], []
    for user in range(first_user, first_user + requests):
        own = rng.choice(len(TOPICS), 2, replace=False)
        done = [
            f"{rng.choice(COLORS)} {TOPICS[t]} model {rng.integers(9)}" for t in rng.choice(own, 3)
        ]
        # Both topics are there.
        done[0], done[1] = (f"classic {TOPICS[t]}" for t in own)
        shown = [int(rng.choice(own)), *map(int, rng.choice(len(TOPICS), 2, replace=False))]
        rng.shuffle(shown)
        chance = [0.7 if topic in own else 0.05 for topic in shown]
        truth += chance
        queries = [f"{rng.choice(COLORS)} {TOPICS[topic]}" for topic in shown]
        searched = [f"{rng.choice(COLORS)} {TOPICS[rng.choice(own)]}"] if user % 4 else []
        rows.append((f"u{user}", done, queries, [1, 2, 3], rng.random(3) < chance, searched))
    return Toy(as_exposures(rows), np.array(truth))


def as_exposures(rows: Sequence[tuple]) -> Exposures:
    """Of (user, texts of the searches, queries, positions, clicked[, searched next]) by request."""
    nexts = [row[5] if len(row) > 5 else [] for row in rows]
    texts = {text for row in rows for text in (*row[1], *row[2])}
    texts = sorted(texts.union(*nexts))
    number = {text: i for i, text in enumerate(texts)}
    behaviors = [text for row in rows for text in row[1]]
    queries = [text for row in rows for text in row[2]]
    return Exposures(
        texts=texts,
        user=np.array([row[0] for row in rows], object),
        profile=np.full((len(rows), 3), None, object),
        behavior_start=np.cumsum([0, *(len(row[1]) for row in rows)]),
        behavior_text=np.array([number[text] for text in behaviors], np.int32),
        action=np.full(len(behaviors), ACTIONS.index("search"), np.int8),
        days_ago=np.ones(len(behaviors), np.int16),
        exposure_start=np.cumsum([0, *(len(row[2]) for row in rows)]),
        query=np.array([number[text] for text in queries], np.int32),
        position=np.concatenate([row[3] for row in rows]).astype(np.int32),
        clicked=np.concatenate([row[4] for row in rows]).astype(bool),
        rank_score=np.full(len(queries), np.nan),
        searched_start=np.cumsum([0, *map(len, nexts)]),
        searched=np.array([number[text] for row in nexts for text in row], np.int32),
        is_replayed=np.zeros(len(rows), bool),
    )


@pytest.fixture(scope="session")
def make_planted() -> Callable[..., Toy]:
    """See :func:`planted`."""
    return planted


@pytest.fixture(scope="session")
def make_exposures() -> Callable[[Sequence[tuple]], Exposures]:
    """See :func:`as_exposures`."""
    return as_exposures


@pytest.fixture
def ctr_home(tmp_path) -> Home:
    """A lake with ten days of displayed hints, 60 planted requests a day; days 1 to 8 train."""
    home = Home(tmp_path / "shop")
    warehouse.ensure_lake(home)
    rows = []
    for day in range(10):
        data = planted(60, seed=day, first_user=60 * day).data
        for r in range(len(data)):
            behaviors = slice(*data.behavior_start[r : r + 2])
            shown = slice(*data.exposure_start[r : r + 2])
            searched = slice(*data.searched_start[r : r + 2])
            rows.append(
                {
                    "session_id": f"r{day}-{r}",
                    "user_id": data.user[r],
                    "session_date": FIRST_DAY + timedelta(days=day),
                    "age_band": ["18-24", "25-34", None][r % 3],
                    "behaviors": [
                        {"days_ago": 1, "action": "search", "content_text": data.texts[text]}
                        for text in data.behavior_text[behaviors]
                    ],
                    "exposures": [
                        {
                            "query_text": data.texts[q],
                            "position": int(p),
                            "is_clicked": bool(c),
                            "rank_score": 0.5,
                        }
                        for q, p, c in zip(
                            data.query[shown],
                            data.position[shown],
                            data.clicked[shown],
                            strict=True,
                        )
                    ],
                    "searched_next": [data.texts[text] for text in data.searched[searched]],
                }
            )

    def fill(con) -> None:
        con.register("fresh", pa.Table.from_pylist(rows))
        con.execute(
            "CREATE TABLE lake.samples.samples_ctr AS SELECT session_id, user_id,"
            " session_date::TIMESTAMPTZ + INTERVAL 12 HOUR AS session_start_at, session_date,"
            " age_band, 'f' AS gender, NULL::VARCHAR AS region, behaviors, exposures,"
            " searched_next, false AS is_replayed FROM fresh"
        )
        con.execute(
            "CREATE TABLE lake.meta.shop AS SELECT 'UTC' AS shop_timezone,"
            " DATE '2026-03-08' AS train_end_date"
        )

    warehouse.write(home, fill)
    return home


@pytest.fixture
def run_job(ctr_home) -> Callable[..., str]:
    """``run_job("--epochs", "1")``: `aigq train ctr` with a tiny network; the output."""
    from click.testing import CliRunner

    from aigq.cli import main

    def run(*arguments: str, home: Path = ctr_home.root, fails: bool = False) -> str:
        tiny = {"width": 8, "heads": 2, "hidden": 8, "buckets": 512, "batch-requests": 32}
        tiny = [text for name, value in tiny.items() for text in (f"--{name}", str(value))]
        result = CliRunner(env={"AIGQ_HOME": str(home)}).invoke(
            main, ["train", "ctr", *tiny, *arguments], catch_exceptions=False
        )
        assert (result.exit_code != 0) == fails, result.output
        return result.output

    return run
