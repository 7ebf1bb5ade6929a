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

-- Only Think labels are judged. As a column, since a left join with a condition on one side alone
-- compares every row with every other.
alignments as (

    select
        *,
        'think' as variant,
    from {{ ref('stg_alignments') }}

),

-- What no teacher has judged stays.
judged as (

    select
        tiers.*,
        coalesce(not alignments.is_aligned, false) as is_misaligned,
    from tiers
    left join alignments
        on
            tiers.variant = alignments.variant
            and tiers.session_id = alignments.session_id
            and tiers.query_text = alignments.query_text

),

-- A short list per session sorts in half the time that windows over all rows take.
ranked as (

    select
        session_id,
        session_date,
        variant,
        list_length,
        is_replayed,
        {{ sorted_list({
            'tier_order': 'tier_order',
            'first_key': 'first_key',
            'second_key': 'second_key',
            'query_text': 'query_text',
            'tier': 'tier',
            'rank_score': 'rank_score',
            'is_clicked': 'is_clicked',
            'is_repeated': 'is_repeated',
            'is_misaligned': 'is_misaligned',
        }) }} as candidates,
        {% for tier in range(1, 4) %}
        count(*) filter (tier_order <= {{ tier }}) as up_to_tier_{{ tier }},
        {% endfor %}
    from judged
    group by session_id, session_date, variant, list_length, is_replayed

),

placed as (

    select
        *,
        {{ list_places('candidates', 'not x.is_repeated and not x.is_misaligned') }}[list_length]
            as last_place,
        unnest(candidates) as candidate,
        unnest(range(1, len(candidates) + 1)) as place,
    from ranked

),

fated as (

    select
        *,
        case
            when candidate.is_repeated then 'duplicate'
            when candidate.is_misaligned then 'misaligned'
            when place > last_place then 'beyond_length'
        end as drop_reason,
    from placed

),

final as (

    select
        session_id,
        session_date,
        variant,
        candidate.query_text,
        candidate.tier,
        cast(place - case candidate.tier_order
            when 1 then 0
            when 2 then up_to_tier_1
            when 3 then up_to_tier_2
            else up_to_tier_3
        end as integer) as tier_rank,
        candidate.rank_score,
        candidate.is_clicked,
        drop_reason is null as is_kept,
        drop_reason,
        is_replayed,
    from fated

)

select * from final
