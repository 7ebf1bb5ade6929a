{{ config(
    materialized='incremental', incremental_strategy='changed',
    meta={'day': 'request_date'}
) }}

with triggers as (

    select distinct request_date, content_key
    from {{ ref('replayed_triggers') }}
    where {{ in_changed_days('request_date') }}

),

co_searches as (

    select * from {{ ref('co_searches') }}

),

final as (

    select
        triggers.request_date,
        co_searches.content_key,
        co_searches.query_text,
        -- Decimals add up to the same in any order; ties must stay ties.
        cast(
            sum(co_searches.users) / sum(sum(co_searches.users)) over (
                partition by triggers.request_date, co_searches.content_key
            ) as decimal(18, 12)
        ) as share,
    from triggers
    inner join co_searches
        on
            triggers.content_key = co_searches.content_key
            and co_searches.shop_date < triggers.request_date
    group by triggers.request_date, co_searches.content_key, co_searches.query_text
    qualify row_number() over (
        partition by triggers.request_date, co_searches.content_key
        order by sum(co_searches.users) desc, co_searches.query_text
    ) <= 20

)

select * from final
