{{ config(materialized='incremental', incremental_strategy='changed', meta={'day': 'shop_date'}) }}

with behaviors as (

    select distinct
        user_id,
        behavior_date,
        content_key,
        query_text,
    from {{ ref('behavior_events') }}
    where {{ in_changed_days('behavior_date') }}

),

final as (

    select
        behaviors.content_key,
        searches.query_text,
        behaviors.behavior_date as shop_date,
        count(*) as users,
    from behaviors
    inner join behaviors as searches
        on
            behaviors.user_id = searches.user_id
            and behaviors.behavior_date = searches.behavior_date
            and behaviors.content_key <> searches.content_key
    where searches.query_text is not null
    group by all

)

select * from final
