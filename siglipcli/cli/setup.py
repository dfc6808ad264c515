"""From option groups to the library's objects, for every command that needs them."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from siglipcli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from siglipcli.api import Classifier
    from siglipcli.cli.options import (
        InputOptions,
        LabelOptions,
        ModelOptions,
        OutputOptions,
        SavedOptions,
        WalkOptions,
    )
    from siglipcli.cli.terminal import Terminal
    from siglipcli.embedding_files import SavedVectors
    from siglipcli.encoders import Encoder
    from siglipcli.encoders.tokens import Tokenizer
    from siglipcli.inputs.files import Options
    from siglipcli.labels import LabelSet
    from siglipcli.results import Failure, Source
    from siglipcli.store import Store

__all__ = ["classifier", "images", "inputs", "label_sets", "origin", "output_format", "total"]
__all__ += ["walking", "warn_of_prompts"]

DEFAULT_SET = "everyday"
_held: list[Classifier] = []  # until the process ends: taking a model down takes 50 ms
MAX_WARNINGS = 5  # of one set


def label_sets(labels: LabelOptions, terminal: Terminal) -> list[LabelSet]:
    """Load every set asked for; the default set, said on stderr, where none is."""
    from siglipcli.labels import LabelSet

    sets = [LabelSet.load(reference) for reference in labels.labels or ()]
    if labels.label:
        sets.append(LabelSet.of(labels.label))
    if not sets:
        terminal.note(
            f"no labels given: using the built-in set {DEFAULT_SET!r} (--labels, --label)"
        )
        sets.append(LabelSet.load(DEFAULT_SET))
    names = [each.name for each in sets]
    if clash := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two label sets are called {clash!r}; give one of them another name")
    return sets


def classifier(engine: ModelOptions, given: WalkOptions, terminal: Terminal) -> Classifier:
    """Find the model; its towers are read when first used."""
    from siglipcli.api import Classifier
    from siglipcli.images import Limits
    from siglipcli.pipeline import LoadOptions

    load_options = LoadOptions(
        workers=engine.workers,
        batch_size=None if engine.batch_size == "auto" else int(engine.batch_size),
        limits=Limits(max_megapixels=given.max_megapixels),
        exact=given.exact_decode,
        verify=engine.verify,
        timeout=given.image_timeout,
        isolate=given.isolate,
    )
    with terminal.fetching() as progress:
        found = Classifier.load(
            engine.model,
            device=engine.device,
            runtime=engine.runtime,
            precision=engine.precision,
            offline=engine.offline,
            cache_dir=engine.cache_dir,
            progress=progress,
            load_options=load_options,
            store=None if engine.no_cache else _store(engine),
        )
    _held[:] = [found]
    terminal.detail(f"model {found.encoder.name}: {found.encoder.description}")
    return found


def warn_of_prompts(sets: Iterable[LabelSet], encoder: Encoder, terminal: Terminal) -> None:
    """Say on stderr where the model reads less than a set's prompts say, unless --quiet."""
    from siglipcli import labels as labelsets

    if terminal.quiet:
        return
    words = encoder.tokenizer
    for each in sets:
        found = labelsets.warnings(each, words.clean, _counting(words), words.context_length)
        for warning in found[:MAX_WARNINGS]:
            terminal.note(f"label set {each.name}: {warning}")
        if len(found) > MAX_WARNINGS:
            terminal.note(f"label set {each.name}: {len(found) - MAX_WARNINGS:,} more like these")


def _counting(tokenizer: Tokenizer) -> Callable[[str], int]:
    """Count tokens, exactly only where a text could be cut: most prompts are far too short."""

    def count(text: str) -> int:
        # A token stands for a byte or more, but for the end mark and a mark of the start.
        most = len(text.encode(errors="surrogatepass")) + 2
        return most if most <= tokenizer.context_length else tokenizer.count(text)

    return count


def _store(engine: ModelOptions) -> Store:
    from siglipcli.machine import cache_folder
    from siglipcli.store import Store

    return Store(cache_folder(engine.cache_dir), engine.cache_limit.bytes)


def output_format(answers: OutputOptions) -> str:
    """Choose the format: as asked, else by the file's ending, else by where stdout goes."""
    from siglipcli import outputs

    if answers.output_format:
        return answers.output_format
    if answers.output:
        return outputs.for_path(answers.output)
    return "table" if sys.stdout.isatty() else "jsonl"


def inputs(given: InputOptions, output: Path | None = None) -> Iterator[Source | Failure]:
    """Give the inputs as a lazy stream; the output file is never one of them.

    Raises UsageError where nothing is given, or where the output is one of the named inputs.
    """
    from siglipcli.inputs import files as sources

    if not given.paths and given.files_from is None:
        raise UsageError("nothing to read: give images or folders, or --files-from FILE")
    if given.null and given.files_from is None:
        raise UsageError("--null is for the list that --files-from reads")
    if given.files_from == "-" and "-" in (given.paths or ()):
        raise UsageError("stdin cannot be both an image and a list of paths")
    _check_list(given.files_from)
    if output and given.files_from and _same(Path(given.files_from), output):
        raise UsageError(f"the output {output} is the list that --files-from reads")
    names = chain(given.paths or (), _listed(given))
    return sources.expand(_but_not(names, output), walking(given, output))


def images(
    given: InputOptions, saved: SavedOptions, output: Path | None = None
) -> Iterator[Source | Failure] | SavedVectors:
    """Give the inputs as a lazy stream, or the saved vectors that stand for them.

    Raises UsageError where both are given, or neither, or where the vectors cannot be read.
    """
    if saved.saved is None:
        return inputs(given, output)
    if given.paths or given.files_from is not None:
        raise UsageError("--from takes the place of images: give one or the other")
    from siglipcli import embedding_files as vectors

    if output and _same(saved.saved, output):
        raise UsageError(f"the output {output} is the file that --from reads")
    return vectors.load(saved.saved)


def origin(saved: SavedOptions) -> str:
    """Say where vectors come from that are not encoded now."""
    return "the store" if saved.saved is None else str(saved.saved)


def total(given: InputOptions, output: Path | None = None) -> int | None:
    """Count the inputs by walking them once more; None where some can be read only once."""
    from siglipcli.inputs import files as sources

    listed = given.files_from
    if not given.paths and listed is None:  # saved vectors
        return None
    if "-" in (given.paths or ()) or (listed and not Path(listed).is_file()):
        return None
    names = chain(given.paths or (), _listed(given))
    return sum(1 for _ in sources.expand(names, walking(given, output)))


def walking(given: WalkOptions, output: Path | None = None) -> Options:
    """Turn the options on folders into the library's; `output` is never one of the inputs."""
    from siglipcli.inputs import files as sources

    defaults = sources.Options()
    return sources.Options(
        recursive=given.recursive,
        extensions=tuple(given.ext) if given.ext else defaults.extensions,
        exclude=tuple(given.exclude or ()),
        hidden=given.hidden,
        skip=output,
    )


def _listed(given: InputOptions) -> Iterator[str]:
    from siglipcli.inputs import files as sources

    if given.files_from is None:
        return
    with _list_stream(given.files_from) as stream:
        yield from sources.listed(stream, null=given.null)


@contextmanager
def _list_stream(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield _stdin()
        return
    with _opened(Path(name)) as stream:
        yield stream


def _check_list(name: str | None) -> None:
    """Complain of a list that cannot be read before a model is loaded; a pipe is left alone."""
    if name == "-":
        _stdin()
    elif name is not None and not Path(name).is_fifo():
        _opened(Path(name)).close()


def _stdin() -> BinaryIO:
    if sys.stdin is None:
        raise UsageError("cannot read the list on stdin: it is closed")
    return sys.stdin.buffer


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"cannot read the list {path}: {error.strerror}") from error


def _but_not(names: Iterable[str], output: Path | None) -> Iterator[str]:
    """Pass names on; refuse one that is the output file, which would be replaced by answers."""
    there = output is not None and output.is_file()
    for name in names:
        if there and output and name != "-" and _same(Path(name), output):
            raise UsageError(f"the output {output} is one of the inputs")
        yield name


def _same(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:
        return False
