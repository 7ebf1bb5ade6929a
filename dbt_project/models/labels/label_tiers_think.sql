{{ config(materialized='view', meta={'day': 'session_date'}) }}

{% set tiers = [
    ('click', 'clicks > 0', '-clicks', '-' ~ to_microseconds('latest_click_at')),
    ('rank', 'is_scored', "coalesce(-rank_score, 'infinity')", '0'),
    ('search', 'searches > 0', '-searches', '-' ~ to_microseconds('latest_search_at')),
    ('llm', 'is_proposed', "coalesce(teacher_rank, 'infinity')", '0'),
] %}
{% set better = [] %}
with queries as (

    select * from {{ ref('label_queries_think') }}

),

final as (

    {% for tier, is_in_tier, first_key, second_key in tiers %}
    select
        session_id,
        session_date,
        '{{ tier }}' as tier,
        {{ loop.index }} as tier_order,
        cast({{ first_key }} as double) as first_key,
        cast({{ second_key }} as bigint) as second_key,
        query_text,
        rank_score,
        clicks > 0 as is_clicked,
        {{ better | join(' or ') or 'false' }} as is_repeated,
        false as is_replayed,
    from queries
    where {{ is_in_tier }}
    {{ 'union all' if not loop.last }}
    {% do better.append(is_in_tier) %}
    {% endfor %}

)

select * from final
