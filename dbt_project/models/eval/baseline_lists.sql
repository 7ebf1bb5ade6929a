-- Fitted on training days only, nothing tuned; contexts are those of the models.
with instances as (

    select * from {{ ref('test_user_days') }}

),

shop as (

    select * from {{ ref('shop') }}

),

context as (

    select
        instance_id,
        behavior.content_key,
        behavior.content_text,
        behavior.action,
        place,
    from (
        select
            instance_id,
            unnest(behaviors) as behavior,
            unnest(range(len(behaviors))) as place,
        from instances
    )

),

popular as (

    select
        behaviors.content_text as query_text,
        count(distinct behaviors.user_id) as users,
    from {{ ref('behaviors') }} as behaviors
    inner join shop on behaviors.behavior_date <= shop.train_end_date
    where behaviors.action = 'search'
    group by behaviors.content_text
    order by users desc, query_text
    limit 30

),

-- How likely each query is on a day that also holds the content: the 50 likeliest of each content,
-- since popular contents meet thousands.
associations as (

    select
        co_searches.content_key,
        co_searches.query_text,
        -- Decimals add up to the same in any order; ties must stay ties.
        cast(
            sum(co_searches.users) / sum(sum(co_searches.users)) over (
                partition by co_searches.content_key
            ) as decimal(18, 12)
        ) as weight,
    from {{ ref('co_searches') }} as co_searches
    inner join shop on co_searches.shop_date <= shop.train_end_date
    where co_searches.content_key in (select content_key from context)
    group by co_searches.content_key, co_searches.query_text
    qualify row_number() over (
        partition by co_searches.content_key
        order by sum(co_searches.users) desc, co_searches.query_text
    ) <= 50

),

scored as (

    select
        instances.instance_id,
        'popularity' as model,
        popular.query_text,
        popular.users as score,
    from instances
    cross join popular

    union all

    select
        context.instance_id,
        'co_click' as model,
        associations.query_text,
        sum(associations.weight) as score,
    from (select distinct instance_id, content_key from context) as context
    inner join associations using (content_key)
    group by context.instance_id, associations.query_text

    union all

    select
        instance_id,
        'own_recent' as model,
        content_text as query_text,
        max(place) as score,
    from context
    where action = 'search'
    group by instance_id, content_text

),

final as (

    select
        instance_id,
        model,
        'sql' as model_version,
        0 as list_index,
        cast(row_number() over (
            partition by instance_id, model order by score desc, query_text
        ) as integer) as position,
        query_text,
    from scored
    qualify position <= 30

)

select * from final
