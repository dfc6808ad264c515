"""Files, folders, patterns and lists, as `siglip classify` takes them."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zoo import ODD_NAMES

from siglipcli.errors import UsageError
from siglipcli.inputs import IMAGE_ENDINGS, NamedInputs, Options, Overlooked, expand, listed
from siglipcli.inputs.pairs import with_raws
from siglipcli.results import Failure, Prediction, Source

if TYPE_CHECKING:
    from collections.abc import Iterator

posix = pytest.mark.skipif(os.name != "posix", reason="the file system of POSIX")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a folder of images, other files, hidden ones and subfolders."""
    for name in (
        *("b.jpg", "a.PNG", "notes.txt", ".hidden.jpg", "noending"),
        *("c/one.webp", "c/deep/two.tiff", ".secret/three.jpg", "b/four.jpeg"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(found: Iterator[Source | Failure], root: Path | None = None) -> list[str]:
    """Return what each item is reported as, a Failure with its kind before it."""
    shown = []
    for item in found:
        name = item.file if isinstance(item, Failure) else item.name
        name = os.path.relpath(name, root) if root else name
        shown.append(f"{item.kind}: {name}" if isinstance(item, Failure) else name)
    return shown


# ------------------------------------------------------------------------------ folders


def test_folder_is_read_to_the_bottom_in_the_order_of_names(tree: Path) -> None:
    """A folder gives its images and its subfolders' in one order, whatever the disk's is."""
    expected = ["a.PNG", "b/four.jpeg", "b.jpg", "c/deep/two.tiff", "c/one.webp"]

    assert names(expand([str(tree)]), tree) == expected


def test_names_are_the_argument_and_what_lies_below(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows show paths as the user typed them, so that they can be pasted back."""
    monkeypatch.chdir(tree)

    assert names(expand(["./c"])) == ["./c/deep/two.tiff", "./c/one.webp"]
    assert names(expand(["c/"])) == ["c/deep/two.tiff", "c/one.webp"]
    assert names(expand(["."]))[0] == "./a.PNG"


def test_no_recursive_reads_one_folder_only(tree: Path) -> None:
    """With --no-recursive the subfolders stay unread."""
    assert names(expand([str(tree)], Options(recursive=False)), tree) == ["a.PNG", "b.jpg"]


def test_hidden_files_and_folders_are_read_when_asked_for(tree: Path) -> None:
    """With --hidden the dot files and what lies in dot folders come too."""
    found = names(expand([str(tree)], Options(hidden=True)), tree)

    assert found[:2] == [".hidden.jpg", ".secret/three.jpg"]
    assert len(found) == 7


@pytest.mark.parametrize("extensions", [("jpg", "jpeg"), (".JPG", ".Jpeg")])
def test_endings_are_taken_with_or_without_dot_and_in_any_case(
    tree: Path, extensions: tuple[str, ...]
) -> None:
    """The user may write --ext jpg or --ext .JPG."""
    found = names(expand([str(tree)], Options(extensions=extensions)), tree)

    assert found == ["b/four.jpeg", "b.jpg"]


def test_no_endings_at_all_takes_every_file(tree: Path) -> None:
    """Without endings to go by, text files come too."""
    found = names(expand([str(tree)], Options(extensions=None)), tree)

    assert {"notes.txt", "noending"} <= set(found)


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*.jpg", ["a.PNG", "b/four.jpeg", "c/deep/two.tiff", "c/one.webp"]),
        ("c", ["a.PNG", "b/four.jpeg", "b.jpg"]),
        ("c/", ["a.PNG", "b/four.jpeg", "b.jpg"]),
        ("c/*", ["a.PNG", "b/four.jpeg", "b.jpg"]),
        ("deep", ["a.PNG", "b/four.jpeg", "b.jpg", "c/one.webp"]),
        ("c/deep", ["a.PNG", "b/four.jpeg", "b.jpg", "c/one.webp"]),
        ("**/c/**", ["a.PNG", "b/four.jpeg", "b.jpg"]),
        ("*/*", ["a.PNG", "b.jpg"]),
    ],
)
def test_excluded_names_and_paths_are_left_out(tree: Path, pattern: str, left: list[str]) -> None:
    """An --exclude glob holds for base names, for paths below the folder, and for folders."""
    assert names(expand([str(tree)], Options(exclude=(pattern,))), tree) == left


def test_exclude_holds_for_files_that_the_shell_expanded(tree: Path) -> None:
    """`siglip classify *.jpg --exclude 'b*'` leaves out b.jpg, quoted or not."""
    options = Options(exclude=("b*",))

    assert names(expand([str(tree / "a.PNG"), str(tree / "b.jpg")], options), tree) == ["a.PNG"]
    assert names(expand([str(tree / "*.*")], options), tree) == ["a.PNG", "notes.txt"]


@pytest.mark.parametrize(
    ("extensions", "wanted"),
    [
        (("jpg,PNG",), ["a.PNG", "b.jpg"]),
        ((".jpg", "webp"), ["b.jpg", "c/one.webp"]),
        (("*.jp*g",), ["b/four.jpeg", "b.jpg"]),
        (("*.jpg",), ["b.jpg"]),
        (("jp*g",), ["b/four.jpeg", "b.jpg"]),
        ((" tiff , jpg ",), ["b.jpg", "c/deep/two.tiff"]),
    ],
)
def test_endings_may_be_listed_and_globbed(
    tree: Path, extensions: tuple[str, ...], wanted: list[str]
) -> None:
    """`--ext jpg,png` and `--ext '*.jp*g'` mean what a person means by them."""
    assert names(expand([str(tree)], Options(extensions=extensions)), tree) == wanted


@pytest.mark.parametrize("pattern", ["./c", "{}/c", "./{}/c/", "{}/c/*"])
def test_exclude_holds_for_paths_as_they_are_typed(
    tree: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    """`siglip classify photos --exclude photos/c` leaves the folder out, as `./c` does."""
    monkeypatch.chdir(tree.parent)
    options = Options(exclude=(pattern.format(tree.name),))
    left = ["a.PNG", "b/four.jpeg", "b.jpg"]
    assert names(expand([tree.name], options)) == [f"{tree.name}/{name}" for name in left]
    assert names(expand([f"./{tree.name}"], options))[0] == f"./{tree.name}/a.PNG"


def test_an_absolute_exclude_holds_for_relative_inputs(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full path names the same folder whatever path led there."""
    monkeypatch.chdir(tree)
    assert "c/one.webp" not in names(expand(["."], Options(exclude=(str(tree / "c"),))))


def test_what_is_passed_over_is_counted_by_its_ending(tree: Path) -> None:
    """A folder of Photoshop files beside one JPEG is not silent: endings are counted."""
    for name in ("1.PSD", "2.psd", "x.mp4", "README"):
        (tree / name).touch()
    overlooked = Overlooked()
    list(expand([str(tree)], overlooked=overlooked))
    assert overlooked.endings == {".psd": 2, ".mp4": 1, "": 2, ".txt": 1}


def test_an_exclude_that_matches_nothing_is_known(tree: Path) -> None:
    """A pattern with a slip of the pen is told from one that worked."""
    options, overlooked = Options(exclude=("b*", "nope/*")), Overlooked()
    list(expand([str(tree)], options, overlooked=overlooked))
    assert overlooked.unused(options) == ["nope/*"]


@pytest.mark.parametrize("url", ["https://example.org/a.jpg", "http://x/y", "file:///a.jpg"])
def test_a_url_is_called_by_its_name(url: str) -> None:
    """A URL is no missing file: the row says that it must be downloaded first."""
    (row,) = expand([url])
    assert isinstance(row, Failure)
    assert row.kind == "url"
    assert "This is a URL" in row.message


def test_stdin_takes_an_image_of_many_mebibytes() -> None:
    """A photo of ten megabytes fits through a pipe with the limits that are set."""
    data = bytes(10 << 20)
    (row,) = expand(["-"], stdin=io.BytesIO(data))
    assert isinstance(row, Source)
    assert row.content == data


def test_empty_folder_gives_nothing(tmp_path: Path) -> None:
    """A folder without images is no failure."""
    assert list(expand([str(tmp_path)])) == []


def test_output_file_inside_the_folder_is_not_read(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that answers go to is never an input, however it is spelled."""
    monkeypatch.chdir(tree)

    assert names(expand([str(tree)], Options(skip=Path("c/../b.jpg"))), tree) == [
        *("a.PNG", "b/four.jpeg", "c/deep/two.tiff", "c/one.webp")
    ]
    assert names(expand(["b.jpg"], Options(skip=tree / "b.jpg"))) == ["output: b.jpg"]
    assert names(expand(["b.jpg"], Options(skip=tree / "new" / "b.jpg"))) == ["b.jpg"]


def test_default_endings_cover_what_can_be_read_or_explained() -> None:
    """JPEG and PNG are found by default, and HEIC too, whose row names the plugin."""
    assert {".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".jxl"} <= set(IMAGE_ENDINGS)
    assert not {".pdf", ".eps", ".svg", ".txt"} & set(IMAGE_ENDINGS)


def test_unreadable_folder_is_one_row_and_its_siblings_are_read(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that may not be listed fails alone."""
    really = os.scandir

    def scandir(path: str) -> object:
        if path.endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return really(path)

    monkeypatch.setattr("os.scandir", scandir)

    assert names(expand([str(tree / "c"), str(tree / "b")]), tree) == [
        *("permission: c/deep", "c/one.webp", "b/four.jpeg")
    ]


def test_a_disk_that_fails_is_a_row_with_its_reason(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input/output error is reported in the system's words."""

    def scandir(path: str) -> object:
        raise OSError(5, "Input/output error", path)

    monkeypatch.setattr("os.scandir", scandir)
    (failure,) = expand([str(tree)])

    assert isinstance(failure, Failure)
    assert failure.kind == "unreadable"
    assert "Input/output error" in failure.message


@posix
def test_loops_of_links_end(tmp_path: Path) -> None:
    """Links to the folder itself, to its parents and to one another are not followed round."""
    (tmp_path / "root/a").mkdir(parents=True)
    (tmp_path / "root/b").mkdir()
    (tmp_path / "root/a/x.png").touch()
    (tmp_path / "outside.png").touch()
    (tmp_path / "root/self").symlink_to(".")
    (tmp_path / "root/up").symlink_to("..")
    (tmp_path / "root/a/b").symlink_to("../b")
    (tmp_path / "root/b/a").symlink_to("../a")
    (tmp_path / "root/ouroboros").symlink_to("ouroboros")
    (tmp_path / "root/ouroboros.png").symlink_to("ouroboros.png")

    found = names(expand([str(tmp_path / "root")]), tmp_path / "root")

    assert found == ["a/x.png", "b/a/x.png", "missing: ouroboros.png"]


@posix
def test_every_folder_linked_to_every_other_is_still_quick(tmp_path: Path) -> None:
    """Twelve folders that all link to each other give few rows, not twelve factorial."""
    for one in range(12):
        (tmp_path / f"{one:02}").mkdir()
        (tmp_path / f"{one:02}/{one:02}.png").touch()
        for other in range(12):
            (tmp_path / f"{one:02}/to{other:02}").symlink_to(f"../{other:02}")

    found = names(expand([str(tmp_path)]), tmp_path)

    assert {f"{one:02}/{one:02}.png" for one in range(12)} <= set(found)
    assert len(found) <= 24


@posix
def test_links_to_files_and_folders_are_read_under_their_own_names(tmp_path: Path) -> None:
    """A library that is put together from links is a library."""
    (tmp_path / "disk/2023").mkdir(parents=True)
    (tmp_path / "disk/2023/a.jpg").touch()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/2023").symlink_to(tmp_path / "disk/2023")
    (tmp_path / "photos/best.jpg").symlink_to(tmp_path / "disk/2023/a.jpg")
    (tmp_path / "link").symlink_to("photos")

    assert names(expand([str(tmp_path / "link")]), tmp_path) == [
        *("link/2023/a.jpg", "link/best.jpg")
    ]


@posix
def test_dangling_link_is_a_row_where_its_name_is_a_images(tmp_path: Path) -> None:
    """A link that leads nowhere is reported once, and only if it looks like an image."""
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "gone").symlink_to("nowhere")

    assert names(expand([str(tmp_path)]), tmp_path) == ["missing: gone.jpg"]
    assert names(expand([str(tmp_path / "gone")]), tmp_path) == ["missing: gone"]


@posix
def test_pipes_and_sockets_in_a_folder_are_passed_over(tmp_path: Path) -> None:
    """Neither a FIFO nor a socket nor a link to a device holds up a run, whatever it is called."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "null.png").symlink_to("/dev/null")
    (tmp_path / "real.png").touch()
    where = os.path.relpath(tmp_path / "socket.png")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(where)

        assert names(expand([str(tmp_path)]), tmp_path) == ["real.png"]


@posix
def test_depth_is_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image 1,100 folders down is found, and folders past the system's limit are one row."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.setrecursionlimit", lambda _: pytest.fail("the limit was moved"))
    depth = 2300
    for level in range(depth):
        if level == 1100:
            Path("deep.png").touch()
        os.mkdir("d")  # noqa: PTH102 - relative, as the whole path is too long to name
        os.chdir("d")
    try:
        found = names(expand([str(tmp_path)]))
    finally:
        for _ in range(depth):
            os.chdir("..")
            Path("deep.png").unlink(missing_ok=True)
            os.rmdir("d")  # noqa: PTH106

    assert [name.rpartition("/")[2] for name in found] in (["d", "deep.png"], ["deep.png", "d"])
    assert [name.startswith("unreadable: ") for name in found].count(True) == 1


@posix
def test_few_open_files_are_enough(tmp_path: Path) -> None:
    """Under `ulimit -n 64` a tree deeper than that is still read."""
    bottom = tmp_path.joinpath(*["d"] * 120)
    bottom.mkdir(parents=True)
    (bottom / "x.png").touch()
    script = (
        "import resource, sys\n"
        "from siglipcli.inputs import expand\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "print([item.name[-5:] for item in expand(sys.argv[1:])])\n"
    )

    assert run(script, str(tmp_path)).stdout == b"['x.png']\n"


def test_folder_is_listed_when_its_turn_comes(tree: Path) -> None:
    """The first image is out before the second folder is looked at."""
    found = expand([str(tree / "b"), str(tree / "later")])
    assert names(iter([next(found)]), tree) == ["b/four.jpeg"]

    (tree / "later").mkdir()
    (tree / "later/new.png").touch()

    assert names(found, tree) == ["later/new.png"]


# -------------------------------------------------------------------------- named inputs


def test_named_files_are_read_whatever_they_are_called(tree: Path) -> None:
    """A file given by name needs no ending and may be hidden."""
    given = [str(tree / name) for name in ("noending", ".hidden.jpg", "notes.txt")]

    assert names(expand(given)) == given
    assert all(
        isinstance(item, Source) and item.content == Path(item.name) for item in expand(given)
    )


def test_hidden_folder_is_read_when_named(tree: Path) -> None:
    """`siglip classify .secret` means it."""
    assert names(expand([str(tree / ".secret")]), tree) == [".secret/three.jpg"]


def test_missing_arguments_are_rows_in_their_place(tree: Path) -> None:
    """A typing error costs one row, and the order of the others holds."""
    given = [str(tree / name) for name in ("b.jpg", "typo.jpg", "b.jpg/below.png", "a.PNG")]

    assert names(expand(given), tree) == [
        *("b.jpg", "missing: typo.jpg", "missing: b.jpg/below.png", "a.PNG")
    ]
    assert names(expand([""])) == ["missing: "]


def test_duplicates_are_answered_twice(tree: Path) -> None:
    """Two inputs, two rows, even if they are one file."""
    assert names(expand([str(tree / "b.jpg")] * 2), tree) == ["b.jpg", "b.jpg"]


@posix
@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_come_back_as_they_are(tmp_path: Path, name: str) -> None:
    """Newlines, quotes, ESC, leading dashes and bytes that are not UTF-8 survive a folder."""
    (tmp_path / name).touch()

    assert names(expand([str(tmp_path)])) == [f"{tmp_path}/{name}"]
    assert names(expand([f"{tmp_path}/{name}"])) == [f"{tmp_path}/{name}"]
    assert names(expand(listed(io.BytesIO(os.fsencode(f"{tmp_path}/{name}")), null=True))) == [
        f"{tmp_path}/{name}"
    ]


@posix
@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "POSIX"])
def test_names_that_are_not_utf8_work_in_every_locale(tmp_path: Path, locale: str) -> None:
    """Under LC_ALL=C a name of any bytes is found, listed and opened."""
    odd = tmp_path / os.fsdecode(b"caf\xe9 \xe7\x8c\xab.png")
    odd.write_bytes(b"content")
    script = (
        "import os, sys\n"
        "from siglipcli.inputs import expand, listed\n"
        "for source in [*expand(sys.argv[1:]), *expand(listed(sys.stdin.buffer))]:\n"
        "    sys.stdout.buffer.write(os.fsencode(source.name) + b' ' + source.content.read_bytes())"
    )
    done = run(script, str(tmp_path), stdin=os.fsencode(odd) + b"\n", LC_ALL=locale)

    assert done.stdout == (os.fsencode(odd) + b" content") * 2


def test_pattern_that_no_shell_expanded_is_expanded(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quoted pattern, or one typed on Windows, works as the shell's would."""
    monkeypatch.chdir(tree)

    assert names(expand(["*.[jp]*"])) == ["b.jpg"] if os.name == "posix" else ["a.PNG", "b.jpg"]
    assert names(expand(["c/*/*.tiff"])) == ["c/deep/two.tiff"]
    assert names(expand(["?"])) == ["b/four.jpeg", "c/deep/two.tiff", "c/one.webp"]


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("**/*.tiff", ["c/deep/two.tiff"]),
        ("c/**", ["c/deep/two.tiff", "c/one.webp"]),
        ("c/**/one.*", ["c/one.webp"]),
        ("**/deep/*", ["c/deep/two.tiff"]),
        ("**/*.txt", ["notes.txt"]),
        ("./**/*.webp", ["./c/one.webp"]),
        ("**/*.gif", ["missing: **/*.gif"]),
        ("nowhere/**/*.jpg", ["missing: nowhere/**/*.jpg"]),
    ],
)
def test_two_stars_stand_for_any_depth(
    tree: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, matches: list[str]
) -> None:
    """`photos/**/*.jpg` finds images at every depth, the topmost too, in any shell."""
    monkeypatch.chdir(tree)

    assert names(expand([pattern])) == matches
    absolute = names(expand([str(tree / pattern)]), tree)
    assert [name.replace(f"{tree}/", "") for name in absolute] == [
        match.replace("./", "") for match in matches
    ]


@posix
def test_two_stars_end_in_a_loop_of_links(tmp_path: Path) -> None:
    """A pattern over a looping tree gives each image once."""
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "again").symlink_to(".")
    (tmp_path / "x.png").touch()

    assert names(expand([f"{tmp_path}/**/*.png"]), tmp_path) == ["x.png"]


def test_pattern_without_a_match_is_a_row(tree: Path) -> None:
    """A pattern that matches nothing is told, as a missing file is."""
    assert names(expand([str(tree / "*.gif")]), tree) == ["missing: *.gif"]


def test_file_whose_name_looks_like_a_pattern_is_that_file(tree: Path) -> None:
    """`holiday[1].jpg` is read, not expanded."""
    (tree / "b[1].jpg").touch()
    (tree / "b1.jpg").touch()

    assert names(expand([str(tree / "b[1].jpg")]), tree) == ["b[1].jpg"]


# -------------------------------------------------------------------------------- stdin


def test_dash_is_the_image_on_stdin() -> None:
    """`siglip classify - < photo.jpg` reads the bytes themselves."""
    assert list(expand(["-"], stdin=io.BytesIO(b"\xff\xd8bytes"))) == [
        Source("-", b"\xff\xd8bytes")
    ]


def test_dash_is_read_once_and_answered_as_often_as_given() -> None:
    """A second `-` is the same image, not an empty one."""
    stdin = io.BytesIO(b"image")

    assert list(expand(["-", "-"], stdin=stdin)) == [Source("-", b"image")] * 2


def test_stdin_without_end_is_a_row() -> None:
    """More on stdin than any image has is refused before memory is gone."""
    (failure,) = expand(["-"], Options(stdin_limit=1000), stdin=io.BytesIO(b"x" * 100_000))

    assert isinstance(failure, Failure)
    assert failure.kind == "too_large"


def test_stdin_that_cannot_be_read_is_a_row() -> None:
    """A closed stdin costs one row, not the run."""
    closed = io.BytesIO()
    closed.close()

    assert names(expand(["-"], stdin=closed)) == ["unreadable: -"]


def test_process_without_stdin_gets_an_empty_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under `<&-` the row says that there was nothing."""
    monkeypatch.setattr("sys.stdin", None)

    assert list(expand(["-"])) == [Source("-", b"")]


# -------------------------------------------------------------------------------- lists


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a.jpg\nb.jpg\n", ["a.jpg", "b.jpg"]),
        (b"a.jpg\r\nb.jpg\r\n", ["a.jpg", "b.jpg"]),
        (b"a.jpg\nb.jpg", ["a.jpg", "b.jpg"]),
        (b"\n\na.jpg\n\r\n\nb.jpg\n\n", ["a.jpg", "b.jpg"]),
        (b"\xef\xbb\xbfa.jpg\nb.jpg\n", ["a.jpg", "b.jpg"]),
        (b" a.jpg \n\tb.jpg\n", [" a.jpg ", "\tb.jpg"]),
        (b"-x.jpg\n--all\n", ["-x.jpg", "--all"]),
        (b"-\n", [f".{os.sep}-"]),
        (b"a.jpg\na.jpg\n", ["a.jpg", "a.jpg"]),
        (b"", []),
        (b"\n", []),
    ],
)
def test_list_of_lines(text: bytes, expected: list[str]) -> None:
    """Lists from `find`, from Windows and by hand are read alike; a `-` in one is a file."""
    assert list(listed(io.BytesIO(text))) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a.jpg\0b.jpg\0", ["a.jpg", "b.jpg"]),
        (b"a.jpg\0b.jpg", ["a.jpg", "b.jpg"]),
        (b"\0\0a.jpg\0\0", ["a.jpg"]),
        (b"two\nlines.jpg\0cr\r\0", ["two\nlines.jpg", "cr\r"]),
        (b"", []),
    ],
)
def test_list_between_nuls(text: bytes, expected: list[str]) -> None:
    """What `find -print0` writes is read whole, newlines in names included."""
    assert list(listed(io.BytesIO(text), null=True)) == expected


@posix
@given(st.lists(st.binary(min_size=1).filter(lambda name: b"\0" not in name and name != b"-")))
def test_any_names_go_through_a_nul_separated_list(entries: list[bytes]) -> None:
    """Whatever bytes a name has, `-0` brings it through unchanged."""
    stream = io.BytesIO(b"\0".join(entries))

    assert [os.fsencode(name) for name in listed(stream, null=True)] == entries


def test_long_entries_cross_the_read_boundary() -> None:
    """A name is never cut where one read ends and the next begins."""
    entries = ["x" * 70_000, "y" * 10, "z" * 200_000]

    assert list(listed(io.BytesIO("\0".join(entries).encode()), null=True)) == entries


@pytest.mark.parametrize("null", [False, True])
def test_list_is_streamed(null: bool) -> None:
    """The first path of a list is out before the list is at its end."""
    end = b"\0" if null else b"\n"
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stream, os.fdopen(writer, "wb", buffering=0) as pipe:
        pipe.write(b"first.jpg" + end)
        paths = listed(stream, null=null)
        assert next(paths) == "first.jpg"
        pipe.write(b"second.jpg" + end)

        assert next(paths) == "second.jpg"


def test_nul_inside_a_line_is_a_missing_file() -> None:
    """A NUL-separated list read as lines gives rows that fail, not a traceback."""
    found = names(expand(listed(io.BytesIO(b"a.jpg\0b.jpg\nc\0/*.jpg\n"))))

    assert found == ["missing: a.jpg\0b.jpg", "missing: c\0/*.jpg"]


def test_a_million_paths_are_not_held(tmp_path: Path) -> None:
    """A list is expanded one path at a time."""
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield str(tmp_path / "x.png")

    (tmp_path / "x.png").touch()
    found = expand(endless())
    for _ in range(1000):
        next(found)

    assert taken == 1000


def run(
    script: str, *arguments: str, stdin: bytes = b"", **env: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a script in a fresh Python."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        input=stdin,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **env},
        capture_output=True,
        check=True,
        timeout=60,
    )


# --- pairs of RAW and JPEG ------------------------------------------------------------------------


def test_raw_is_found_in_folders_where_it_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the extra a folder's RAW files are images; without it they are passed over, and counted."""
    for name in ("a.NEF", "b.cr3", "c.dng"):
        (tmp_path / name).touch()
    assert names(expand([str(tmp_path)]), tmp_path) == ["a.NEF", "b.cr3", "c.dng"]
    monkeypatch.setattr("siglipcli.inputs.options.find_spec", lambda _: None)
    overlooked = Overlooked()
    assert names(expand([str(tmp_path)], overlooked=overlooked), tmp_path) == []
    assert overlooked.endings == {".nef": 1, ".cr3": 1, ".dng": 1}


def test_a_pair_is_one_input_the_jpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In folders and among named files, whichever half comes first; RAW without a JPEG stays."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.cr2", "a.jpg", "b.nef", "c.JPG", "c.nef", "c.png", "c.x.jpg"):
        (tmp_path / name).touch()
    one = Options(one_of_pairs=True)
    assert names(expand(["."], one)) == ["./a.jpg", "./b.nef", "./c.JPG", "./c.png", "./c.x.jpg"]
    assert names(expand(["a.jpg", "a.cr2", "b.nef"], one)) == ["a.jpg", "b.nef"]
    assert names(expand(["c.nef", "gone.nef"], one)) == ["c.JPG", "missing: gone.nef"]
    assert names(expand(["a.cr2"], Options(one_of_pairs=True, exclude=("*.jpg",)))) == ["a.cr2"]
    assert names(expand(["."], Options(one_of_pairs=False)))[:2] == ["./a.cr2", "./a.jpg"]


def test_what_is_done_to_a_jpeg_can_be_done_to_its_raw_too(tmp_path: Path) -> None:
    """Inputs and predictions of a pair come twice, under both names; failures and other images once."""
    for name in ("a.cr2", "a.jpg", "b.jpg", "c.nef", "c.png"):
        (tmp_path / name).touch()
    jpeg, raw = str(tmp_path / "a.jpg"), str(tmp_path / "a.cr2")
    sources = [Source(str(tmp_path / name)) for name in ("b.jpg", "c.png", "c.nef")]
    assert list(with_raws([Source(jpeg), *sources])) == [Source(jpeg), Source(raw), *sources]
    predictions = [Prediction(jpeg, (), model="m"), Prediction(raw, (), model="m")]
    assert list(with_raws(predictions[:1])) == predictions
    link = Prediction(jpeg, (), source=Source(jpeg, tmp_path / "a.jpg"))
    assert [item.source for item in with_raws([link])] == [link.source, None]
    assert list(with_raws([Source(jpeg)], lambda path: path == raw)) == [Source(jpeg)]
    failure = Failure(jpeg, "truncated", "It ends.")
    assert list(with_raws([failure, Source(jpeg, b"bytes")])) == [failure, Source(jpeg, b"bytes")]


def test_what_a_run_names_and_lists_is_one_stream(tmp_path: Path) -> None:
    """Named inputs come first, then those of the list; both are counted, and what was passed over is known."""
    for name in ("a.png", "folder/b.png", "folder/notes.txt", "c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "list").write_bytes(os.fsencode(tmp_path / "c.png") + b"\0")
    named = NamedInputs(
        [str(tmp_path / "a.png"), str(tmp_path / "folder")], str(tmp_path / "list"), null=True
    )
    names = [Path(source.name).name for source in named.stream() if isinstance(source, Source)]
    assert names == ["a.png", "b.png", "c.png"]
    assert named.total() == len(names)
    assert named.overlooked.named() == "1 .txt"
    assert NamedInputs(["-"]).total() is None


def test_the_output_of_a_run_is_refused_as_its_input(tmp_path: Path) -> None:
    """A name that leads to the output would be replaced by results of itself."""
    output = tmp_path / "out.csv"
    output.touch()
    named = NamedInputs(
        [str(tmp_path / ".." / tmp_path.name / "out.csv")], options=Options(skip=output)
    )
    with pytest.raises(UsageError, match="is one of the inputs"):
        list(named.stream())
