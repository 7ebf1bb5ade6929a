"""The CTR model learns what is planted, and nothing from positions."""

from pathlib import Path

import numpy as np
import pytest
import torch

from aigq.context import Behavior, Context
from aigq.ctr import CtrScorer
from aigq.ctr_network import CtrNetwork
from training.ctr.data import Batches, plan_epochs
from training.ctr.evaluation import predict
from training.ctr.job import CtrSettings, new_network
from training.ctr.metrics import auc
from training.ctr.trainer import train

pytestmark = pytest.mark.torch

# Rates of their own: what the toy logs show must not move with the recipe of a real one.
TINY = {"width": 16, "heads": 2, "hidden": 16, "buckets": 1024, "batch_requests": 64}
TINY |= {"learning_rate": 1e-3, "features_learning_rate": 1e-2}


def fit(data, work: Path, **how) -> CtrNetwork:
    settings = CtrSettings(**TINY | how)
    network = new_network(settings, data)
    plan = plan_epochs(
        len(data), batch=settings.batch_requests, epochs=settings.epochs, seed=settings.seed
    )
    train(network, Batches(data, network.config), plan, settings, work)
    return network


def test_interest_is_learned_and_carries_over_to_new_users(make_planted, tmp_path):
    """The best possible AUC is that of the true probabilities; nobody in the test log was trained
    on, so all there is to know is whether behaviours and query are about the same."""
    network = fit(make_planted(1500, seed=1).data, tmp_path, epochs=8)
    log, truth = make_planted(700, seed=2, first_user=5000)
    as_shown, first = predict(network, log)
    ceiling = auc(log.clicked, truth)
    assert ceiling > 0.8
    assert auc(log.clicked, first) > ceiling - 0.03
    assert auc(log.clicked, as_shown) > ceiling - 0.03
    assert 0.45 < auc(log.clicked, -log.position) < 0.6, "positions alone must not tell"


def test_position_is_a_bias_that_scoring_leaves_out(make_exposures, tmp_path):
    """Clicks depend on the position alone: 0.5, 0.2, 0.05. "tent" is mostly displayed first and so
    clicked twice as often as "lamp"; displayed at the same place they are worth the same."""
    rng = np.random.default_rng(3)
    rows = []
    for user in range(4000):
        queries = ["tent", "lamp", "scarf"]
        if rng.random() < 0.3:
            queries = rng.permutation(queries).tolist()
        rows.append((f"u{user}", [], queries, [1, 2, 3], rng.random(3) < [0.5, 0.2, 0.05]))
    data = make_exposures(rows)
    clicks = {
        text: data.clicked[data.query == number].mean() for number, text in enumerate(data.texts)
    }
    assert clicks["tent"] > 1.8 * clicks["lamp"] > 2.5 * clicks["scarf"]
    network = fit(data, tmp_path, epochs=12, weight_decay=0.0, dropout=0.0)
    (scores,) = CtrScorer(network).score([Context()], [["tent", "lamp", "scarf"]])
    assert scores.max() / scores.min() < 1.3
    assert scores.mean() == pytest.approx(0.5, abs=0.07)
    bias = network.position_logits(torch.tensor([1, 2, 3])).exp()
    assert (bias[1:] / bias[0]).tolist() == pytest.approx([0.25, 0.053], rel=0.35)


def unshown(make_exposures, requests, seed):
    """Only tents and lamps are ever displayed; users want one of four things and search it next."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(requests):
        wanted = str(rng.choice(["tent", "lamp", "piano", "kettle"]))
        done = [f"classic {wanted}", f"{wanted} model {rng.integers(9)}"]
        shown = rng.permutation(["tent", "lamp"]).tolist()
        clicked = rng.random(2) < [0.5 if text == wanted else 0.1 for text in shown]
        color = rng.choice(["red", "blue", "green"])
        rows.append((f"u{user}", done, shown, [1, 2], clicked, [f"{color} {wanted}"]))
    return make_exposures(rows)


def test_queries_that_were_never_displayed_are_told_apart(make_exposures, tmp_path):
    """Clicks on tents and lamps say nothing about pianos: without contrasts a policy that is
    rewarded with these scores may write anything. Displayed hints stay calibrated."""
    data = unshown(make_exposures, 1500, seed=7)
    contexts = [
        Context(behaviors=(Behavior(1, "search", f"classic {t}"),)) for t in ("piano", "kettle")
    ]
    asked = ["red piano", "blue piano", "red kettle", "blue kettle"]
    gap = {}
    for weight in (0.0, 0.1):
        work = tmp_path / str(weight)
        work.mkdir()
        network = fit(data, work, epochs=6, contrast_weight=weight)
        scores = np.log(CtrScorer(network).score(contexts, [asked] * 2))
        gap[weight] = scores[0, :2].mean() - scores[0, 2:].mean()
        gap[weight] += scores[1, 2:].mean() - scores[1, :2].mean()
        predicted = predict(network, data)[0]
        assert predicted.mean() == pytest.approx(data.clicked.mean(), rel=0.1)
    # Twice the log of the ratio of a wanted query's score to another's.
    assert gap[0.1] > 2 * np.log(3) > gap[0.0]


def test_text_that_nobody_types_scores_below_what_it_was_made_of(make_exposures, tmp_path):
    data = unshown(make_exposures, 1500, seed=8)
    network = fit(data, tmp_path, epochs=8, learning_rate=5e-3)
    context = Context(behaviors=(Behavior(1, "search", "classic piano"),))
    good = ["red piano", "blue piano", "green piano"]
    for spoil in ("{0} {0}", "piano piano piano", "{0} piano", "{0} red lamp", "{0:.6}"):
        bad = [spoil.format(text) for text in good]
        wanted, spoiled = CtrScorer(network).score([context] * 2, [good, bad])
        assert spoiled.mean() < 0.5 * wanted.mean(), spoil


def test_training_and_scoring_see_the_same(make_planted, tmp_path):
    """The scorer encodes contexts one by one and keeps them, the trainer in padded batches."""
    data, _ = make_planted(80, seed=4)
    network = fit(data, tmp_path, epochs=1)
    _, first = predict(network, data)
    contexts, queries = [], []
    for r in range(len(data)):
        texts = data.behavior_text[slice(*data.behavior_start[r : r + 2])]
        behaviors = tuple(Behavior(1, "search", data.texts[text]) for text in texts)
        contexts.append(Context(behaviors=behaviors))
        queries.append([data.texts[q] for q in data.query[slice(*data.exposure_start[r : r + 2])]])
    scores = CtrScorer(network).score(contexts, queries)
    assert np.concatenate(scores) == pytest.approx(first, abs=1e-5)


class Killed(Exception):
    """Stands for kill -9 right after a checkpoint."""


@pytest.mark.parametrize("killed_at", [3, 7, 9])
def test_resumed_is_uninterrupted(make_planted, tmp_path, monkeypatch, killed_at):
    from training.ctr import trainer

    data, _ = make_planted(300, seed=5)
    how = {"epochs": 2, "checkpoint_steps": 2, "dropout": 0.3}
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = fit(data, tmp_path / "whole", **how)
    original, steps = trainer.click_loss, iter(range(killed_at))

    def dies(*arguments):
        if next(steps, None) is None:
            raise Killed
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "click_loss", dies)
        with pytest.raises(Killed):
            fit(data, tmp_path / "cut", **how)
    (kept,) = (tmp_path / "cut").glob("checkpoint-*")
    assert kept.name == f"checkpoint-{killed_at // 2 * 2}"
    # What a kill in the middle of writing leaves behind is not looked at.
    (tmp_path / "cut" / ".partial").mkdir(exist_ok=True)
    resumed = fit(data, tmp_path / "cut", **how)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_log_without_any_behaviour_trains(make_exposures, tmp_path):
    rng = np.random.default_rng(6)
    rows = [(f"u{i}", [], ["tent", "lamp"], [1, 0], rng.random(2) < 0.5) for i in range(64)]
    network = fit(make_exposures(rows), tmp_path, epochs=1)
    assert np.isfinite(predict(network, make_exposures(rows))[0]).all()
