"""`psup launch`: reads a pipeline file, starts its daemon, and shows how the tree comes up.

The daemon goes on when this command ends; only `--foreground` stays and passes signals on. This
process decides nothing about the pipeline: whether it may start is decided by the daemon, under
the store's lock, so that of two launches at once exactly one wins.
Read next: `following.py` (what is shown), `daemon/launcher.py` (how a heart is started).
"""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from supervisor.cli.arguments import SPAN, examples, json_option, settings_option
from supervisor.cli.following import Ended, Follower, Lines, Live, is_done, is_up
from supervisor.cli.home import Home
from supervisor.cli.picture import View, health, walk
from supervisor.cli.render import say
from supervisor.cli.store_reader import StoreReader
from supervisor.config import load
from supervisor.daemon.launcher import start_heart
from supervisor.daemon.parcel import Options, Parcel
from supervisor.errors import EXIT_ERROR, EXIT_GAVE_UP, EXIT_OK, AlreadyRunning
from supervisor.runtime.process_identity import parent_is_alive


@click.command(
    epilog=examples(
        "psup launch pipelines/digits/pipeline.yaml",
        "psup launch pipeline.yaml --set train.leak=4GiB",
        "psup launch pipeline.yaml --wait            for CI: ends when all tasks have",
        "psup launch pipeline.yaml --foreground      for systemd and containers",
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@settings_option("Change a value of the file for this launch. May be given often.")
@click.option("--foreground", is_flag=True, help="Stay; Ctrl-C drains, a second one kills.")
@click.option("--wait", "until_done", is_flag=True, help="Return when all tasks have ended.")
@click.option("--address", help="Join this Ray cluster instead of starting one.")
@click.option("--strict-quotas", is_flag=True, help="Refuse when a quota cannot be held here.")
@click.option("--timeout", type=SPAN, help="Stop waiting after this long; the pipeline goes on.")
@json_option
def launch(  # noqa: PLR0913 - click passes every option
    file: Path,
    *,
    settings: tuple[str, ...],
    foreground: bool,
    until_done: bool,
    address: str | None,
    strict_quotas: bool,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Start a pipeline from its FILE and return when it is up.

    Exits with 0 when all is well, 1 when it is running already, 2 when the file is wrong, 3 when
    something is degraded, 5 when something gave up, 6 after --timeout.
    """
    loaded = load(file, overrides=settings, environment=os.environ)
    home = Home.resolve()
    home.prepare()
    refuse_running(home, loaded.spec.name)
    parcel = Parcel(
        launch=uuid.uuid4().hex,
        home=str(home.root),
        file=str(loaded.file),
        spec=loaded.spec,
        environment=dict(os.environ),
        launched_by=f"{getpass.getuser()}@{socket.gethostname()}",
        options=Options(address, strict_quotas=strict_quotas, foreground=foreground),
    )
    for warning in loaded.warnings:
        say(f"psup: {warning}")
    name = loaded.spec.name
    heart, progress = start_heart(parcel, home.daemon_log(name))
    attempt = Attempt(name, heart, Follower(progress, home, name, parcel.launch), timeout)
    if foreground:
        return attempt.stay(until_done=until_done)
    seen = attempt.see_it_up(until_done=until_done)
    if as_json:
        write_json(seen)
    return health(seen)


class Attempt:
    """One launch, seen from the terminal that began it.

    Args:
        pipeline: its name.
        heart: its process.
        follower: what shows how it goes.
        timeout_s: how long to wait at most; None waits for ever.
    """

    def __init__(
        self,
        pipeline: str,
        heart: subprocess.Popen[bytes],
        follower: Follower,
        timeout_s: float | None,
    ) -> None:
        self._name = pipeline
        self._heart = heart
        self._follower = follower
        self._timeout_s = timeout_s

    def see_it_up(self, *, until_done: bool) -> View:
        """Follow until the tree is up, or until all tasks have ended."""
        display = Live() if sys.stderr.isatty() else Lines()
        try:
            seen = self._follower.follow(is_done if until_done else is_up, display, self._timeout_s)
        except KeyboardInterrupt:
            say(f"psup: {self._name} goes on in the background; psup down {self._name} ends it")
            raise
        say(f"psup: {_summary(seen)}")
        return seen

    def stay(self, *, until_done: bool) -> int:
        """Follow until the daemon is gone, passing signals on; return how it ended."""
        display = Lines()
        with self._passing_signals_on():
            if not until_done:
                return self._see_it_gone(display)
            try:
                return health(self._follower.follow(is_done, display, self._timeout_s))
            except Ended:  # somebody took it down before its tasks had ended
                return self._see_it_gone(display)
            finally:
                self._heart.send_signal(signal.SIGTERM)
                self._see_it_gone(display)

    def _see_it_gone(self, display: Lines) -> int:
        """Follow until no daemon is left; return what its end means."""
        with suppress(Ended):
            self._follower.follow(lambda _: False, display)
        code = self._heart.wait()
        return code if code in (EXIT_OK, EXIT_GAVE_UP) else EXIT_ERROR

    @contextmanager
    def _passing_signals_on(self) -> Iterator[None]:
        """Let the heart have the signals of this terminal: it has a session of its own."""
        said = False

        def pass_on(number: int, _frame: object) -> None:
            nonlocal said
            if number == signal.SIGINT and not said:
                say(f"psup: {self._name} goes down; Ctrl-C again kills")
                said = True
            self._heart.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, pass_on) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def refuse_running(home: Home, pipeline: str) -> None:
    """Say at once what the daemon would say: somebody runs this pipeline already.

    Raises:
        AlreadyRunning: names the process and what to type.
    """
    if not home.state_db.exists():
        return
    with StoreReader(home.state_db) as reader:
        for row in reader.pipelines():
            if row.name != pipeline or row.owner is None:
                continue
            hint = f"psup tree {pipeline} shows it, psup down {pipeline} ends it"
            if row.daemon_pid is not None:
                raise AlreadyRunning(
                    f"pipeline {pipeline} is already running (daemon {row.daemon_pid})", hint=hint
                )
            if parent_is_alive(row.owner):
                raise AlreadyRunning(
                    f"the daemon of {pipeline} is just being restarted by its heart, process"
                    f" {row.owner.parent_pid}",
                    hint=hint,
                )


def write_json(seen: View) -> None:
    """Print the picture as `psup tree --json` does."""
    import json

    from supervisor.cli.tree import document

    click.echo(json.dumps(document([seen]), ensure_ascii=False))


def _summary(seen: View) -> str:
    segments = [node for node in walk(seen.root) if node["kind"] != "supervisor"]
    words: dict[str, int] = {}
    for node in segments:
        words[node["state"]] = words.get(node["state"], 0) + 1
    counted = ", ".join(f"{number} {word}" for word, number in words.items())
    name = seen.root["name"]
    return f"{name} is {seen.root['state']}: {counted or 'no segments'} (psup tree {name})"
