{# Context of each instance: its user's newest behaviours strictly before the prediction, oldest
   first (method section 1). Instances without any behaviour get no row.

   instances: CTE with the column `key`, user_id, predicted_at and predicted_date;
   behaviors: CTE over behavior.behaviors. #}
{% macro recent_behaviors(instances, behaviors, key, newest) %}
    {{ return(adapter.dispatch('recent_behaviors')(instances, behaviors, key, newest)) }}
{% endmacro %}

{# A slice of the user's history, whose end an ASOF join finds: of the ways tried the cheapest, half
   the time of the newest n per instance by an aggregate. #}
{% macro duckdb__recent_behaviors(instances, behaviors, key, newest) %}
    with histories as (

        select
            user_id,
            {{ sorted_list({
                'behavior_order': 'behavior_order',
                'occurred_at': 'occurred_at',
                'behavior_date': 'behavior_date',
                'action': 'action',
                'content_text': 'content_text',
                'content_key': 'content_key',
            }) }} as behaviors,
        from {{ behaviors }}
        where user_id in (select user_id from {{ instances }})
        group by user_id

    ),

    placed as (

        select
            user_id,
            unnest({{ list_field('behaviors', 'occurred_at') }}) as occurred_at,
            unnest(range(1, len(behaviors) + 1)) as place,
        from histories

    ),

    moments as (

        select
            user_id,
            occurred_at,
            max(place) as place,
        from placed
        group by user_id, occurred_at

    )

    select
        instances.{{ key }},
        list_transform(
            histories.behaviors[greatest(moments.place - {{ newest }} + 1, 1) : moments.place],
            lambda b: struct_pack(
                days_ago := cast(instances.predicted_date - b.behavior_date as integer),
                action := b.action,
                content_text := b.content_text,
                content_key := b.content_key
            )
        ) as behaviors,
    from {{ instances }} as instances
    asof inner join moments
        on instances.user_id = moments.user_id and instances.predicted_at > moments.occurred_at
    inner join histories on instances.user_id = histories.user_id
{% endmacro %}

{# The features of users' moments: what each user had done up to then, the newest, as parallel
   lists, oldest first.

   moments: CTE with user_id, event_timestamp and newest_place; behaviors: CTE over
   behavior.behaviors with `place`, the number of the behaviour in the user's order. #}
{% macro behavior_lists(moments, behaviors, newest) %}
    {{ return(adapter.dispatch('behavior_lists')(moments, behaviors, newest)) }}
{% endmacro %}

{% macro duckdb__behavior_lists(moments, behaviors, newest) %}
    with histories as (

        select
            user_id,
            -- Feast's lists hold no nulls.
            {{ sorted_list({
                'place': 'place',
                'content_key': 'content_key',
                'content_text': 'content_text',
                'leaf_category_id': "coalesce(leaf_category_id, '')",
                'action': 'action',
                'occurred_at_us': to_microseconds('occurred_at'),
            }) }} as behaviors,
        from {{ behaviors }}
        group by user_id

    ),

    cut as (

        select
            moments.user_id,
            moments.event_timestamp,
            histories.behaviors[
                greatest(moments.newest_place - {{ newest }} + 1, 1) : moments.newest_place
            ] as behaviors,
        from {{ moments }} as moments
        inner join histories using (user_id)

    )

    select
        user_id,
        event_timestamp,
        {% for column in ['content_key', 'content_text', 'leaf_category_id', 'action'] %}
        {{ list_field('behaviors', column) }} as {{ column }}s,
        {% endfor %}
        {{ list_field('behaviors', 'occurred_at_us') }} as occurred_at_us,
    from cut
{% endmacro %}
