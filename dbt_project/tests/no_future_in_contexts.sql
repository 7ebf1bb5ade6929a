-- Every context has as many behaviours as the log knows before the prediction, the newest on the
-- newest such day, and none on a day after the prediction's. Their contents are compared in
-- contexts_are_the_newest_behaviors. Each has a text. A build from scratch counts the behaviours of
-- its newest day only, which else costs as much as to build all contexts again; `dbt test` of all.
{% set counted = in_days('samples.session_date', changed_days()[-1:])
    if execute and flags.WHICH == 'build' and not builds_on() else 'true' %}
with samples as not materialized (

{{ sampled_contexts() }}

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
    where {{ counted }}
    group by samples.sample, samples.instance_id

)

select
    samples.sample,
    samples.instance_id,
    len(samples.behaviors) as behaviors,
    earlier.expected,
from samples
left join earlier using (sample, instance_id)
where
    len(samples.behaviors) <> earlier.expected
    or samples.behaviors[-1].days_ago <> samples.session_date - earlier.newest_date
    or list_min({{ list_field('samples.behaviors', 'days_ago') }}) < 0
    or {{ list_field('samples.behaviors', 'days_ago') }}
    <> list_reverse_sort({{ list_field('samples.behaviors', 'days_ago') }})
    or list_count({{ list_field('samples.behaviors', 'content_text') }}) <> len(samples.behaviors)
    or (samples.sample = 'test_user_days' and samples.behaviors[-1].days_ago < 1)
