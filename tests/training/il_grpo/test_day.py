"""`aigq train day`: what is done when, what is found again, what a kill leaves.

The steps themselves are other commands with tests of their own; here each leaves what it would in
models and lake. The last test runs them all.
"""

import json
import shutil
from datetime import date

import pytest
from click.testing import CliRunner

from aigq import models, warehouse
from aigq.cli import main
from aigq.settings import Home
from training.il_grpo import day as job

POLICY = "direct_il_grpo"
FELL = {"query_hr": (-0.05, -0.08, -0.02)}


class Steps:
    """The commands that were called; ``figures`` are what `aigq evaluate` will find."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.figures: dict[str, tuple[float, float, float]] = {}
        self.instances = 500

    @property
    def names(self) -> list[str]:
        """What was called, without options."""
        return [" ".join(c for c in call[:2] if c[0] != "-") for call in self.calls]

    def __call__(self, home: Home, call: list[str]) -> None:
        self.calls.append(list(call))
        options = dict(zip(call[2::2], call[3::2], strict=False))
        if call[:2] == ["train", "ctr"]:
            seen = models.resolve(home, options["--continue-from"]).manifest["days_seen"]
            until = options["--until"]
            publish(home, "ctr", f"ctr-{until}", job="train ctr", days_seen=[*seen, until])
        elif call[:2] == ["train", "grpo"]:
            last = options["--days"].split("..")[1]
            publish(
                home,
                options["--name"],
                f"c{len(self.calls):03}",
                job="train grpo",
                base_model=options["--base-model"],
                ctr_model=options["--ctr-model"],
                settings={"days": options["--days"]},
                train_end_at=f"{date.fromisoformat(last).replace(day=int(last[-2:]) + 1)}"
                "T00:00:00+00:00",
            )
        else:
            self.evaluate(home, call)

    def evaluate(self, home: Home, call: list[str]) -> None:
        pair = [call[n + 1].split("@") for n, text in enumerate(call) if text == "--model"]
        run = f"evaluate-{len(self.calls)}"
        days = call[call.index("--days") + 1]

        def insert(con) -> None:
            con.execute("DELETE FROM lake.eval.comparisons")
            con.execute(
                "INSERT INTO lake.meta.runs (run_id, job, parameters) VALUES (?, 'evaluate', ?)",
                [run, json.dumps({"days": days})],
            )
            for metric, k in (("query_hr", 10), ("cate_hr", 10), ("malformed", 0)):
                of = self.figures.get(metric, (0.0, 0.0, 0.0))
                con.execute(
                    "INSERT INTO lake.eval.comparisons VALUES"
                    " (?, ?, ?, ?, ?, ?, 'all', ?, ?, ?, 1.0, ?, ?)",
                    [*pair[0], *pair[1], metric, k, *of, self.instances, run],
                )

        warehouse.write(home, insert)


def publish(home: Home, name: str, version: str, **manifest) -> None:
    build = home.models / "build"
    build.mkdir(parents=True)
    (build / "model.safetensors").write_text(f"weights of {name} {version}")
    models.publish(home, name, version, build, manifest)


@pytest.fixture
def shop(make_home, tmp_path, monkeypatch) -> Home:
    """Days 8 to 12 have samples, of which 8 and 9 train; user-days there are up to 11. Policy and
    CTR model have seen day 9."""
    home = make_home(tmp_path / "daily")
    monkeypatch.setenv("AIGQ_HOME", str(home.root))

    def fill(con) -> None:
        con.execute("CREATE SCHEMA IF NOT EXISTS lake.samples")
        con.execute(
            "CREATE TABLE lake.meta.shop AS"
            " SELECT 'UTC' AS shop_timezone, DATE '2026-03-09' AS train_end_date"
        )
        con.execute(
            "CREATE TABLE lake.samples.samples_direct AS"
            " SELECT DATE '2026-03-01' + d::INTEGER AS session_date FROM range(7, 12) AS t (d)"
        )
        con.execute(
            "CREATE TABLE lake.samples.test_user_days AS"
            " SELECT DATE '2026-03-01' + d::INTEGER AS session_date FROM range(9, 11) AS t (d)"
        )

    warehouse.write(home, fill)
    publish(home, "ctr", "0", job="train ctr", days_seen=["2026-03-08", "2026-03-09"])
    publish(home, POLICY, "0", job="train grpo", train_end_at="2026-03-10T00:00:00+00:00")
    return home


@pytest.fixture
def steps(monkeypatch) -> Steps:
    steps = Steps()
    monkeypatch.setattr(job, "run_aigq", steps)
    return steps


def add_user_day(home: Home, day: str) -> None:
    insert = f"INSERT INTO lake.samples.test_user_days VALUES (DATE '{day}')"
    warehouse.write(home, lambda con: con.execute(insert))


def train_day(*options: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["train", "day", *options])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def outcomes(rows_of, home: Home) -> list[str]:
    rows = rows_of(
        home, "SELECT metrics FROM meta.runs WHERE job = 'train day' ORDER BY started_at"
    )
    return [json.loads(row["metrics"]).get("outcome") for row in rows]


def test_a_day_from_its_log_to_the_next_version(shop, steps, rows_of):
    assert "2026-03-10: promoted" in train_day("--", "--steps", "3")
    ctr, grpo, evaluate = steps.calls
    assert ctr[2:] == ["--continue-from", "ctr@0", "--recipe", "daily", "--until", "2026-03-10"]
    said = " ".join(grpo)
    assert f"--base-model {POLICY}@0 --ctr-model ctr@ctr-2026-03-10" in said
    assert said.endswith("--days 2026-03-10..2026-03-10 --steps 3")
    assert evaluate[evaluate.index("--days") + 1] == "2026-03-11..2026-03-11"
    (candidate,) = models.versions(shop, f"{POLICY}-candidate")
    newest = models.resolve(shop, POLICY)
    manifest = newest.manifest
    assert (
        (newest.path / "model.safetensors").read_text().endswith(f"candidate {candidate.version}")
    )
    assert manifest["promoted_from"] == candidate.reference
    assert (manifest["name"], manifest["version"]) == (POLICY, newest.version)
    assert manifest["train_end_at"] == "2026-03-11T00:00:00+00:00"
    assert manifest["gate"]["is_passed"] and not manifest["gate"]["is_forced"]
    assert manifest["gate"]["figures"]["query_hr@10"]["instances"] == 500
    assert manifest["gate"]["evaluation"] == "evaluate-3"
    assert outcomes(rows_of, shop) == ["promoted"]
    assert not list((shop.models / ".work").glob("*"))


def test_what_is_done_is_not_done_again(shop, steps):
    train_day()
    called = len(steps.calls)
    assert "nothing to do" in train_day()
    assert "2026-03-10: seen" in train_day("--day", "2026-03-10")
    assert len(steps.calls) == called
    assert len(models.versions(shop, POLICY)) == 2


def test_a_policy_that_fell_is_not_promoted_unless_forced(shop, steps, rows_of):
    steps.figures = FELL
    assert "2026-03-10: rejected (fell: Query HR@10 -0.0500" in train_day()
    assert len(models.versions(shop, POLICY)) == 1
    assert "rejected" in train_day(), "and stays so"
    assert steps.names == ["train ctr", "train grpo", "evaluate"], "nothing is trained twice"
    assert "2026-03-10: forced" in train_day("--force")
    gate = models.resolve(shop, POLICY).manifest["gate"]
    assert gate["is_forced"] and not gate["is_passed"]
    assert gate["objections"][0].startswith("fell: Query HR@10")
    assert outcomes(rows_of, shop) == ["rejected", "rejected", "forced"]


def test_few_user_days_promote_nothing(shop, steps):
    steps.instances = 20
    assert "too few: 20 user-days" in train_day()
    assert len(models.versions(shop, POLICY)) == 1


def test_a_candidate_waits_for_the_day_it_is_measured_on(shop, steps):
    train_day()
    assert "2026-03-11: waiting" in train_day("--day", "2026-03-11", "--force")
    assert steps.names[3:] == ["train ctr", "train grpo"]
    assert len(models.versions(shop, POLICY)) == 2
    # A day on which nobody searched lies between.
    add_user_day(shop, "2026-03-13")
    assert "2026-03-11: promoted" in train_day("--day", "2026-03-11")
    assert steps.names[3:] == ["train ctr", "train grpo", "evaluate"]
    assert "2026-03-13..2026-03-13" in steps.calls[-1]


def test_days_one_after_another(shop, steps, rows_of):
    add_user_day(shop, "2026-03-12")
    train_day("--until", "2026-03-12")
    assert outcomes(rows_of, shop) == ["promoted", "promoted", "waiting"]
    first, second, third = (call for call in steps.calls if call[:2] == ["train", "grpo"])
    bases = [call[call.index("--base-model") + 1] for call in (first, second, third)]
    assert bases == [v.reference for v in models.versions(shop, POLICY)]
    rewards = [call[call.index("--ctr-model") + 1][-2:] for call in (first, second, third)]
    assert rewards == ["10", "11", "12"]


def test_no_reward_from_days_to_come(shop, steps):
    """A CTR model that has seen the next day would tell the policy what is clicked there."""
    publish(shop, "ctr", "1", job="train ctr", days_seen=["2026-03-10"])
    publish(shop, "ctr", "2", job="train ctr", days_seen=["2026-03-10", "2026-03-11"])
    train_day()
    assert steps.names == ["train grpo", "evaluate"], "day 10 has been seen already"
    assert "ctr@1" in steps.calls[0]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_around_the_promotion(shop, steps, monkeypatch, moment):
    """Half a copy is never a version, and a whole one is not made twice."""
    original = models.publish

    def killed(*arguments):
        if moment == "after":
            original(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        # The steps publish too; theirs is over by now.
        train = steps.evaluate

        def then(*arguments):
            train(*arguments)
            patched.setattr(models, "publish", killed)

        patched.setattr(steps, "evaluate", then)
        train_day(code=1)
    assert len(models.versions(shop, POLICY)) == (2 if moment == "after" else 1)
    called = list(steps.calls)
    train_day("--day", "2026-03-10")
    assert steps.calls == called, "neither trained nor measured again"
    assert len(models.versions(shop, POLICY)) == 2
    assert models.resolve(shop, POLICY).manifest["gate"]["is_passed"]


def test_figures_of_other_days_are_no_verdict(shop, steps, monkeypatch):
    original = steps.evaluate
    other = ["2026-03-10..2026-03-10"]
    monkeypatch.setattr(
        steps,
        "evaluate",
        lambda home, call: original(
            home, [*call[: call.index("--days") + 1], *other, *call[call.index("--days") + 2 :]]
        ),
    )
    assert "on days 2026-03-10..2026-03-10 meanwhile" in train_day(code=1)
    assert len(models.versions(shop, POLICY)) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--day", "2026-03-10", "--until", "2026-03-10"), "not both"),
        (("--day", "soon"), "--day: expected days as YYYY-MM-DD"),
        (("--day", "2026-03-08"), "that have samples: 2026-03-09 to 2026-03-12"),
        (("--name", "sft"), "begin with `aigq train grpo --base-model sft`"),
        (("--name", "nobody"), "no model 'nobody'"),
    ],
)
def test_refusals(shop, steps, options, says):
    publish(shop, "sft", "0", job="train sft")
    assert says in train_day(*options, code=1)
    assert steps.calls == []


def test_one_at_a_time(shop, steps):
    with job.only_one(shop, POLICY):
        assert f"another `aigq train day` of {POLICY} is at work" in train_day(code=1)


@pytest.fixture
def whole_shop(home) -> Home:
    """The hand-made shop with a policy that has seen day 9, a log of displayed hints on day 10, and
    user-days of day 11."""

    def fill(con) -> None:
        con.execute(
            "CREATE TABLE lake.samples.samples_ctr AS SELECT * EXCLUDE (split, labels, log_labels),"
            " list_transform(labels, lambda q, i: {'query_text': q, 'position': i::INTEGER,"
            " 'is_clicked': i = 1, 'rank_score': 0.5}) AS exposures, labels AS searched_next"
            " FROM lake.samples.samples_direct WHERE session_date = DATE '2026-03-10'"
        )
        con.execute(
            "CREATE TABLE lake.samples.test_user_days AS"
            " SELECT user_id || ':2026-03-11' AS instance_id, user_id,"
            " DATE '2026-03-11' AS session_date,"
            " TIMESTAMPTZ '2026-03-11 00:00:00+00' AS session_start_at, age_band, gender, region,"
            " list_transform(behaviors, lambda b: struct_update(b, days_ago := b.days_ago + 1))"
            " AS behaviors, [labels[2]] AS true_queries, is_replayed"
            " FROM lake.samples.samples_direct WHERE session_date = DATE '2026-03-10'"
        )
        con.execute(
            "CREATE VIEW lake.eval.test_instances AS SELECT instance_id, user_id, session_date,"
            " 1 AS behaviors, false AS has_unseen_item, is_replayed"
            " FROM lake.samples.test_user_days"
        )
        con.execute(
            "CREATE VIEW lake.eval.test_true_queries AS SELECT instance_id,"
            " unnest(true_queries) AS query_text, true AS is_searched, false AS is_hint_click,"
            " false AS is_novel, 'head' AS band FROM lake.samples.test_user_days"
        )
        con.execute(
            "CREATE TABLE lake.items.query_categories AS SELECT 'gift card' AS query_text,"
            " 'c1' AS leaf_category_id, 'clicks' AS source"
        )
        con.execute("CREATE VIEW lake.eval.lists AS SELECT * FROM lake.eval.generated_lists")

    warehouse.write(home, fill)
    trained = models.resolve(home, "direct")
    build = home.models / "build-policy"
    shutil.copytree(trained.path, build)
    manifest = {k: v for k, v in trained.manifest.items() if k not in ("name", "version")}
    models.publish(home, POLICY, "0", build, manifest | {"job": "train grpo"})
    return home


@pytest.mark.torch
@pytest.mark.e2e
@pytest.mark.slow
def test_all_steps_as_they_are(whole_shop, rows_of):
    gate = "--instances 12 --lists 1 --least-instances 12 --most-malformed 1 --most-fall 1"
    tiny = "--steps 1 --prompts 2 --rollouts 2 --learning-rate 1e-7 --heldout-share 0"
    lenient = "--max-malformed 1 --max-truncated 1 --max-flat 1"
    once = [*gate.split(), "--engine", "transformers", "--", *tiny.split(), *lenient.split()]
    assert "2026-03-10: promoted" in train_day(*once)
    policy = models.resolve(whole_shop, POLICY).manifest
    assert policy["train_end_at"] == "2026-03-11T00:00:00+00:00"
    assert policy["base_model"] == f"{POLICY}@0"
    assert policy["metrics"]["samples_read"] == 50, "those of day 10, which trains nothing else"
    (ctr,) = models.versions(whole_shop, "ctr")[1:]
    assert policy["ctr_model"] == ctr.reference
    assert ctr.manifest["days_seen"] == ["2026-03-09", "2026-03-10"]
    assert policy["gate"]["figures"]["query_hr@10"]["instances"] == 12
    drawn = rows_of(whole_shop, "SELECT model, count(*) AS n FROM eval.list_draws GROUP BY ALL")
    assert {row["model"]: row["n"] for row in drawn} == {POLICY: 12, f"{POLICY}-candidate": 12}
    jobs_run = rows_of(whole_shop, "SELECT job, status FROM meta.runs ORDER BY started_at")
    ours = [row["job"] for row in jobs_run if row["job"] not in ("train base", "train sft")]
    assert ours == [
        "train day",
        "train ctr",
        "train grpo",
        "generate lists",
        "generate lists",
        "evaluate",
    ]
    assert {row["status"] for row in jobs_run} == {"succeeded"}
    assert "nothing to do" in train_day(*once)
    # What was trained on day 10 is not measured there.
    with_day_10 = (
        "INSERT INTO lake.samples.test_user_days SELECT * REPLACE ("
        "session_date - 1 AS session_date, session_start_at - INTERVAL 1 DAY AS session_start_at)"
        " FROM lake.samples.test_user_days"
    )
    warehouse.write(whole_shop, lambda con: con.execute(with_day_10))
    leaking = ["evaluate", "--model", POLICY, "--days", "2026-03-10..2026-03-11"]
    refused = CliRunner().invoke(main, leaking)
    assert refused.exit_code == 1
    assert "was trained on days until 2026-03-11T00:00:00+00:00" in refused.output
