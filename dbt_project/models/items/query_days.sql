with searches as (

    select
        query_text,
        event_date as stat_date,
        1 as page_views,
        0 as hint_impressions,
        0 as hint_clicks,
    from {{ ref('stg_events') }}
    where action = 'search' and query_text is not null

),

-- Recorded requests only: nobody saw a replayed one.
shown as (

    select
        candidates.query_text,
        {{ shop_date('requests.requested_at') }} as stat_date,
        0 as page_views,
        1 as hint_impressions,
        0 as hint_clicks,
    from {{ ref('stg_hint_candidates') }} as candidates
    inner join {{ ref('stg_hint_requests') }} as requests using (request_id)
    where candidates.is_displayed

),

clicked as (

    select
        query_text,
        {{ shop_date('clicked_at') }} as stat_date,
        0 as page_views,
        0 as hint_impressions,
        1 as hint_clicks,
    from {{ ref('stg_hint_candidates') }}
    where is_displayed and clicked_at is not null

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
