{{ config(materialized='view') }}

select
    instance_id,
    -- `user_id:YYYY-MM-DD`
    try_cast(right(instance_id, 10) as date) as session_date,
    model,
    model_version,
    list_index,
    position,
    query_text,
from {{ source('eval', 'generated_lists') }}
