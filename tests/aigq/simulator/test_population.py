import numpy as np

from aigq.simulator import queries, words
from aigq.simulator.population import DAY_MS, FIRST_MS, Population
from aigq.simulator.settings import ShopSettings


def _people(**settings):
    settings = ShopSettings(**settings)
    return Population(settings, queries.made_up(settings))


def test_profiles_go_with_interests():
    people = _people(users=20_000)
    department = people.catalog.department[people.interests.leaf]
    names = list(words.DEPARTMENTS)
    women, men = (department[people.gender == g].ravel() for g in (0, 1))
    for name, more, less in (("Beauty", women, men), ("Electronics", men, women)):
        assert (more == names.index(name)).mean() > 2 * (less == names.index(name)).mean()


def test_demand_is_drawn_as_stated():
    people = _people(users=10)
    rng = np.random.default_rng(0)
    for group in (0, len(people.demand.shares) - 1):
        drawn = people.demand.draw(rng, np.full(200_000, group))
        shares = np.bincount(drawn, minlength=len(people.catalog.leaves)) / len(drawn)
        assert np.abs(shares - people.demand.shares[group]).max() < 0.004


def test_interests_fade_by_their_half_life():
    people = _people(users=50, new_interest_rate=0)
    before, half_life = people.interests.strength.copy(), people.interests.half_life
    for day in (1, 2, 3, 4):
        people.drift(np.random.default_rng(1), day)
    now = people.interests.strength_on(people.day)
    assert np.allclose(now, before * 0.5 ** (4 / half_life))


def test_a_new_interest_takes_the_place_of_the_weakest():
    people = _people(users=200, new_interest_rate=1, related_interest_share=0)
    before = people.interests.of(np.arange(200))
    people.drift(np.random.default_rng(1), 1)
    kept = people.interests.strength == before.strength
    assert (~kept).sum(axis=1).tolist() == [1] * 200
    weakest = before.strength_on(1).argmin(axis=1)
    assert (np.flatnonzero(~kept) % kept.shape[1] == weakest).all()
    assert (people.interests.since == np.where(kept, 0, 1)).all()


def test_every_change_is_handed_over_once_and_in_order():
    people = _people(users=40, new_interest_rate=0.5)
    first = people.changes()
    assert len(first.time) == 40 * people.settings.interests
    before = people.interests.of(np.arange(40))
    people.drift(np.random.default_rng(1), 1)
    people.bought(np.arange(40), people.interests.leaf[:, 0], np.full(40, FIRST_MS + 3 * DAY_MS))
    changes = people.changes()
    for part, known in zip(vars(before).values(), vars(changes.interests).values(), strict=True):
        for user, slot, value in zip(changes.user, changes.slot, known, strict=True):
            part[user, slot] = value
    for part, now in zip(vars(before).values(), vars(people.interests).values(), strict=True):
        assert (part == now).all()
    # What is ordered after midnight counts for the day on which the session began.
    assert (np.diff(changes.time) >= 0).all()
    assert changes.time.max() == FIRST_MS + 2 * DAY_MS - 1


def test_related_interests_come_from_the_same_section():
    people = _people(users=300, new_interest_rate=1, related_interest_share=1)
    before = people.interests.leaf.copy()
    people.drift(np.random.default_rng(1), 1)
    for old, new in zip(before, people.interests.leaf, strict=True):
        for leaf in new[old != new]:
            assert np.isin(people.catalog.complements[leaf], old).any()


def test_interests_never_vanish():
    people = _people(users=5, passing_half_life_days=0.001, new_interest_rate=0, lasting_share=0)
    people.drift(np.random.default_rng(1), 30)
    assert np.isfinite(people.interests.shares(30, people.season)).all()


def test_orders_weaken_passing_interests_only():
    people = _people(users=1, interests=3, bought_factor=0.5)
    interests = people.interests
    interests.leaf[0] = [4, 4, 9]
    interests.half_life[0] = [people.settings.lasting_half_life_days, 3.0, 3.0]
    interests.strength[0] = 1.0
    people.bought(np.array([0]), np.array([4]), np.array([FIRST_MS]))
    assert interests.strength[0].tolist() == [1.0, 0.5, 1.0]


def test_registrations():
    people = _people(users=5000, days=10)
    day = (people.registered - FIRST_MS) / DAY_MS
    new = day >= 0
    assert abs(new.mean() - 0.15) < 0.02
    assert day.max() < 10
    assert day[~new].max() <= -1
