"""Where the `siglip` command and `python -m siglipcli` begin."""

from __future__ import annotations

import os
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line; Ctrl-C while it is being imported ends as it does later."""
    try:
        from siglipcli.cli import main as run
    except KeyboardInterrupt:
        os._exit(130)
    run()


if __name__ == "__main__":
    main()
