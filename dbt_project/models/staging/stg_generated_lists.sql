{{ config(materialized='view') }}

select
    instance_id,
    model,
    model_version,
    list_index,
    position,
    query_text,
from {{ source('eval', 'generated_lists') }}
