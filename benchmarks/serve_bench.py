"""Measure `siglip serve` against its own image tower, and beside a plain transformers server.

    python benchmarks/serve_bench.py                     # ViT-B-16-SigLIP-384 with random weights, about 8 minutes
    python benchmarks/serve_bench.py --rival             # also the rival; fastapi is installed into the work folder
    python benchmarks/serve_bench.py --quick             # the demo model, half a minute: its figures mean little

What is to be reached: at 8 clients at least 90 % of the tower's own rate in the same run; at 1 client at most
1.15 times the tower's latency and decoding; 150 requests a second that label a known image anew; memory over
20,000 requests flat within 5 %. Clients run on the same machine. Prints a table and, unless `--quick`, writes
SERVE.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import facts
import served
from bench import _made_photos, _random_weights
from contenders import program

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
NOUNS = ("cat", "dog", "rocket", "cup", "face", "galaxy", "engine", "tree", "street", "boat")
COLOURS = ("red", "green", "blue", "dark", "bright")
LABELS = [f"{colour} {noun}" for colour in COLOURS for noun in NOUNS]
TOLD = 10  # labels in a request
CLIENTS = 8
LEAST_SHARE, MOST_LATENCY, LEAST_RATE, MOST_GROWTH = 0.9, 1.15, 150, 0.05  # what is to be reached


@dataclass(frozen=True)
class Sizes:
    """How much work; `seconds` bound the long parts, whatever the machine."""

    photos: int = 60
    tower: int = 20
    alone: int = 12
    images: tuple[tuple[int, int], ...] = ((1, 40), (8, 48), (32, 64))
    rival: tuple[tuple[int, int], ...] = ((1, 6), (8, 16))
    relabels: int = 2_000
    relabel_seconds: float = 15
    requests: int = 20_000
    request_seconds: float = 300
    every: int = 500  # requests, of which one brings a new image


QUICK = Sizes(
    photos=8,
    tower=64,
    alone=16,
    images=((1, 40), (8, 80), (32, 96)),
    relabels=300,
    requests=1_000,
    every=50,
)


def main() -> None:
    """Measure, print, write."""
    options = _arguments()
    sizes = QUICK if options.quick else Sizes()
    sizes = replace(sizes, requests=options.requests or sizes.requests)
    options.work.mkdir(parents=True, exist_ok=True)
    started, machine = monotonic(), facts.gather()
    results = Bench(options, sizes).run()
    results |= {"machine": machine, "minutes": (monotonic() - started) / 60}
    text = markdown(results)
    print(text)
    place = options.work if options.quick else HERE
    (place / "serve.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (place / "SERVE.md").write_text(text, encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the demo model and few requests")
    parser.add_argument("--rival", action="store_true", help="measure a transformers server too")
    parser.add_argument("--requests", type=int, help="for the memory row (default: 20,000)")
    parser.add_argument("--work", type=Path, default=HERE / ".work", help="scratch folder")
    parser.add_argument("--weights", type=Path, help="a folder made by scripts/random_weights.py")
    parser.add_argument("--cache", type=Path, help="siglip's cache folder, with its engine")
    return parser.parse_args()


class Bench:
    """The parts of a run, each with figures as its result."""

    def __init__(self, options: argparse.Namespace, sizes: Sizes) -> None:
        self.work, self.sizes = options.work, sizes
        self.photos = sorted(_made_photos(options.work, sizes.photos, "500x375").glob("*.jpg"))
        weights = options.weights
        if not options.quick or options.rival:
            weights = weights or _random_weights(options.work / "weights")
        self.model = "demo" if options.quick else str(weights / "open_clip")
        self.rival = str(weights / "transformers") if options.rival else ""
        self.cache = options.cache or options.work / "serve-cache"
        self.random = random.Random(0)
        self.number = 0

    def run(self) -> dict[str, Any]:
        """Measure everything, the tower before and after the server."""
        towers = [self._tower()]
        results: dict[str, Any] = {
            "model": self.model if self.model == "demo" else "ViT-B-16-SigLIP-384"
        }
        port = served.free_port()
        where = ["--model", self.model, "--cache-dir", str(self.cache), "--offline"]
        command = [program(), "serve", "--port", str(port), "--label", "cat,dog", *where]
        with served.server(command, port, self.work / "serve.log", _environment()) as child:
            results["siglip"] = self._images(port, self.sizes.images)
            results["relabel"] = self._relabel(port)
            results["memory"] = self._memory(port, child.pid)
        towers.append(self._tower())
        results["tower"] = {
            "rate": sum(each["images_per_second"] for each in towers) / len(towers),
            "rates": [each["images_per_second"] for each in towers],
            "seconds": min(each["alone"]["encode"] for each in towers),
            "decode": min(each["alone"]["decode"] for each in towers),
            "encoder": towers[0]["encoder"],
        }
        try:
            results["rival"] = self._rival() if self.rival else {}
        except (
            SystemExit,
            subprocess.CalledProcessError,
        ) as error:  # ours are measured all the same
            _say(f"the rival was not measured: {error}")
        return results

    def _tower(self) -> dict[str, Any]:
        """Return the rate of the image tower alone, and what one image takes alone."""
        _say("the image tower alone")
        where = ["--model", self.model, "--cache-dir", str(self.cache)]
        count = [
            "--images",
            str(self.sizes.tower),
            "--alone",
            str(self.sizes.alone),
            "--photo",
            str(self.photos[0]),
        ]
        command = [sys.executable, str(HERE / "ceiling.py"), *where, *count]
        output = subprocess.run(command, check=True, env=_environment(), stdout=subprocess.PIPE)
        found: dict[str, Any] = json.loads(output.stdout)
        return found

    def _images(self, port: int, plan: tuple[tuple[int, int], ...]) -> dict[str, Any]:
        """Return figures by the number of clients, each image being a new one."""
        served.send(self._new_images(2 * CLIENTS if self.model == "demo" else 4), 2, port)
        rows = {}
        for clients, count in plan:
            rows[str(clients)] = served.as_row(
                served.send(list(self._new_images(count)), clients, port)
            )
            _say(f"{clients} clients: {rows[str(clients)]['rate']:.2f} images a second")
        return rows

    def _new_images(self, count: int) -> Iterator[served.Request]:
        for _ in range(count):
            self.number += 1
            yield served.zero_shot(served.fresh(self.photos, self.number), LABELS[:TOLD])

    def _relabel(self, port: int) -> dict[str, Any]:
        """Return figures of one image that the server knows, with ever other labels that it has seen."""
        image = served.fresh(self.photos, 0)
        served.send(
            [served.zero_shot(image, LABELS[at : at + TOLD]) for at in range(0, len(LABELS), TOLD)],
            1,
            port,
        )
        requests = [
            served.zero_shot(image, self.random.sample(LABELS, TOLD))
            for _ in range(self.sizes.relabels)
        ]
        replies = served.send(requests, CLIENTS, port, self.sizes.relabel_seconds)
        _say(f"relabelling: {replies.rate:.0f} requests a second")
        return served.as_row(replies)

    def _memory(self, port: int, pid: int) -> dict[str, Any]:
        """Return resident megabytes by the number of requests: known images, some new ones, some that fail."""
        known = [served.fresh(self.photos, at) for at in range(4)]
        done, samples, end = 0, [], monotonic() + self.sizes.request_seconds
        step = max(1, self.sizes.requests // 20)
        while done < self.sizes.requests and monotonic() < end:
            replies = served.send(
                list(self._mixed(known, step, done)), CLIENTS, port, end - monotonic()
            )
            done += sum(replies.statuses.values())
            samples.append((done, served.memory_mb(pid)))
        _say(
            f"memory: {samples[0][1]:.0f} MB after {samples[0][0]:,}, {samples[-1][1]:.0f} MB after {done:,}"
        )
        return {"samples": samples, "requests": done, "wanted": self.sizes.requests}

    def _mixed(self, known: list[bytes], count: int, done: int) -> Iterator[served.Request]:
        for at in range(done + 1, done + count + 1):
            labels = self.random.sample(LABELS, TOLD)
            if at % self.sizes.every == 0:
                yield next(self._new_images(1))
            elif at % 50 == 0:
                yield served.Request(
                    "/", b'{"inputs": "no image", "parameters": {"candidate_labels": ["a", "b"]}}'
                )
            else:
                yield served.zero_shot(known[at % len(known)], labels)

    def _rival(self) -> dict[str, Any]:
        """Return the rival's figures on the same photos."""
        port, packages = served.free_port(), self.work / "fastapi"
        if not packages.exists():
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(packages)]
            subprocess.run([*install, "fastapi", "uvicorn"], check=True)
        script = str(HERE / "rivals" / "transformers_server.py")
        command = [sys.executable, script, "--model", self.rival, "--port", str(port)]
        environment = _environment() | {"PYTHONPATH": str(packages)}
        with served.server(command, port, self.work / "rival.log", environment):
            return self._images(port, self.sizes.rival)


def _environment() -> dict[str, str]:
    """Return this process's environment: no network, no GPU, and no settings of siglip's own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SIGLIP_")}
    return kept | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# --- the page -------------------------------------------------------------------------------------


def markdown(results: dict[str, Any]) -> str:
    """Return SERVE.md."""
    machine = results["machine"]
    lines = [
        "# The server, measured",
        "",
        (
            "Written by `python benchmarks/serve_bench.py --rival`. All figures are of one run on one machine, clients"
            " included; compare ratios, not seconds."
        ),
        "",
        (
            f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB; load before: {machine['load_before']};"
            f" {results['model']}, {results['tower']['encoder']}; {machine['date']}."
        ),
        "",
        *_table(["what", "to reach", "measured", ""], list(_reached(results))),
        "",
        *_table(
            ["server", "clients", "images", "images a second", "of the tower’s rate", "p50", "p95"],
            list(_throughput(results)),
        ),
        "",
        _about(results["tower"]),
        "",
    ]
    return "\n".join(lines)


def _about(tower: dict[str, Any]) -> str:
    rates = ", ".join(f"{rate:.2f}" for rate in tower["rates"])
    return (
        "Requests are in Hugging Face's form, ten labels each, photos of about 500×375, each one new to the server."
        f" The image tower alone, in a process without a server: {tower['rate']:.2f} images a second (before and"
        f" after: {rates}), one image alone {_ms(tower['seconds'])}, decoding it {_ms(tower['decode'])}."
    )


def _reached(results: dict[str, Any]) -> Iterator[list[str]]:
    rows, tower = results["siglip"], results["tower"]
    share = rows["8"]["rate"] / tower["rate"]
    yield _bar(
        "8 clients, of the tower's own rate", "≥ 90 %", f"{share:.0%}", reached=share >= LEAST_SHARE
    )
    least = tower["seconds"] + tower["decode"]
    for name in ("p50", "p95"):
        ratio = rows["1"][name] / least
        what = f"latency at 1 client, {name}, of the tower's and decoding"
        yield _bar(what, "≤ 1.15 ×", f"{ratio:.2f} ×", reached=ratio <= MOST_LATENCY)
    rate = results["relabel"]["rate"]
    yield _bar(
        "labelling a known image anew",
        "≥ 150 a second",
        f"{rate:.0f} a second",
        reached=rate >= LEAST_RATE,
    )
    memory = results["memory"]
    growth, first = _growth(memory["samples"])
    yield _bar(
        f"memory over {memory['requests']:,} requests",
        f"within 5 % over {memory['wanted']:,}",
        f"{growth:+.1%} of {first:.0f} MB",
        reached=abs(growth) <= MOST_GROWTH and memory["requests"] >= memory["wanted"],
    )


def _growth(samples: list[tuple[int, float]]) -> tuple[float, float]:
    """Return how much the last memory is above that after the first tenth of the requests, and that one."""
    first = samples[min(1, len(samples) - 1)][1]
    return samples[-1][1] / first - 1, first


def _bar(what: str, reach: str, measured: str, *, reached: bool) -> list[str]:
    return [what, reach, measured, "reached" if reached else "missed"]


def _throughput(results: dict[str, Any]) -> Iterator[list[str]]:
    servers = {
        "siglip serve": results["siglip"],
        "FastAPI around transformers": results.get("rival", {}),
    }
    for name, rows in servers.items():
        for clients, row in rows.items():
            share = f"{row['rate'] / results['tower']['rate']:.0%}"
            yield [
                name,
                clients,
                _count(row),
                f"{row['rate']:.2f}",
                share,
                _ms(row["p50"]),
                _ms(row["p95"]),
            ]


def _count(row: dict[str, Any]) -> str:
    """Return how many images had a result, and how many had none."""
    failed = sum(row["statuses"].values()) - row["replies"]
    return f"{row['replies']}, {failed} failed" if failed else str(row["replies"])


_LONG = 0.01  # seconds from which tenths of a millisecond say nothing


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.{0 if seconds >= _LONG else 1}f} ms"


def _table(columns: list[str], rows: list[list[str]]) -> list[str]:
    cells = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(row)} |" for row in cells]


if __name__ == "__main__":
    main()
