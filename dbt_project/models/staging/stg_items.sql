{{ config(materialized='view') }}

select
    item_id,
    title,
    leaf_category_id,
    leaf_category,
    category_path,
    brand,
    attributes,
    tags,
    price,
from {{ source('raw', 'items') }}
