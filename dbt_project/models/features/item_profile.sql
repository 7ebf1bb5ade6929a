with items as (

    select * from {{ ref('stg_items') }}

),

item_texts as (

    select * from {{ ref('item_texts') }}

),

shop as (

    select * from {{ ref('shop') }}

),

final as (

    select
        items.item_id,
        item_texts.item_text,
        items.leaf_category_id,
        {{ just_after('shop.last_event_at') }} + {{ build_offset() }} as event_timestamp,
        timestamptz '{{ run_started_at.isoformat() }}' as created_at,
    from items
    inner join item_texts using (item_id)
    cross join shop
    where shop.last_event_at is not null

)

select * from final
