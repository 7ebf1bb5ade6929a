{{ config(
    materialized='incremental', incremental_strategy='changed',
    meta={'day': 'request_date'}
) }}

with proposals as (

    select
        triggers.request_id,
        triggers.request_date,
        co_searches.query_text,
        'co_search' as recall_source,
        co_searches.share,
    from {{ ref('replayed_triggers') }} as triggers
    inner join {{ ref('replayed_co_searches') }} as co_searches
        using (request_date, content_key)
    where {{ in_changed_days('triggers.request_date') }}

    union all

    select
        requests.request_id,
        requests.request_date,
        popular.query_text,
        'popular' as recall_source,
        popular.share,
    from {{ ref('replayed_requests') }} as requests
    inner join {{ ref('replayed_popular_queries') }} as popular using (request_date)
    where {{ in_changed_days('requests.request_date') }}

),

final as (

    select
        request_id,
        request_date,
        cast(row_number() over (
            partition by request_id order by sum(share) desc, query_text
        ) as integer) as rank,
        query_text,
        cast(sum(share) as double) as rank_score,
        min(recall_source) as recall_source,
        true as is_replayed,
    from proposals
    group by request_id, request_date, query_text
    qualify rank <= 20

)

select * from final
