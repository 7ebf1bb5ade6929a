"""Tables that are written by ingest and by jobs, never by dbt.

dbt reads them as sources; whoever opens a lake first creates the missing ones empty, so that a
build never stumbles over a job that has not run yet. SQL types are DuckDB's.
"""

import re

# Ingest writes these: the raw contract (see aigq.contract) and what broke it.
RAW_TABLES: dict[str, str] = {
    "raw.users": """
        user_id VARCHAR, age_band VARCHAR, gender VARCHAR, region VARCHAR,
        registered_at TIMESTAMPTZ""",
    "raw.items": """
        item_id VARCHAR, title VARCHAR, leaf_category_id VARCHAR, leaf_category VARCHAR,
        category_path VARCHAR, brand VARCHAR, attributes MAP(VARCHAR, VARCHAR), tags VARCHAR[],
        price DOUBLE""",
    "raw.events": """
        event_id VARCHAR, user_id VARCHAR, occurred_at TIMESTAMPTZ, action VARCHAR,
        query_text VARCHAR, item_id VARCHAR, quantity INTEGER, price DOUBLE""",
    "raw.hint_requests": """
        request_id VARCHAR, user_id VARCHAR, requested_at TIMESTAMPTZ""",
    "raw.hint_candidates": """
        request_id VARCHAR, rank INTEGER, query_text VARCHAR, rank_score DOUBLE,
        recall_source VARCHAR, displayed BOOLEAN, position INTEGER, clicked_at TIMESTAMPTZ""",
    "raw.quarantine": """
        table_name VARCHAR, reason VARCHAR, row_json VARCHAR, source_file VARCHAR,
        source_row BIGINT, run_id VARCHAR, quarantined_at TIMESTAMPTZ""",
}

# The schemas of dbt's models. Made beforehand: dbt would make them before it has the turn to write.
DBT_SCHEMAS = (
    "behavior",
    "eval",
    "features",
    "items",
    "labels",
    "meta",
    "monitoring",
    "samples",
    "serving",
    "sessions",
    "staging",
)

# Jobs write these; each has one writer.
JOB_TABLES: dict[str, str] = {
    "meta.runs": """
        run_id VARCHAR, job VARCHAR, started_at TIMESTAMPTZ, finished_at TIMESTAMPTZ,
        status VARCHAR, snapshot_read BIGINT, snapshot_written BIGINT, code_version VARCHAR,
        parameters VARCHAR, metrics VARCHAR""",
    "items.query_neighbors": """
        query_text VARCHAR, neighbor_text VARCHAR, similarity DOUBLE, run_id VARCHAR""",
    # An item's newest text counts, of the item as the newest run saw it; where there is none
    # (`error` says how what the model wrote was malformed) it has its text by rule.
    "items.generated_texts": """
        item_id VARCHAR, item_text VARCHAR, model_version VARCHAR, run_id VARCHAR,
        facets_hash VARCHAR, error VARCHAR""",
    "think.llm_candidates": """
        session_id VARCHAR, query_text VARCHAR, teacher_rank INTEGER, run_id VARCHAR""",
    "think.alignments": """
        session_id VARCHAR, query_text VARCHAR, is_aligned BOOLEAN, reason VARCHAR,
        run_id VARCHAR""",
    "think.rationales": """
        session_id VARCHAR, point_index INTEGER, triggers INTEGER[], queries VARCHAR[],
        rationale VARCHAR, run_id VARCHAR""",
    # What each session's rows in the three tables above were made from, also where they are none:
    # one row per task (its table's name) and session, replaced together with the rows.
    # behaviors_key: of the behaviours that triggers are numbers of, see aigq.think.BEHAVIORS_KEY.
    "think.teacher_inputs": """
        task VARCHAR, session_id VARCHAR, input_key VARCHAR, behaviors_key VARCHAR,
        teacher VARCHAR, prompt_version VARCHAR, run_id VARCHAR""",
    # How a policy fared on each prompt before it was trained on (the difficulty filter): one row
    # per training (run that started it), its step, and session; model_version: what it began with.
    "eval.prompt_rewards": """
        session_id VARCHAR, variant VARCHAR, mean_reward DOUBLE, is_kept BOOLEAN,
        rollouts INTEGER, model_version VARCHAR, step INTEGER, started_by VARCHAR,
        run_id VARCHAR""",
    "serving.u2q_runs": """
        run_id VARCHAR, user_id VARCHAR, position INTEGER, query_text VARCHAR,
        generated_at TIMESTAMPTZ, model_version VARCHAR""",
    # A run writes all interest points of a user-day (session_id: user_id:YYYY-MM-DD) in one
    # transaction; its newest run counts. Triggers are content keys, queries normalised.
    "serving.x2q_triples": """
        run_id VARCHAR, session_id VARCHAR, point_index INTEGER, triggers VARCHAR[],
        rationale VARCHAR, queries VARCHAR[], model_version VARCHAR""",
    # One row per user-day that was read, malformed answers (`error` says how) included: with the
    # key of what the model read, it tells which user-days a job need not read again.
    "serving.x2q_draws": """
        session_id VARCHAR, model_version VARCHAR, prompt_key VARCHAR, error VARCHAR,
        run_id VARCHAR""",
    # Both numbers from 0 to 1; predicted_ctr and ctr_version null without a CTR model. evidence_key
    # stands for all that relevance was computed from.
    "serving.x2q_scores": """
        trigger VARCHAR, query_text VARCHAR, relevance DOUBLE, predicted_ctr DOUBLE,
        evidence_key VARCHAR, ctr_version VARCHAR, run_id VARCHAR""",
    "eval.generated_lists": """
        instance_id VARCHAR, model VARCHAR, model_version VARCHAR, list_index INTEGER,
        position INTEGER, query_text VARCHAR, run_id VARCHAR""",
    # One row per list that was drawn, malformed ones (`error` says how) included: with the key of
    # what it was drawn from, it tells which lists a job need not draw again. Lists of another
    # context than the instance's (context_key, see aigq.context.CONTEXT_KEY) are not measured.
    # duplicates: queries that were dropped, being written before in the same list.
    "eval.list_draws": """
        instance_id VARCHAR, model VARCHAR, model_version VARCHAR, list_index INTEGER,
        sampling_key VARCHAR, context_key VARCHAR, error VARCHAR, duplicates INTEGER,
        run_id VARCHAR""",
    # k is 0 for what is measured of the lists as they were drawn.
    "eval.metrics": """
        model VARCHAR, model_version VARCHAR, metric VARCHAR, k INTEGER, slice VARCHAR,
        value DOUBLE, interval_low DOUBLE, interval_high DOUBLE, instances BIGINT,
        run_id VARCHAR""",
    # The model's mean less the other's on the same instances: 95% paired bootstrap over users.
    "eval.comparisons": """
        model VARCHAR, model_version VARCHAR, other_model VARCHAR, other_version VARCHAR,
        metric VARCHAR, k INTEGER, slice VARCHAR, difference DOUBLE, interval_low DOUBLE,
        interval_high DOUBLE, p_value DOUBLE, instances BIGINT, run_id VARCHAR""",
}


def columns(declared: str) -> dict[str, str]:
    """Name -> SQL type of the columns that an entry of the tables above declares."""
    # Commas inside a type, as in MAP(VARCHAR, VARCHAR), part nothing.
    parts = re.split(r",(?![^(]*\))", declared)
    return dict(part.split(maxsplit=1) for part in map(str.strip, parts))
