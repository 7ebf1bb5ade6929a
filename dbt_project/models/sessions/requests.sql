{{ config(materialized='view', meta={'day': 'request_date'}) }}

select
    request_id,
    user_id,
    requested_at,
    request_date,
    false as is_replayed,
from {{ ref('stg_hint_requests') }}

union all

select
    request_id,
    user_id,
    requested_at,
    request_date,
    is_replayed,
from {{ ref('replayed_requests') }}
