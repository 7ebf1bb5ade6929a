"""``aigq generate candidates | alignments | rationales``: what teachers add to the Think labels.

    dbt build
    aigq generate candidates                 # then dbt build: they become labels (AIGQ eq. 4)
    aigq generate alignments                 # then dbt build: what does not fit is dropped
    aigq generate rationales                 # interest points behind the labels (AIGQ eq. 7)

    aigq generate rationales --teacher vllm --model /models/Qwen3-8B
    aigq generate rationales --teacher http://gpu-box:8000 --sessions 5000

Sessions are the training split's of samples_think, with the context that it has: strictly before
the session. Each is asked about once: think.teacher_inputs keeps, per task and session, a key of
what was asked (behaviours, candidates or labels), the teacher and its version, and while these are
the same the session is done, whatever came out. Another teacher's answers replace the rows. Answers
are committed in chunks, so that a killed job goes on where it stopped; a session without a valid
answer is counted in the run's metrics and left for a later run. A session without any behaviour,
in which there is nothing to reason from, is done without rows.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import click
import pyarrow as pa
from tqdm import tqdm

from aigq import jobs, warehouse
from aigq.as_of import as_of_option
from aigq.settings import Home, UserError
from aigq.tables import JOB_TABLES, columns
from inference.teacher import Answer, Session, Teacher
from inference.teacher.tasks import ALIGNMENTS, CANDIDATES, RATIONALES, Task

_TYPES = {"INTEGER": pa.int32(), "INTEGER[]": pa.list_(pa.int32()), "BOOLEAN": pa.bool_()}
_TYPES |= {"VARCHAR": pa.string(), "VARCHAR[]": pa.list_(pa.string())}

# What is judged or explained, and what else the task knows of the session.
_QUERIES = {
    CANDIDATES: ("[]::VARCHAR[]", "[]::VARCHAR[]"),
    ALIGNMENTS: ("coalesce(candidates.queries, [])", "coalesce(candidates.acts, [])"),
    RATIONALES: ("samples.labels", "[]::VARCHAR[]"),
}
_SESSIONS = """
CREATE TEMP TABLE sessions AS
WITH queries AS (
    SELECT session_id, query_text, bool_or(tier IN ('click', 'search')) AS is_act
    FROM lake.labels.label_candidates
    WHERE variant = 'think' AND $is_judged
    GROUP BY session_id, query_text
),

-- By text: the question must not tell how reliable a candidate is.
candidates AS (
    SELECT
        session_id,
        list_sort(coalesce(list(query_text) FILTER (NOT is_act), [])) AS queries,
        list_sort(coalesce(list(query_text) FILTER (is_act), [])) AS acts
    FROM queries
    GROUP BY session_id
),

inputs AS (
    SELECT
        samples.session_id,
        samples.age_band,
        samples.gender,
        samples.region,
        samples.behaviors,
        {queries} AS queries,
        {acts} AS acts
    FROM lake.samples.samples_think AS samples
    LEFT JOIN candidates USING (session_id)
    WHERE samples.split = 'train'
    ORDER BY md5(samples.session_id), samples.session_id
    LIMIT $limit
)

SELECT
    *,
    -- Of contents their keys: an item described anew is no other question.
    md5(to_json([
        to_json([age_band, gender, region]),
        to_json(list_transform(behaviors, lambda b: [
            b.days_ago::VARCHAR, b.action, b.content_key
        ])),
        to_json(queries),
        to_json(acts)
    ])::VARCHAR) AS input_key
FROM inputs
"""
_PENDING = """
CREATE TEMP TABLE pending AS
SELECT sessions.*
FROM sessions
ANTI JOIN done USING (session_id, input_key)
"""
_DONE = """
SELECT session_id, input_key FROM lake.think.teacher_inputs
WHERE task = $task AND teacher = $teacher AND prompt_version = $version
"""


def _options(command: Callable) -> Callable:
    options = [
        click.option(
            "--teacher",
            default="rules",
            show_default=True,
            metavar="TEACHER",
            help="rules, vllm, or the http:// address of an OpenAI-compatible server, whose key is"
            " read from OPENAI_API_KEY.",
        ),
        click.option(
            "--model",
            metavar="NAME|PATH",
            help="With vllm: a published model or a checkpoint's folder.",
        ),
        click.option(
            "--teacher-model",
            metavar="NAME",
            help="With a server: its name for the model. [default: the only one it serves]",
        ),
        click.option(
            "--api",
            type=click.Choice(["chat", "completions"]),
            default="chat",
            show_default=True,
            help="With a server: which API to ask.",
        ),
        click.option(
            "--sessions",
            type=click.IntRange(min=1),
            help="At most so many training sessions, the first by md5 of their id: the same for"
            " every task. [default: all]",
        ),
        as_of_option,
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command("candidates")
@_options
def candidates(**options: Any) -> None:
    """Propose queries for each Think session (the label tier `llm`)."""
    _run("generate candidates", CANDIDATES, **options)


@click.command("alignments")
@_options
def alignments(**options: Any) -> None:
    """Judge each Think session's label candidates: keep or drop, and why."""
    _run("generate alignments", ALIGNMENTS, **options)


@click.command("rationales")
@_options
def rationales(**options: Any) -> None:
    """Explain each Think session's labels: interest points with triggers and a rationale."""
    _run("generate rationales", RATIONALES, **options)


def _run(
    name: str,
    task: Task,
    *,
    teacher: str,
    model: str | None,
    teacher_model: str | None,
    api: str,
    sessions: int | None,
    as_of: str | None,
) -> None:
    home = Home.from_environment()
    is_server = teacher.startswith(("http://", "https://"))
    if not is_server and teacher not in ("rules", "vllm"):
        raise click.UsageError(
            f"--teacher: {teacher!r} is none of rules, vllm, or the http:// address of a server"
        )
    if (teacher == "vllm") != (model is not None):
        raise click.UsageError("--model goes with --teacher vllm, which needs it")
    if teacher_model is not None and not is_server:
        raise click.UsageError("--teacher-model goes with the http:// address of a server")
    parameters = {
        "teacher": teacher,
        "teacher_model": model or teacher_model,
        "prompt_version": task.prompt_version,
        "sessions": sessions,
    }
    with jobs.job(home, name, parameters, as_of=as_of) as run:
        asked = _teacher(home, teacher, model, teacher_model, api)
        try:
            generate(run, task, asked, limit=sessions)
        finally:
            asked.close()


def _teacher(
    home: Home, teacher: str, model: str | None, teacher_model: str | None, api: str
) -> Teacher:
    if teacher == "rules":
        from inference.teacher.rules import RulesTeacher

        return RulesTeacher()
    from inference.teacher.llm import LlmTeacher

    if teacher == "vllm":
        from inference.teacher.local import VllmBackend

        return LlmTeacher(VllmBackend(home, model))
    from inference.teacher.server import ServerBackend

    return LlmTeacher(ServerBackend(teacher, teacher_model, api))


def generate(run: jobs.Run, task: Task, teacher: Teacher, *, limit: int | None = None) -> None:
    """Ask ``teacher`` about the sessions that are not done; write what it answers."""
    con = warehouse.connect(run.home, read_only=True, snapshot=run.snapshot_read)
    rows_written = 0
    failed: Counter[str] = Counter()
    try:
        total, pending = _find_pending(con, run.home, task, teacher, limit)
        if pending:
            teacher.start(task, con)
        with tqdm(total=total, initial=total - pending, unit=" sessions", desc=task.name) as bar:
            for chunk in _chunks(con, teacher.chunk):
                asked = [session for session in chunk if task.is_asked(session)]
                answers = dict(zip(asked, teacher.answer(task, asked), strict=True))
                done = [(s, answers.get(s, Answer([]))) for s in chunk]
                failed.update(answer.error for _, answer in done if answer.error)
                inputs, rows = _tables(run, task, teacher, done)
                rows_written += warehouse.write(
                    run.home,
                    lambda lake, inputs=inputs, rows=rows: _insert(lake, task, inputs, rows),
                )
                bar.update(len(chunk))
    finally:
        con.close()
    run.metrics |= teacher.metrics() | {
        "teacher": teacher.name,
        "version": teacher.version(task),
        "sessions": total,
        "sessions_done_before": total - pending,
        "sessions_answered": pending - failed.total(),
        "sessions_failed": failed.total(),
        "failed": dict(sorted(failed.items())),
    }
    run.read("lake.samples.samples_think: training sessions", total)
    run.wrote(f"lake.think.{task.name}", rows_written)
    classes = ", ".join(f"{count} {error}" for error, count in sorted(failed.items()))
    run.summary.append(
        f"  {pending - failed.total():,} sessions answered by {teacher.name},"
        f" {failed.total():,} failed{': ' + classes if classes else ''};"
        f" {total - pending:,} were done before"
    )


def _find_pending(
    con, home: Home, task: Task, teacher: Teacher, limit: int | None
) -> tuple[int, int]:
    """Make the temporary table ``pending``; returns how many sessions there are and are pending."""
    for table in ("samples.samples_think", "labels.label_candidates", "behavior.co_searches"):
        if not warehouse.table_exists(con, table):
            raise UserError(f"the lake has no {table}: run `dbt build` first")
    queries, acts = _QUERIES[task]
    con.execute(
        _SESSIONS.format(queries=queries, acts=acts),
        {"is_judged": task == ALIGNMENTS, "limit": limit},
    )
    # As they are now, whatever past state the sessions are read at.
    now = warehouse.connect(home, read_only=True)
    try:
        done = now.execute(
            _DONE,
            {"task": task.name, "teacher": teacher.name, "version": teacher.version(task)},
        )
        con.register("done", done.to_arrow_table())
    finally:
        now.close()
    con.execute(_PENDING)
    (total,) = con.execute("SELECT count(*) FROM sessions").fetchone()
    (pending,) = con.execute("SELECT count(*) FROM pending").fetchone()
    if not total:
        raise UserError(
            "samples.samples_think has no row with split 'train': there is no session to ask about"
        )
    return total, pending


def _chunks(con, size: int) -> Iterator[list[Session]]:
    cursor = con.execute("SELECT * FROM pending ORDER BY md5(session_id), session_id")
    names = [column[0] for column in cursor.description]
    for chunk in iter(lambda: cursor.fetchmany(size), []):
        yield [Session.from_row(dict(zip(names, row, strict=True))) for row in chunk]


def _tables(
    run: jobs.Run, task: Task, teacher: Teacher, done: list[tuple[Session, Answer]]
) -> tuple[pa.Table, pa.Table]:
    """Rows of think.teacher_inputs and of the task's table; none of a session that failed."""
    inputs = [
        {
            "task": task.name,
            "session_id": session.session_id,
            "input_key": session.input_key,
            "teacher": teacher.name,
            "prompt_version": teacher.version(task),
            "run_id": run.run_id,
        }
        for session, answer in done
        if answer.rows is not None
    ]
    answers = [
        {"session_id": session.session_id, **row, "run_id": run.run_id}
        for session, answer in done
        if answer.rows is not None
        for row in [*answer.rows, *task.known(session)]
    ]
    return _table("think.teacher_inputs", inputs), _table(f"think.{task.name}", answers)


def _table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    schema = pa.schema([(n, _TYPES[t]) for n, t in columns(JOB_TABLES[name]).items()])
    return pa.Table.from_pylist(rows, schema)


def _insert(con, task: Task, inputs: pa.Table, rows: pa.Table) -> int:
    """Replace what these sessions had, but not with what another run wrote meanwhile."""
    con.register("new_inputs", inputs)
    con.register("new_rows", rows)
    con.execute(
        """
        CREATE TEMP TABLE fresh AS
        SELECT * FROM new_inputs
        ANTI JOIN lake.think.teacher_inputs
            USING (task, session_id, input_key, teacher, prompt_version)
        """
    )
    of_fresh = "session_id IN (SELECT session_id FROM fresh)"
    con.execute(f"DELETE FROM lake.think.{task.name} WHERE {of_fresh}")
    con.execute(f"DELETE FROM lake.think.teacher_inputs WHERE task = ? AND {of_fresh}", [task.name])
    con.execute("INSERT INTO lake.think.teacher_inputs BY NAME SELECT * FROM fresh")
    return con.execute(
        f"INSERT INTO lake.think.{task.name} BY NAME SELECT * FROM new_rows WHERE {of_fresh}"
    ).fetchone()[0]
