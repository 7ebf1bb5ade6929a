{# What a build says no to, before it has touched anything, and the way on. #}

{# A build of everything from nothing is of a folder that was not meant, and would settle the shop's
   variables; a day that is not the shop's would be built of nothing. #}
{% macro refuse_what_no_log_has() %}
{% if execute and flags.WHICH in ('run', 'build') %}
    {% set events, requests = source('raw', 'events'), source('raw', 'hint_requests') %}
    {% set found = run_query("(select 1 from " ~ events ~ " limit 1) union all (select 1 from " ~ requests ~ " limit 1)") %}
    {% if not found.rows and not parts_chosen() %}
        {{ exceptions.raise_compiler_error(
            "no event and no hint request is in the lake of '" ~ (env_var('AIGQ_HOME', '') or 'data')
            ~ "': load a log with `aigq ingest`, or name another folder in AIGQ_HOME") }}
    {% elif rebuild_days() %}
        {% set shop = run_query(
            "select " ~ shop_date('min(moment)') ~ ", " ~ shop_date('max(moment)') ~ " from ("
            ~ "select unnest([min(occurred_at), max(occurred_at)]) as moment from " ~ events
            ~ " union all select unnest([min(requested_at), max(requested_at)]) from " ~ requests
            ~ " union all select max(clicked_at) from " ~ source('raw', 'hint_candidates') ~ ")").rows[0] %}
        {% set days = run_query(
            "select cast(unnest(" ~ rebuild_days() | tojson | replace('"', "'") ~ ") as date)").columns[0].values() %}
        {% set others = [] %}
        {% for day in days if not shop[0] or not shop[0] <= day <= shop[1] %}{% do others.append(day) %}{% endfor %}
        {% if others %}
            {{ exceptions.raise_compiler_error(
                "'rebuild_days' holds " ~ others | join(', ') ~ "; the shop's days are "
                ~ (shop[0] ~ " to " ~ shop[1] if shop[0] else "none so far")) }}
        {% endif %}
    {% endif %}
{% endif %}
{% endmacro %}

{# An event before the first day, or hints where there were none, would move the split and all that
   is replayed: history is rewritten only when that is asked for. #}
{% macro refuse_moved_split() %}
{% set last = run_to_build_on() %}
{% if last %}
    {% set since, events, requests = last['snapshot'], source('raw', 'events'), source('raw', 'hint_requests') %}
    {% set found = run_query(
        "select (select " ~ shop_date('min(occurred_at)') ~ " from " ~ as_it_was(events, since) ~ "), "
        ~ "(select " ~ shop_date('min(occurred_at)') ~ " from " ~ rows_inserted_since('raw', 'events', since) ~ "), "
        ~ "(select count(*) from (select 1 from " ~ as_it_was(requests, since) ~ " limit 1)), "
        ~ "(select count(*) from " ~ rows_inserted_since('raw', 'hint_requests', since) ~ ")").rows[0] %}
    {% if found[0] and found[1] and found[1] < found[0] %}
        {% set event = run_query(
            "select event_id from " ~ rows_inserted_since('raw', 'events', since)
            ~ " order by occurred_at, event_id limit 1").rows[0] %}
        {{ exceptions.raise_compiler_error(
            "an event of " ~ found[1] ~ " has come ('" ~ event[0] ~ "'), before the first day " ~ found[0] ~ ": training and"
            ~ " test days would move. To build every day anew with it, build everything with"
            ~ " --full-refresh; if it should not be there, delete it (README, Day after day)") }}
    {% elif found[1] and not found[0] and found[2] %}
        {{ exceptions.raise_compiler_error(
            "the first events have come, and say which days train and which test; the hint requests"
            ~ " before them count as test days. To build every day anew with them, build everything with"
            ~ " --full-refresh") }}
    {% elif found[0] and not found[2] and found[3] %}
        {{ exceptions.raise_compiler_error(
            "the first hint requests have come, and take the place of the replayed ones on every day."
            ~ " To build every day anew with them, build everything with --full-refresh") }}
    {% endif %}
{% endif %}
{% endmacro %}

{# No table remembers where a row went that is no longer in the log. #}
{% macro refuse_lost_rows() %}
{% set last = run_to_build_on() %}
{% if last %}
    {# In the table as it is they were changed in place. #}
    {% set states = [last['snapshot']] + other_states_built(last['snapshot']) + [none] %}
    {% set keys = {'events': 'event_id', 'hint_requests': 'request_id', 'hint_candidates': 'request_id'} %}
    {% for table, key in keys.items() %}
        {% set lost = rows_lost_since('raw', table, last['snapshot'], states) %}
        {% set found = run_query("select count(distinct row_id), min(" ~ key ~ ") from " ~ lost).rows[0] if lost %}
        {% if found and found[0] %}
            {{ exceptions.raise_compiler_error(
                "rows of raw." ~ table ~ " that days may be built from were deleted or changed: " ~ found[0]
                ~ ", that of '" ~ found[1] ~ "' among them. To build every day anew, with the texts and the"
                ~ " teacher's lists of now, build everything with --full-refresh (README, Day after day)") }}
        {% endif %}
    {% endfor %}
{% endif %}
{% endmacro %}
