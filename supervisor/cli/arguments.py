"""The arguments that several commands share: targets, `--pipeline`, spans, and their completion.

A completion runs while somebody types: it reads the store, and when that fails it offers nothing
and says nothing. Read next: `targets.py` (what a target means).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import click

from supervisor.cli.words import parse_span
from supervisor.errors import SupervisorError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

Command = TypeVar("Command", bound=Callable[..., Any])


class TargetType(click.ParamType[str]):
    """A node, as `targets.py` understands it; completes the names that are in the store now."""

    name = "target"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer short names; paths as soon as a `/` was typed."""
        del param
        from click.shell_completion import CompletionItem

        from supervisor.cli.completion import target_names

        found: list[CompletionItem] = []
        with suppress(SupervisorError):  # nobody wants an error in the middle of a word
            chosen = ctx.params.get("pipeline")
            names = target_names(chosen, as_paths="/" in incomplete)
            found = [
                CompletionItem(name, help=words)
                for name, words in names
                if name.startswith(incomplete)
            ]
        return found


class PipelineType(click.ParamType[str]):
    """The name of a pipeline; completes those that were ever launched."""

    name = "name"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Offer the pipelines of this `$PSUP_HOME`."""
        del ctx, param
        from click.shell_completion import CompletionItem

        from supervisor.cli.completion import pipeline_names

        found: list[CompletionItem] = []
        with suppress(SupervisorError):
            found = [
                CompletionItem(name, help=words)
                for name, words in pipeline_names()
                if name.startswith(incomplete)
            ]
        return found


class SpanType(click.ParamType[float]):
    """A length of time with its unit; the value is in seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds."""
        if isinstance(value, int | float):
            return float(value)
        seconds = parse_span(value)
        if seconds is None:
            self.fail(f"{value!r} is no duration; write 30s, 5m, 1h30m or 2d", param, ctx)
        return seconds


TARGET = TargetType()
PIPELINE = PipelineType()
SPAN = SpanType()


def targets_argument(*, required: bool) -> Callable[[Command], Command]:
    """Take any number of targets."""
    return click.argument(
        "targets",
        nargs=-1,
        required=required,
        type=TARGET,
        metavar="TARGET..." if required else "[TARGET]...",
    )


def settings_option(purpose: str) -> Callable[[Command], Command]:
    """Return `--set PATH.KEY=VALUE`, which every command that reads a pipeline file takes.

    Args:
        purpose: what it does to this command; the whole help of the option.
    """
    return click.option("--set", "settings", multiple=True, metavar="PATH.KEY=VALUE", help=purpose)


def examples(*lines: str) -> str:
    """Return the end of a help screen: command lines that can be typed as they stand."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


pipeline_option = click.option(
    "-p",
    "--pipeline",
    type=PIPELINE,
    help="Look for targets in this pipeline only.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON; its shape is in docs/json.md."
)
