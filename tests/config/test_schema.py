"""The JSON Schema is valid, and agrees with the loader on what a file may hold."""

import re
from pathlib import Path

import pytest
from config_world import EXAMPLE, one_segment
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for
from test_malformed import SEGMENTS

from supervisor.config import InvalidPipeline
from supervisor.config.document import Items, Scalar, Table
from supervisor.config.problems import Findings
from supervisor.config.scalars import AmbiguousError, plain_value
from supervisor.config.schema import pipeline_schema, policy_schema, schema_text
from supervisor.config.strict_yaml import parse

REPOSITORY = Path(__file__).parents[2]
VALIDATOR = Draft202012Validator(pipeline_schema())


def as_editors_see_it(node):
    """Return a tree as the plain data that a YAML 1.2 reader hands to a schema."""
    match node:
        case Table():
            return {key: as_editors_see_it(entry.value) for key, entry in node.entries.items()}
        case Items():
            return [as_editors_see_it(item) for item in node.items]
        case Scalar(plain=False):
            return node.text
        case Scalar(text="" | "~"):
            return None
    try:
        return plain_value(node.text)
    except AmbiguousError:
        is_number = re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", node.text)
        return float(node.text) if is_number else node.text


def instance_of(text):
    table = parse(text.encode(), "f", Findings())
    return as_editors_see_it(table) if table else None


@pytest.mark.parametrize("schema", [pipeline_schema(), policy_schema()])
def test_the_schema_is_a_schema(schema):
    """The dialect's own schema accepts it, and every reference in it leads somewhere."""
    assert validator_for(schema) is Draft202012Validator
    Draft202012Validator.check_schema(schema)
    wanted = set(re.findall(r"#/\$defs/(\w+)", str(schema)))
    assert wanted == set(schema["$defs"])


@pytest.mark.parametrize(
    "file",
    [*sorted(REPOSITORY.glob("pipelines/*/pipeline.yaml")), EXAMPLE / "pipeline.yaml"],
    ids=lambda file: file.parent.name,
)
def test_valid_pipelines_pass(file):
    """What the loader takes, editors do not mark."""
    assert list(VALIDATOR.iter_errors(instance_of(file.read_text()))) == []


@pytest.mark.parametrize("file", sorted(REPOSITORY.glob("policies/*.yaml")), ids=lambda f: f.stem)
def test_shipped_policies_pass(file):
    """The schema of policies takes those that are shipped."""
    validator = Draft202012Validator(policy_schema())
    assert list(validator.iter_errors(instance_of(file.read_text()))) == []
    assert list(validator.iter_errors({"run": "a:b"})) != []


# What only the loader can know: other nodes, other files, other keys, or the text behind a value.
BEYOND_A_SCHEMA = (
    "a segment cannot wait", "which it is part of", "no node has", "no policy has", "longer",
    "limits nothing", "shared out whole", "no port", "only `http` asks", "is not set", "no such",
    "a folder, not a file", "not a folder", "cannot be used", "disagree", "tags are not",
    "a duplicate key", "is that of", "more than", "starts neither",
)  # fmt: skip
BEYOND_A_PATTERN = ("0s", "1KiB", "1B", "010", "1e3")
"""Quantities that are too small, and numbers that editors read as others do."""
IN_ONE_VALUE = [
    lines
    for lines, _, _, message, _ in SEGMENTS
    if not any(part in message for part in BEYOND_A_SCHEMA)
    and not any(part in lines for part in BEYOND_A_PATTERN)
]


@pytest.mark.parametrize("lines", IN_ONE_VALUE, ids=lambda lines: lines.replace("\n", " | ")[:70])
def test_schema_and_loader_agree_on_malformed_segments(lines):
    """Everything that can be seen in one value is refused by both."""
    assert list(VALIDATOR.iter_errors(instance_of(one_segment(lines)))) != []


def test_most_mistakes_can_be_seen_in_one_value():
    """The comparison above is about most of the hand-made mistakes."""
    assert len(IN_ONE_VALUE) > 100


VALID = [
    "run: steps:ingest",
    "command: [a, 3, true, on, 010, 2024-01-31]",
    "run: steps:ingest\nkind: ${KIND:-service}",
    "run: steps:ingest\nshutdown: infinity",
    "run: steps:ingest\nshutdown: 1h30m500ms",
    "run: steps:ingest\nshutdown: {grace: brutal_kill, signal: SIGHUP}",
    "run: steps:ingest\nrestart: {max_restarts: 0, max_seconds: 60}",
    'run: steps:ingest\nrestart: {max_restarts: "${N:-3}", max_seconds: forever}',
    "run: steps:ingest\nrestart: {never_on: [1, 255, A.B, KeyError]}",
    "run: steps:ingest\nrestart: {backoff: {first: 0s, factor: 1, jitter: 0, max: 0.5s}}",
    "run: steps:ingest\nquota: {cpu: 0.25}",
    "run: steps:ingest\nquota: {cpu: 2, gpu: 0.5, memory: 1.5GB, time: 7d}",
    'run: steps:ingest\nquota: {cpu: "0.5"}',
    "run: steps:ingest\nenv: {A: on, B: 1, C: 1.50, D: true, E: 1:30}",
    "run: steps:ingest\nparams: {a: [1, 2.5, null, true, {b: c}], x-y: 1, 'no name': 2}",
    "run: steps:ingest\nports: {http: auto, admin: 8080}\nready: {tcp: admin}",
    "run: steps:ingest\nalive: {notify: true}\nx-mine: [anything]",
    "run: steps:ingest\nafter: []\nowner: 7",
    "children: {t: {run: 'steps:ingest'}}\nstrategy: one_for_all\nrestart: {type: temporary}",
]


@pytest.mark.parametrize("lines", VALID, ids=lambda lines: lines.replace("\n", " | ")[:70])
def test_schema_and_loader_agree_on_valid_segments(lines, load_text):
    """What one accepts, so does the other."""
    text = one_segment(lines)
    assert list(VALIDATOR.iter_errors(instance_of(text))) == []
    assert load_text(text).spec.children[0].name == "s"


def test_the_schema_knows_every_key_of_the_example_and_refuses_others(load_text, example_text):
    """A key that the schema does not know is one that the loader refuses."""
    misspelt = example_text.replace("reset_after", "reset_aftr")
    assert list(VALIDATOR.iter_errors(instance_of(misspelt))) != []
    with pytest.raises(InvalidPipeline):
        load_text(misspelt)


def test_the_text_of_the_schema_is_stable():
    """Two runs write the same bytes, so that the checked-in copy can be compared."""
    assert schema_text() == schema_text()
    assert schema_text().endswith("}\n")
    assert schema_text(policy=True) != schema_text()
