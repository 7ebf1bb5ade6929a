-- A line of the log is one click. Clicks that share user, query and query time share one search,
-- which the user began by entering the search box: one search_entry and one search for all of them.
-- Event ids are made from the content, so the same line always gives the same event.
WITH
clicks AS (
    SELECT
        "user" AS user_id,
        sku AS item_id,
        query AS query_text,
        click_time,
        query_time,
        md5(concat_ws(chr(31), "user", query, query_time)) AS search_id
    FROM input
),

searches AS (
    SELECT DISTINCT search_id, user_id, query_text, query_time FROM clicks
),

events AS (
    SELECT
        search_id || ':0' AS event_id,
        user_id,
        query_time AS occurred_at,
        'search_entry' AS action,
        NULL AS query_text,
        NULL AS item_id
    FROM searches

    UNION ALL

    SELECT search_id || ':1', user_id, query_time, 'search', query_text, NULL
    FROM searches

    UNION ALL

    SELECT
        search_id || ':' || md5(concat_ws(chr(31), item_id, click_time)),
        user_id,
        click_time,
        'item_click',
        NULL,
        item_id
    FROM clicks
)

SELECT
    event_id,
    user_id,
    occurred_at,
    action,
    query_text,
    item_id,
    NULL AS quantity,
    NULL AS price
FROM events
ORDER BY occurred_at, event_id
