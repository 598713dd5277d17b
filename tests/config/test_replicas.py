"""`replicas` and `max_children` in a pipeline file."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.config import InvalidPipeline, load
from supervisor.core.spec import SupervisorSpec

HEAD = "pipeline: p\nchildren:\n"


def read(folder: Path, text: str) -> SupervisorSpec:
    file = folder / "pipeline.yaml"
    file.write_text(HEAD + text, encoding="utf-8")
    return load(file, environment={"PATH": "/usr/bin:/bin"}).spec


def test_replicas_make_instances(tmp_path):
    """A segment with `replicas` is a supervisor of copies, and `after` means all of them."""
    spec = read(
        tmp_path,
        '  serve: {command: ["true"], kind: service, replicas: 2, max_children: 4}\n'
        '  watch: {command: ["true"], after: [serve]}\n',
    )
    serve, watch = spec.children
    assert isinstance(serve, SupervisorSpec)
    assert [child.name for child in serve.children] == ["0", "1"]
    assert (serve.template is not None, serve.max_children) == (True, 4)
    assert not isinstance(watch, SupervisorSpec)
    assert watch.after == ("p/serve/0", "p/serve/1")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("replicas: 3, max_children: 2", "more than `max_children`, 2"),
        ("max_children: 2", "without `replicas` there are no children"),
        ("replicas: 2, ports: {http: 8080}", "only one of them could listen"),
        ("replicas: 0", "replicas"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, keys, said):
    """With the place in the file, before anything is started."""
    with pytest.raises(InvalidPipeline) as refused:
        read(tmp_path, f'  serve: {{command: ["true"], kind: service, {keys}}}\n')
    assert said in str(refused.value) or any(said in str(one) for one in refused.value.problems)
