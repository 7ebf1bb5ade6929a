{{ config(materialized='view') }}

-- Of several runs over an item the newest with a text counts: run ids start with their time. Only
-- runs over the item as the newest run saw it: an older text may speak of what it no longer is.
with runs as (

    select
        item_id,
        {{ one_spaced('item_text') }} as item_text,
        model_version,
        run_id,
        facets_hash,
        first_value(facets_hash) over (
            partition by item_id order by run_id desc
        ) as newest_facets_hash,
    from {{ source('items', 'generated_texts') }}

),

texts as (

    select
        item_id,
        item_text,
        model_version,
    from runs
    where item_text <> '' and facets_hash is not distinct from newest_facets_hash
    qualify row_number() over (partition by item_id order by run_id desc, item_text) = 1

)

select * from texts
