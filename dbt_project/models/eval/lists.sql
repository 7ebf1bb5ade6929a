{{ config(materialized='view', meta={'day': 'session_date'}) }}

select
    instance_id,
    session_date,
    model,
    model_version,
    list_index,
    position,
    query_text,
from {{ ref('stg_generated_lists') }}

union all

select
    instance_id,
    session_date,
    model,
    model_version,
    list_index,
    position,
    query_text,
from {{ ref('baseline_lists') }}
