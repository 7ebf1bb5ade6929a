{{ config(materialized='view') }}

select
    user_id,
    {{ list_in_order('query_text', 'position') }} as queries,
    model_version,
    run_id,
    generated_at as event_timestamp,
    {{ run_started('run_id') }} as created_at,
from {{ ref('stg_u2q_runs') }}
group by user_id, model_version, run_id, generated_at
-- Two models may answer for one moment; Feast wants one row per user and time.
qualify row_number() over (partition by user_id, generated_at order by run_id desc) = 1
