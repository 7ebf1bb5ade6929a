{{ config(materialized='view') }}

-- Of several runs over a user-day the newest counts, whole: run ids start with their time.
select
    session_id,
    cast(right(session_id, 10) as date) as session_date,
    point_index,
    triggers,
    rationale,
    queries,
    model_version,
    run_id,
from {{ source('serving', 'x2q_triples') }}
qualify rank() over (partition by session_id order by run_id desc) = 1
