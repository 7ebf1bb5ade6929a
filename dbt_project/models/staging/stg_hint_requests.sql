{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'day': 'request_date', 'append': true}
) }}

with requests as (

    select
        request_id,
        user_id,
        requested_at,
        {{ shop_date('requested_at') }} as request_date,
    from {{ new_rows('raw', 'hint_requests') }}

)

select * from requests
{% if is_partial() %}
where request_id not in (
    select request_id from {{ this }} where {{ in_changed_days('request_date') }}
)
{% endif %}
