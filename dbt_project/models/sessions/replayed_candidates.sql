with requests as (

    select
        request_id,
        user_id,
        requested_at,
        request_date,
        request_date as predicted_date,
        {{ day_start('request_date') }} as predicted_at,
    from {{ ref('replayed_requests') }}

),

behaviors as (

    select * from {{ ref('behaviors') }}

),

searches as (

    select * from behaviors
    where action = 'search'

),

days as (

    select distinct request_date from requests

),

-- Nothing below reads a shop day at or after the request's own.
popular as (

    select
        days.request_date,
        searches.content_text as query_text,
        count(distinct searches.user_id) as users,
    from days
    inner join searches
        on searches.behavior_date between days.request_date - 7 and days.request_date - 1
    group by days.request_date, searches.content_text
    qualify row_number() over (
        partition by days.request_date
        order by count(distinct searches.user_id) desc, searches.content_text
    ) <= 20

),

contexts as (

{{ recent_behaviors('requests', 'behaviors', 'request_id', newest=10) }}

),

triggers as (

    select distinct
        requests.request_id,
        requests.request_date,
        unnest({{ list_field('contexts.behaviors', 'content_key') }}) as content_key,
    from requests
    inner join contexts using (request_id)

),

co_searched as (

    select
        triggers.request_date,
        co_searches.content_key,
        co_searches.query_text,
        sum(co_searches.users) as users,
        sum(sum(co_searches.users)) over (
            partition by triggers.request_date, co_searches.content_key
        ) as users_of_key,
    from (select distinct request_date, content_key from triggers) as triggers
    inner join {{ ref('co_searches') }} as co_searches
        on
            triggers.content_key = co_searches.content_key
            and co_searches.shop_date < triggers.request_date
    group by triggers.request_date, co_searches.content_key, co_searches.query_text
    qualify row_number() over (
        partition by triggers.request_date, co_searches.content_key
        order by sum(co_searches.users) desc, co_searches.query_text
    ) <= 20

),

proposed as (

    select
        triggers.request_id,
        co_searched.query_text,
        'co_search' as recall_source,
        -- Decimals add up to the same in any order; ties must stay ties.
        sum(cast(co_searched.users / co_searched.users_of_key as decimal(18, 12))) as score,
    from triggers
    inner join co_searched using (request_date, content_key)
    group by all

    union all

    select
        requests.request_id,
        popular.query_text,
        'popular' as recall_source,
        cast(
            popular.users / sum(popular.users) over (partition by requests.request_id)
            as decimal(18, 12)
        ) as score,
    from requests
    inner join popular using (request_date)

),

ranked as (

    select
        request_id,
        query_text,
        min(recall_source) as recall_source,
        cast(sum(score) as double) as rank_score,
        row_number() over (
            partition by request_id order by sum(score) desc, query_text
        ) as rank,
    from proposed
    group by request_id, query_text
    qualify rank <= 20

),

clicks as (

    select
        requests.request_id,
        searches.content_text as query_text,
        min(searches.occurred_at) as clicked_at,
    from requests
    inner join searches
        on
            requests.user_id = searches.user_id
            and requests.request_date = searches.behavior_date
            and searches.occurred_at >= requests.requested_at
    group by all

),

final as (

    select
        ranked.request_id,
        cast(ranked.rank as integer) as rank,
        ranked.query_text,
        ranked.rank_score,
        ranked.recall_source,
        ranked.rank <= 3 as is_displayed,
        case when ranked.rank <= 3 then cast(ranked.rank as integer) end as position,
        case when ranked.rank <= 3 then clicks.clicked_at end as clicked_at,
    from ranked
    left join clicks using (request_id, query_text)

)

select * from final
