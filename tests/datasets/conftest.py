import pytest


@pytest.fixture
def pixels(rng):
    return rng.integers(50, 900, (24, 20))
