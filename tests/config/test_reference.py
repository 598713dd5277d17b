"""What is shipped is valid, knows its schema, and is documented as it is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.config import load

REPOSITORY = Path(__file__).parents[2]
PIPELINES = sorted(REPOSITORY.glob("pipelines/*/pipeline.yaml"))
POLICIES = sorted(REPOSITORY.glob("policies/*.yaml"))
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def schema_line(file):
    return re.match(r"# yaml-language-server: \$schema=(\S+)\n", file.read_text())


@pytest.mark.parametrize("file", PIPELINES, ids=lambda file: file.parent.name)
def test_every_shipped_pipeline_loads_without_a_warning(file):
    """The examples are clean."""
    assert load(file, environment=ENVIRONMENT).warnings == ()


@pytest.mark.parametrize(
    "file", [*PIPELINES, *POLICIES], ids=lambda file: str(file.relative_to(REPOSITORY))
)
def test_every_shipped_file_starts_with_its_schema(file):
    """The first line gives editors completion, and leads to a file that is there."""
    match = schema_line(file)
    assert match
    assert (file.parent / match[1]).resolve().is_file()


def test_there_is_something_to_test():
    """The globs above find the shipped files."""
    assert len(PIPELINES) >= 2
    assert len(POLICIES) >= 4


def test_the_reference_and_the_schemas_are_up_to_date():
    """`docs/yaml.md` and the checked-in schemas are what the tables say."""
    script = REPOSITORY / "scripts" / "gen_yaml_reference"
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_every_example_in_the_reference_loads(tmp_path):
    """YAML blocks in the documentation are pipelines that work."""
    blocks = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "docs/yaml.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        (tmp_path / "pipeline.yaml").write_text(block)
        loaded = load(tmp_path / "pipeline.yaml", environment=ENVIRONMENT)
        assert loaded.spec.children
