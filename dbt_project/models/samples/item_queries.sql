{{ config(materialized='incremental', incremental_strategy='changed', meta={'fitted_on': 'training_days'}) }}

with clicks as (

    select * from {{ ref('query_clicks') }}

),

shop as (

    select * from {{ ref('shop') }}

),

final as (

    select
        clicks.item_id,
        clicks.query_text,
        count(*) as support,
    from clicks
    inner join shop on clicks.event_date <= shop.train_end_date
    inner join {{ ref('stg_items') }} as items on clicks.item_id = items.item_id
    {% if is_partial() and not fit_changed('training_days') %}
    where false
    {% endif %}
    group by clicks.item_id, clicks.query_text

)

select * from final
