"""The option that rewrites golden traces, and how many random trees are tried.

pytest tests/core --rewrite                       writes the traces that the core gives now
pytest tests/core --hypothesis-profile=long       100,000 random trees; see scripts/long_properties
"""

import pytest
from hypothesis import settings

PROPERTIES = 4
"""Each is tried on trees of its own."""

settings.register_profile("quick", max_examples=2_000 // PROPERTIES, deadline=None)
settings.register_profile("long", max_examples=100_000 // PROPERTIES, deadline=None)
settings.load_profile("quick")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite", action="store_true", help="write the traces that the core gives now"
    )
