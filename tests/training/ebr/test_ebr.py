"""EBR: what it must learn, how its parts add up, and what a kill leaves."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from aigq import ebr, models, warehouse
from aigq.cli import main
from aigq.context import Behavior, Context
from aigq.settings import PROJECT_ROOT, Home
from training.ebr.examples import Batches, make_examples, read_log
from training.ebr.trainer import expected_in_batch, in_batch_loss, plan_batches
from training.workspace import Snapshot, checkpoints

pytestmark = pytest.mark.torch

THINGS = ["tent", "rope", "kettle", "lamp", "scarf", "drill", "guitar", "novel"]
TRAIN = ["train", "ebr", "--batch-examples", "64", "--width", "16", "--hidden", "32"]
TRAIN += ["--buckets", "4096", "--heldout-share", "0.1", "--learning-rate", "1e-2"]


def build(root, users: int = 120) -> Home:
    """Whoever clicks "<thing> item" searches "<color> <thing>" the day after: the text of what was
    clicked tells what is searched next. But those with gender "m" search "gift", whatever they
    clicked."""
    home = Home(root)
    warehouse.ensure_lake(home)
    rows = []
    draw = np.random.default_rng(0)
    for user in range(users):
        for day in range(1, 9):
            thing = THINGS[draw.integers(len(THINGS))]
            color = ["red", "blue"][draw.integers(2)]
            wanted = "gift" if user % 4 == 0 else f"{color} {thing}"
            moment = f"2026-03-{day:02}"
            rows.append((f"u{user:03}", f"{moment} 12:00:00+00", "item_click", f"{thing} item"))
            after = f"2026-03-{day + 1:02}"
            rows.append((f"u{user:03}", f"{after} 09:00:00+00", "search", wanted))

    def fill(con) -> None:
        con.execute("CREATE SCHEMA IF NOT EXISTS lake.behavior")
        con.execute("CREATE SCHEMA IF NOT EXISTS lake.meta")
        con.execute(
            "CREATE TABLE lake.meta.shop AS SELECT DATE '2026-03-08' AS train_end_date,"
            " TIMESTAMPTZ '2026-03-09 00:00:00+00' AS train_end_at"
        )
        con.execute(
            "CREATE TABLE lake.behavior.behaviors (user_id VARCHAR, occurred_at TIMESTAMPTZ,"
            " behavior_date DATE, action VARCHAR, content_text VARCHAR, behavior_order BIGINT)"
        )
        con.executemany(
            "INSERT INTO lake.behavior.behaviors SELECT $1, $2::TIMESTAMPTZ,"
            " $2::TIMESTAMPTZ::DATE, $3, $4, epoch_us($2::TIMESTAMPTZ)",
            rows,
        )
        con.execute(
            "INSERT INTO lake.raw.users SELECT format('u{:03}', i), '25-34',"
            f" if(i % 4 = 0, 'm', 'f'), NULL, now() FROM range({users}) t(i)"
        )

    warehouse.write(home, fill)
    return home


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tensors are so small that threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Home:
    """The shop, not to be changed."""
    return build(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def trained(planted) -> tuple[models.Model, ebr.Retriever]:
    """A model of some seconds' training."""
    result = CliRunner(env={"AIGQ_HOME": str(planted.root)}).invoke(
        main, [*TRAIN, "--steps", "150"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    model = models.resolve(planted, "ebr")
    return model, ebr.load(model)


def clicked(thing: str, gender: str = "f") -> Context:
    return Context(("25-34", gender, None), (Behavior(1, "item_click", f"{thing} item"),))


def test_it_learns_what_was_planted(trained):
    model, retriever = trained
    lists = retriever.retrieve([clicked(thing) for thing in THINGS], 2)
    assert [set(found) for found in lists] == [{f"red {t}", f"blue {t}"} for t in THINGS]
    assert retriever.retrieve([clicked("tent", gender="m")], 1) == [["gift"]], "profiles count"
    assert model.manifest["metrics"]["heldout_hit_rate_30"] == 1.0
    assert model.manifest["kind"] == "ebr"


def test_an_unseen_query_and_an_unseen_item_have_their_place(trained):
    """The vector of a query nobody searched is near those who clicked what it names."""
    _, retriever = trained
    network = retriever._network
    unseen = ebr.query_vectors(network, ["green tent", "green guitar"])
    users = retriever.user_vectors([clicked("tent"), clicked("guitar")])
    scores = users @ unseen.T
    assert scores[0, 0] > scores[0, 1] and scores[1, 1] > scores[1, 0]
    new = Context(("25-34", "f", None), (Behavior(1, "item_click", "tent of 2027"),))
    assert set(retriever.retrieve([new], 2)[0]) == {"red tent", "blue tent"}


def test_popular_comes_first_for_whom_nothing_is_known(trained):
    """A quarter of all searches is "gift"; every other query has a sixteenth of the rest."""
    _, retriever = trained
    assert retriever.retrieve([Context()], 1) == [["gift"]]


def test_the_index_finds_what_exact_search_finds():
    """Differential: 5,000 vectors of uneven length, as biases make them."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(5000, 17)).astype(np.float32)
    vectors[:, -1] *= 3
    users = rng.normal(size=(200, 17)).astype(np.float32)
    retriever = ebr.Retriever(
        ebr.EbrNetwork(ebr.EbrConfig(width=16)),
        [str(n) for n in range(5000)],
        ebr.build_index(vectors),
    )
    exact = ebr.search_exactly(users, vectors, 30)
    near = retriever.search(users, 30)
    shared = [len(set(a) & set(b)) for a, b in zip(exact, near, strict=True)]
    assert np.mean(shared) / 30 > 0.95
    scores = users @ vectors.T
    assert (exact == np.argsort(-scores, axis=1)[:, :30]).all()


def test_a_small_vocabulary_gives_short_lists(trained):
    _, retriever = trained
    (found,) = retriever.retrieve([clicked("tent")], 30)
    assert sorted(found) == sorted(retriever.queries)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.sampled_from(THINGS), max_size=5), min_size=1, max_size=6))
def test_a_context_is_embedded_alike_in_any_company(contexts):
    """Padding and the texts of others must not show."""
    torch.manual_seed(0)
    network = ebr.EbrNetwork(ebr.EbrConfig(width=8, heads=2, hidden=8, buckets=64, max_behaviors=4))
    retriever = ebr.Retriever(network, [], None)
    made = [
        Context(("a", None, "c"), tuple(Behavior(n, "search", text) for n, text in enumerate(own)))
        for own in contexts
    ]
    together = retriever.user_vectors(made)
    alone = np.concatenate([retriever.user_vectors([context]) for context in made])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    newest = np.concatenate([retriever.user_vectors([context.newest(4)]) for context in made])
    np.testing.assert_allclose(alone, newest, atol=1e-6)


def test_examples_hold_nothing_of_their_future(planted):
    """Each example's context, event by event, against the log: all before, the newest, in order."""
    with Snapshot(planted, warehouse_snapshot(planted)) as snapshot:
        log = read_log(snapshot)
        rows = snapshot.rows(
            "select user_id, occurred_at, behavior_date, action, content_text"
            " from lake.behavior.behaviors where behavior_date <= '2026-03-08'"
            " order by user_id, behavior_order"
        )
    examples = make_examples(log)
    config = ebr.EbrConfig(max_behaviors=5, buckets=64)
    batches = Batches(log, examples, config)
    seen = {
        (r["user_id"], r["behavior_date"], r["content_text"])
        for r in rows
        if r["action"] == "search"
    }
    assert len(examples.event) == len(seen)
    chosen = np.arange(0, len(examples.event), 7)
    for at_day_start in (False, True):
        users, texts = batches.users(chosen, np.full(len(chosen), at_day_start))
        for row, number in enumerate(chosen):
            event = rows[examples.event[number]]
            assert examples.queries[examples.query[number]] == event["content_text"]
            past = [
                r
                for r in rows
                if r["user_id"] == event["user_id"]
                and (
                    r["behavior_date"] < event["behavior_date"]
                    if at_day_start
                    else r["occurred_at"] < event["occurred_at"]
                )
            ][-5:]
            length = int(users.length[row])
            found = [log.texts[texts[n]] for n in users.text[row, :length]]
            assert found == [r["content_text"] for r in past]
            assert users.days_ago[row, :length].tolist() == [
                (event["behavior_date"] - r["behavior_date"]).days for r in past
            ]
            profile = [log.texts[texts[n]] for n in users.profile[row]]
            gender = "m" if int(event["user_id"][1:]) % 4 == 0 else "f"
            assert profile[1] == f"profile gender {gender}"


def test_bags_are_those_of_the_texts(planted):
    """What training gathers from its arrays is what inference hashes anew."""
    with Snapshot(planted, warehouse_snapshot(planted)) as snapshot:
        log = read_log(snapshot)
    batches = Batches(log, make_examples(log), ebr.EbrConfig(buckets=64))
    chosen = np.array([3, 0, 3, len(log.texts) - 1])
    expected = ebr.Bags.of([log.texts[n] for n in chosen], 64)
    for ours, theirs in zip(batches.bags(chosen), expected, strict=True):
        assert ours.tolist() == theirs.tolist()


def test_the_correction_makes_scores_of_the_logs_shares():
    """One user, queries asked in shares .6 .3 .1: the scores that the in-batch loss likes best are
    the log shares, not flattened by popular queries being negatives more often."""
    shares = np.array([0.6, 0.3, 0.1])
    expected = torch.from_numpy(expected_in_batch(shares * 1000, 4))
    scores = torch.zeros(3, 1, requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=0.03)
    draw = np.random.default_rng(0)
    for _ in range(1000):
        drawn = draw.choice(3, size=4, p=shares)
        wanted, target = np.unique(drawn, return_inverse=True)
        loss = in_batch_loss(
            torch.ones(4, 1), scores[wanted], torch.from_numpy(target), expected[wanted]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = scores.detach().flatten().softmax(0).numpy()
    np.testing.assert_allclose(found, shares, atol=0.09)


@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 30))
def test_a_plan_has_whole_epochs(count, batch, steps):
    plan = plan_batches(count, batch=batch, steps=steps, seed=1)
    size = min(batch, count)
    assert len(plan) == steps and {len(step) for step in plan} == {size}
    per_epoch = count // size
    for start in range(0, steps - per_epoch + 1, per_epoch):
        epoch = np.concatenate(plan[start : start + per_epoch])
        assert len(set(epoch)) == len(epoch), "nothing twice in an epoch"


@pytest.mark.e2e
@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(planted, tmp_path):
    homes = [Home(tmp_path / name) for name in ("killed", "whole")]
    for home in homes:
        shutil.copytree(planted.root / "lake", home.root / "lake")

    def start(home):
        return subprocess.Popen(
            [sys.executable, "-m", "aigq.cli", *TRAIN, "--steps", "120", "--checkpoint-steps", "5"],
            env=os.environ | {"AIGQ_HOME": str(home.root), "OMP_NUM_THREADS": "1"},
            cwd=PROJECT_ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )

    killed = start(homes[0])
    deadline = time.monotonic() + 120
    while not any(map(checkpoints, (homes[0].models / ".work").glob("ebr-*"))):
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not models.versions(homes[0], "ebr")
    for home in homes:
        process = start(home)
        _, log = process.communicate()
        assert process.returncode == 0, log
        assert ("resuming run" in log) == (home is homes[0])
    one, two = (models.resolve(home, "ebr") for home in homes)
    for file in ("model.safetensors", "ann.faiss", "queries.json"):
        assert (one.path / file).read_bytes() == (two.path / file).read_bytes(), file
    assert one.manifest["metrics"] == two.manifest["metrics"]
    assert not list((homes[0].models / ".work").iterdir())


@pytest.mark.parametrize(
    ("delete", "message"),
    [
        ("true", "holds nothing in the training days"),
        ("action = 'search'", "holds no search in the training days"),
        ("user_id <> 'u001' OR action <> 'search'", "searches are left to train on"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(planted, tmp_path, monkeypatch, delete, message):
    home = Home(tmp_path)
    shutil.copytree(planted.root / "lake", home.root / "lake")
    monkeypatch.setenv("AIGQ_HOME", str(home.root))

    def spoil(con):
        con.execute(f"DELETE FROM lake.behavior.behaviors WHERE {delete}")

    warehouse.write(home, spoil)
    options = ["--heldout-share", "0.9999"] if "u001" in delete else []
    result = CliRunner().invoke(main, [*TRAIN, *options])
    assert result.exit_code == 1 and message in result.output, result.output


def warehouse_snapshot(home: Home) -> int:
    con = warehouse.connect(home, read_only=True)
    try:
        return warehouse.current_snapshot(con)
    finally:
        con.close()
