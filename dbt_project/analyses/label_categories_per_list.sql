-- How many leaf categories does a label list span, and how many of its labels have none?
with spans as (

    select
        label_lists.session_id,
        label_lists.variant,
        count(*) as labels,
        count(distinct categories.leaf_category_id) as leaf_categories,
        count(*) - count(categories.leaf_category_id) as labels_without_category,
    from {{ ref('label_lists') }} as label_lists
    left join {{ ref('query_categories') }} as categories using (query_text)
    group by label_lists.session_id, label_lists.variant

)

select
    variant,
    leaf_categories,
    count(*) as sessions,
    round(avg(labels), 2) as labels_per_session,
    round(avg(labels_without_category), 2) as labels_without_category,
from spans
group by variant, leaf_categories
order by variant, leaf_categories
