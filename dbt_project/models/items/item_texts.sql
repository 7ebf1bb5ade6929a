with items as (

    select * from {{ ref('stg_items') }}

),

generated as (

    select * from {{ ref('stg_generated_texts') }}

),

final as (

    select
        items.item_id,
        coalesce(
            generated.item_text,
            nullif(
                {{ one_spaced("concat_ws(', ', items.title, items.leaf_category)") }}, ''
            ),
            items.item_id
        ) as item_text,
        case when generated.item_text is null then 'rule' else 'generated' end as source,
        generated.model_version,
    from items
    left join generated using (item_id)

)

select * from final
