{{ config(materialized='view') }}

select
    user_id,
    age_band,
    gender,
    region,
    registered_at,
from {{ source('raw', 'users') }}
