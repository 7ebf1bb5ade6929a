{{ config(materialized='view', meta={'day': 'session_date'}) }}

{% set tiers = [
    ('click', 'clicks > 0', 'clicks desc, latest_click_at desc'),
    ('rank', 'is_scored', 'rank_score desc nulls last'),
    ('search', 'searches > 0', 'searches desc, latest_search_at desc'),
    ('llm', 'is_proposed', 'teacher_rank nulls last'),
] %}
with queries as (

    select * from {{ ref('label_queries_think') }}

),

-- Every window is cut by day, too: a build reads the days that it builds.
final as (

    {% for tier, is_in_tier, best_first in tiers %}
    select
        session_id,
        session_date,
        '{{ tier }}' as tier,
        {{ loop.index }} as tier_order,
        row_number() over (
            partition by session_date, session_id order by {{ best_first }}, query_text
        ) as tier_position,
        query_text,
        rank_score,
        clicks > 0 as is_clicked,
        false as is_replayed,
    from queries
    where {{ is_in_tier }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

)

select * from final
