{% set lambda = var('x2q_lambda') %}
with pairs as (

    select * from {{ ref('x2q_pairs') }}

),

stats as (

    select * from {{ ref('query_stats') }}
    qualify event_timestamp = max(event_timestamp) over ()

),

shop_stats as (

    select
        max(page_views_7d) as most_page_views,
        coalesce(sum(hint_clicks_7d) / nullif(sum(hint_impressions_7d), 0), 0) as hint_ctr,
    from stats

),

-- eff(q): a query nobody searched has no page views, one nobody saw has the shop's rate.
rated as (

    select
        pairs.*,
        (
            coalesce(
                ln(1 + stats.page_views_7d) / nullif(ln(1 + shop_stats.most_page_views), 0), 0
            )
            + coalesce(pairs.predicted_ctr, stats.hint_ctr_7d, shop_stats.hint_ctr)
        ) / 2 as effectiveness,
    from pairs
    left join stats using (query_text)
    cross join shop_stats

),

scored as (

    select
        *,
        cast(
            {{ lambda }} * relevance + (1 - {{ lambda }}) * effectiveness as double
        ) as score,
    from rated

),

final as (

    select
        trigger,
        cast(row_number() over (
            partition by trigger order by score desc, support desc, query_text
        ) as integer) as position,
        query_text,
        relevance,
        effectiveness,
        score,
        support,
        rationale,
        model_version,
    from scored
    qualify position <= {{ var('x2q_length') }}

)

select * from final
