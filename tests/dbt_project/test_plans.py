"""How DuckDB goes about the models of a build from scratch; test_days.py asks of a day's build."""


def test_no_model_compares_every_row_with_every_row(random_shop, joins_row_by_row):
    home, _ = random_shop
    assert joins_row_by_row(home) == []
