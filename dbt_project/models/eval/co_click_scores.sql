{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'day': 'session_date', 'user': 'user_id', 'fitted_on': 'training_days'},
    post_hook={'sql': '{{ forget_gathered() }}', 'transaction': false}
) }}

-- An instance has some 800 scores on the way, of which 50 stay: 10,000 of them take 3 GB.
{% set wanted = in_changed_contexts('days.user_id', 'days.session_date', fitted_on='training_days') %}
{% set wanted_contexts = in_changed_contexts(
    'contexts.user_id', 'contexts.session_date', fitted_on='training_days'
) %}
{% set blocks = user_blocks(
    'select days.user_id from ' ~ ref('test_user_days') ~ ' as days where ' ~ wanted, size=10000
) %}
{% set queries = [] %}
{% for block in blocks %}
{% set query %}
-- Instances and queries are counted by numbers, which cost half of what their texts do.
with instances as (

    select
        instance_id,
        user_id,
        session_date,
        row_number() over (order by instance_id) as instance,
    from {{ ref('test_user_days') }} as days
    where {{ wanted }} and {{ in_block(block, 'days.user_id') }}

),

contents as (

    select
        instances.instance,
        contexts.content_key,
        max(case when contexts.action = 'search' then contexts.content_text end) as query_text,
        cast(sqrt(sum({{ half_life('contexts.days_ago', 7) }})) as decimal(18, 12)) as freshness,
    from {{ ref('test_contexts') }} as contexts
    inner join instances using (instance_id)
    where {{ wanted_contexts }} and {{ in_block(block, 'contexts.user_id') }}
    group by instances.instance, contexts.content_key

),

weights as (

    select * from {{ ref('co_click_weights') }}
    where content_key in (select content_key from contents)

),

-- Numbered in the order of their texts, which break ties.
queries as (

    select
        query_text,
        row_number() over (order by query_text) as query,
    from (
        select query_text from weights
        union
        select query_text from contents where query_text is not null
    )

),

numbered_weights as (

    select
        weights.content_key,
        queries.query,
        weights.weight,
    from weights
    inner join queries using (query_text)

),

popular as (

    select
        query_text,
        true as is_popular,
    from {{ ref('training_queries') }}
    qualify row_number() over (order by popularity desc, query_text) <= 30

),

votes as (

    select
        contents.instance,
        weights.query,
        contents.freshness * weights.weight as co_click,
        0 as own,
    from contents
    inner join numbered_weights as weights using (content_key)

    union all

    select
        contents.instance,
        queries.query,
        0 as co_click,
        contents.freshness as own,
    from contents
    inner join queries using (query_text)

),

scored as (

    select
        instance,
        query,
        sum(co_click) as co_click,
        sum(own) as own,
    from votes
    group by instance, query

),

-- The score that a list of 30 ends with, of each instance: what is below it need not be sorted, nine
-- rows of ten. What ties with it stays, for the texts to decide.
least_scores as (

    select
        instance,
        {{ nth_largest('co_click', 30) }} as co_click,
    from scored
    group by instance

),

final as (

    select
        instances.instance_id,
        instances.user_id,
        instances.session_date,
        queries.query_text,
        cast(scored.co_click as decimal(38, 24)) as co_click,
        cast(scored.own as decimal(18, 12)) as own,
    from scored
    inner join queries using (query)
    inner join instances using (instance)
    inner join least_scores using (instance)
    left join popular using (query_text)
    where
        scored.co_click >= least_scores.co_click
        or scored.own > 0
        or popular.is_popular
    -- All that can come into a list of 30, whatever own searches and popularity count.
    qualify
        row_number() over (
            partition by scored.instance order by scored.co_click desc, scored.query
        ) <= 30
        or scored.own > 0
        or popular.is_popular

)

select * from final
{% endset %}
{% do queries.append(query) %}
{% endfor %}
{{ in_turn(queries) }}
