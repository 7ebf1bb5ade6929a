{{ config(
    materialized='incremental', incremental_strategy='changed',
    meta={'day': 'session_date'}
) }}

with direct as (

    select
        *,
        'direct' as variant,
        {{ var('direct_list_length') }} as list_length,
        false as is_misaligned,
    from {{ ref('label_tiers_direct') }}
    where {{ in_changed_days('session_date') }}

),

think as (

    select * from {{ ref('label_tiers_think') }}
    where {{ in_changed_days('session_date') }}

),

-- Only Think labels are judged; what no teacher has judged stays. (A join that also asks for the
-- variant would compare every row with every judgement.)
judged as (

    select
        think.*,
        'think' as variant,
        {{ var('think_list_length') }} as list_length,
        coalesce(not alignments.is_aligned, false) as is_misaligned,
    from think
    left join {{ ref('stg_alignments') }} as alignments
        on
            think.session_id = alignments.session_id
            and think.query_text = alignments.query_text

),

-- Tier by tier, the best first; one sort for all that is counted.
placed as (

    select
        *,
        row_number() over in_order as place,
        count(*) filter (not is_repeated and not is_misaligned) over (
            in_order rows between unbounded preceding and current row
        ) as kept_place,
        {% for tier in range(1, 4) %}
        count(*) filter (tier_order <= {{ tier }}) over (
            in_order rows between unbounded preceding and unbounded following
        ) as up_to_tier_{{ tier }},
        {% endfor %}
    from (select * from direct union all select * from judged)
    window in_order as (
        partition by session_id, variant order by tier_order, first_key, second_key, query_text
    )

),

fated as (

    select
        *,
        case
            when is_repeated then 'duplicate'
            when is_misaligned then 'misaligned'
            when kept_place > list_length then 'beyond_length'
        end as drop_reason,
    from placed

),

final as (

    select
        session_id,
        session_date,
        variant,
        query_text,
        tier,
        cast(place - case tier_order
            when 1 then 0
            when 2 then up_to_tier_1
            when 3 then up_to_tier_2
            else up_to_tier_3
        end as integer) as tier_rank,
        rank_score,
        is_clicked,
        drop_reason is null as is_kept,
        drop_reason,
        is_replayed,
    from fated

)

select * from final
