import numpy as np
import pytest

from aigq.simulator import queries
from aigq.simulator import relevance as truth
from aigq.simulator.interests import Interests
from aigq.simulator.settings import ShopSettings

SETTINGS = ShopSettings()
LANGUAGE = queries.made_up(SETTINGS)
LEAVES = len(LANGUAGE.catalog.leaves)


def _wanted():
    """One user: leaf 4 with brand 1 and attributes 2 and 5, three times as strong as leaf 150."""
    taste = np.array([[[1, 2, 5, 0], [1, 2, 5, 0]]])
    ones = np.ones((1, 2))
    return Interests(np.array([[4, 150]]), taste, np.array([[3.0, 1.0]]), 60 * ones, 0 * ones)


def test_relevance_by_hand():
    beside, far = LANGUAGE.catalog.complements[4, 0], 200
    codes = queries.encode(
        np.array([4, 4, 4, 4, 150, beside, far]),
        first=np.array([-1, 2, 3, -1, -1, -1, -1]),
        brand=np.array([-1, 1, -1, 2, -1, -1, -1]),
    )
    weight = truth.weights(_wanted(), 0, np.ones(LEAVES), np.array([0]))
    relevance = truth.relevance(LANGUAGE, _wanted(), weight, np.append(codes, -1)[None])[0]
    # The aim weighs 0.5 + 0.5 * 3/4, the other interest 0.5 * 1/4.
    expected = [0.875, 0.875, 0.6 * 0.875, 0.6 * 0.875, 0.125, 0.25 * 0.875, 0.0, 0.0]
    assert np.allclose(relevance, expected)


def test_without_a_known_aim_relevance_is_the_mean_over_aims():
    codes = queries.encode(np.array([[4, 150, LANGUAGE.catalog.complements[4, 0]]]))
    season = np.ones(LEAVES)

    def scored(aim):
        weight = truth.weights(_wanted(), 0, season, np.array([aim]))
        return truth.relevance(LANGUAGE, _wanted(), weight, codes)

    assert np.allclose(scored(-1), 0.75 * scored(0) + 0.25 * scored(1))


def test_what_is_in_season_is_wanted_more():
    season = np.ones(LEAVES)
    season[150] = 9.0
    weight = truth.weights(_wanted(), 0, season, np.array([-1]))
    assert np.allclose(weight, [[0.25, 0.75]])


def test_clicks_by_hand():
    s = ShopSettings(
        position_bias=(1, 0.5, 0.1), click_relevant=(0.6, 0.5, 0.4), click_irrelevant=(0.2, 0.1, 0)
    )
    click = truth.click(s, np.array([0.0, 0.5, 1.0]))
    assert np.allclose(click, [[0.2, 0.05, 0], [0.4, 0.15, 0.02], [0.6, 0.25, 0.04]])


@pytest.mark.parametrize("relevance", [0.0, 0.3, 1.0])
def test_purchases_are_those_of_a_simulated_search(relevance):
    rng, n = np.random.default_rng(0), 200_000
    clicks = np.minimum(rng.poisson(SETTINGS.clicks_per_search, n), truth.MOST_CLICKS)
    chance = truth.cart_chance(SETTINGS, relevance) * SETTINGS.order_share
    bought = (rng.binomial(clicks, chance) > 0).mean()
    assert truth.purchase(SETTINGS, np.array(relevance)) == pytest.approx(bought, abs=0.004)
