{# Sessions and queries as numbers, where there are many rows of them: to group and sort 20 million
   candidates by numbers takes half the time that it takes by texts. Each statement numbers for
   itself; the numbers mean nothing outside it. #}

{# Sessions of a variant with `session_number`. By day, so that a condition on the day comes first. #}
{% macro numbered_sessions(variant) %}
    select
        *,
        (session_date - date '1970-01-01') * 10000000000
        + row_number() over (partition by session_date order by session_id) as session_number,
    from {{ ref('sessions_' ~ variant) }}
{% endmacro %}

{# Every normalised text with `query_number`, in the order of the texts: ties are broken as by them. #}
{% macro numbered_queries() %}
    select
        query_text,
        cast(row_number() over (order by query_text) as integer) as query_number,
    from (select distinct query_text from {{ ref('stg_query_texts') }})
{% endmacro %}
