-- Every context has as many behaviours as the log knows before the prediction, the newest on the
-- newest such day, and none on a day after the prediction's. Their contents are compared in
-- contexts_are_the_newest_behaviors. Each has a text. `dbt test` looks at all contexts, a build at
-- 5,000 of each table: to count every user's past again costs as much as to build it.
with samples as (

{{ sampled_contexts(limit=5000 if flags.WHICH == 'build') }}

),

earlier as (

    select
        samples.sample,
        samples.instance_id,
        least(count(behaviors.event_id), {{ var('max_behaviors') }}) as expected,
        max(behaviors.behavior_date) as newest_date,
    from samples
    left join {{ ref('behaviors') }} as behaviors
        on
            samples.user_id = behaviors.user_id
            and behaviors.occurred_at < samples.session_start_at
    group by samples.sample, samples.instance_id

)

select
    samples.sample,
    samples.instance_id,
    len(samples.behaviors) as behaviors,
    earlier.expected,
from samples
inner join earlier using (sample, instance_id)
where
    len(samples.behaviors) <> earlier.expected
    or samples.behaviors[-1].days_ago <> samples.session_date - earlier.newest_date
    or list_min({{ list_field('samples.behaviors', 'days_ago') }}) < 0
    or {{ list_field('samples.behaviors', 'days_ago') }}
    <> list_reverse_sort({{ list_field('samples.behaviors', 'days_ago') }})
    or list_count({{ list_field('samples.behaviors', 'content_text') }}) <> len(samples.behaviors)
    or (samples.sample = 'test_user_days' and samples.behaviors[-1].days_ago < 1)
