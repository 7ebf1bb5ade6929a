-- In a Direct list the clicked hints come first, as many as there are.
with lists as (

    select
        label_lists.session_id,
        label_lists.position,
        label_candidates.is_clicked,
        max(case when label_candidates.is_clicked then label_lists.position end) over (
            partition by label_lists.session_id
        ) as last_clicked,
    from {{ ref('label_lists') }} as label_lists
    inner join {{ ref('label_candidates') }} as label_candidates
        using (session_date, session_id, variant, tier, query_text)
    where
        label_lists.variant = 'direct'
        and {{ in_tested_days('label_lists.session_date') }}

)

select * from lists
where last_clicked is null or (not is_clicked and position < last_clicked)
