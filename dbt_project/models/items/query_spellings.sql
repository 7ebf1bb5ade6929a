{{ config(materialized='incremental', incremental_strategy='changed', meta={'day': 'seen_date'}) }}

with searches as (

    select
        query_text,
        typed_text,
        event_date as seen_date,
        1 as typed,
    from {{ ref('stg_events') }}
    where
        action = 'search'
        and query_text is not null
        and {{ in_changed_days('event_date') }}

),

candidates as (

    select
        query_text,
        typed_text,
        request_date as seen_date,
        0 as typed,
    from {{ ref('stg_hint_candidates') }}
    where request_date is not null and {{ in_changed_days('request_date') }}

),

typed as (

    select
        query_text,
        typed_text,
        seen_date,
        sum(typed) as times_typed,
        count(*) as times_seen,
    from (select * from searches union all select * from candidates)
    group by query_text, typed_text, seen_date

),

final as (

    select
        query_text,
        {{ one_spaced('typed_text') }} as display_text,
        seen_date,
        cast(sum(times_typed) as bigint) as times_typed,
        cast(sum(times_seen) as bigint) as times_seen,
    from typed
    group by all

)

select * from final
