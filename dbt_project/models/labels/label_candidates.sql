{{ config(
    materialized='incremental', incremental_strategy='changed',
    meta={'day': 'session_date'}
) }}

with tiers as (

    select
        *,
        'direct' as variant,
        {{ var('direct_list_length') }} as list_length,
    from {{ ref('label_tiers_direct') }}
    where {{ in_changed_days('session_date') }}

    union all

    select
        *,
        'think' as variant,
        {{ var('think_list_length') }} as list_length,
    from {{ ref('label_tiers_think') }}
    where {{ in_changed_days('session_date') }}

),

-- Only Think labels are judged; what no teacher has judged stays.
judged as (

    select
        tiers.*,
        coalesce(not alignments.is_aligned, false) as is_misaligned,
        row_number() over (
            partition by tiers.variant, tiers.session_id, tiers.query_text
            order by tiers.tier_order
        ) = 1 as is_first,
    from tiers
    left join {{ ref('stg_alignments') }} as alignments
        on
            tiers.variant = 'think'
            and tiers.session_id = alignments.session_id
            and tiers.query_text = alignments.query_text

),

placed as (

    select
        *,
        sum(case when is_first and not is_misaligned then 1 else 0 end) over (
            partition by variant, session_id
            order by tier_order, tier_position
            rows between unbounded preceding and current row
        ) as place,
    from judged

),

fated as (

    select
        *,
        case
            when not is_first then 'duplicate'
            when is_misaligned then 'misaligned'
            when place > list_length then 'beyond_length'
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
        cast(tier_position as integer) as tier_rank,
        rank_score,
        is_clicked,
        drop_reason is null as is_kept,
        drop_reason,
        is_replayed,
    from fated

)

select * from final
