{{ config(
    materialized='incremental', incremental_strategy='changed',
    meta={'day': 'session_date'}
) }}

with queries as (

{{ numbered_queries() }}

),

direct_sessions as (

{{ numbered_sessions('direct') }}

),

think_sessions as (

{{ numbered_sessions('think') }}

),

-- Those of Direct have negative numbers.
sessions as (

    select
        -session_number as session_number,
        session_id,
        session_date,
        'direct' as variant,
        {{ var('direct_list_length') }} as list_length,
        is_replayed,
    from direct_sessions
    where {{ in_changed_days('session_date') }}

    union all

    select
        session_number,
        session_id,
        session_date,
        'think' as variant,
        {{ var('think_list_length') }} as list_length,
        false as is_replayed,
    from think_sessions
    where {{ in_changed_days('session_date') }}

),

-- Only Think labels are judged; what no teacher has judged stays.
judged as (

    select
        think_sessions.session_number,
        queries.query_number,
    from {{ ref('stg_alignments') }} as alignments
    inner join think_sessions using (session_id)
    inner join queries using (query_text)
    where not alignments.is_aligned and {{ in_changed_days('think_sessions.session_date') }}

),

tiers as (

    select
        -session_number as session_number,
        query_number,
        tier,
        tier_order,
        first_key,
        second_key,
        rank_score,
        is_clicked,
        is_repeated,
        false as is_misaligned,
    from {{ ref('label_tiers_direct') }}
    where {{ in_changed_days('session_date') }}

    union all

    select
        tiers.session_number,
        tiers.query_number,
        tiers.tier,
        tiers.tier_order,
        tiers.first_key,
        tiers.second_key,
        tiers.rank_score,
        tiers.is_clicked,
        tiers.is_repeated,
        -- A left join could take the many candidates for the few judgements.
        (tiers.session_number, tiers.query_number) in (
            select (session_number, query_number) from judged
        ) as is_misaligned,
    from {{ ref('label_tiers_think') }} as tiers
    where {{ in_changed_days('tiers.session_date') }}

),

-- Tier by tier, the best first; one sort for all that is counted.
{% set in_order = 'partition by session_number order by tier_order, first_key, second_key, query_number' %}
placed as (

    select
        session_number,
        query_number,
        tier,
        rank_score,
        is_clicked,
        is_repeated,
        is_misaligned,
        row_number() over ({{ in_order }}) as place,
        rank() over (partition by session_number order by tier_order) as tier_begins,
        sum(case when is_repeated or is_misaligned then 0 else 1 end) over (
            {{ in_order }} rows between unbounded preceding and current row
        ) as kept_place,
    from tiers

),

-- Texts come last, so that the sort has none to carry.
fated as (

    select
        sessions.session_id,
        sessions.session_date,
        sessions.variant,
        queries.query_text,
        placed.*,
        sessions.is_replayed,
        case
            when placed.is_repeated then 'duplicate'
            when placed.is_misaligned then 'misaligned'
            when placed.kept_place > sessions.list_length then 'beyond_length'
        end as drop_reason,
    from placed
    inner join sessions using (session_number)
    inner join queries using (query_number)

),

final as (

    select
        session_id,
        session_date,
        variant,
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
