{{ config(
    materialized='incremental',
    incremental_strategy='changed',
    meta={'day': 'session_date', 'user': 'user_id', 'fitted_on': 'training_days'}
) }}

{% set is_fitted_anew = is_partial() and fit_changed('training_days') %}
{% set wanted = in_changed_contexts('queries.user_id', 'queries.session_date', fitted_on='training_days') %}
with shop as (

    select * from {{ ref('shop') }}

),

users as (

    select * from {{ ref('stg_users') }}

),

true_queries as (

    select * from {{ ref('true_queries') }} as queries
    where {{ wanted }}

),

categories as (

    select * from {{ ref('query_categories') }}

),

instances as (

    select
        true_queries.user_id || ':' || cast(true_queries.session_date as varchar) as instance_id,
        true_queries.user_id,
        true_queries.session_date,
        true_queries.session_date as predicted_date,
        {{ day_start('true_queries.session_date') }} as predicted_at,
        shop.is_replayed,
        {{ list_distinct_sorted('true_queries.query_text') }} as true_queries,
        {{ list_distinct_sorted(
            'case when true_queries.is_searched then true_queries.query_text end'
        ) }} as searched_queries,
        {{ list_distinct_sorted(
            'case when true_queries.is_hint_click then true_queries.query_text end'
        ) }} as hint_clicked_queries,
        {{ list_distinct_sorted('categories.leaf_category_id') }} as true_leaf_categories,
    from true_queries
    cross join shop
    left join categories using (query_text)
    group by all

),

{{ user_histories('select user_id from ' ~ ref('true_queries') ~ ' as queries where ' ~ wanted) }},

placed as (

{{ with_places('instances') }}

),

contexts as (

{{ with_recent_behaviors('placed', var('max_behaviors')) }}

),

{% if is_fitted_anew %}
-- Where only the categories are fitted anew, what the day knew stays.
kept as (

    select * from {{ this }} as kept
    where not ({{ in_changed_contexts('kept.user_id', 'kept.session_date') }})

),

{% endif %}
final as (

    select
        contexts.instance_id,
        contexts.user_id,
        contexts.session_date,
        {{ day_start('contexts.session_date') }} as session_start_at,
        {% for column, known in {
            'age_band': 'users.age_band',
            'gender': 'users.gender',
            'region': 'users.region',
            'behaviors': 'contexts.behaviors',
        }.items() %}
        {{ 'case when kept.instance_id is not null then kept.' ~ column ~ ' else ' ~ known ~ ' end'
            if is_fitted_anew else known }} as {{ column }},
        {% endfor %}
        contexts.true_queries,
        contexts.searched_queries,
        contexts.hint_clicked_queries,
        contexts.true_leaf_categories,
        contexts.is_replayed,
    from contexts
    left join users using (user_id)
    {% if is_fitted_anew %}
    left join kept on contexts.instance_id = kept.instance_id
    {% endif %}

)

select * from final
