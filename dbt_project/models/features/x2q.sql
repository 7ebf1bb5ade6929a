with x2q_index as (

    select * from {{ ref('x2q_index') }}

),

items as (

    select * from {{ ref('stg_items') }}

),

item_texts as (

    select * from {{ ref('item_texts') }}

),

shop as (

    select * from {{ ref('shop') }}

),

-- What people call a trigger; a query is its own name.
names as (

    select
        'item:' || item_id as trigger,
        item_text as name,
    from item_texts

    union all

    select
        'category:' || leaf_category_id as trigger,
        min(leaf_category) as name,
    from items
    where leaf_category_id is not null
    group by leaf_category_id

),

lists as (

    select
        trigger,
        {{ list_in_order('query_text', 'position') }} as queries,
        {{ list_in_order('score', 'position') }} as scores,
        -- Feast's lists hold no nulls.
        {{ list_in_order("coalesce(rationale, '')", 'position') }} as rationales,
        {{ list_in_order("coalesce(model_version, '')", 'position') }} as sources,
    from x2q_index
    group by trigger

),

-- A trigger that leaves the index keeps its last row online. Readers ask for this row, too: what was
-- built before it has left.
newest as (

    select
        'index:newest' as trigger,
        [] as queries,
        [] as scores,
        [] as rationales,
        [] as sources,

),

final as (

    select
        lists.trigger,
        coalesce(names.name, substr(lists.trigger, strpos(lists.trigger, ':') + 1)) as trigger_text,
        lists.queries,
        lists.scores,
        lists.rationales,
        lists.sources,
        {{ to_microseconds("timestamptz '" ~ run_started_at.isoformat() ~ "'") }} as built_at_us,
        {{ just_after('shop.last_event_at') }} + {{ build_offset() }} as event_timestamp,
        timestamptz '{{ run_started_at.isoformat() }}' as created_at,
    from (select * from lists union all select * from newest) as lists
    left join names using (trigger)
    cross join shop
    where shop.last_event_at is not null

)

select * from final
