with sessions as (

    select * from {{ ref('sessions_direct') }}

),

candidates as (

    select
        sessions.session_id,
        sessions.is_replayed,
        candidates.query_text,
        candidates.rank,
        candidates.rank_score,
        candidates.clicked_at,
        candidates.is_displayed and candidates.clicked_at is not null as is_click,
    from sessions
    inner join {{ ref('candidates') }} as candidates
        on sessions.session_id = candidates.request_id

),

clicked as (

    select
        *,
        'click' as tier,
        1 as tier_order,
        row_number() over (
            partition by session_id order by clicked_at, rank
        ) as tier_position,
        true as is_clicked,
    from candidates
    where is_click

),

ranked as (

    select
        *,
        'rank' as tier,
        2 as tier_order,
        row_number() over (
            partition by session_id order by rank_score desc nulls last, rank
        ) as tier_position,
        bool_or(is_click) over (partition by session_id, query_text) as is_clicked,
    from candidates

),

-- Two spellings of one query in a request: the better placed one stands for both.
tiers as (

    select
        *,
        row_number() over (
            partition by session_id, query_text order by tier_order
        ) as occurrence,
    from (
        select * from (select * from clicked union all select * from ranked)
        qualify row_number() over (
            partition by session_id, tier, query_text order by tier_position
        ) = 1
    )

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
