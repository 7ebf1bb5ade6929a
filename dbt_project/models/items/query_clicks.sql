{{ config(materialized='view', meta={'day': 'event_date'}) }}

select
    event_id,
    user_id,
    occurred_at,
    behavior_date as event_date,
    action,
    item_id,
    credited_query as query_text,
from {{ ref('behavior_events') }}
where action <> 'search' and credited_query is not null
