{{ config(materialized='incremental', incremental_strategy='changed', meta={'fitted_on': 'training_days'}) }}

with shop as (

    select * from {{ ref('shop') }}

),

days as (

    select
        behaviors.content_text as query_text,
        shop.train_end_date - behaviors.behavior_date as age,
        count(*) as searches,
        count(distinct behaviors.user_id) as users,
    from {{ ref('behaviors') }} as behaviors
    inner join shop on behaviors.behavior_date <= shop.train_end_date
    where behaviors.action = 'search'
    {% if is_partial() and not fit_changed('training_days') %}
        and false
    {% endif %}
    group by behaviors.content_text, age

),

counted as (

    select
        query_text,
        cast(sum(searches) as bigint) as searches,
        cast(sum(users * {{ half_life('age', 7) }}) as decimal(38, 12)) as popularity,
    from days
    group by query_text

),

ranked as (

    select
        *,
        sum(searches) over (
            order by searches desc, query_text
            rows between unbounded preceding and current row
        ) - searches as searches_before,
        sum(searches) over () as all_searches,
    from counted

),

final as (

    select
        query_text,
        searches,
        popularity,
        case
            when searches_before < 0.2 * all_searches then 'head'
            when searches_before < 0.8 * all_searches then 'torso'
            else 'tail'
        end as band,
    from ranked

)

select * from final
