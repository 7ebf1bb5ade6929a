{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'day': 'session_date', 'user': 'user_id', 'fitted_on': 'training_profiles'}
) }}

-- Fitted on training days only; contexts are those of the models. What was tried: training/LOG.md.
with lists as (

    {% for model in ['popularity', 'popularity_profile', 'co_click', 'own_recent', 'co_click_own'] %}
    {{ 'union all' if not loop.first }}
    select
        instance_id,
        user_id,
        session_date,
        position,
        query_text,
        '{{ model }}' as model,
    from {{ ref('baseline_' ~ model) }}
    {% endfor %}

),

final as (

    select
        instance_id,
        user_id,
        session_date,
        model,
        'sql' as model_version,
        0 as list_index,
        position,
        query_text,
    from lists
    where {{ in_changed_contexts('lists.user_id', 'lists.session_date', fitted_on='training_profiles') }}

)

select * from final
