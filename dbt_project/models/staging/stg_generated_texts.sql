{{ config(materialized='view') }}

-- Of several runs over an item the newest counts: run ids start with their time. Where it left no
-- text, the item has none: an older one may speak of what the item no longer is.
with texts as (

    select
        item_id,
        {{ one_spaced('item_text') }} as item_text,
        model_version,
    from {{ source('items', 'generated_texts') }}
    qualify row_number() over (partition by item_id order by run_id desc, item_text) = 1

)

select * from texts
where item_text <> ''
