with tiers as (

    select
        *,
        row_number() over (
            partition by session_id, query_text order by tier_order
        ) as occurrence,
    from {{ ref('label_tiers') }}

),

placed as (

    select
        *,
        row_number() over (
            partition by session_id, tier order by tier_position
        ) as tier_rank,
        sum(case when occurrence = 1 then 1 else 0 end) over (
            partition by session_id
            order by tier_order, tier_position
            rows between unbounded preceding and current row
        ) as place,
    from tiers

),

final as (

    select
        session_id,
        'direct' as variant,
        query_text,
        tier,
        cast(tier_rank as integer) as tier_rank,
        rank_score,
        is_clicked,
        occurrence = 1 and place <= {{ var('direct_list_length') }} as is_kept,
        case
            when occurrence > 1 then 'duplicate'
            when place > {{ var('direct_list_length') }} then 'beyond_length'
        end as drop_reason,
        is_replayed,
    from placed

)

select * from final
