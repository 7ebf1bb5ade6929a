{{ config(
    materialized='incremental', incremental_strategy='changed',
    meta={'day': 'session_date'}
) }}

with kept as (

    select * from {{ ref('label_candidates') }}
    where is_kept and {{ in_changed_days('session_date') }}

),

final as (

    select
        session_id,
        session_date,
        variant,
        cast(row_number() over (
            partition by session_id, variant
            order by
                case tier when 'click' then 1 when 'rank' then 2 when 'search' then 3 else 4 end,
                tier_rank
        ) as integer) as position,
        -- The baseline's order: free of interest, the same on every machine.
        cast(row_number() over (
            partition by session_id, variant order by md5(session_id || query_text), query_text
        ) as integer) as log_position,
        query_text,
        tier,
        is_replayed,
    from kept

)

select * from final
