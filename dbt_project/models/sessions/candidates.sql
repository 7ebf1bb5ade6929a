{{ config(materialized='view') }}

select
    request_id,
    rank,
    query_text,
    rank_score,
    recall_source,
    is_displayed,
    position,
    clicked_at,
from {{ ref('stg_hint_candidates') }}

union all

select
    request_id,
    rank,
    query_text,
    rank_score,
    recall_source,
    is_displayed,
    position,
    clicked_at,
from {{ ref('replayed_candidates') }}
