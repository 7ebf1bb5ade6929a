-- One row per item, from the same lines. A title is required; where the log has none, the item's
-- number stands in. leaf_category_id and leaf_category are required too: the finest category you
-- have, or one constant for all items. attributes is a MAP, STRUCT or JSON text; tags a list or
-- JSON text; both may be NULL, as may brand, category_path and price.
SELECT
    product AS item_id,
    coalesce(max(product_name), product) AS title,
    coalesce(max(category), 'all') AS leaf_category_id,
    coalesce(max(category), 'all') AS leaf_category,
    max(category) AS category_path,
    max(brand) AS brand,
    NULL AS attributes,
    NULL AS tags,
    max(try_cast(price AS DOUBLE)) AS price
FROM input
WHERE product IS NOT NULL
GROUP BY product
