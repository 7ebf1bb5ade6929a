{{ config(
    materialized='incremental', incremental_strategy='changed',
    meta={'day': 'session_date'}
) }}

{% set is_numbered = labels_by_number() %}
{% set session_key = 'cast(row_number() over () as integer)' if is_numbered else 'session_id' %}
with direct_sessions as materialized (

    select
        *,
        {{ session_key }} as session_key,
    from {{ ref('sessions_direct') }}
    where {{ in_changed_days('session_date') }}

),

think_sessions as materialized (

    select
        *,
        {{ session_key }} as session_key,
    from {{ ref('sessions_think') }}
    where {{ in_changed_days('session_date') }}

),

{% if is_numbered %}
-- In the order of the texts: ties are broken as by them.
queries as materialized (

    select
        query_text,
        cast(row_number() over (order by query_text) as integer) as query_key,
    from (select distinct query_text from {{ ref('stg_query_texts') }})

),

{% endif %}
direct as (

{{ direct_tiers(is_numbered) }}

),

think_queries as (

{{ think_queries(is_numbered) }}

),

think as (

{{ think_tiers() }}

),

-- Only Think labels are judged; what no teacher has judged stays.
misaligned as (

    select
        think_sessions.session_key,
        {{ query_key('alignments', is_numbered) }} as query_key,
    from {{ ref('stg_alignments') }} as alignments
    inner join think_sessions using (session_id)
    {{ with_query_key('alignments', is_numbered) }}
    where not alignments.is_aligned

),

tiers as (

    select
        *,
        true as is_direct,
        false as is_misaligned,
    from direct

    union all

    select
        *,
        false as is_direct,
        -- Not by a left join, of which DuckDB made a hash table of the candidates, not of the judgements.
        (session_key, query_key) in (select (session_key, query_key) from misaligned) as is_misaligned,
    from think

),

-- Tier by tier, the best first; one sort for all that is counted, which carries no more than it must.
{% set in_order = 'partition by session_key, is_direct order by tier_order, first_key, second_key, query_key' %}
placed as (

    select
        *,
        row_number() over ({{ in_order }}) as place,
        rank() over (partition by session_key, is_direct order by tier_order) as tier_begins,
        sum(case when is_repeated or is_misaligned then 0 else 1 end) over (
            {{ in_order }} rows between unbounded preceding and current row
        ) as kept_place,
    from tiers

),

sessions as (

    select session_key, true as is_direct, session_id, session_date, is_replayed from direct_sessions
    union all
    select session_key, false as is_direct, session_id, session_date, false as is_replayed from think_sessions

),

-- Texts come last, so that the sort has none to carry.
fated as (

    select
        placed.*,
        sessions.session_id,
        sessions.session_date,
        sessions.is_replayed,
        {{ 'queries.query_text' if is_numbered else 'placed.query_key' }} as query_text,
        case
            when placed.is_repeated then 'duplicate'
            when placed.is_misaligned then 'misaligned'
            when
                placed.kept_place > case
                    when placed.is_direct
                        then {{ var('direct_list_length') }}
                    else {{ var('think_list_length') }}
                end
                then 'beyond_length'
        end as drop_reason,
    from placed
    inner join sessions using (session_key, is_direct)
    {{ 'left join queries using (query_key)' if is_numbered }}

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
