"""The CTR model: pairs scored per second, and in a simulated shop how close it is to the truth.

    python tests/bench/ctr_speed.py                      # the newest `ctr` model of the data home
    python tests/bench/ctr_speed.py --landing data/landing    # and the truth beside the log

Speed: requests of the days after those the model has seen, each context with ``--queries`` queries
of other requests, on two threads. Cold: nothing is kept from before; warm: the same again; alone:
the same pairs (fewer) one call each by a scorer that keeps nothing, which is what caching and
batching save. Ratios are of one run.

Truth: what the production ranker scored for the same requests; as many queries drawn from all
that were searched on the days seen; what the users searched next, and the same garbled as training
garbles. Predicted probability at position 1 and the ranker's score against the true click
probability at position 1 (of one who does not only browse; the factor that those who do make is
the same for all): Pearson, Spearman, Spearman within requests, means. Where most are equally
irrelevant, a perfect order is far below Spearman 1: its value is beside it. Last, how often a next
search is predicted above a drawn query (of anyone's), and above itself garbled.
"""

import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import click
import numpy as np
import torch
from scipy.stats import rankdata, spearmanr

from aigq import ctr, models, warehouse
from aigq.context import Context
from aigq.settings import Home, UserError
from aigq.simulator.truth import Truth
from training.ctr.contrast import garble
from training.ctr.metrics import auc

_REQUESTS = """
select session_id, user_id, session_start_at, age_band, gender, region, behaviors,
    candidates.queries, candidates.scores, searched_next
from lake.samples.samples_ctr
inner join (
    select request_id as session_id, list(query_text order by rank) as queries,
        list(rank_score order by rank) as scores
    from lake.sessions.candidates where request_date > ? group by request_id
) as candidates using (session_id)
where session_date > ?
order by md5(session_id)
limit ?
"""
_QUERIES = """
select distinct content_text from lake.behavior.behaviors
where action = 'search' and behavior_date <= ?
order by content_text
"""


@click.command()
@click.option("--model", default="ctr", show_default=True, help="NAME or NAME@VERSION.")
@click.option("--requests", default=2000, show_default=True, help="Requests to score for.")
@click.option("--queries", default=32, show_default=True, help="Queries per context (speed).")
@click.option(
    "--landing",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that `aigq simulate` wrote the log into. [default: no comparison]",
)
def main(model: str, requests: int, queries: int, landing: Path | None) -> None:
    """Measure a CTR model's speed and, in a simulated shop, its closeness to the truth."""
    home = Home.from_environment()
    found = models.resolve(home, model)
    last = date.fromisoformat(found.manifest["days_seen"][-1])
    con = warehouse.connect(home, read_only=True)
    rows = con.execute(_REQUESTS, [last, last, requests]).to_arrow_table().to_pylist()
    known = [text for (text,) in con.execute(_QUERIES, [last]).fetchall()]
    con.close()
    if not rows:
        raise UserError(f"the log holds no request after {last}, the last day the model has seen")
    network = ctr.load_network(found.path)
    click.echo(f"{found.name}@{found.version}, {len(rows):,} requests after {last}\n")
    speed(network, [Context.from_row(row) for row in rows], known, queries)
    if landing is not None:
        closeness(network, rows, known, Truth(landing))


def speed(network, contexts: list[Context], known: list[str], count: int) -> None:
    """Print a table of pairs per second."""
    torch.set_num_threads(2)
    rng = np.random.default_rng(0)
    asked = [rng.choice(known, count).tolist() for _ in contexts]
    fresh = [[f"{text} {n}" for n, text in enumerate(row)] for row in asked]
    scorer = ctr.CtrScorer(network)
    pairs = len(contexts) * count
    few = range(0, len(contexts), max(1, len(contexts) // 50))

    def alone() -> None:
        for i in few:
            for text in asked[i][:10]:
                ctr.CtrScorer(network).score([contexts[i]], [[text]])

    click.echo("| scoring | pairs | pairs per second |\n|---|---|---|")
    for name, size, work in (
        ("cold", pairs, lambda: scorer.score(contexts, asked)),
        ("warm", pairs, lambda: scorer.score(contexts, asked)),
        ("warm contexts, queries never seen", pairs, lambda: scorer.score(contexts, fresh)),
        ("alone", 10 * len(few), alone),
    ):
        click.echo(f"| {name} | {size:,} | {size / seconds(work):,.0f} |")


def seconds(work: Callable[[], object]) -> float:
    """How long ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def closeness(network, rows: list[dict], known: list[str], truth: Truth) -> None:
    """Print how well predictions and the ranker's scores follow the true probabilities."""
    rng = np.random.default_rng(1)
    scorer = ctr.CtrScorer(network)
    contexts = [Context.from_row(row) for row in rows]
    candidates, nexts = ([row[name] for row in rows] for name in ("queries", "searched_next"))
    own = [text for texts in nexts for text in texts]
    # Others' searches, as often as they come: popularity tells nothing.
    others = [rng.choice(own, len(texts)).tolist() for texts in nexts]
    garbled = [[garble(text, str(rng.choice(own)), rng) for text in texts] for texts in nexts]
    drawn = [rng.choice(known, len(texts)).tolist() for texts in candidates]
    click.echo(
        "\n| against the truth | pairs | Pearson | Spearman (best possible) | within requests"
        " | mean | true mean |\n|---|---|---|---|---|---|---|"
    )
    predicted = {}
    for name, texts, scores in (
        ("candidates, CTR model", candidates, None),
        ("candidates, ranker", candidates, [np.array(row["scores"]) for row in rows]),
        ("queries drawn, CTR model", drawn, None),
        ("searched next, CTR model", nexts, None),
        ("searched next by others, CTR model", others, None),
        ("searched next, garbled, CTR model", garbled, None),
    ):
        found = scorer.score(contexts, texts) if scores is None else scores
        true = [
            truth.score([row["user_id"]], [row["session_start_at"]], [asked]).click[0, :, 0]
            for row, asked in zip(rows, texts, strict=True)
            if asked
        ]
        found = [scores for scores in found if len(scores)]
        predicted[name], one, other = np.concatenate(found), *map(np.concatenate, (found, true))
        within = [
            np.corrcoef(rankdata(a), rankdata(b))[0, 1]
            for a, b in zip(found, true, strict=True)
            if np.ptp(a) > 0 and np.ptp(b) > 0
        ]
        best = spearmanr(np.lexsort((other,)).argsort(), other)[0] if np.ptp(other) else np.nan
        click.echo(
            f"| {name} | {len(one):,} | {np.corrcoef(one, other)[0, 1]:.3f} |"
            f" {spearmanr(one, other)[0]:.3f} ({best:.3f}) | {np.mean(within):.3f} |"
            f" {one.mean():.4f} | {other.mean():.4f} |"
        )
    good = predicted["searched next, CTR model"]
    for name in ("searched next by others, CTR model", "searched next, garbled, CTR model"):
        both = np.concatenate([good, predicted[name]])
        order = auc(np.arange(len(both)) < len(good), both)
        click.echo(f"\nsearched next above {name.removesuffix(', CTR model')}: AUC {order:.3f}")


if __name__ == "__main__":
    main()
