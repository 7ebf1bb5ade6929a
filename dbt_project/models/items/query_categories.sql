{{ config(materialized='incremental', incremental_strategy='changed', meta={'fitted_on': 'training_days'}) }}

{% set refit = not is_partial() or fit_changed('training_days') %}
with clicks as (

    select * from {{ ref('query_clicks') }}

),

items as (

    select * from {{ ref('stg_items') }}

),

shop as (

    select * from {{ ref('shop') }}

),

queries as (

    select * from {{ ref('queries') }}

),

neighbors as (

    select * from {{ ref('stg_query_neighbors') }}

),

{% if refit %}
supports as (

    select
        clicks.query_text,
        items.leaf_category_id,
        min(items.leaf_category) as leaf_category,
        count(*) as support,
    from clicks
    inner join shop on clicks.event_date <= shop.train_end_date
    inner join items on clicks.item_id = items.item_id
    where items.leaf_category_id is not null
    group by clicks.query_text, items.leaf_category_id

),

clicked as (

    select
        query_text,
        leaf_category_id,
        leaf_category,
        support,
    from supports
    qualify row_number() over (
        partition by query_text order by support desc, leaf_category_id
    ) = 1

),
{% else %}
clicked as (

    select
        query_text,
        leaf_category_id,
        leaf_category,
        support,
    from {{ this }}
    where source = 'clicks'

),
{% endif %}

-- An unclicked query takes the category of its nearest training query.
borrowed as (

    select
        queries.query_text,
        clicked.leaf_category_id,
        clicked.leaf_category,
        clicked.support,
    from queries
    inner join neighbors using (query_text)
    inner join clicked on neighbors.neighbor_text = clicked.query_text
    where
        queries.query_text not in (select query_text from clicked)
        {% if not refit %}
        and queries.query_text not in (select query_text from {{ this }})
        {% endif %}

),

final as (

    {% if refit %}
    select *, 'clicks' as source from clicked
    union all
    {% endif %}
    select *, 'neighbor' as source from borrowed

)

select * from final
