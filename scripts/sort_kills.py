"""`siglip sort` and its undo under kill -9 at random moments: no file lost, none half written, all taken back.

    python scripts/sort_kills.py --kills 200 --files 2000 --seed 1
    python scripts/sort_kills.py --into /dev/shm/sorted        # across file systems

Draws a tree of files with names of every kind, hashes it, and sorts it by made-up labels in a process that is
killed again and again at random moments and started anew with other labels; then the same for the undo. After each kill every
file must be whole, in one place, and in a place that the journal names; after a run that ends, with its group; after the undo the tree's hash (paths,
contents, modes and times) must be the first one. Ends with status 1 at the first breach.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from siglipcli.actions import companions, journal, moving, placing, recovery, undo
from siglipcli.actions.names import Folders
from siglipcli.results import Prediction, Score

if TYPE_CHECKING:
    from collections.abc import Callable

LABELS = ("bird/owl", "bird", "CON", "a:b", "cat ", "..", "Ünïcode", "x" * 300)
_ODD = ("two\nlines", "caf\udce9", "-rf", "*", "a.b", "Großes Bild", "CON")


def draw(root: Path, count: int, rng: random.Random) -> None:
    """Fill a folder with `count` files: images with sidecars, RAW and videos, names twice, odd names."""
    made = 0
    while made < count:
        folder = root / f"{rng.randrange(8)}" / f"{rng.randrange(3)}"
        folder.mkdir(parents=True, exist_ok=True)
        stem = (
            f"{rng.choice(_ODD)}{rng.randrange(40)}"
            if rng.random() < 0.2
            else f"{rng.randrange(400):04}"
        )
        endings = [".jpg"] + [
            e for e in (".nef", ".xmp", ".jpg.xmp", ".mov") if rng.random() < 0.25
        ]
        for ending in endings:
            path = folder / f"{stem}{ending}"
            if not path.exists():
                path.write_bytes(rng.randbytes(rng.choice((0, 10, 10, 5_000, 200_000))))
                path.chmod(rng.choice((0o644, 0o600, 0o444)))
                os.utime(path, ns=(10**18, 10**18 + rng.randrange(10**17)))
                made += 1
    (root / "empty").mkdir()


def contents(root: Path) -> dict[str, str]:
    """Return each file's path below `root` → the hash of its content, mode and time; folders too."""
    found: dict[str, str] = {}
    for folder, names, files in os.walk(root):
        for name in names:
            found[os.path.relpath(Path(folder, name), root)] = "folder"
        for name in files:
            path = Path(folder, name)
            info = path.stat()
            about = f"{info.st_mode} {info.st_mtime_ns} ".encode()
            found[os.path.relpath(path, root)] = hashlib.sha256(
                about + path.read_bytes()
            ).hexdigest()
    return found


def sort(root: Path, into: Path, salt: int) -> None:
    """Do one run of a move, as the command does it once it has results; other labels with another `salt`."""
    files = sorted(
        str(path) for path in root.rglob("*") if path.suffix in {".jpg", ".nef"} and path.is_file()
    )
    results = [
        Prediction(file, (Score("s", label_of(file, salt), 0.9, 0.9, 2.0, tag=True),))
        for file in files
    ]
    made = not into.exists()
    into.mkdir(exist_ok=True)
    with journal.opened(into / journal.NAME) as book:
        recovery.recover(book)
        plan = moving.Plan(
            moving.Layout(into, "move", folders=Folders(LABELS)),
            results,
            journal.origins(book.runs, into),
        )
        for item in moving.apply(plan, book, made=made):
            assert not hasattr(item, "kind"), item


def take_back(into: Path) -> None:
    """Do one undo."""
    with journal.opened(into / journal.NAME, must_exist=True) as book:
        for item in undo.undo(book):
            assert isinstance(item, undo.Restored), item


def label_of(file: str, salt: int) -> str:
    """Return a label by the name: the same for all files of a group."""
    name = Path(file).name.split(".")[0]
    return LABELS[hashlib.sha256(os.fsencode(f"{name}{salt}")).digest()[0] % len(LABELS)]


def run(child: Callable[[], None], delay: float | None) -> tuple[bool, float]:
    """Run a function in a process of its own, killed after `delay` seconds; say whether it was, and its seconds."""
    start = time.perf_counter()
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(delay)
    if process.is_alive():
        process.kill()
    process.join()
    if process.exitcode not in {0, -signal.SIGKILL}:
        sys.exit(f"the child ended with status {process.exitcode}")
    return process.exitcode != 0, time.perf_counter() - start


def check(root: Path, into: Path, before: dict[str, str]) -> None:
    """Check after a kill that each file is whole and in one place, which the journal names."""
    here = {name: digest for name, digest in contents(root).items() if digest != "folder"}
    there = {name: digest for name, digest in contents(into).items() if digest != "folder"}
    there.pop(journal.NAME, None)
    parts = [name for name in [*here, *there] if name.endswith(placing.PART)]
    for name in parts:
        here.pop(name, None)
        there.pop(name, None)
    places = journal_places(into)
    origins = {
        name: os.path.relpath(places[name], root) for name in there
    }  # KeyError: not in the journal
    twice = [name for name, origin in origins.items() if origin in here]
    breaches = [
        *(f"changed: {name}" for name, digest in here.items() if before.get(name) != digest),
        *(f"changed: {name}" for name, origin in origins.items() if before[origin] != there[name]),
        *(f"lost: {name}" for name in lost(before, here, origins)),
        *(twice[1:] and [f"in two places: {twice}"]),
        *(parts[1:] and [f"in part: {parts}"]),
    ]
    if breaches:
        sys.exit("\n".join(map(repr, breaches)))


def check_groups(into: Path) -> None:
    """Check after a whole run that what belongs together is in one folder, whichever labels the killed ones had."""
    folders: dict[tuple[Path, str], set[Path]] = {}
    for place, source in journal_places(into).items():
        if (into / place).is_file():
            group = Path(source).parent, companions.stem(Path(source).name)
            folders.setdefault(group, set()).add(Path(place).parent)
    if parted := [group for group, places in folders.items() if len(places) > 1]:
        sys.exit(f"parted: {parted}")


def lost(before: dict[str, str], here: dict[str, str], origins: dict[str, str]) -> set[str]:
    """Return the files that are in neither place."""
    return (
        {name for name, digest in before.items() if digest != "folder"}
        - {*here}
        - {*origins.values()}
    )


def journal_places(into: Path) -> dict[str, str]:
    """Return place → where its file came from, by the journal; a torn last line is no breach."""
    return {e.target: e.source for run in journal.read(into / journal.NAME) for e in run.entries}


def cycle(
    root: Path, into: Path, before: dict[str, str], rng: random.Random, seconds: float
) -> int:
    """Sort and undo once, each killed a few times on its way; return how many kills there were."""
    kills = 0
    for is_undo in (False, True):
        delays = [rng.uniform(0, seconds) for _ in range(rng.randrange(1, 5))]
        for delay in [*delays, None]:
            salt = rng.randrange(1000)
            child = partial(take_back, into) if is_undo else partial(sort, root, into, salt)
            was_killed, _ = run(child, delay)
            kills += was_killed
            if is_undo and not (into / journal.NAME).exists():
                break
            check(root, into, before)
            if not was_killed:
                check_groups(into)
                break
    if into.exists() and not any(into.iterdir()):
        into.rmdir()  # killed between the last two steps of an undo, which leaves an empty folder
    if contents(root) != before or into.exists():
        sys.exit("the tree is not what it was")
    return kills


def main() -> None:
    """Run the cycles."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--into", type=Path, help="a folder that does not exist, perhaps on another disk"
    )
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "photos")
        into = options.into or Path(folder, "sorted")
        root.mkdir()
        draw(root, options.files, rng)
        before = contents(root)
        _, seconds = run(partial(sort, root, into, 0), None)
        check(root, into, before)
        run(partial(take_back, into), None)
        assert contents(root) == before
        kills = cycles = 0
        while kills < options.kills:
            kills += cycle(root, into, before, rng, seconds)
            cycles += 1
    about = {
        "kills": kills,
        "cycles": cycles,
        "files": len(before),
        "seconds": round(seconds, 3),
        "breaches": 0,
    }
    print(json.dumps(about))


if __name__ == "__main__":
    main()
