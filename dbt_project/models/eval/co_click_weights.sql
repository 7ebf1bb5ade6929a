{{ config(materialized='incremental', incremental_strategy='changed', meta={'fitted_on': 'training_days'}) }}

with shop as (

    select * from {{ ref('shop') }}

),

co_searches as (

    select * from {{ ref('co_searches') }}
    {% if is_partial() and not fit_changed('training_days') %}
    where false
    {% endif %}

),

-- The 50 likeliest of each content, since popular contents meet thousands.
final as (

    select
        co_searches.content_key,
        co_searches.query_text,
        -- Decimals add up to the same in any order; ties must stay ties.
        cast(
            sum(co_searches.users) / sum(sum(co_searches.users)) over (
                partition by co_searches.content_key
            ) as decimal(18, 12)
        ) as weight,
    from co_searches
    inner join shop on co_searches.shop_date <= shop.train_end_date
    group by co_searches.content_key, co_searches.query_text
    qualify row_number() over (
        partition by co_searches.content_key
        order by sum(co_searches.users) desc, co_searches.query_text
    ) <= 50

)

select * from final
