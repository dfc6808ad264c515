"""Where the `siglip` command and `python -m siglipcli` begin."""

from __future__ import annotations

import gc
import os
from typing import NoReturn

__all__ = ["main"]

_OBJECTS = 50_000  # made before garbage is looked for; 700 otherwise


def main() -> NoReturn:
    """Run the command line; Ctrl-C while it is being imported ends as it does later."""
    # Imports make many objects and hardly any garbage to look for.
    gc.set_threshold(_OBJECTS)
    try:
        from siglipcli.cli import main as run
    except KeyboardInterrupt:
        os._exit(130)
    run()


if __name__ == "__main__":
    main()
