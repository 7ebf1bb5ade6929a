with items as (

    select * from {{ ref('stg_items') }}

),

final as (

    select
        item_id,
        coalesce(
            nullif(
                trim(regexp_replace(concat_ws(', ', title, leaf_category), '\s+', ' ', 'g')), ''
            ),
            item_id
        ) as item_text,
        'rule' as source,
        cast(null as varchar) as model_version,
    from items

)

select * from final
