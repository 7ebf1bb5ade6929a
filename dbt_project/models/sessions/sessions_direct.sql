{{ config(
    materialized='incremental', incremental_strategy='changed',
    meta={'day': 'session_date'}
) }}

with requests as (

    select * from {{ ref('requests') }}
    where {{ in_changed_days('request_date') }}

),

clicked as (

    select distinct request_id
    from {{ ref('candidates') }}
    where
        is_displayed
        and clicked_at is not null
        and {{ in_changed_days('request_date') }}

),

final as (

    select
        requests.request_id as session_id,
        requests.user_id,
        requests.requested_at as session_start_at,
        requests.request_date as session_date,
        requests.is_replayed,
    from requests
    inner join clicked using (request_id)

)

select * from final
