{# CTEs, to stand in a WITH: `histories`, each user's behaviours as a list, oldest first, and
   `moments`, with the place in it of the last behaviour of each moment. `users`: a query with the
   `user_id` of those that the model needs; others that the run's models asked for are there as well. #}
{% macro user_histories(users) %}
    {{ return(adapter.dispatch('user_histories')(users)) }}
{% endmacro %}

{% macro duckdb__user_histories(users) %}
{# A unit test brings its own behaviours, and several threads would make the tables at once. #}
{% set is_shared = execute and this is not none and flags.WHICH in ('run', 'build')
    and target.threads == 1 %}
{% if is_shared %}{% do share_histories(users) %}{% endif %}
    histories as (

{{ 'select * from ' ~ run_table('histories') if is_shared else histories_of('user_id in (' ~ users ~ ')') }}

    ),

    moments as (

{{ 'select * from ' ~ run_table('moments') if is_shared else moments_of('histories') }}

    )
{% endmacro %}

{# Adds to the run's tables the users that no earlier model of it asked for; a build from scratch
   everybody. #}
{% macro share_histories(users) %}
{% set histories, asked, missing = run_table('histories'), run_table('history_users'), run_table('missing_users') %}
{% do run_query('create table if not exists ' ~ asked ~ ' (user_id varchar)') %}
{# Null stands for everybody. #}
{% if run_query('select count(*) from ' ~ asked ~ ' where user_id is null').columns[0].values()[0] %}
    {{ return(none) }}
{% endif %}
{% set is_new = 'user_id not in (from ' ~ asked ~ ')' %}
{% if is_partial() %}
    {% do run_query(
        'create or replace table ' ~ missing ~ ' as select distinct user_id from (' ~ users
        ~ ') where user_id is not null and ' ~ is_new) %}
    {% set is_new = 'user_id in (from ' ~ missing ~ ')' %}
{% endif %}
{% for name, query in [
    ('histories', histories_of(is_new)),
    ('moments', moments_of('(from ' ~ histories ~ ' where ' ~ is_new ~ ')')),
] %}
    {% do run_query('create table if not exists ' ~ run_table(name) ~ ' as ' ~ query ~ ' with no data') %}
    {# What a model left that failed before it was done. #}
    {% do run_query('delete from ' ~ run_table(name) ~ ' where ' ~ is_new) %}
    {% do run_query('insert into ' ~ run_table(name) ~ ' ' ~ query) %}
{% endfor %}
{% do run_query('insert into ' ~ asked ~ (' from ' ~ missing if is_partial() else ' values (null)')) %}
{% endmacro %}

{# What an earlier run of this process left. #}
{% macro forget_histories() %}
{% for name in ['histories', 'moments', 'history_users', 'missing_users'] %}
{% do run_query('drop table if exists ' ~ run_table(name)) %}
{% endfor %}
{% endmacro %}

{% macro histories_of(whose) %}
        select
            user_id,
            {{ list_ordered('behaviors', 'behavior_order') }} as behaviors,
        from (
            select
                user_id,
                {{ list_of_rows({
                    'behavior_order': 'behavior_order',
                    'occurred_at': 'occurred_at',
                    'behavior_date': 'behavior_date',
                    'action': 'action',
                    'content_text': 'content_text',
                    'content_key': 'content_key',
                    'leaf_category_id': 'leaf_category_id',
                }) }} as behaviors,
            from {{ ref('behaviors') }} as behaviors
            where {{ whose }}
            group by user_id
        )
{% endmacro %}

{# Of behaviours at one moment the last, which is before a later one or none: histories are in order of
   time. #}
{% macro moments_of(histories) %}
        select
            user_id,
            occurred_at,
            place,
        from (
            select
                user_id,
                unnest(times) as occurred_at,
                unnest(list_concat(times[2:], ['infinity'::timestamptz])) as next_at,
                unnest(range(1, len(times) + 1)) as place,
            from (
                select
                    user_id,
                    {{ list_field('behaviors', 'occurred_at') }} as times,
                from {{ histories }}
            )
        )
        where occurred_at < next_at
{% endmacro %}

{# A context is a slice of its user's history, whose end an ASOF join finds: of the ways tried the
   cheapest, half the time of the newest n per instance by an aggregate. The slice comes last of all
   joins, so that none has it to carry. The ASOF join, which sorts, comes before those that bring long
   lists (labels: 30 of them, three times) and after all others, for it leaves users together, which
   makes files smaller and quicker to write. Both stand beside the CTEs of `user_histories`.

   instances: CTE with user_id and predicted_at. They get `newest_place`, that of the user's last
   behaviour strictly before the prediction, null where there is none. #}
{% macro with_places(instances) %}
    {{ return(adapter.dispatch('with_places')(instances)) }}
{% endmacro %}

{% macro duckdb__with_places(instances) %}
    select
        instances.*,
        moments.place as newest_place,
    from {{ instances }} as instances
    asof left join moments
        on instances.user_id = moments.user_id and instances.predicted_at > moments.occurred_at
{% endmacro %}

{# placed: CTE with user_id, newest_place, predicted_at and predicted_date; the last three give way to
   `behaviors`: the newest up to that place, oldest first (method section 1), or an empty list. #}
{% macro with_recent_behaviors(placed, newest) %}
    {{ return(adapter.dispatch('with_recent_behaviors')(placed, newest)) }}
{% endmacro %}

{% macro duckdb__with_recent_behaviors(placed, newest) %}
    select
        placed.* exclude (newest_place, predicted_at, predicted_date),
        coalesce(
            list_transform(
                {{ newest_of('histories.behaviors', 'placed.newest_place', newest) }},
                lambda b: struct_pack(
                    days_ago := cast(placed.predicted_date - b.behavior_date as integer),
                    action := b.action,
                    content_text := b.content_text,
                    content_key := b.content_key
                )
            ),
            []
        ) as behaviors,
    from {{ placed }} as placed
    left join histories on placed.user_id = histories.user_id
{% endmacro %}

{% macro newest_of(behaviors, place, newest) -%}
    {{ behaviors }}[greatest({{ place }} - {{ newest }} + 1, 1) : {{ place }}]
{%- endmacro %}

{# The features of users' moments: what each user had done up to then, the newest, as parallel
   lists, oldest first. Beside the CTEs of `user_histories`.

   placed: CTE with user_id, event_timestamp and newest_place. #}
{% macro behavior_lists(placed, newest) %}
    {{ return(adapter.dispatch('behavior_lists')(placed, newest)) }}
{% endmacro %}

{% macro duckdb__behavior_lists(placed, newest) %}
    with cut as (

        select
            placed.user_id,
            placed.event_timestamp,
            {{ newest_of('histories.behaviors', 'placed.newest_place', newest) }} as behaviors,
        from {{ placed }} as placed
        inner join histories using (user_id)

    )

    select
        user_id,
        event_timestamp,
        {% for column in ['content_key', 'content_text', 'action'] %}
        {{ list_field('behaviors', column) }} as {{ column }}s,
        {% endfor %}
        -- Feast's lists hold no nulls.
        list_transform(behaviors, lambda b: coalesce(b.leaf_category_id, '')) as leaf_category_ids,
        list_transform(
            behaviors, lambda b: {{ to_microseconds('b.occurred_at') }}
        ) as occurred_at_us,
    from cut
{% endmacro %}

{# The queries that were searched in a context, oldest first. #}
{% macro searches_of(behaviors) %}
    {{ return(adapter.dispatch('searches_of')(behaviors)) }}
{% endmacro %}

{% macro duckdb__searches_of(behaviors) -%}
    list_transform(
        list_filter({{ behaviors }}, lambda b: b.action = 'search'), lambda b: b.content_text
    )
{%- endmacro %}
