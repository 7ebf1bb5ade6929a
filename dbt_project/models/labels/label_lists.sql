{{ config(
    materialized='incremental', incremental_strategy='changed',
    meta={'day': 'session_date'}
) }}

with final as (

    select
        session_id,
        session_date,
        variant,
        position,
        -- The baseline's order: free of interest, the same on every machine. (Of one session no two
        -- labels are the same text, and no two texts have one md5.)
        cast(row_number() over (
            partition by session_id, variant order by md5(session_id || query_text)
        ) as integer) as log_position,
        query_text,
        tier,
        is_replayed,
    from {{ ref('label_candidates') }}
    where is_kept and {{ in_changed_days('session_date') }}

)

select * from final
