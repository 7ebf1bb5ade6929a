"""Long sequences of commands: where they may run, and what is left out."""

import pytest

from aigq import warehouse
from aigq.settings import Home, UserError
from aigq.steps import run_steps


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


def test_two_made_up_shops_are_not_mixed(home):
    run_steps(home, "ladder", [])
    run_steps(home, "ladder", [], log="default")
    with pytest.raises(UserError, match=r"another log \(default, not low_loyalty\); run AIGQ_HOME"):
        run_steps(home, "ladder", [], log="low_loyalty")
    (home.root / ".ladder").write_text("")  # as older versions left it
    run_steps(home, "ladder", [])
