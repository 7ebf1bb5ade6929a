{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'day': 'event_date', 'key': 'event_id'}
) }}

with events as (

    select * from {{ new_rows('raw', 'events') }}

),

query_texts as (

    select * from {{ ref('stg_query_texts') }}

),

final as (

    select
        events.event_id,
        events.user_id,
        events.occurred_at,
        {{ shop_date('events.occurred_at') }} as event_date,
        events.action,
        events.query_text as typed_text,
        query_texts.query_text,
        events.item_id,
        events.quantity,
        events.price,
    from events
    left join query_texts on events.query_text = query_texts.typed_text

)

select * from final
{% if is_partial() %}
-- What is there stays, but what was made by a run without its text.
where event_id not in (
    select event_id from {{ this }}
    where
        {{ in_changed_days('event_date') }}
        and (typed_text is null or query_text is not null)
)
{% endif %}
