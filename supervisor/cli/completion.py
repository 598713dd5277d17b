"""`psup completion`: the line that turns on completion, and the names that completion offers.

Click makes the shell's part; this knows the segments. Names come from the store, so that they are
those of the pipelines that exist at this moment. Read next: `arguments.py`.
"""

from __future__ import annotations

import sys

import click

from supervisor.cli.arguments import examples
from supervisor.cli.home import Home
from supervisor.cli.picture import candidates, launched, open_store
from supervisor.cli.targets import short_names
from supervisor.cli.words import state_word

_LINES = {
    "bash": ("~/.bashrc", 'eval "$(_PSUP_COMPLETE=bash_source psup)"'),
    "zsh": ("~/.zshrc", 'eval "$(_PSUP_COMPLETE=zsh_source psup)"'),
    "fish": ("~/.config/fish/completions/psup.fish", "_PSUP_COMPLETE=fish_source psup | source"),
}


def target_names(pipeline: str | None, *, as_paths: bool) -> list[tuple[str, str]]:
    """Return what can be typed for every node, each with its state.

    Args:
        pipeline: only nodes of this one; None for all that are not down.
        as_paths: full paths and paths below the pipeline instead of the shortest names.

    Raises:
        SupervisorError: nothing was launched, or the store cannot be read.
    """
    with open_store(Home.resolve()) as reader:
        rows = [row for row in launched(reader) if pipeline in (None, row.name)]
        rows = [row for row in rows if row.state != "down"] or rows
        nodes = {node.path: node for row in rows for node in reader.nodes(row.name)}
        shortest = short_names(candidates(reader, rows))
    offered: dict[str, str] = {}
    for path, node in nodes.items():
        names = [path, path.partition("/")[2]] if as_paths else [shortest[path]]
        offered.update((name, state_word(node.state)) for name in names if name)
    return list(offered.items())


def pipeline_names() -> list[tuple[str, str]]:
    """Return every pipeline with its state.

    Raises:
        SupervisorError: nothing was launched, or the store cannot be read.
    """
    with open_store(Home.resolve()) as reader:
        return [(row.name, row.state) for row in launched(reader)]


@click.command(
    epilog=examples(
        "psup completion bash >> ~/.bashrc",
        "psup completion zsh >> ~/.zshrc",
        "psup completion fish > ~/.config/fish/completions/psup.fish",
    )
)
@click.argument("shell", type=click.Choice(sorted(_LINES)))
def completion(shell: str) -> None:
    """Print the line that turns on completion of commands, options and live segment names."""
    file, line = _LINES[shell]
    click.echo(line)
    if sys.stdout.isatty():
        click.echo(f"Add this line to {file} and open a new shell.", err=True)
