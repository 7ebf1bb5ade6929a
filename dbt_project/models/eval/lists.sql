{{ config(materialized='view') }}

select
    instance_id,
    model,
    model_version,
    list_index,
    position,
    query_text,
from {{ ref('stg_generated_lists') }}

union all

select
    instance_id,
    model,
    model_version,
    list_index,
    position,
    query_text,
from {{ ref('baseline_lists') }}
