"""Fixtures that tests of several parts share."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import settings

from aigq import features, warehouse
from aigq.settings import PROJECT_ROOT, Home

# No test is timed: the first example may be the one that loads a library, on a busy machine.
settings.register_profile("aigq", deadline=None)
settings.load_profile("aigq")

# Test modules cannot import this file (importmode=importlib): the helpers come as fixtures.


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What shares a shop stays in one of the processes that tests may be spread over (``-n 2 --dist
    loadgroup --no-loadscope-reorder``), and what takes longest begins."""
    shared = {item.path for item in items if "served_shop" in item.fixturenames}
    for item in items:
        group = "served" if item.path in shared else str(item.path)
        if item.path.parent.name == "dbt_project":
            group = "dbt_project"
        item.add_marker(pytest.mark.xdist_group(group))
    long = ["dbt_project", "served"]
    groups = {item: item.get_closest_marker("xdist_group").args[0] for item in items}
    items.sort(key=lambda item: (groups[item] not in long, groups[item] == "served"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty data home with a lake, which ``AIGQ_HOME`` points at."""
    monkeypatch.setenv("AIGQ_HOME", str(tmp_path))
    return _make_home(tmp_path)


@pytest.fixture(scope="session")
def make_home() -> Callable[[Path], Home]:
    """``make_home(path)``: a data home with an empty lake."""
    return _make_home


@pytest.fixture(scope="session")
def insert_raw() -> Callable[..., None]:
    """``insert_raw(home, events=[{...}], ...)``: rows into ``lake.raw`` as ingest would put them;
    missing columns become null. ``schema="think"`` and so on: into a table that jobs write."""
    return _insert_raw


@pytest.fixture(scope="session")
def byte_level_tokenizer() -> Callable[..., Any]:
    """``byte_level_tokenizer(texts, vocab_size, special_tokens)``: a BPE tokenizer of these texts,
    ended by ``<eos>``."""

    def make(texts, vocab_size: int, special_tokens: list[str], pad_token: str = "<eos>"):
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
        from transformers import PreTrainedTokenizerFast

        core = Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=special_tokens,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        core.train_from_iterator(texts * 3, trainer)
        return PreTrainedTokenizerFast(
            tokenizer_object=core, eos_token="<eos>", pad_token=pad_token
        )

    return make


@pytest.fixture(scope="session")
def run_dbt() -> Callable[..., subprocess.CompletedProcess]:
    """``run_dbt(home, "build", "-s", ...)``: dbt from the checkout's root, as a user runs it.

    A process of its own, since dbt keeps its connections open. ``variables={...}`` becomes
    ``--vars``; fails the test where dbt fails, unless ``check=False``. ``project``: the folder of
    another dbt project than the checkout's.
    """
    return _run_dbt


@pytest.fixture(scope="session")
def start_dbt() -> Callable[..., subprocess.Popen]:
    """``start_dbt(home, "build", start_new_session=True)``: the same, but not waited for; other
    keywords are those of ``Popen``."""
    return _start_dbt


@pytest.fixture(scope="session")
def rows_of() -> Callable[[Home, str], list[dict[str, Any]]]:
    """``rows_of(home, query)``: the rows of a query over the lake, read-only."""
    return _rows_of


@pytest.fixture(scope="session")
def run_feast() -> Callable[..., subprocess.CompletedProcess]:
    """``run_feast(home, "apply")``: feast from the checkout's root, as a user runs it."""
    return _run_feast


@pytest.fixture(scope="session")
def served_shop(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A shop of six users, built by dbt, applied and materialised by Feast; not to be changed.

    Time zone Asia/Tokyo (UTC+9); the newest event is u1's, 2026-03-06 09:00 UTC. u5 only has a
    profile, u6 only behaviours. Think has read u1's last day.
    """
    home = _make_home(tmp_path_factory.mktemp("served"))
    profiles = [("u1", "25-34", "f", "north"), ("u2", None, None, None), ("u3", "45-54", "m", None)]
    profiles += [("u4", "25-34", None, "south"), ("u5", "35-44", "f", "north")]
    events = []
    for user in ("u1", "u2", "u3", "u4", "u6"):
        for day in range(1, 7):
            text = ["red shoes", "blue lamp", f"scarf {user}"][day % 3]
            time = f"2026-03-{day:02} {'09' if user == 'u1' else '08'}:00:00+00"
            events.append((f"{user}-{day}", user, time, "search", text, None))
            events.append((f"{user}-{day}-c", user, time, "item_click", None, f"i{day % 2}"))
    _insert_raw(
        home,
        users=[
            dict(zip(("user_id", "age_band", "gender", "region"), p, strict=True)) for p in profiles
        ],
        items=[
            {
                "item_id": f"i{i}",
                "title": f"{name} 2000",
                "leaf_category_id": f"c{i}",
                "leaf_category": name,
                "category_path": f"all > {name}",
                "price": 9.5,
            }
            for i, name in enumerate(("Kettle", "Chair"))
        ],
        events=[
            {
                "event_id": e,
                "user_id": u,
                "occurred_at": datetime.fromisoformat(t),
                "action": a,
                "query_text": q,
                "item_id": i,
            }
            for e, u, t, a, q, i in events
        ],
    )
    point = {"run_id": "20260306T090000-x2q", "session_id": "u1:2026-03-06"}
    scores = [("item:i0", "tea pot", 0.5), ("item:i0", "red shoes", 0.25)]
    scores.append(("query:red shoes", "scarf", 1.0))
    _insert_raw(
        home,
        "serving",
        x2q_triples=[
            point
            | {
                "point_index": 0,
                "triggers": ["item:i0", "query:red shoes"],
                "rationale": "Tea is made in a kettle.",
                "queries": ["red shoes", "tea pot", "scarf"],
                "model_version": "think-1",
            }
        ],
        x2q_scores=[
            {"trigger": t, "query_text": q, "relevance": r, "run_id": point["run_id"]}
            for t, q, r in scores
        ],
    )
    _run_dbt(home, "run", variables={"shop_timezone": "Asia/Tokyo", "train_days": 4})
    _run_feast(home, "apply")
    _run_feast(home, "materialize", "2000-01-01T00:00:00", "2026-04-01T00:00:00")
    return home


def _make_home(path: Path) -> Home:
    home = Home(path)
    warehouse.ensure_lake(home)
    return home


def _insert_raw(home: Home, schema: str = "raw", **tables: Iterable[Mapping[str, Any]]) -> None:
    def insert(con) -> None:
        for table, rows in tables.items():
            rows = list(rows)
            if rows:
                con.register("new_rows", pa.Table.from_pylist(rows))
                con.execute(f"INSERT INTO lake.{schema}.{table} BY NAME SELECT * FROM new_rows")
                con.unregister("new_rows")

    warehouse.write(home, insert)


class _Doors:
    """Names that a home has while dbt works on it. dbt parses the project anew wherever
    ``AIGQ_HOME`` is another than before, which takes most of a short run: behind one name, homes
    share what it parsed with the same variables. A name is taken until the process is over."""

    def __init__(self):
        self._folder = Path(tempfile.mkdtemp(prefix="aigq-dbt-"))
        atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        self._taken: list[subprocess.Popen] = []

    def start(self, home: Home, command: list[str], variables: str, **options: Any):
        over = (n for n, process in enumerate(self._taken) if process.poll() is not None)
        number = next(over, len(self._taken))
        door = self._folder / str(number)
        door.unlink(missing_ok=True)
        door.symlink_to(home.root.absolute())
        options["env"] |= {"AIGQ_HOME": str(door)}
        known = self._folder / f"{number}-{sha256(variables.encode()).hexdigest()}.msgpack"
        parsed = home.root / "target" / "partial_parse.msgpack"
        parsed.parent.mkdir(parents=True, exist_ok=True)
        if known.exists():
            shutil.copyfile(known, parsed)
        else:
            parsed.unlink(missing_ok=True)
        process = subprocess.Popen(command, **options)
        self._taken[number : number + 1] = [process]
        return process, parsed, known


_DOORS = _Doors()


def _start_dbt(home: Home, *arguments: str, **options: Any) -> subprocess.Popen:
    return _begin_dbt(home, *arguments, **options)[0]


def _begin_dbt(
    home: Home,
    *arguments: str,
    variables: Mapping[str, Any] | None = None,
    project: Path = PROJECT_ROOT,
    **options: Any,
) -> tuple[subprocess.Popen, Path, Path]:
    if variables:
        arguments = (*arguments, "--vars", json.dumps(variables))
    environment = {
        # For the plugin, wherever the project is.
        "PYTHONPATH": f"{PROJECT_ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "DBT_TARGET_PATH": str(home.root / "target"),
        "DBT_LOG_PATH": str(home.root / "logs"),
        "DBT_LOG_LEVEL_FILE": "none",
        "DBT_USE_COLORS": "false",
    }
    return _DOORS.start(
        home,
        [sys.executable, "-m", "dbt.cli.main", *arguments],
        f"{project} {json.dumps(variables, default=str)}",
        cwd=project,
        env=os.environ | environment,
        **options,
    )


def _run_dbt(
    home: Home, *arguments: str, check: bool = True, **options: Any
) -> subprocess.CompletedProcess:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process, parsed, known = _begin_dbt(home, *arguments, **options, **pipes)
    with process:
        out, err = process.communicate()
    # dbt wrote it for the name that the home had meanwhile.
    features.config_path(home)
    if process.returncode == 0 and parsed.exists() and not known.exists():
        shutil.copyfile(parsed, known)
    if check and process.returncode != 0:
        raise AssertionError(f"dbt {' '.join(arguments)} failed:\n{out}{err}")
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _run_feast(home: Home, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    _, *options = features.feast_command(home)
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "feast.cli.cli", *options, *arguments],
        cwd=PROJECT_ROOT,
        env=os.environ | {"AIGQ_HOME": str(home.root)},
        capture_output=True,
        text=True,
    )
    if check and result.returncode != 0:
        raise AssertionError(f"feast {' '.join(arguments)} failed:\n{result.stderr}")
    return result


def _rows_of(home: Home, query: str) -> list[dict[str, Any]]:
    con = warehouse.connect(home, read_only=True)
    try:
        return con.sql(query).to_arrow_table().to_pylist()
    finally:
        con.close()
