"""Every command of README.md is run, as written, on the small shop the README makes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHELL = ["bash", "-euo", "pipefail", "-c"]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def run(script: str, interpreter: list[str], home: Path) -> str:
    """Run ``script`` with the README's data home moved to ``home``; returns what it printed."""
    script = script.replace("data/small", str(home))
    environment = {k: v for k, v in os.environ.items() if k != "AIGQ_HOME"}
    environment |= {
        "AIGQ_HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        [*interpreter, script], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.e2e
@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_command_of_the_readme_runs(tmp_path):
    home = tmp_path / "small"
    printed = run(blocks("bash")[0], SHELL, home)
    assert "Query HR@10" in printed, "the evaluation's tables are the loop's last word but one"
    assert re.search(r"succeeded.*train-sft", printed), "aigq runs lists the training"
    for block in blocks("bash")[1:]:
        assert run(block, SHELL, home).strip()
    (attach,) = blocks("python")
    assert "query_text" in run(attach, [sys.executable, "-c"], home)


def test_the_readme_names_both_commands_and_no_placeholder():
    assert "make demo" in README and "make test" in README
    assert not re.search(r"@@|TODO|TBD|<[A-Z_]+>", README)


PAGES = [ROOT / "README.md", ROOT / "training" / "LOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
    """To a file, and to a heading of it where it names one (as GitHub makes names of headings)."""
    for target, heading in re.findall(
        r"\]\((?!http)([^)#]*)#?([^)]*)\)", path.read_text(encoding="utf-8")
    ):
        there = path.parent / target if target else path
        assert there.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            names = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
            assert heading in names, f"{target}#{heading}"
