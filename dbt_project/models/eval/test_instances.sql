{{ config(materialized='view', meta={'day': 'session_date'}) }}

with instances as (

    select * from {{ ref('test_user_days') }}

),

shop as (

    select * from {{ ref('shop') }}

),

training_contents as (

    select distinct behaviors.content_key
    from {{ ref('behavior_events') }} as behaviors
    inner join shop on behaviors.behavior_date <= shop.train_end_date

),

-- Grouped last of all: the condition on a day, which tests of a build bring, reaches the contexts then.
final as (

    select
        instances.instance_id,
        instances.user_id,
        instances.session_date,
        count(contexts.place) as behaviors,
        coalesce(
            bool_or(contexts.action <> 'search' and training_contents.content_key is null), false
        ) as has_unseen_item,
        instances.is_replayed,
    from instances
    left join {{ ref('test_contexts') }} as contexts
        on
            instances.instance_id = contexts.instance_id
            and instances.session_date = contexts.session_date
    left join training_contents on contexts.content_key = training_contents.content_key
    group by all

)

select * from final
