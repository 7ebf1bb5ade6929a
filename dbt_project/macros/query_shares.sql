{# Select: every query of the training days, its popularity and its share of all queries' together. #}
{% macro query_shares() %}
    select
        query_text,
        popularity,
        cast(popularity / sum(popularity) over () as decimal(18, 12)) as share,
    from {{ ref('training_queries') }}
{% endmacro %}
