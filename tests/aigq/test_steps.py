"""Long sequences of commands: where they may run, and what is left out."""

import pytest

from aigq import warehouse
from aigq.settings import Home, UserError
from aigq.steps import Job, run_jobs, run_steps


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def test_commands_run_in_order_and_a_failing_one_is_the_last(home, capfd):
    steps = [("One", [["python", "-c", "print(1)"]]), ("Two", lambda: [["python", "-c", "1/0"]])]
    with pytest.raises(UserError, match=r"stopped: `python -c 1/0` ended with code 1"):
        run_steps(home, "demo", [*steps, ("Three", [["python", "-c", "print(3)"]])])
    out = capfd.readouterr().out
    assert "== 1. One" in out and "== 2. Two" in out and "Three" not in out


def test_a_real_shop_is_not_written_to(home):
    warehouse.ensure_lake(home)
    run_steps(Home(home.root), "demo", [])  # an empty lake is nobody's
    other = Home(home.root / "other")
    warehouse.ensure_lake(other)
    insert = "INSERT INTO lake.raw.users (user_id) VALUES ('u1')"
    warehouse.write(other, lambda con: con.execute(insert))
    with pytest.raises(UserError, match=r"holds a shop that is not the demo's"):
        run_steps(other, "demo", [])


def python(code: str) -> list[list[str]]:
    return [["python", "-c", code]]


def meet(folder, me: str, other: str) -> list[list[str]]:
    """Ends well only where the other runs at the same time."""
    return python(
        f"import pathlib, time; folder = pathlib.Path({str(folder)!r})\n"
        f"(folder / {me!r}).touch(); end = time.monotonic() + 60\n"
        f"while not (folder / {other!r}).exists():\n"
        "    assert time.monotonic() < end; time.sleep(.01)"
    )


def test_jobs_run_side_by_side_but_after_what_they_need(home, tmp_path, capfd):
    made = tmp_path / "made"
    jobs = [
        Job("last", python(f"open({str(made)!r})"), after=("one", "other")),
        Job("one", meet(tmp_path, "1", "2")),
        Job("other", lambda: [*meet(tmp_path, "2", "1"), *python(f"open({str(made)!r}, 'w')")]),
    ]
    run_jobs(home, "ladder", jobs, lanes=2)
    out = capfd.readouterr().out
    assert out.index("one starts") < out.index("other starts") < out.index("last starts")
    assert "Done in" in out
    log = (home.reports / "ladder" / "other.log").read_text()
    assert log.count("$ python -c") == 2


def test_no_more_jobs_run_at_once_than_there_are_lanes(home, tmp_path):
    alone = f"import os, time; os.mkdir({str(tmp_path / 'busy')!r}); time.sleep(.2)"
    alone += f"; os.rmdir({str(tmp_path / 'busy')!r})"
    run_jobs(home, "ladder", [Job(str(n), python(alone)) for n in range(3)], lanes=1)


def test_a_failing_job_is_named_with_its_last_words_and_starts_no_other(home, capfd):
    failing = python("import sys; print('so far so good'); sys.exit('no such thing')")
    jobs = [Job("bad", failing), Job("next", python("1"), after=("bad",)), Job("free", python("1"))]
    with pytest.raises(UserError) as caught:
        run_jobs(home, "ladder", jobs, lanes=1)
    assert "no such thing" in caught.value.message and "ended with code 1" in caught.value.message
    assert str(home.reports / "ladder" / "bad.log") in caught.value.message
    out = capfd.readouterr().out
    assert "bad failed" in out and "next" not in out and "free" not in out


def test_two_made_up_shops_are_not_mixed(home):
    run_jobs(home, "ladder", [], lanes=1)
    run_jobs(home, "ladder", [], lanes=1, log=None)
    with pytest.raises(UserError, match=r"another log \(default, not low_loyalty\); run AIGQ_HOME"):
        run_jobs(home, "ladder", [], lanes=1, log="low_loyalty")
    (home.root / ".ladder").write_text("")  # as older versions left it
    run_jobs(home, "ladder", [], lanes=1)
    with pytest.raises(UserError, match=r"holds no study to go on with"):
        run_jobs(home, "study", [], lanes=1, log=None)
