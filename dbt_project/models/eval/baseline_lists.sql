{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'day': 'session_date', 'user': 'user_id', 'fitted_on': 'training_days'}
) }}

-- Fitted on training days only; contexts are those of the models. What was tried: training/LOG.md.
with lists as (

    select *, 'popularity' as model from {{ ref('baseline_popularity') }}
    union all
    select *, 'co_click' as model from {{ ref('baseline_co_click') }}
    union all
    select *, 'own_recent' as model from {{ ref('baseline_own_recent') }}
    union all
    select *, 'co_click_own' as model from {{ ref('baseline_co_click_own') }}

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
    where {{ in_changed_contexts('lists.user_id', 'lists.session_date', fitted_on='training_days') }}

)

select * from final
