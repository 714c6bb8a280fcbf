"""Entry point of ``ksgen-agent``: puts the commands together and turns errors into one line.

Exit codes: 0 done; 1 something failed that was not asked wrongly (``doctor``, ``generate``, ``generate-demos``,
``export``, ``curate``, ``bench serve``, ``bench check``); 2 wrong usage or one of KSGen-Agent's own errors.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ksgen_models.errors import KSGenError

_DEBUG = "--debug"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: without the program's name; None takes ``sys.argv``. ``--debug`` may stand anywhere.

    Raises:
        SystemExit: always, with the exit code.
        KSGenError: with ``--debug``, so that the interpreter prints the traceback.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = _DEBUG in given
    # Rendering and hand tracking without a screen; a user's own choice wins.
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        from ksgen_launch.app import app
    except ModuleNotFoundError as exc:
        _fail(f"the command line needs {exc.name}; run: pip install 'ksgen-agent[full]'")
    try:
        app(args=[word for word in given if word != _DEBUG], prog_name="ksgen-agent")
    except KSGenError as exc:
        if debug:
            raise
        _fail(_one_line(exc))
    except ModuleNotFoundError as exc:
        if debug or (exc.name or "").startswith("ksgen_"):
            raise
        _fail(f"this command needs {exc.name}, which is not installed; run: pip install 'ksgen-agent[full]'")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no details"
    return f"{type(error).__name__}: {text}"


def _fail(message: str) -> None:
    print(f"ksgen-agent: {message}", file=sys.stderr)
    raise SystemExit(2)
