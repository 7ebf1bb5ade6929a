{{ config(
    materialized='incremental', incremental_strategy='changed', meta={'day': 'behavior_date'}
) }}

with events as (

    select * from {{ ref('stg_events') }}
    where {{ in_changed_days('event_date') }}

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
        query_text,
        cast(null as varchar) as item_id,
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
        cast(null as varchar) as query_text,
        events.item_id,
        items.leaf_category_id,
        items.leaf_category,
    from events
    inner join items on events.item_id = items.item_id
    where events.action in ('item_click', 'cart', 'order')

),

{% set of_day = 'partition by user_id, behavior_date order by occurred_at' %}
-- The order is a number that needs no look at the other days: the microsecond, then the place among
-- the user's events of that microsecond. One sort for all.
final as (

    select
        *,
        {{ to_microseconds('occurred_at') }} * 1000
        + row_number() over ({{ of_day }}, event_id)
        - rank() over ({{ of_day }}) + 1 as behavior_order,
        last_value(query_text ignore nulls) over (
            {{ of_day }}, event_id rows between unbounded preceding and current row
        ) as credited_query,
    from (select * from searches union all select * from item_actions)

)

select * from final
