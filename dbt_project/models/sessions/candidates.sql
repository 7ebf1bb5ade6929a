{{ config(materialized='view', meta={'day': 'request_date'}) }}

select
    request_id,
    request_date,
    rank,
    query_text,
    rank_score,
    recall_source,
    is_displayed,
    position,
    clicked_at,
    false as is_replayed,
from {{ ref('stg_hint_candidates') }}

union all

select
    request_id,
    request_date,
    rank,
    query_text,
    rank_score,
    recall_source,
    is_displayed,
    position,
    clicked_at,
    is_replayed,
from {{ ref('replayed_candidates') }}
