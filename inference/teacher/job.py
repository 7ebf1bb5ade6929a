"""``aigq generate candidates | alignments | rationales``: what teachers add to the Think labels.

    dbt build
    aigq generate candidates                 # then dbt build: they become labels (AIGQ eq. 4)
    aigq generate alignments                 # then dbt build: what does not fit is dropped
    aigq generate rationales                 # interest points behind the labels (AIGQ eq. 7)

    aigq generate rationales --teacher vllm --model /models/Qwen3-8B
    aigq generate rationales --teacher http://gpu-box:8000 --sessions 5000
    aigq generate rationales --days 2026-02-12..2026-02-12    # before `aigq train day` of Think

Sessions are those of samples_think, of the training split or of the days asked for, with the
context that it has: strictly before the session. Each is asked about once: think.teacher_inputs
keeps, per task and session, a key of what was asked (behaviours, candidates or labels), the teacher
and its version, and while these are the same the session is done, whatever came out. Another
teacher's answers replace the rows. Answers are committed in chunks, so that a killed job goes on
where it stopped; a session without a valid answer is counted in the run's metrics and left for a
later run. A session without any behaviour, in which there is nothing to reason from, is done
without rows.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import click
from tqdm import tqdm

from aigq import jobs, warehouse
from aigq.as_of import as_of_option
from aigq.days import EVERY_DAY, Days, days_option
from aigq.settings import Home
from inference.teacher import Answer, Teacher, store
from inference.teacher.tasks import ALIGNMENTS, CANDIDATES, RATIONALES, Task


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
            help="At most so many sessions, the first by md5 of their id: the same for every task."
            " [default: all]",
        ),
        days_option("Sessions of these shop days. [default: of the training split]"),
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
    days: Days,
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
        "days": days.text,
    }
    with jobs.job(home, name, parameters, as_of=as_of) as run:
        asked = _teacher(home, teacher, model, teacher_model, api)
        try:
            generate(run, task, asked, limit=sessions, days=days)
        finally:
            asked.close()


def _teacher(
    home: Home, teacher: str, model: str | None, teacher_model: str | None, api: str
) -> Teacher:
    if teacher == "rules":
        from inference.teacher.rules import RulesTeacher

        return RulesTeacher(home)
    from inference.teacher.llm import LlmTeacher

    if teacher == "vllm":
        from inference.teacher.local import VllmBackend

        return LlmTeacher(VllmBackend(home, model))
    from inference.teacher.server import ServerBackend

    return LlmTeacher(ServerBackend(teacher, teacher_model, api))


def generate(
    run: jobs.Run,
    task: Task,
    teacher: Teacher,
    *,
    limit: int | None = None,
    days: Days = EVERY_DAY,
) -> None:
    """Ask ``teacher`` about the sessions that are not done, of the training split or of ``days``;
    write what it answers."""
    con = warehouse.connect(run.home, read_only=True, snapshot=run.snapshot_read)
    rows_written = 0
    failed: Counter[str] = Counter()
    try:
        total, pending = store.find_pending(con, run.home, task, teacher, limit, days)
        if pending:
            teacher.start(task, con)
        with tqdm(total=total, initial=total - pending, unit=" sessions", desc=task.name) as bar:
            for chunk in store.chunks(con, teacher.chunk):
                asked = [session for session in chunk if task.is_asked(session)]
                answers = dict(zip(asked, teacher.answer(task, asked), strict=True))
                done = [(s, answers.get(s, Answer([]))) for s in chunk]
                failed.update(answer.error for _, answer in done if answer.error)
                inputs, rows = store.tables(run, task, teacher, done)
                rows_written += warehouse.write(
                    run.home,
                    lambda lake, inputs=inputs, rows=rows: store.insert(lake, task, inputs, rows),
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
    of = "training sessions" if days == EVERY_DAY else f"sessions of {days.text}"
    run.read(f"lake.samples.samples_think: {of}", total)
    run.wrote(f"lake.think.{task.name}", rows_written)
    classes = ", ".join(f"{count} {error}" for error, count in sorted(failed.items()))
    run.summary.append(
        f"  {pending - failed.total():,} sessions answered by {teacher.name},"
        f" {failed.total():,} failed{': ' + classes if classes else ''};"
        f" {total - pending:,} were done before"
    )
