{{ config(materialized='view') }}

select
    run_id,
    user_id,
    position,
    query_text,
    generated_at,
    model_version,
from {{ source('serving', 'u2q_runs') }}
