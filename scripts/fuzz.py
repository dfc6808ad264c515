"""Feed damaged images, label files and model folders to the program, for a bounded time, and judge the results.

    python scripts/fuzz.py [--minutes 5] [--seed 0] [--crashes FOLDER]

Allowed: an image, a label set or a model, or a SiglipError. Everything else is a finding: another exception, an
input that takes more than 10 s, a process that holds more than 1 GB or dies. Inputs are cut, spliced,
flipped, and given false sizes and lengths; each runs in a worker process, and what it was given
is kept in the crashes folder when it fails. Exit status 1 if anything was found.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import multiprocessing
import random
import struct
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fuzz_models
from PIL import Image

from siglipcli import images
from siglipcli import labels as labelsets
from siglipcli.errors import SiglipError

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 10.0  # an input
BYTES = 10**9  # a process
CHUNK = 100  # inputs between two looks at a worker


# ---------------------------------------------------------------------------------- valid inputs


def valid_images() -> dict[str, list[bytes]]:
    """Return valid files of each format, of several modes and options."""
    image = Image.radial_gradient("L").resize((61, 43))
    rgb = Image.merge("RGB", (image, image.rotate(90), image.rotate(180)))
    rgba = rgb.copy()
    rgba.putalpha(image)
    pages = {"save_all": True, "append_images": [rgb.rotate(9)]}
    exif = Image.Exif()
    exif[274] = 6
    wanted: dict[str, list[tuple[Image.Image, dict[str, Any]]]] = {
        "JPEG": [(rgb, {"exif": exif.tobytes()}), (rgb, {"progressive": True}), (image, {}), (rgb.convert("CMYK"), {})],
        "PNG": [(rgb, {"exif": exif.tobytes()}), (rgba, {}), (rgb.quantize(16), {"transparency": 2}), (image.convert("I;16"), {}), (rgb, pages)],
        "WEBP": [(rgb, {}), (rgba, {"lossless": True}), (rgb, pages)],
        "TIFF": [(rgb, {}), (rgb, {"compression": "tiff_lzw"}), (rgb, {"compression": "jpeg"}), (image.convert("1"), {"compression": "group4"}), (image.convert("F"), {}), (rgb, pages)],
        "GIF": [(rgb, {}), (rgb, pages), (rgb.quantize(16), {"transparency": 2})],
        "BMP": [(rgb, {}), (rgb.quantize(16), {}), (image.convert("1"), {})],
        "AVIF": [(rgb, {}), (rgba, {})],
        "JPEG2000": [(rgb, {}), (rgba, {})],
        "PPM": [(rgb, {}), (image, {}), (image.convert("1"), {})],
        "ICO": [(rgba, {})],
    }  # fmt: skip
    return {
        name: [_file(name, one, options) for one, options in variants]
        for name, variants in wanted.items()
        if name in images.FORMATS and name in Image.SAVE
    }


def _file(name: str, image: Image.Image, options: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    image.save(out, name, **options)
    return out.getvalue()


LABELS = (
    "name: animals\ndescription: >\n  Pets\ntemplates: ['a photo of a {}.', \"a {} \\u00e9\"]\n"
    "aggregate: max\nthreshold: 0.2\nexclusive: true\nlabels:\n  - cat\n  - &d {name: dog, prompts: [a dog,"
    " a puppy]}\n  - name: bird\n    children: [sparrow, {name: owl, prompts: ['{} at night']}]\n"
    "  - name: none of these\n    negative: true\n"
)
TOKENS = [
    *(b"&a ", b"*a", b"- ", b": ", b"? ", b"[", b"]", b"{", b"}", b"'", b'"', b"|", b">", b"#", b"%", b"@"),
    *(b"!!python/object:os.system", b"!", b"<<", b"---\n", b"...\n", b"\t", b"\r", b"\n", b"\0", b"\x85"),
    *(b"~", b"{}", b"labels:", b"\\U0011ffff", b"\xef\xbb\xbf", b"\xff\xfe", b"%YAML 9" * 3, b"\xe2\x80\xa8"),
]  # fmt: skip
NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


# -------------------------------------------------------------------------------------- damage


def damaged(rng: random.Random, data: bytes, other: bytes, tokens: list[bytes]) -> bytes:
    """Return `data` after a few edits; `other` is what pieces are spliced in from."""
    edited = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 5, 8, 20))):
        rng.choice((_flip, _flip, _lie, _lie, _cut, _splice, _repeat, _token))(
            rng, edited, other, tokens
        )
    return bytes(edited[: 1 << 22])


def _place(rng: random.Random, data: bytearray) -> int:
    # headers are at the front, and say most of what decoders believe
    return rng.randrange(min(len(data), 200) if rng.random() < 0.5 else len(data)) if data else 0


def _flip(rng: random.Random, data: bytearray, *_: Any) -> None:
    if data:
        data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _lie(rng: random.Random, data: bytearray, *_: Any) -> None:
    """Write a number that a decoder may take for a size."""
    form = rng.choice((">B", ">H", "<H", ">I", "<I"))
    number = rng.choice(NUMBERS) & (256 ** struct.calcsize(form) - 1)
    at = _place(rng, data)
    data[at : at + struct.calcsize(form)] = struct.pack(form, number)


def _cut(rng: random.Random, data: bytearray, *_: Any) -> None:
    at = _place(rng, data)
    del data[at : at + rng.choice((1, 2, 4, 16, 100, len(data)))]


def _splice(rng: random.Random, data: bytearray, other: bytes, *_: Any) -> None:
    begin = rng.randrange(len(other))
    at = _place(rng, data)
    data[at:at] = other[begin : begin + rng.choice((4, 16, 64, 500))]


def _repeat(rng: random.Random, data: bytearray, *_: Any) -> None:
    at = _place(rng, data)
    data[at:at] = data[at : at + rng.choice((1, 4, 16, 64))] * rng.choice((2, 10, 300))


def _token(rng: random.Random, data: bytearray, _: bytes, tokens: list[bytes]) -> None:
    at = _place(rng, data)
    data[at:at] = rng.choice(tokens) if tokens else b"\xff" * rng.randrange(9)


# -------------------------------------------------------------------------------------- judges


def look(data: bytes) -> str:
    """Decode an image; return what came of it."""
    exact = len(data) % 2 == 0
    pixels = images.decode(data, 64, images.Limits(max_megapixels=20), exact=exact)
    assert pixels.shape == (64, 64, 3)
    return "answered"


def parse(data: bytes) -> str:
    """Read a label file; return what came of it."""
    found = labelsets.parse(data, "labels.yaml")
    assert found.labels
    assert all(label.prompts and label.path for label in found.labels)
    return "answered"


def work(judge: Callable[[bytes], str], tasks: Any, results: Any, note: str) -> None:
    """Run a worker: judge what comes, with the input kept in a file while it is judged."""
    _bound_memory()
    path = Path(note)
    while (task := tasks.get()) is not None:
        told: list[tuple[str, float, bytes]] = []
        for data in task:
            path.write_bytes(data)
            begun = time.monotonic()
            try:
                said = judge(data)
            except SiglipError as error:
                said = getattr(error, "kind", type(error).__name__)
            except BaseException as error:  # noqa: BLE001  # a finding
                said = f"FOUND {type(error).__name__}: {error}"[:300]
            seconds = time.monotonic() - begun
            if seconds > SECONDS:
                said = f"FOUND {seconds:.1f} s"
            told.append((said, seconds, data if said.startswith("FOUND") else b""))
        results.put(told)


def _bound_memory() -> None:
    if sys.platform != "win32":
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            held = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + BYTES, held + BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Fuzzer:
    """One kind of input: its worker, what came of the inputs so far, and what was found."""

    def __init__(self, name: str, judge: Callable[[bytes], str], folder: Path) -> None:
        self.name = name
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0
        self.found: list[str] = []
        self._judge = judge
        self._folder = folder
        self._note = folder / f"now-{name}"
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        self._tasks, self._results = context.Queue(), context.Queue()
        self._worker = context.Process(
            target=work,
            args=(self._judge, self._tasks, self._results, str(self._note)),
            daemon=True,
        )
        self._worker.start()

    def feed(self, batch: list[bytes]) -> None:
        """Judge a batch; a worker that dies or hangs is a finding, and is replaced."""
        self._tasks.put(batch)
        end = time.monotonic() + SECONDS * 6
        while time.monotonic() < end and self._results.empty() and self._worker.is_alive():
            time.sleep(0.002)
        if self._results.empty():
            why = "hangs" if self._worker.is_alive() else f"died: {self._worker.exitcode}"
            self._keep(f"FOUND the worker {why}", self._note.read_bytes())
            self._worker.kill()
            self._start()
            return
        for said, seconds, data in self._results.get():
            self.counts["FOUND" if data else said] += 1
            self.slowest = max(self.slowest, seconds)
            if data:
                self._keep(said, data)

    def _keep(self, said: str, data: bytes) -> None:
        path = self._folder / f"{self.name}-{hashlib.sha256(data).hexdigest()[:12]}"
        path.write_bytes(data)
        self.found.append(f"{path}: {said}")

    def close(self) -> None:
        """Let the worker go."""
        self._tasks.put(None)
        self._worker.join(5)
        self._worker.kill()
        self._note.unlink(missing_ok=True)


def main() -> int:
    """Fuzz all kinds in turn until the time is up; return the exit status."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--minutes", type=float, default=5)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--crashes", type=Path, default=Path("build/crashes"))
    given = options.parse_args()
    given.crashes.mkdir(parents=True, exist_ok=True)
    rng = random.Random(given.seed)
    valid = valid_images()
    models = fuzz_models.seeds()
    seeds = valid | {"labels": [LABELS.encode(), LABELS.encode("utf-16")]} | models
    judges = dict.fromkeys(valid, look) | {"labels": parse} | fuzz_models.judges()
    fuzzers = {name: Fuzzer(name, judge, given.crashes) for name, judge in judges.items()}
    everything = [data for files in valid.values() for data in files]
    begun = time.monotonic()
    while time.monotonic() < begun + given.minutes * 60:
        for name, files in seeds.items():
            if name in models:  # a hundredth as many: each builds a model
                fuzzers[name].feed(
                    [fuzz_models.changed(rng, files[0]) for _ in range(CHUNK // 100)]
                )
                continue
            tokens, others = (TOKENS, files) if name == "labels" else ([], everything)
            fuzzers[name].feed(
                [damaged(rng, rng.choice(files), rng.choice(others), tokens) for _ in range(CHUNK)]
            )
    return report(list(fuzzers.values()), time.monotonic() - begun)


def report(fuzzers: list[Fuzzer], seconds: float) -> int:
    """Print what came of it; return 1 if anything was found."""
    for fuzzer in fuzzers:
        fuzzer.close()
        told = ", ".join(f"{count:,} {what}" for what, count in fuzzer.counts.most_common())
        total = sum(fuzzer.counts.values())
        print(f"{fuzzer.name:10} {total:>9,} inputs, slowest {fuzzer.slowest:.2f} s: {told}")
    found = [line for fuzzer in fuzzers for line in fuzzer.found]
    print(f"{sum(sum(f.counts.values()) for f in fuzzers):,} inputs in {seconds:.0f} s")
    print("\n".join(found) if found else "nothing found")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
