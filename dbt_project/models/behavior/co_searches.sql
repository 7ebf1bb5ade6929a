with behaviors as (

    select distinct
        user_id,
        behavior_date,
        content_key,
        content_text,
        action = 'search' as is_search,
    from {{ ref('behaviors') }}

),

final as (

    select
        behaviors.content_key,
        searches.content_text as query_text,
        behaviors.behavior_date as shop_date,
        count(*) as users,
    from behaviors
    inner join behaviors as searches
        on
            behaviors.user_id = searches.user_id
            and behaviors.behavior_date = searches.behavior_date
            and behaviors.content_key <> searches.content_key
    where searches.is_search
    group by all

)

select * from final
