"""Where the `siglip` command and `python -m siglipcli` begin."""

from __future__ import annotations

import gc
import os
import signal
from typing import NoReturn

__all__ = ["main"]

_OBJECTS = 50_000  # made before garbage is looked for; 700 otherwise


def main() -> NoReturn:
    """Run the command line; Ctrl-C while it is being imported ends as it does later."""
    # Nothing is begun yet, and an exception inside a library's import may be swallowed or crash it.
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # a shell's background job
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    # Imports make many objects and hardly any garbage to look for.
    gc.set_threshold(_OBJECTS)
    from siglipcli.cli import main as run

    run()


if __name__ == "__main__":
    main()
