"""What teachers are asked about, and where their answers go: all of it in the lake.

``think.teacher_inputs`` holds, per task and session, from what and by whom its rows were made.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from aigq import warehouse
from aigq.days import Days
from aigq.jobs import Run
from aigq.settings import Home, UserError
from aigq.tables import JOB_TABLES, columns
from aigq.think import BEHAVIORS_KEY
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
    WHERE {chosen}
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
    ])::VARCHAR) AS input_key,
    {behaviors_key} AS behaviors_key
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


def find_pending(
    con, home: Home, task: Task, teacher: Teacher, limit: int | None, days: Days
) -> tuple[int, int]:
    """Make the temporary table ``pending``; returns how many sessions there are and are pending.

    Of the training split, or of ``days`` where they are not every day. Raises :class:`UserError`
    where there is no such session, or no table to look in.
    """
    for table in ("samples.samples_think", "labels.label_candidates", "behavior.co_searches"):
        if not warehouse.table_exists(con, table):
            raise UserError(f"the lake has no {table}: run `dbt build` first")
    queries, acts = _QUERIES[task]
    con.execute(
        _SESSIONS.format(
            queries=queries,
            acts=acts,
            behaviors_key=BEHAVIORS_KEY,
            chosen=days.to_train_on,
        ),
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
            f"samples.samples_think has no row {days.named}: there is no session to ask about"
        )
    return total, pending


def chunks(con, size: int) -> Iterator[list[Session]]:
    """The pending sessions, ``size`` at a time, in the order in which ``--sessions`` counts."""
    cursor = con.execute("SELECT * FROM pending ORDER BY md5(session_id), session_id")
    names = [column[0] for column in cursor.description]
    for chunk in iter(lambda: cursor.fetchmany(size), []):
        yield [Session.from_row(dict(zip(names, row, strict=True))) for row in chunk]


def tables(
    run: Run, task: Task, teacher: Teacher, done: list[tuple[Session, Answer]]
) -> tuple[pa.Table, pa.Table]:
    """Rows of think.teacher_inputs and of the task's table; none of a session that failed."""
    inputs = [
        {
            "task": task.name,
            "session_id": session.session_id,
            "input_key": session.input_key,
            "behaviors_key": session.behaviors_key,
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


def insert(con, task: Task, inputs: pa.Table, rows: pa.Table) -> int:
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
