{{ config(
    materialized='incremental', incremental_strategy='changed',
    meta={'day': 'session_date'}
) }}

with direct as (

    select
        *,
        true as is_direct,
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
        false as is_direct,
        coalesce(not alignments.is_aligned, false) as is_misaligned,
    from think
    left join {{ ref('stg_alignments') }} as alignments
        on
            think.session_id = alignments.session_id
            and think.query_text = alignments.query_text

),

-- Tier by tier, the best first; one sort for all that is counted, which carries no more than it must.
{% set in_order = 'partition by session_id, is_direct order by tier_order, first_key, second_key, query_text' %}
placed as (

    select
        *,
        row_number() over ({{ in_order }}) as place,
        rank() over (partition by session_id, is_direct order by tier_order) as tier_begins,
        sum(case when is_repeated or is_misaligned then 0 else 1 end) over (
            {{ in_order }} rows between unbounded preceding and current row
        ) as kept_place,
    from (select * from direct union all select * from judged)

),

fated as (

    select
        *,
        case
            when is_repeated then 'duplicate'
            when is_misaligned then 'misaligned'
            when
                kept_place > case
                    when is_direct
                        then {{ var('direct_list_length') }}
                    else {{ var('think_list_length') }}
                end
                then 'beyond_length'
        end as drop_reason,
    from placed

),

final as (

    select
        session_id,
        session_date,
        case when is_direct then 'direct' else 'think' end as variant,
        query_text,
        tier,
        cast(place - tier_begins + 1 as integer) as tier_rank,
        rank_score,
        is_clicked,
        drop_reason is null as is_kept,
        cast(case when drop_reason is null then kept_place end as integer) as position,
        drop_reason,
        is_replayed,
    from fated

)

select * from final
