{{ config(
    materialized='incremental', incremental_strategy='changed',
    meta={'day': 'session_date'}
) }}

with kept as (

    select * from {{ ref('label_candidates') }}
    where is_kept and {{ in_changed_days('session_date') }}

),

ranked as (

    select
        session_id,
        session_date,
        variant,
        is_replayed,
        {{ sorted_list({
            'tier_order':
                "case tier when 'click' then 1 when 'rank' then 2 when 'search' then 3 else 4 end",
            'tier_rank': 'tier_rank',
            'query_text': 'query_text',
            'tier': 'tier',
        }) }} as labels,
    from kept
    group by session_id, session_date, variant, is_replayed

),

-- The baseline's order: free of interest, the same on every machine.
logged as (

    select
        * exclude (labels),
        {{ list_sorted_by(
            'labels',
            {'hash': 'md5(session_id || x.query_text)', 'query_text': 'x.query_text'},
            {'tier': 'x.tier', 'position': 'i'},
        ) }} as labels,
    from ranked

),

placed as (

    select
        *,
        unnest(labels) as label,
        unnest(range(1, len(labels) + 1)) as log_position,
    from logged

),

final as (

    select
        session_id,
        session_date,
        variant,
        cast(label.position as integer) as position,
        cast(log_position as integer) as log_position,
        label.query_text,
        label.tier,
        is_replayed,
    from placed

)

select * from final
