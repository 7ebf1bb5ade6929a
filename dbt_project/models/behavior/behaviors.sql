{{ config(materialized='view', meta={'day': 'behavior_date'}) }}

with item_texts as (

    select * from {{ ref('item_texts') }}

),

final as (

    select
        events.event_id,
        events.user_id,
        events.occurred_at,
        events.behavior_date,
        events.action,
        events.content_key,
        coalesce(events.query_text, item_texts.item_text) as content_text,
        events.leaf_category_id,
        events.leaf_category,
        events.behavior_order,
    from {{ ref('behavior_events') }} as events
    left join item_texts on events.item_id = item_texts.item_id

)

select * from final
