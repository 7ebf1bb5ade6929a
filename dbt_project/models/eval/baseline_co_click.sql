{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'day': 'session_date', 'user': 'user_id', 'fitted_on': 'training_days'}
) }}

with contents as (

    select distinct
        instance_id,
        user_id,
        session_date,
        content_key,
    from {{ ref('test_contexts') }} as contexts
    where {{ in_changed_contexts('contexts.user_id', 'contexts.session_date', fitted_on='training_days') }}

),

weights as (

    select * from {{ ref('co_click_weights') }}

),

final as (

    select
        contents.instance_id,
        contents.user_id,
        contents.session_date,
        cast(row_number() over (
            partition by contents.instance_id
            order by sum(weights.weight) desc, weights.query_text
        ) as integer) as position,
        weights.query_text,
    from contents
    inner join weights using (content_key)
    group by contents.instance_id, contents.user_id, contents.session_date, weights.query_text
    qualify position <= 30

)

select * from final
