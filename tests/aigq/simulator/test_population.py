import numpy as np

from aigq.simulator import catalog, queries, words
from aigq.simulator.population import DAY_MS, FIRST_MS, Population
from aigq.simulator.settings import ShopSettings


def _people(**settings):
    settings = ShopSettings(**settings)
    return Population(settings, catalog.build(settings))


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
    for _ in range(4):
        people.drift(np.random.default_rng(1))
    assert np.allclose(people.interests.strength, before * 0.5 ** (4 / half_life))


def test_a_new_interest_takes_the_place_of_the_weakest():
    people = _people(users=200, new_interest_rate=1, related_interest_share=0)
    before = {name: part.copy() for name, part in vars(people.interests).items()}
    faded = before["strength"] * 0.5 ** (1 / before["half_life"])
    people.drift(np.random.default_rng(1))
    kept = people.interests.strength == faded
    assert (~kept).sum(axis=1).tolist() == [1] * 200
    assert (np.flatnonzero(~kept) % faded.shape[1] == faded.argmin(axis=1)).all()


def test_related_interests_come_from_the_same_section():
    people = _people(users=300, new_interest_rate=1, related_interest_share=1)
    before = people.interests.leaf.copy()
    people.drift(np.random.default_rng(1))
    for old, new in zip(before, people.interests.leaf, strict=True):
        for leaf in new[old != new]:
            assert np.isin(people.catalog.complements[leaf], old).any()


def test_interests_never_vanish():
    people = _people(users=5, passing_half_life_days=0.001, new_interest_rate=0, lasting_share=0)
    for _ in range(30):
        people.drift(np.random.default_rng(1))
    assert np.isfinite(people.interests.shares(np.arange(5))).all()


def test_orders_weaken_passing_interests_only():
    people = _people(users=1, interests=3, bought_factor=0.5)
    interests = people.interests
    interests.leaf[0] = [4, 4, 9]
    interests.half_life[0] = [people.settings.lasting_half_life_days, 3.0, 3.0]
    interests.strength[0] = 1.0
    people.bought(np.array([0]), np.array([4]))
    assert interests.strength[0].tolist() == [1.0, 0.5, 1.0]


def test_relevance_by_hand():
    people = _people(users=1, interests=2)
    interests = people.interests
    beside, far = people.catalog.complements[4, 0], 200
    for part, value in zip(vars(interests).values(), (4, 1, 2, 5, 0, 1.0, 60.0), strict=True):
        part[0] = value
    interests.leaf[0] = [4, 150]
    interests.strength[0] = [3.0, 1.0]
    codes = queries.encode(
        np.array([4, 4, 4, 4, 150, beside, far]),
        first=np.array([-1, 2, 3, -1, -1, -1, -1]),
        brand=np.array([-1, 1, -1, 2, -1, -1, -1]),
    )
    parts = queries.decode(codes[None])
    relevance = people.relevance(np.array([0]), np.array([0]), parts)[0]
    # The main interest weighs 0.5 + 0.5 * 3/4, the other one 0.5 * 1/4.
    expected = [0.875, 0.875, 0.6 * 0.875, 0.6 * 0.875, 0.125, 0.25 * 0.875, 0.0]
    assert np.allclose(relevance, expected)


def test_registrations():
    people = _people(users=5000, days=10)
    day = (people.registered - FIRST_MS) / DAY_MS
    new = day >= 0
    assert abs(new.mean() - 0.15) < 0.02
    assert day.max() < 10
    assert day[~new].max() <= -1
