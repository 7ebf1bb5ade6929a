{# Context of each instance: its user's newest behaviours strictly before the prediction, oldest
   first (method section 1). Instances without any behaviour get no row.

   instances: CTE with the column `key`, user_id, predicted_at and predicted_date;
   behaviors: CTE over behavior.behaviors. #}
{% macro recent_behaviors(instances, behaviors, key, newest) %}
    select
        instances.{{ key }},
        {{ newest_n(
            make_struct({
                'days_ago':
                    'cast(instances.predicted_date - behaviors.behavior_date as integer)',
                'action': 'behaviors.action',
                'content_text': 'behaviors.content_text',
                'content_key': 'behaviors.content_key',
            }),
            'behaviors.behavior_order',
            newest,
        ) }} as behaviors
    from {{ instances }} as instances
    inner join {{ behaviors }} as behaviors
        on
            instances.user_id = behaviors.user_id
            and behaviors.occurred_at < instances.predicted_at
    group by instances.{{ key }}
{% endmacro %}
