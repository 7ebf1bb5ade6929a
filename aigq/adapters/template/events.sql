-- Template: an adapter for your own log. Copy this folder, adapt the queries, then run
--
--     aigq ingest LOG.csv MORE.jsonl.gz --adapter path/to/your/folder
--
-- A folder holds one <table>.sql per table of the raw contract that your log can fill: users,
-- items, events, hint_requests, hint_candidates. Each file is one SELECT (DuckDB's SQL) over the
-- table `input`: all rows of the given files, matched by column name. Columns of CSV and JSON lines
-- files are text (nested JSON as JSON text), those of parquet files keep their types.
--
-- The result must have every column of its table, by name, in any order; what is not known is
-- NULL. Values may stay text: times (UTC unless they carry a zone), numbers and booleans are parsed
-- as in any landing file, and rows that break the contract are quarantined with the reason.
--
-- This example reads a click-stream with one line per action and the columns
--
--     ts, visitor, type, search_term, product, product_name, category, brand, price, amount
--
-- where `type` is home, query, view, basket, purchase or close.
SELECT
    -- The key. If your log has no ids, make one from the content of the line: the same line must
    -- get the same id next time, so that loading a file again changes nothing. Lines that agree in
    -- all of these columns are then one event.
    md5(concat_ws(chr(31), ts, visitor, type, search_term, product)) AS event_id,
    visitor AS user_id,
    ts AS occurred_at,
    -- search_entry: the user opens the search page (begins a session); app_exit: leaves the shop.
    -- An action without a counterpart keeps its name and goes to quarantine, where you see it.
    CASE type
        WHEN 'home' THEN 'search_entry'
        WHEN 'query' THEN 'search'
        WHEN 'view' THEN 'item_click'
        WHEN 'basket' THEN 'cart'
        WHEN 'purchase' THEN 'order'
        WHEN 'close' THEN 'app_exit'
        ELSE type
    END AS action,
    -- As typed: the lake normalises queries itself and keeps how they are most often typed.
    search_term AS query_text,
    product AS item_id,
    amount AS quantity,
    CASE WHEN type = 'purchase' THEN price END AS price
FROM input
