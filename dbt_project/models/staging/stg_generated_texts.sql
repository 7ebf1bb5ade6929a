{{ config(materialized='view') }}

-- Of several runs over an item the newest counts: run ids start with their time.
with texts as (

    select
        item_id,
        {{ one_spaced('item_text') }} as item_text,
        model_version,
        run_id,
    from {{ source('items', 'generated_texts') }}

)

select
    item_id,
    item_text,
    model_version,
from texts
where item_text <> ''
qualify row_number() over (partition by item_id order by run_id desc, item_text) = 1
