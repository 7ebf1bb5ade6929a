with events as (

    select * from {{ ref('stg_events') }}

),

item_texts as (

    select * from {{ ref('item_texts') }}

),

items as (

    select * from {{ ref('stg_items') }}

),

searches as (

    select
        event_id,
        user_id,
        occurred_at,
        event_date as behavior_date,
        action,
        'query:' || query_text as content_key,
        query_text as content_text,
        cast(null as varchar) as leaf_category_id,
        cast(null as varchar) as leaf_category,
    from events
    where action = 'search' and query_text is not null

),

-- An event with an unknown item becomes a behaviour once the item is known.
item_actions as (

    select
        events.event_id,
        events.user_id,
        events.occurred_at,
        events.event_date as behavior_date,
        events.action,
        'item:' || events.item_id as content_key,
        item_texts.item_text as content_text,
        items.leaf_category_id,
        items.leaf_category,
    from events
    inner join item_texts on events.item_id = item_texts.item_id
    inner join items on events.item_id = items.item_id
    where events.action in ('item_click', 'cart', 'order')

),

final as (

    select
        *,
        row_number() over (
            partition by user_id order by occurred_at, event_id
        ) as behavior_index,
    from (select * from searches union all select * from item_actions)

)

select * from final
