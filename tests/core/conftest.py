"""The option that rewrites golden traces: `pytest tests/core --rewrite`."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite", action="store_true", help="write the traces that the core gives now"
    )
