with contents as (

    select distinct
        instance_id,
        content_key,
    from {{ ref('test_contexts') }}

),

weights as (

    select * from {{ ref('co_click_weights') }}

),

final as (

    select
        contents.instance_id,
        cast(row_number() over (
            partition by contents.instance_id
            order by sum(weights.weight) desc, weights.query_text
        ) as integer) as position,
        weights.query_text,
    from contents
    inner join weights using (content_key)
    group by contents.instance_id, weights.query_text
    qualify position <= 30

)

select * from final
