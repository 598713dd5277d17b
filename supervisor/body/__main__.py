"""Runner of `run: "module:callable"` bodies: import the user's code, call it, tell how it ended.

    python .../supervisor/body/__main__.py PATH#INCARNATION module:callable

The exit code is the verdict: 0 when the callable returned, 1 when it raised (the exception travels
as `X_PSUP_ERROR`, its traceback also to the log), the code of `sys.exit` when it called that. The
stop signal sets `Context.stopping` and interrupts nothing. Standard library only.
Read next: `context.py`.
"""

import os
import signal
import sys
import threading
from importlib import import_module
from types import FrameType
from typing import Any

PACKAGE_FOLDER = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120  pathlib costs 5 ms
TRACEBACK_CHARS = 12_000
ROOM_TO_TELL_BYTES = 4 * 1024**2


def main(arguments: list[str]) -> int:
    """Run one body to its end and return its exit code."""
    _arrange_import_path()
    from supervisor.body.context import Context
    from supervisor.body.notify import Notifier

    notifier = Notifier()
    reserve = [bytearray(ROOM_TO_TELL_BYTES)]  # never touched, so no memory is used until it is
    try:
        context = Context()
        _listen_for_stop(context.stopping)
        function = _find(arguments[1])
        notifier.send(must_arrive=True, X_PSUP_RUNNING="1")
        _await(function(context))
    except Exception as error:  # noqa: BLE001  whatever the user's code raises is the verdict
        reserve.clear()
        notifier.send(must_arrive=True, X_PSUP_ERROR=_describe(error))
        return 1
    return 0


def _arrange_import_path() -> None:
    """Find the user's modules first (the working folder), ours even when not installed.

    Another distribution also imports as `supervisor`; once ours is loaded, it stays ours.
    """
    own_folder = os.path.join(PACKAGE_FOLDER, "supervisor", "body")  # noqa: PTH118  as above
    rest = [entry for entry in sys.path if entry not in (own_folder, PACKAGE_FOLDER)]
    sys.path[:] = [PACKAGE_FOLDER, *rest]
    import_module("supervisor.body")
    sys.path[:] = [os.getcwd(), *rest, PACKAGE_FOLDER]  # noqa: PTH109  as above


def _listen_for_stop(stopping: threading.Event) -> None:
    """Set `stopping` at the stop signal, from a thread.

    A handler that set the event itself would deadlock when it interrupts the main thread inside
    `stopping.wait()`. Forked children get the default back: their SIGTERM is not ours.
    """
    number = signal.Signals[os.environ.get("PSUP_STOP_SIGNAL", "SIGTERM")]
    if number in (signal.SIGKILL, signal.SIGSTOP):
        return
    heard, tell = os.pipe()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        os.write(tell, b".")

    def wait() -> None:
        os.read(heard, 1)
        stopping.set()

    threading.Thread(target=wait, name="psup-stop", daemon=True).start()
    signal.signal(number, on_signal)
    os.register_at_fork(after_in_child=lambda: signal.signal(number, signal.SIG_DFL))


def _find(target: str) -> Any:
    module_name, _, attribute = target.partition(":")
    found: Any = import_module(module_name)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def _await(result: object) -> None:
    """Run what an `async def` returned; everything else a callable returns is ignored."""
    if hasattr(result, "__await__"):
        import asyncio
        import inspect

        if inspect.iscoroutine(result):
            asyncio.run(result)


def _describe(error: BaseException) -> str:
    """Print the traceback to the log, and return what the cell is told."""
    import json
    import traceback

    text = "".join(traceback.format_exception(error))
    print(text, end="", file=sys.stderr)  # noqa: T201  the log is where people look first
    text = text[-TRACEBACK_CHARS:]
    facts = {"type": type(error).__name__, "message": str(error)[:2000], "traceback": text}
    return json.dumps(facts, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
