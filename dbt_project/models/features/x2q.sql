with x2q_index as (

    select * from {{ ref('x2q_index') }}

),

shop as (

    select * from {{ ref('shop') }}

),

lists as (

    select
        trigger,
        {{ list_in_order('query_text', 'position') }} as queries,
        -- Feast's lists hold no nulls.
        {{ list_in_order("coalesce(rationale, '')", 'position') }} as rationales,
        {{ list_in_order("coalesce(model_version, '')", 'position') }} as sources,
    from x2q_index
    group by trigger

),

final as (

    select
        lists.*,
        {{ just_after('shop.last_event_at') }} as event_timestamp,
        timestamptz '{{ run_started_at.isoformat() }}' as created_at,
    from lists
    cross join shop

)

select * from final
