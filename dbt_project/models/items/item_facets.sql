{{ config(materialized='view') }}

with items as (

    select * from {{ ref('stg_items') }}

),

magnitudes as (

    select
        *,
        case when price >= 1 then power(10, floor(log10(price))) end as magnitude,
    from items

),

-- 1, 2, 5, 10, 20 ...: a band hangs on the item's own price, not on what else is sold.
priced as (

    select
        *,
        case
            when price < 2 * magnitude then magnitude
            when price < 5 * magnitude then 2 * magnitude
            else 5 * magnitude
        end as band_from,
        case
            when price < 2 * magnitude then 2 * magnitude
            when price < 5 * magnitude then 5 * magnitude
            else 10 * magnitude
        end as band_to,
    from magnitudes

),

facets as (

    select
        item_id,
        {{ one_spaced('title') }} as title,
        {{ one_spaced('leaf_category') }} as leaf_category,
        {{ one_spaced('category_path') }} as category_path,
        {{ one_spaced('brand') }} as brand,
        {{ map_texts('attributes') }} as attributes,
        coalesce(tags, []) as tags,
        case
            when price < 1 then 'under 1'
            when price >= 1
                then cast(try_cast(band_from as bigint) as varchar) || ' to ' || cast(try_cast(band_to as bigint) as varchar)
        end as price_band,
    from priced

),

final as (

    select
        *,
        md5(concat_ws(
            '|',
            coalesce(title, ''),
            coalesce(leaf_category, ''),
            coalesce(category_path, ''),
            coalesce(brand, ''),
            {{ list_text('attributes', ';') }},
            {{ list_text('tags', ';') }},
            coalesce(price_band, '')
        )) as facets_hash,
    from facets

)

select * from final
