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

contexts as (

    select
        contexts.instance_id,
        contexts.session_date,
        count(*) as behaviors,
        bool_or(
            contexts.action <> 'search' and training_contents.content_key is null
        ) as has_unseen_item,
    from {{ ref('test_contexts') }} as contexts
    left join training_contents on contexts.content_key = training_contents.content_key
    group by contexts.instance_id, contexts.session_date

),

final as (

    select
        instances.instance_id,
        instances.user_id,
        instances.session_date,
        coalesce(contexts.behaviors, 0) as behaviors,
        coalesce(contexts.has_unseen_item, false) as has_unseen_item,
        instances.is_replayed,
    from instances
    left join contexts
        on
            instances.instance_id = contexts.instance_id
            and instances.session_date = contexts.session_date

)

select * from final
