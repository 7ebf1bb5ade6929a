{{ config(materialized='view') }}

select
    request_id,
    user_id,
    requested_at,
from {{ source('raw', 'hint_requests') }}
