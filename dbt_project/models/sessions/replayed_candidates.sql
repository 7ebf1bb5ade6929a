{{ config(
    materialized='incremental', incremental_strategy='changed',
    meta={'day': 'request_date'}
) }}

with requests as (

    select * from {{ ref('replayed_requests') }}
    where {{ in_changed_days('request_date') }}

),

rankings as (

    select * from {{ ref('replayed_rankings') }}
    where {{ in_changed_days('request_date') }}

),

searches as (

    select * from {{ ref('behaviors') }}
    where action = 'search' and {{ in_changed_days('behavior_date') }}

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
        rankings.request_id,
        rankings.request_date,
        rankings.rank,
        rankings.query_text,
        rankings.rank_score,
        rankings.recall_source,
        rankings.rank <= 3 as is_displayed,
        case when rankings.rank <= 3 then rankings.rank end as position,
        case when rankings.rank <= 3 then clicks.clicked_at end as clicked_at,
        true as is_replayed,
    from rankings
    left join clicks using (request_id, query_text)

)

select * from final
