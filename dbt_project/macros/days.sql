{# Incremental by shop day. A run finds out which user-days have new or late rows
   (changed_user_days.sql), and every incremental model replaces the rows that these change:
   the same predicate picks what it deletes, what it makes anew, and what its tests look at.

   What counts as new is what came after the snapshot that the last complete run began with. A run
   that is killed, or builds a part, moves nothing: the next one does the same days again. #}

{# The last complete run: the snapshot that it read, up to which every table holds all there is,
   and the variables (JSON) that they were built with. None where there was none, or where a full
   refresh of everything after it did not end well: then every day is built from scratch. (Of a part,
   the tables that were refreshed are whole, and the others as they were.) "After" by what they read,
   which is looked up in the turn to write: a run begins before it waits for that. #}
{% macro last_complete_run() %}
{% set runs = source('meta', 'runs') %}
{% set found = run_query(
    "select snapshot_read, json_extract_string(parameters, '$.vars') from " ~ runs
    ~ " where json_extract_string(metrics, '$.is_complete') = 'true'"
    ~ " and snapshot_read in (" ~ known_snapshots() ~ ")"
    ~ " and snapshot_read > (select coalesce(max(snapshot_read), -1) from " ~ runs
    ~ " where json_extract_string(parameters, '$.arguments.full_refresh') = 'true'"
    ~ " and json_extract(parameters, '$.arguments.select') is null"
    ~ " and json_extract(parameters, '$.arguments.exclude') is null"
    ~ " and json_extract(parameters, '$.arguments.selector') is null"
    ~ " and status <> 'succeeded'"
    ~ " and coalesce(json_extract_string(metrics, '$.is_complete'), 'false') <> 'true')"
    ~ " order by snapshot_read desc limit 1").rows %}
{{ return({'snapshot': found[0][0], 'vars': fromjson(found[0][1])} if found else none) }}
{% endmacro %}

{# The last complete run, where this one is to build on it; none where it begins from scratch. #}
{% macro run_to_build_on() %}
{% set is_asked = execute and flags.WHICH in ('run', 'build') and not flags.FULL_REFRESH %}
{{ return(last_complete_run() if is_asked else none) }}
{% endmacro %}

{# The snapshots that tables may have been built from since that of the last complete run, in runs of
   a part and such as failed, which no table remembers. #}
{% macro other_states_built(since) %}
{{ return(run_query(
    "select distinct snapshot_read from " ~ source('meta', 'runs')
    ~ " where job in ('dbt run', 'dbt build') and snapshot_read > " ~ since
    ~ " and run_id <> " ~ sql_text(run_id())
    ~ " and snapshot_read in (" ~ known_snapshots() ~ ")").columns[0].values() | list) }}
{% endmacro %}

{# Whether this run builds on what is there, rather than from scratch. #}
{% macro builds_on() %}
{% if not execute or flags.WHICH not in ('run', 'build') %}{{ return(false) }}{% endif %}
{{ return(built_snapshot() is not none) }}
{% endmacro %}

{# The snapshot of the last complete run, as this run found it when it began; none from scratch. #}
{% macro built_snapshot() %}
{% set found = run_query("select built_snapshot from " ~ run_table('this_run')) %}
{{ return(found.columns[0].values()[0]) }}
{% endmacro %}

{# The rows of a source that the model has not seen yet; all where it is built from scratch. #}
{% macro new_rows(schema, table) %}
{% if not execute or not is_partial() %}{{ return(source(schema, table) | string) }}{% endif %}
{{ return(rows_inserted_since(schema, table, built_snapshot())) }}
{% endmacro %}

{# The table of what this run makes anew. #}
{% macro user_days() %}{{ return(target.database ~ '.staging.changed_user_days') }}{% endmacro %}

{# Shop days that this run builds, as text, oldest first. #}
{% macro changed_days() %}
{% set found = run_query("select shop_date from " ~ run_table('changed_days') ~ " order by shop_date") %}
{{ return(found.columns[0].values() | list) }}
{% endmacro %}

{# Whether this run builds days that something is fitted on (`training_days`, `training_profiles`,
   `score_edges`): what was made by it is then made anew, of all days. #}
{% macro fit_changed(name) %}
{% set days = {
    'training_days': "is_logged and shop_date <= (select train_end_date from " ~ target.database ~ ".meta.shop)",
    'training_profiles': "(is_logged or is_new_user) and shop_date <= (select train_end_date from " ~ target.database ~ ".meta.shop)",
    'score_edges': "is_logged and shop_date = (select first_date from " ~ target.database ~ ".monitoring.score_edges)",
}[name] %}
{% set found = run_query("select count(*) from " ~ user_days() ~ " where " ~ days) %}
{{ return(found.columns[0].values()[0] > 0) }}
{% endmacro %}

{# Whether this run builds a part of the model, beside the rows that it has. (A unit test has no
   `this`, and documentation shows how all of it is made.) #}
{% macro is_partial() %}
{{ return(this is not none and builds_on() and is_incremental()) }}
{% endmacro %}

{# Condition: the row is of a day that this run builds. True in a build from scratch. #}
{% macro in_changed_days(day, fitted_on=none) %}
{% if not is_partial() or (fitted_on and fit_changed(fitted_on)) %}{{ return('true') }}{% endif %}
{{ return(in_days(day, changed_days())) }}
{% endmacro %}

{# Condition: no earlier than the first of these days, for a look at only the newest files. #}
{% macro from_changed_days(moment) %}
{% if not is_partial() %}{{ return('true') }}{% endif %}
{% set days = changed_days() %}
{{ return(moment ~ " >= " ~ day_start("date '" ~ days[0] ~ "'") if days else 'false') }}
{% endmacro %}

{# The same for a day. #}
{% macro from_first_changed_day(day) %}
{% if not is_partial() %}{{ return('true') }}{% endif %}
{% set days = changed_days() %}
{{ return(day ~ " >= date '" ~ days[0] ~ "'" if days else 'false') }}
{% endmacro %}

{# Condition for rows that hold a context: besides the days that this run builds, those of every
   later day of a user whose past has changed. `fitted_on`: see `fit_changed`. #}
{% macro in_changed_contexts(user, day, fitted_on=none) %}
{% if not is_partial() %}{{ return('true') }}{% endif %}
{{ return(with_changed_past(user, day, fitted_on)) }}
{% endmacro %}

{# Condition: the user has rows on a day that this run builds, or that day is built for all. #}
{% macro is_changed_user(user) %}
{% if not is_partial() %}{{ return('true') }}{% endif %}
{# A longer window shows behaviours of everyone that were not kept. #}
{% if var('feature_days') > narrowest_window() %}{{ return('true') }}{% endif %}
{# Asked beforehand: a condition that also looks for such a row compares all rows with all. #}
{% set of_all = run_query("select count(*) from " ~ user_days() ~ " where user_id is null") %}
{% if of_all.columns[0].values()[0] %}{{ return('true') }}{% endif %}
{{ return(user ~ " in (select user_id from " ~ user_days() ~ ")") }}
{% endmacro %}

{# The least `feature_days` of the last complete run and of the parts and failures since: what any of
   them dropped is gone. #}
{% macro narrowest_window() %}
{% set found = run_query(
    "select min(cast(json_extract_string(parameters, '$.vars.feature_days') as integer)) from "
    ~ source('meta', 'runs') ~ " where snapshot_read >= " ~ built_snapshot()) %}
{{ return(found.columns[0].values()[0]) }}
{% endmacro %}

{% macro in_days(day, days) %}
{% if not days %}{{ return('false') }}{% endif %}
{{ return(day ~ " in (date '" ~ days | join("', date '") ~ "')") }}
{% endmacro %}

{% macro with_changed_past(user, day, fitted_on=none) %}
{% set days = changed_days() %}
{% if not days %}{{ return('false') }}{% endif %}
{% if fitted_on and fit_changed(fitted_on) %}{{ return('true') }}{% endif %}
{{ return(
    "(" ~ day ~ " >= date '" ~ days[0] ~ "' and (" ~ in_days(day, days)
    ~ " or exists (select 1 from " ~ user_days() ~ " as changes where changes.user_id = "
    ~ user ~ " and changes.is_logged and changes.shop_date < " ~ day ~ ")))") }}
{% endmacro %}

{# Which rows of an incremental model a run replaces, by the model's `meta`: `day` and `user`, the
   columns that say whose context of which day a row is, or `day` alone where it holds no context;
   `fitted_on`, see `fit_changed`; `append`, none. `alias` ends in a dot. #}
{% macro replaced_rows(meta, alias='') %}
{% set fitted_on = meta.get('fitted_on') %}
{% if not meta.get('day') %}
    {{ return('true' if fit_changed(fitted_on) else 'false') }}
{% elif meta.get('user') %}
    {{ return(with_changed_past(alias ~ meta.user, alias ~ meta.day, fitted_on)) }}
{% elif fitted_on and fit_changed(fitted_on) %}
    {{ return('true') }}
{% endif %}
{# Without a day: it waits for the row that tells it. #}
{{ return("(" ~ in_days(alias ~ meta.day, changed_days()) ~ " or " ~ alias ~ meta.day ~ " is null)") }}
{% endmacro %}

{# dbt incremental strategy `changed`: out with the rows that this run replaces, in with the new.
   `meta.append`: nothing is replaced; `meta.key`: what has the key of a new row, on the days that
   this run builds where the model has a day. #}
{% macro get_incremental_changed_sql(arguments) %}
{% set target = arguments['target_relation'] %}
{% set columns = get_quoted_csv(arguments['dest_columns'] | map(attribute='name')) %}
{% set meta = config.get('meta', {}) %}
{% if not builds_on() %}
delete from {{ target }};
{% elif meta.get('key') %}
delete from {{ target }}
where
    {{ in_days(meta.day, changed_days()) if meta.get('day') else 'true' }}
    and {{ meta.key }} in (select {{ meta.key }} from {{ arguments['temp_relation'] }});
{% elif not meta.get('append') %}
delete from {{ target }} where {{ replaced_rows(meta, target.identifier ~ '.') }};
{% endif %}
insert into {{ target }} ({{ columns }}) select {{ columns }} from {{ arguments['temp_relation'] }}
{% endmacro %}

{# Tests in a build look at what it has replaced, where the model's `meta` names its day; `dbt test`
   looks at all. A view is computed anew by every test: in a build from scratch the newest day of it
   must do. #}
{% macro get_where_subquery(relation) %}
{% set tested = graph.nodes.get(model.attached_node) if execute %}
{% set is_view = tested and tested.config.materialized == 'view' %}
{% if tested and flags.WHICH == 'build' and tested.config.meta.get('day') and (is_view or builds_on()) %}
    {% set day = 'tested.' ~ tested.config.meta.day %}
    {% set rows = in_days(day, changed_days() if builds_on() else changed_days()[-1:])
        if is_view else replaced_rows(tested.config.meta, 'tested.') %}
    {{ return("(select * from " ~ relation ~ " as tested where " ~ rows ~ ") as tested_rows") }}
{% endif %}
{{ return(dbt.default__get_where_subquery(relation)) }}
{% endmacro %}

{# The same for tests of our own. #}
{% macro in_tested_days(day) %}
{{ return(in_days(day, changed_days()) if flags.WHICH == 'build' and builds_on() else 'true') }}
{% endmacro %}

{% macro in_tested_contexts(user, day) %}
{{ return(with_changed_past(user, day) if flags.WHICH == 'build' and builds_on() else 'true') }}
{% endmacro %}

{# Whether this run leaves every table with all the rows there are, and no test against them: the next
   one tests what it makes anew, so the rows that failed have to be among it. #}
{% macro is_complete(results) %}
{% if not execute %}{{ return(false) }}{% endif %}
{% set built = [] %}
{% for result in results %}
    {% if result.status | string in ('fail', 'error', 'runtime error') %}{{ return(false) }}{% endif %}
    {% if result.status | string == 'success' %}{% do built.append(result.node.unique_id) %}{% endif %}
{% endfor %}
{% set missing = [] %}
{% for node in graph.nodes.values() if node.resource_type == 'model'
    and node.config.materialized != 'view' and node.unique_id not in built %}{% do missing.append(node.unique_id) %}{% endfor %}
{{ return(not missing) }}
{% endmacro %}
