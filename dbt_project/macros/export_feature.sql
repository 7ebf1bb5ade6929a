{# Feast's offline side: the table as one parquet file, replaced by a rename (USE_TMP_FILE). Where the
   lake keeps all rows of it in one file of this machine, as after a build from scratch, that file
   gets a second name instead: lake files never change. Row groups are the lake's (aigq/warehouse.py):
   one core writes one, and by default they are larger than most of these tables. #}
{% macro export_feature(relation) %}
{% set folder = (env_var('AIGQ_HOME', '') or 'data') ~ '/features' %}
{% set exported = sql_text(folder ~ '/' ~ relation.identifier ~ '.parquet') %}
{% set whole = file_of_all_rows(relation) if execute %}
{% if whole %}
select aigq_link_file({{ sql_text(whole) }}, {{ exported }})
{% else %}
copy (select * from {{ relation }}) to {{ exported }}
(format parquet, compression zstd, row_group_size 10240, use_tmp_file true)
{% endif %}
{% endmacro %}
