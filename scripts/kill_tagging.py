"""Kill `siglip tag`'s writing at random moments, and check that nothing is half written and that it goes on.

    python scripts/kill_tagging.py --images 2000 --kills 200 --seed 1 [--embed]

A child process tags a folder, over and over, with other tags each time and from another image on; it is killed
(SIGKILL) at a random moment of its first two seconds.
After each kill every sidecar is a whole document with the old tags or the new ones, and every image decodes to the
pixels that it had. At the end one more run finishes, and --remove brings back the folder, byte for byte
(with --embed: each image's pixels and keywords).
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from siglipcli.actions.embedded import image_parts, metadata
from siglipcli.actions.sidecar import sweep
from siglipcli.actions.tagging import Tagger, TagOptions
from siglipcli.actions.xmp import Document, XmpError
from siglipcli.files import Stamp, stamp
from siglipcli.results import Failure, Prediction, Score, Source

_LONGEST = 2.0  # seconds
LABELS = ("cat", "bird/owl", "fox")
PERSONS = (
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
    ' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag><rdf:li>holiday</rdf:li></rdf:Bag>'
    "</dc:subject></rdf:Description></rdf:RDF>"
)


def main() -> int:
    """Make the folder, kill, check; return 1 where something is wrong."""
    options = arguments()
    if options.child is not None:
        return child(Path(options.folder), options.child, embed=options.embed)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        make(folder, options.images)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        pixels = {path.name: image_parts(path) for path in folder.glob("*.jpg")}
        return run(folder, options, before, pixels)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--embed", action="store_true")
    parser.add_argument("--folder")
    parser.add_argument("--child", type=int)
    return parser.parse_args()


def make(folder: Path, count: int) -> None:
    """Make images, a third of them with a sidecar that a person has written."""
    for number in range(count):
        path = folder / f"{number:05}.jpg"
        Image.new("RGB", (16, 16), (number % 256, number // 256 % 256, 99)).save(path)
        if number % 3 == 0:
            path.with_name(f"{path.name}.xmp").write_text(PERSONS)


def child(folder: Path, turn: int, *, embed: bool) -> int:
    """Tag every image with the labels of this turn."""
    labels = [LABELS[turn % 3], LABELS[(turn + 1) % 3]]
    print("ready", flush=True)
    with Tagger(TagOptions(embed=embed), now="2026-01-01T00:00:00Z") as tagger:
        paths = sorted(folder.glob("*.jpg"))
        start = turn * 739 % len(paths)
        for path in paths[start:] + paths[:start]:
            scores = tuple(Score("set", label, 0.9, 0.5, 1.0, tag=True) for label in labels)
            if isinstance(done := tagger.tag(Prediction(str(path), scores, model="demo")), Failure):
                print(done, file=sys.stderr)
                return 1
    return 0


def run(
    folder: Path,
    options: argparse.Namespace,
    before: dict[str, bytes],
    pixels: dict[str, bytes | None],
) -> int:
    """Kill and check as often as is wanted, then finish and undo."""
    seen: dict[str, Stamp] = {}
    draw, drafts, whole_run = random.Random(options.seed), 0, duration(folder, options, 0)
    for turn in range(1, options.kills + 1):
        process = start(folder, options, turn)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(draw.uniform(0, min(whole_run, _LONGEST)))
        process.kill()
        process.wait()
        drafts += len(list(folder.glob(".siglip-draft-*")))
        check(folder, pixels, seen)
    duration(folder, options, options.kills + 1)
    tagged = {record.label for path in folder.glob("*.jpg") for record in records(path)}
    left = [path.name for path in folder.glob(".siglip-draft-*")]
    assert tagged == {LABELS[(options.kills + 1) % 3], LABELS[(options.kills + 2) % 3]}, tagged
    assert not left, left
    undo(folder, before, pixels, embed=options.embed)
    print(
        f"{options.kills} kills over {options.images} images (a whole run: {whole_run:.1f} s), {drafts} drafts were"
        " left and deleted by the next run: nothing half written, none lost, --remove brings all back"
    )
    return 0


def start(folder: Path, options: argparse.Namespace, turn: int) -> subprocess.Popen[str]:
    """Start a child."""
    command = [sys.executable, __file__, "--folder", str(folder), "--child", str(turn)]
    command += ["--embed"] if options.embed else []
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603


def duration(folder: Path, options: argparse.Namespace, turn: int) -> float:
    """Run a child to its end; return how long it took from its first image on, in seconds."""
    process = start(folder, options, turn)
    assert process.stdout is not None
    process.stdout.readline()
    began = time.monotonic()
    assert process.wait() == 0
    return time.monotonic() - began


def check(
    folder: Path, pixels: dict[str, bytes | None], seen: dict[str, Stamp] | None = None
) -> None:
    """Check that every file is whole, and every image the one that it was; not again what was `seen` so."""
    seen = {} if seen is None else seen
    assert {path.name for path in folder.glob("*.jpg")} == pixels.keys()
    for path in folder.iterdir():
        now = stamp(path.stat())
        if path.name.startswith(".") or seen.get(path.name) == now:
            continue
        if path.suffix == ".jpg":
            assert image_parts(path) == pixels[path.name], path.name
        else:
            check_sidecar(path)
        seen[path.name] = now


def check_sidecar(path: Path) -> None:
    """Check that a sidecar is a whole document, with a person's keyword where there was one."""
    try:
        place = Document(path.read_bytes()).place("full")
    except XmpError as error:
        raise AssertionError(f"{path.name} is half written: {error}") from error
    number = int(path.name[:5])
    assert number % 3 or "holiday" in place.fields["dc:subject"], path.name


def records(path: Path) -> list[object]:
    """Return our records of an image, in its file and its sidecar."""
    beside = path.with_name(f"{path.name}.xmp")
    packets = [*metadata(path).packets, *([beside.read_bytes()] if beside.exists() else [])]
    return [record for packet in packets for record in Document(packet).place("file").records]


def undo(
    folder: Path, before: dict[str, bytes], pixels: dict[str, bytes | None], *, embed: bool
) -> None:
    """Take away our keywords, and compare the folder with what it was."""
    with Tagger() as tagger:
        for path in sorted(folder.glob("*.jpg")):
            done = tagger.remove(Source(str(path)))
            assert not isinstance(done, Failure), done
    sweep(folder)
    check(folder, pixels)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    if embed:
        assert after.keys() == before.keys()
        assert not any(records(path) for path in folder.glob("*.jpg"))
        return
    digests = [
        hashlib.sha256(repr(sorted(tree.items())).encode()).hexdigest() for tree in (before, after)
    ]
    assert digests[0] == digests[1], "the folder is not what it was"


if __name__ == "__main__":
    sys.exit(main())
