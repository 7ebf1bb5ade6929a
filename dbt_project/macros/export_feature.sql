{# Feast's offline side: the table as one parquet file, replaced by a rename (USE_TMP_FILE). #}
{% macro export_feature(relation) %}
{% set folder = (env_var('AIGQ_HOME', '') or 'data') ~ '/features' %}
copy (select * from {{ relation }})
to {{ sql_text(folder ~ '/' ~ relation.identifier ~ '.parquet') }} (format parquet, compression zstd, use_tmp_file true)
{% endmacro %}
