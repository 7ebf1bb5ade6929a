{{ config(materialized='view') }}

with requests as (

    select * from {{ ref('replayed_requests') }}

),

searches as (

    select * from {{ ref('behaviors') }}
    where action = 'search'

),

days as (

    select distinct request_date from requests

),

-- Nothing here reads a shop day at or after the request's own.
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

final as (

    select
        request_date,
        query_text,
        -- Decimals add up to the same in any order; ties must stay ties.
        cast(
            users / sum(users) over (partition by request_date) as decimal(18, 12)
        ) as share,
    from popular

)

select * from final
