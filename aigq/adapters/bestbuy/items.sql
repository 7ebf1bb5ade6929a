-- An item is known from its clicks alone. A line without a title takes the one that the item most
-- often has in the other lines; an item that never has one is named by its number.
WITH
titles AS (
    SELECT
        sku,
        title,
        category,
        count(*) OVER (PARTITION BY sku, title) AS title_lines
    FROM input
    WHERE sku IS NOT NULL
)

SELECT
    sku AS item_id,
    coalesce(max_by(title, (title_lines, title)) FILTER (title IS NOT NULL), sku) AS title,
    min(category) AS leaf_category_id,
    min(category) AS leaf_category,
    min(category) AS category_path,
    NULL AS brand,
    NULL AS attributes,
    NULL AS tags,
    NULL AS price
FROM titles
GROUP BY sku
ORDER BY sku
