-- No context has a behaviour on a day after the prediction's, its behaviours are in order, and each
-- has a text. `dbt test` also counts: every context has as many behaviours as the log knows before the
-- prediction, the newest on the newest such day. That costs as much as to build the contexts again,
-- so a build leaves it to contexts_are_the_newest_behaviors, which compares some of them whole.
{% set is_counted = not execute or flags.WHICH != 'build' %}
with samples as (

{{ sampled_contexts() }}

)

{% if is_counted %}
, earlier as (

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
{% endif %}

select
    samples.sample,
    samples.instance_id,
    len(samples.behaviors) as behaviors,
from samples
{% if is_counted %}
inner join earlier using (sample, instance_id)
{% endif %}
where
    list_min({{ list_field('samples.behaviors', 'days_ago') }}) < 0
    or {{ list_field('samples.behaviors', 'days_ago') }}
    <> list_reverse_sort({{ list_field('samples.behaviors', 'days_ago') }})
    or list_count({{ list_field('samples.behaviors', 'content_text') }}) <> len(samples.behaviors)
    or (samples.sample = 'test_user_days' and samples.behaviors[-1].days_ago < 1)
    {% if is_counted %}
    or len(samples.behaviors) <> earlier.expected
    or samples.behaviors[-1].days_ago <> samples.session_date - earlier.newest_date
    {% endif %}
