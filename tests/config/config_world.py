"""What the tests of pipeline files share: an example with every key, and the smallest pipeline."""

from pathlib import Path

EXAMPLE = Path(__file__).parent / "example"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/home/ann", "EMPTY": ""}


def one_segment(lines: str) -> str:
    """Return a pipeline with one segment `s`, whose keys are these lines."""
    indented = "\n".join(f"    {line}" for line in lines.splitlines())
    return f"pipeline: p\nchildren:\n  s:\n{indented}\n"
