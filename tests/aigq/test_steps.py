"""Long sequences of commands: where they may run, and what is left out."""

import signal
import subprocess
import sys
import time

import pytest

from aigq import warehouse
from aigq.settings import PROJECT_ROOT, Home, UserError
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


def test_a_failing_job_is_named_with_its_last_words_and_starts_no_other(home, capfd, monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    bars = "for n in range(99): print(n, end='\\r')"
    failing = python(f"import sys\n{bars}\nprint('so far'); sys.exit('no such thing')")
    jobs = [Job("bad", failing), Job("next", python("1"), after=("bad",)), Job("free", python("1"))]
    with pytest.raises(UserError) as caught:
        run_jobs(home, "ladder", jobs, lanes=1)
    message = caught.value.message
    assert message.startswith("bad: $ python") and "98" not in message, "a bar's last state at most"
    assert "so far\nno such thing\n" in message and "ended with code 1" in message
    assert str(home.reports / "ladder" / "bad.log") in message
    out = capfd.readouterr().out
    assert "bad failed" in out and "next" not in out and "free" not in out


def test_what_runs_beside_a_failing_job_comes_to_its_end_and_the_first_failure_comes_first(
    home, tmp_path, capfd
):
    wait_for = "import pathlib, sys, time\nwhile not pathlib.Path({!r}).exists(): time.sleep(.01)\n"
    failed = tmp_path / "failed"
    jobs = [
        Job("cause", python(f"open({str(failed)!r}, 'w'); raise SystemExit('the cause')")),
        Job("victim", python(wait_for.format(str(failed)) + "time.sleep(.5); sys.exit('victim')")),
    ]
    with pytest.raises(UserError) as caught:
        run_jobs(home, "ladder", jobs, lanes=2)
    message = caught.value.message
    assert message.index("the cause") < message.index("victim: $ python")
    assert "victim failed" in capfd.readouterr().out


def test_an_error_that_is_nobody_s_fault_names_its_job(home, capfd):
    def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        run_jobs(home, "ladder", [Job("bad", broken)], lanes=1)
    assert caught.value.__notes__ == ["in the job bad"]
    assert "bad failed" in capfd.readouterr().out


def test_jobs_share_the_cores_and_know_their_home(home, tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    out = tmp_path / "out"
    of_env = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['AIGQ_HOME'],"
    jobs = [Job("job", python(f"{of_env} file=open({str(out)!r}, 'w'))"))]
    run_jobs(home, "ladder", jobs, lanes=2)
    assert out.read_text().split() == ["3", str(home.root)]


def test_logs_of_what_is_done_stay(home):
    run_jobs(home, "ladder", [Job("job", python("print('trained')"))], lanes=1)
    run_jobs(home, "ladder", [Job("job", list)], lanes=1)
    run_jobs(home, "ladder", [Job("job", python("print('studied')"))], lanes=1, logs="study")
    assert "trained" in (home.reports / "ladder" / "job.log").read_text()
    assert "studied" in (home.reports / "study" / "job.log").read_text()


def test_one_at_a_time_in_a_home(home):
    again = Job("job", lambda: run_jobs(home, "ladder", [], lanes=1) or [])
    with pytest.raises(UserError, match=f"others are at work on the ladder in {home.root}"):
        run_jobs(home, "ladder", [again], lanes=1)
    run_jobs(home, "ladder", [], lanes=1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_what_runs_and_starts_nothing_more(home, tmp_path, number):
    """Sent to the parent alone, as a supervisor does."""
    started, later = tmp_path / "started", tmp_path / "later"
    first = python(f"import time; open({str(started)!r}, 'w'); time.sleep(60)")
    jobs = f"[Job('job', {[*first, *python(f'open({str(later)!r}, chr(119))')]!r})]"
    script = (
        "from pathlib import Path; from aigq.settings import Home\n"
        "from aigq.steps import Job, run_jobs\n"
        f"run_jobs(Home(Path({str(home.root)!r})), 'ladder', {jobs}, lanes=1)"
    )
    # A shell starts what it runs in the background with SIGINT ignored, tests included.
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=PROJECT_ROOT,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    try:
        while not started.exists():
            assert parent.poll() is None
            time.sleep(0.05)
        parent.send_signal(number)
        assert parent.wait(30) != 0
    finally:
        parent.kill()
    assert not later.exists()


def test_two_made_up_shops_are_not_mixed(home):
    run_jobs(home, "ladder", [], lanes=1)
    run_jobs(home, "ladder", [], lanes=1, log=None)
    with pytest.raises(UserError, match=r"another log \(default, not low_loyalty\); run AIGQ_HOME"):
        run_jobs(home, "ladder", [], lanes=1, log="low_loyalty")
    (home.root / ".ladder").write_text("")  # as older versions left it
    run_jobs(home, "ladder", [], lanes=1)
    with pytest.raises(UserError, match=r"holds no study to go on with"):
        run_jobs(home, "study", [], lanes=1, log=None)
