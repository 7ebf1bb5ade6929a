{# Incremental by shop day. A run finds out which user-days have new or late rows
   (changed_user_days.sql), and every incremental model replaces the rows that these change:
   the same predicate picks what it deletes, what it makes anew, and what its tests look at.

   What counts as new is what came after the snapshot that the last complete run began with. A run
   that is killed, or builds a part, moves nothing: the next one does the same days again. #}

{# The snapshot up to which every incremental model holds everything; none where that is unknown,
   and then every day is built. #}
{% macro built_snapshot() %}
{% if not execute or flags.FULL_REFRESH %}{{ return(none) }}{% endif %}
{% set found = run_query(
    "select max(snapshot_read) from " ~ source('meta', 'runs')
    ~ " where json_extract_string(metrics, '$.is_complete') = 'true'"
    ~ " and snapshot_read in (" ~ known_snapshots() ~ ")") %}
{{ return(found.columns[0].values()[0]) }}
{% endmacro %}

{# The rows of a source that the last complete run had not seen; all where there was none. #}
{% macro new_rows(schema, table) %}
{% set since = built_snapshot() %}
{% if since is none %}
    {{ return(source(schema, table) | string) }}
{% endif %}
{{ return(rows_inserted_since(schema, table, since)) }}
{% endmacro %}

{# The table of what this run makes anew. #}
{% macro user_days() %}{{ return(target.database ~ '.staging.changed_user_days') }}{% endmacro %}

{# Shop days that this run builds, as text, oldest first. #}
{% macro changed_days() %}
{% set found = run_query("select shop_date from " ~ run_table('changed_days') ~ " order by shop_date") %}
{{ return(found.columns[0].values() | list) }}
{% endmacro %}

{# Whether this run builds days that something is fitted on (`training_days`, `score_edges`): what
   was made by it is then made anew, of all days. #}
{% macro fit_changed(name) %}
{% set days = {
    'training_days': "shop_date <= (select train_end_date from " ~ target.database ~ ".meta.shop)",
    'score_edges': "shop_date = (select first_date from " ~ target.database ~ ".monitoring.score_edges)",
}[name] %}
{% set found = run_query("select count(*) from " ~ user_days() ~ " where " ~ days) %}
{{ return(found.columns[0].values()[0] > 0) }}
{% endmacro %}

{# Whether this run builds a part of the model, beside the rows that it has. (A unit test has no
   `this`, and documentation shows how all of it is made.) #}
{% macro is_partial() %}
{{ return(flags.WHICH in ('run', 'build') and this is not none and is_incremental()) }}
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
{{ return(
    user ~ " in (select user_id from " ~ user_days() ~ " where user_id is not null)"
    ~ " or exists (select 1 from " ~ user_days() ~ " where user_id is null)") }}
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
    ~ user ~ " and changes.shop_date < " ~ day ~ ")))") }}
{% endmacro %}

{# Which rows of an incremental model a run replaces, by the model's `meta`: `day` and `user`, the
   columns that say whose context of which day a row is, or `day` alone where it holds no context;
   `fitted_on`, see `fit_changed`; `whole`, every row. `alias` ends in a dot. #}
{% macro replaced_rows(meta, alias='') %}
{% set fitted_on = meta.get('fitted_on') %}
{% if meta.get('whole') %}
    {{ return('true') }}
{% elif not meta.get('day') %}
    {{ return('true' if fit_changed(fitted_on) else 'false') }}
{% elif meta.get('user') %}
    {{ return(with_changed_past(alias ~ meta.user, alias ~ meta.day, fitted_on)) }}
{% elif fitted_on and fit_changed(fitted_on) %}
    {{ return('true') }}
{% endif %}
{# Without a day: it waits for the row that tells it. #}
{{ return("(" ~ in_days(alias ~ meta.day, changed_days()) ~ " or " ~ alias ~ meta.day ~ " is null)") }}
{% endmacro %}

{# dbt incremental strategy `changed`: out with the rows that this run replaces, in with the new. #}
{% macro get_incremental_changed_sql(arguments) %}
{% set target = arguments['target_relation'] %}
{% set columns = get_quoted_csv(arguments['dest_columns'] | map(attribute='name')) %}
delete from {{ target }} where {{ replaced_rows(config.get('meta', {}), target.identifier ~ '.') }};
insert into {{ target }} ({{ columns }}) select {{ columns }} from {{ arguments['temp_relation'] }}
{% endmacro %}

{# Tests in a build look at what it has replaced, and at the newest day only of a view whose `meta`
   names its day, since every test computes it anew; `dbt test` looks at all. #}
{% macro get_where_subquery(relation) %}
{% set tested = graph.nodes.get(model.attached_node) if execute %}
{% if tested and flags.WHICH == 'build' and tested.config.meta %}
    {% set rows = in_days('tested.' ~ tested.config.meta.day, changed_days()[-1:])
        if tested.config.materialized == 'view' else replaced_rows(tested.config.meta, 'tested.') %}
    {{ return("(select * from " ~ relation ~ " as tested where " ~ rows ~ ") as tested_rows") }}
{% endif %}
{{ return(dbt.default__get_where_subquery(relation)) }}
{% endmacro %}

{# The same for tests of our own. #}
{% macro in_tested_days(day) %}
{{ return(in_days(day, changed_days()) if execute and flags.WHICH == 'build' else 'true') }}
{% endmacro %}

{% macro in_tested_contexts(user, day) %}
{{ return(with_changed_past(user, day, false) if execute and flags.WHICH == 'build' else 'true') }}
{% endmacro %}

{# Whether this run leaves every incremental model with all the rows there are. #}
{% macro is_complete(results) %}
{% if not execute %}{{ return(false) }}{% endif %}
{% set built = [] %}
{% for result in results if result.status | string == 'success' %}{% do built.append(result.node.unique_id) %}{% endfor %}
{% set missing = [] %}
{% for node in graph.nodes.values() if node.resource_type == 'model'
    and node.config.materialized == 'incremental' and node.unique_id not in built %}{% do missing.append(node.unique_id) %}{% endfor %}
{{ return(not missing) }}
{% endmacro %}
