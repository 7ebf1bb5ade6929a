{# For a model that makes far more rows on the way than it ends in: the users of `rows` (a query with a
   `user_id`) in blocks of about `size` of its rows, each a range of ids, so that a look at a table that
   keeps users together finds a block's in few places. Everybody in one block where nothing is built. #}
{% macro user_blocks(rows, size) %}
{% set borders = [none] %}
{% if execute and this is not none and flags.WHICH in ('run', 'build') %}
    {% set found = run_query(
        "select distinct user_id from (select user_id, row_number() over (order by user_id) as place from ("
        ~ rows ~ ")) where place > 1 and place % " ~ size ~ " = 1 order by user_id") %}
    {% do borders.extend(found.columns[0].values()) %}
{% endif %}
{% set blocks = [] %}
{% for border in borders %}
    {% do blocks.append({'begin': border, 'end': none if loop.last else borders[loop.index]}) %}
{% endfor %}
{{ return(blocks) }}
{% endmacro %}

{# Condition: the user is of the block. #}
{% macro in_block(block, user) %}
{% set bounds = [] %}
{% if block['begin'] is not none %}{% do bounds.append(user ~ " >= " ~ sql_text(block['begin'])) %}{% endif %}
{% if block['end'] is not none %}{% do bounds.append(user ~ " < " ~ sql_text(block['end'])) %}{% endif %}
{{ return(bounds | join(" and ") or 'true') }}
{% endmacro %}

{# Query: the rows of all `queries`, which run one after another when this is rendered. The table that
   they gather in goes with the model's post-hook `forget_gathered()`. #}
{% macro in_turn(queries) %}
{% if queries | length == 1 %}{{ return(queries[0]) }}{% endif %}
{% set gathered = run_table(model.name ~ '_gathered') %}
{% for query in queries %}
    {% do run_query(('create or replace table ' ~ gathered ~ ' as ' if loop.first else 'insert into ' ~ gathered ~ ' ') ~ query) %}
{% endfor %}
{{ return('select * from ' ~ gathered) }}
{% endmacro %}

{% macro forget_gathered() %}drop table if exists {{ run_table(model.name ~ '_gathered') }}{% endmacro %}
