{{ config(materialized='incremental', incremental_strategy='changed', meta={'day': 'stat_date'}) }}

with searches as (

    select
        query_text,
        event_date as stat_date,
        1 as page_views,
        0 as hint_impressions,
        0 as hint_clicks,
    from {{ ref('stg_events') }}
    where
        action = 'search'
        and query_text is not null
        and {{ in_changed_days('event_date') }}

),

-- Recorded requests only: nobody saw a replayed one.
shown as (

    select
        query_text,
        request_date as stat_date,
        0 as page_views,
        1 as hint_impressions,
        0 as hint_clicks,
    from {{ ref('stg_hint_candidates') }}
    where is_displayed and request_date is not null and {{ in_changed_days('request_date') }}

),

clicked as (

    select
        query_text,
        {{ shop_date('clicked_at') }} as stat_date,
        0 as page_views,
        0 as hint_impressions,
        1 as hint_clicks,
    from {{ ref('stg_hint_candidates') }}
    where
        is_displayed
        and request_date is not null
        and {{ from_changed_days('clicked_at') }}
        and {{ in_changed_days(shop_date('clicked_at')) }}
        and clicked_at is not null

),

final as (

    select
        query_text,
        stat_date,
        cast(sum(page_views) as bigint) as page_views,
        cast(sum(hint_impressions) as bigint) as hint_impressions,
        cast(sum(hint_clicks) as bigint) as hint_clicks,
    from (
        select * from searches
        union all
        select * from shown
        union all
        select * from clicked
    )
    group by query_text, stat_date

)

select * from final
