"""Moving files: where they go, what goes with them, what is never overwritten, and the way back."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from siglipcli.actions import journal, moving, placing, recovery, steps, undo
from siglipcli.actions.companions import Companions
from siglipcli.actions.moving import Layout, Placement, Plan
from siglipcli.actions.names import Folders
from siglipcli.actions.templates import Template
from siglipcli.actions.undo import Restored
from siglipcli.cli.remedies import with_remedy
from siglipcli.errors import OutputError, UsageError
from siglipcli.results import Failure, Prediction, Score

if TYPE_CHECKING:
    from collections.abc import Sequence

OTHER_DISK = Path("/dev/shm")


def scored(file: Path | str, label: str | None = "cat") -> Prediction:
    """A result whose best tag is `label`; None: without a tag."""
    score = Score("animals", label or "dog", 0.9, 0.9, 2.0, tag=label is not None)
    return Prediction(str(file), (score,))


def write(path: Path, content: str = "", time: int = 10**18) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((content or repr(path)).encode())
    os.utime(path, ns=(time, time))
    return path


def tree(root: Path) -> dict[str, str]:
    """Every path below `root` → a hash of content, mode and time; of a folder its mode."""
    found = {}
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        about = f"{info.st_mode} " + ("" if path.is_dir() else f"{info.st_mtime_ns} ")
        data = b"" if path.is_dir() else path.read_bytes()
        found[str(path.relative_to(root))] = hashlib.sha256(about.encode() + data).hexdigest()
    return found


def names(root: Path) -> list[str]:
    """The files below `root`, but for the journal."""
    files = [str(p.relative_to(root)) for p in root.rglob("*") if not p.is_dir() or p.is_symlink()]
    return sorted(name for name in files if name != journal.NAME)


def place(
    into: Path, results: Sequence[Prediction | Failure], action: str = "move", **layout: Any
) -> list[Placement | Failure]:
    """Do one run."""
    made = not into.exists()
    into.mkdir(exist_ok=True)
    with journal.opened(into / journal.NAME) as book:
        recovery.recover(book)
        plan = Plan(Layout(into, action, **layout), results, journal.origins(book.runs, into))
        return list(moving.apply(plan, book, made=made))


def interrupt(into: Path, result: Prediction, steps_done: int) -> None:
    """Do a run that is killed after so many of its steps."""
    into.mkdir(exist_ok=True)
    with journal.opened(into / journal.NAME) as book:
        (item,) = Plan(Layout(into, "move"), [result])
        assert isinstance(item, Placement)
        book.begin("move")
        places = [(s, os.path.relpath(t, into)) for s, t in item.members]
        book.intend([steps.step("move", source, below, 1) for source, below in places])
        Path(item.target).parent.mkdir(exist_ok=True)
        for source, target in item.members[:steps_done]:
            placing.move(Path(source), Path(target))


def take_back(into: Path) -> list[Restored | Failure]:
    with journal.opened(into / journal.NAME, must_exist=True) as book:
        return list(undo.undo(book))


def kinds(items: Sequence[Any]) -> list[str]:
    return [item.kind if isinstance(item, (Failure, Restored)) else item.what for item in items]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return tmp_path / "photos"


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "sorted"


# --- what goes where ------------------------------------------------------------------------------


def test_nothing_is_touched_by_a_plan(photos: Path, into: Path) -> None:
    """A dry run says where each image would go, and makes no folder."""
    file = write(photos / "a.jpg")
    before = tree(photos.parent)
    (item,) = Plan(Layout(into), [scored(file, "bird/owl")])
    assert isinstance(item, Placement)
    assert item.target == str(into / "bird/owl/a.jpg")
    assert tree(photos.parent) == before


def test_what_belongs_to_an_image_goes_with_it(photos: Path, into: Path) -> None:
    """Sidecars in both forms, the RAW and its sidecar, the video, and no one else's file."""
    mine = [
        "a.NEF",
        "a.NEF.xmp",
        "a.jpg",
        "a.jpg.xmp",
        "a.mov",
        "a.xmp",
        "a_01.jpg.xmp",
        "a.jpg.json",
    ]
    others = ["ab.jpg.xmp", "a.txt", "a_02.jpg", "a_02.jpg.xmp", "a.png"]
    for name in [*mine, *others]:
        write(photos / name)
    place(into, [scored(photos / "a.jpg")])
    assert names(into) == sorted(f"cat/{name}" for name in mine)
    assert names(photos) == sorted(others)


def test_alone_leaves_all_else_where_it_is(photos: Path, into: Path) -> None:
    """With `alone` the image goes by itself."""
    for name in ("a.jpg", "a.xmp", "a.nef"):
        write(photos / name)
    place(into, [scored(photos / "a.jpg")], alone=True)
    assert names(into) == ["cat/a.jpg"]
    assert names(photos) == ["a.nef", "a.xmp"]


def test_a_raw_follows_its_jpeg_and_decides_where_that_has_no_result(
    photos: Path, into: Path
) -> None:
    """The JPEG's label counts for both; where the JPEG failed, the RAW's does."""
    for name in ("a.jpg", "a.nef", "b.jpg", "b.nef"):
        write(photos / name)
    results = [
        *(scored(photos / "a.jpg", "cat"), scored(photos / "a.nef", "dog")),
        *(Failure(str(photos / "b.jpg"), "truncated", "It ends."), scored(photos / "b.nef", "dog")),
    ]
    assert kinds(place(into, results)) == ["placed", "follows", "truncated", "placed"]
    assert names(into) == ["cat/a.jpg", "cat/a.nef", "dog/b.jpg", "dog/b.nef"]


def test_leaders_and_shared_files_of_several_images_of_one_name(photos: Path) -> None:
    """a.xmp belongs to the JPEG and not to the PNG beside it; RAW follows the JPEG."""
    for name in ("a.jpg", "a.png", "a.xmp", "a.png.xmp", "a.dng"):
        write(photos / name)
    companions = Companions()
    assert companions.leader(str(photos / "a.dng")) == str(photos / "a.jpg")
    assert companions.of(str(photos / "a.jpg")) == [str(photos / "a.dng"), str(photos / "a.xmp")]
    assert companions.of(str(photos / "a.png")) == [str(photos / "a.png.xmp")]


def test_images_without_a_tag_stay_or_go_to_a_folder_of_their_own(photos: Path, into: Path) -> None:
    """No tag, no move; unless there is a folder for them."""
    file = write(photos / "a.jpg")
    assert kinds(place(into, [scored(file, None)])) == ["untagged"]
    assert not into.exists()  # nothing was placed: nothing is left of the run
    place(into, [scored(file, None)], untagged="to do")
    assert names(into) == ["to do/a.jpg"]


def test_templates_name_folders_by_set_label_and_date(photos: Path, into: Path) -> None:
    """The year and month are the file's where there is no EXIF; the ending stays behind the template's name."""
    file = write(photos / "a.b.jpg", time=1_600_000_000 * 10**9)  # 13 September 2020
    template = Template("{set}/{label}/{year}-{month}/{day} {name}!")
    place(into, [scored(file, "bird/owl")], template=template)
    assert names(into) == ["animals/bird/owl/2020-09/13 a.b!.jpg"]


@pytest.mark.parametrize(
    "text",
    [
        "{label}",
        "{name}/{label}",
        "{labels}/{name}",
        "{}/{name}",
        "{name!r}",
        "{name:>9}",
        "{name",
        "{name}{name}",
    ],
)
def test_a_template_that_means_nothing_is_refused(text: str) -> None:
    """Before any model is loaded."""
    with pytest.raises(UsageError):
        Template(text)


def test_a_template_leads_nowhere_else(photos: Path, into: Path) -> None:
    """Dots, slashes and device names in it and in labels stay below the destination."""
    file = write(photos / "a.jpg")
    place(into, [scored(file, "../../CON/\0")], template=Template("../{label}/../{name}"))
    (name,) = names(into)
    assert ".." not in Path(name).parts
    assert names(photos.parent) == [f"sorted/{journal.NAME}", f"sorted/{name}"]


# --- nothing is overwritten -----------------------------------------------------------------------


def test_the_same_content_is_left_out_and_another_gets_a_number(photos: Path, into: Path) -> None:
    """a.jpg thrice: once there, once the same, once another; the other's sidecar keeps its company."""
    first, same = write(photos / "1/a.jpg", "one"), write(photos / "2/a.jpg", "one")
    other, sidecar = write(photos / "3/a.jpg", "two"), write(photos / "3/a.jpg.xmp", "x")
    assert kinds(place(into, [scored(p) for p in (first, same, other)])) == [
        "placed",
        "there",
        "placed",
    ]
    assert names(into) == ["cat/a (2).jpg", "cat/a (2).jpg.xmp", "cat/a.jpg"]
    assert same.exists()
    assert not sidecar.exists()
    again = place(into, [scored(same), scored(write(photos / "3/a.jpg", "two"))])
    assert kinds(again) == ["there", "there"]


def test_groups_of_one_name_do_not_mix(photos: Path, into: Path) -> None:
    """An image never lands beside another's sidecar or RAW of the same name, nor a name that differs by case."""
    write(into / "cat/a.nef", "another camera's")
    write(into / "cat/B.jpg", "upper case")
    place(into, [scored(write(photos / "a.jpg")), scored(write(photos / "b.jpg"))])
    assert names(into) == ["cat/B.jpg", "cat/a (2).jpg", "cat/a.nef", "cat/b (2).jpg"]


def test_a_second_run_changes_nothing(photos: Path, into: Path) -> None:
    """Copies, links and symbolic links are known again, also where the destination's are edited."""
    file = write(photos / "a.jpg")
    for action in ("copy", "link", "symlink"):
        target = into.with_name(action)
        assert kinds(place(target, [scored(file)], action)) == ["placed"]
        before = tree(target)
        assert kinds(place(target, [scored(file)], action)) == ["there"]
        assert tree(target) == before
    assert kinds(place(photos, [scored(write(photos / "cat/b.jpg"))])) == ["in_place"]


@pytest.mark.parametrize("way", range(len(placing.RENAMES)))
def test_no_way_of_renaming_replaces_a_file(way: int, tmp_path: Path) -> None:
    """By renameat2, by a link, or by a look first: a name that is taken is an error, and both files stay."""
    a, b = write(tmp_path / "a", "a"), write(tmp_path / "b", "b")
    with pytest.raises(FileExistsError):
        placing.move(a, b, [placing.RENAMES[way]])
    assert (a.read_text(), b.read_text()) == ("a", "b")
    placing.move(a, tmp_path / "c", [placing.RENAMES[way]])
    assert names(tmp_path) == ["b", "c"]


def _unsupported(_a: Path, _b: Path) -> None:
    raise OSError(errno.EINVAL, "no such flag")


def _another_disk(a: Path, b: Path) -> None:
    if a.name != placing.PART:
        raise OSError(errno.EXDEV, "another disk")
    placing.RENAMES[0](a, b)


def test_a_file_system_without_renames_that_refuse_is_served_by_links(tmp_path: Path) -> None:
    """Where the first way is unknown the next is taken."""
    file = write(tmp_path / "a", "a")
    placing.move(file, tmp_path / "b", [_unsupported, placing.RENAMES[1]])
    assert names(tmp_path) == ["b"]


def test_across_file_systems_times_and_modes_are_kept(tmp_path: Path) -> None:
    """Copied, flushed, compared, and only then removed."""
    file = write(tmp_path / "a", "content")
    file.chmod(0o640)
    before = file.stat()
    placing.move(file, tmp_path / "b", [_another_disk])
    after = (tmp_path / "b").stat()
    assert (after.st_mtime_ns, after.st_mode) == (before.st_mtime_ns, before.st_mode)
    assert names(tmp_path) == ["b"]
    with pytest.raises(FileExistsError):
        placing.move(tmp_path / "b", write(tmp_path / "c"), [_another_disk])
    assert names(tmp_path) == ["b", "c"]


@pytest.mark.skipif(
    not OTHER_DISK.is_dir() or OTHER_DISK.stat().st_dev == Path(__file__).stat().st_dev,
    reason="needs a second file system",
)
def test_to_a_real_second_file_system_and_back(
    photos: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    """The tree is what it was, to the nanosecond."""
    into = OTHER_DISK / tmp_path_factory.mktemp("disk").name / f"siglip-{os.getpid()}"
    into.parent.mkdir()
    request.addfinalizer(partial(subprocess.run, ["rm", "-rf", str(into.parent)], check=True))
    files = [write(photos / name) for name in ("a.jpg", "a.nef", "two\nlines.jpg", "caf\udce9.jpg")]
    before = tree(photos.parent)
    place(into, [scored(files[0]), *map(scored, files[2:])])
    assert names(photos) == []
    assert kinds(take_back(into)) == ["move"] * 4
    assert tree(photos.parent) == before
    assert not into.exists()


def test_a_full_disk_ends_the_run_and_undo_restores_the_tree(
    photos: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line with the command that takes back what was done; the group that did not fit is not there in part."""
    files = [write(photos / name) for name in ("a.jpg", "b.jpg", "c.jpg")]
    write(photos / "b.jpg.xmp")
    before = tree(photos)
    real = os.link

    def link(source: str, target: Path) -> None:
        if target.name == "b.jpg":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", link)
        with pytest.raises(OutputError, match="No space left") as caught:
            place(into, [scored(file) for file in files], "link")
    assert names(into) == ["cat/a.jpg"]
    assert f"siglip sort --undo {into / journal.NAME}" in with_remedy(caught.value)
    assert kinds(take_back(into)) == ["link"]
    assert tree(photos) == before
    assert not into.exists()


def test_what_cannot_be_moved_stays(photos: Path, into: Path) -> None:
    """A file where a folder should be fails its images only; a vanished image is one row."""
    write(into / "cat", "a file")
    items = place(
        into,
        [
            scored(write(photos / "a.jpg")),
            scored(photos / "gone.jpg"),
            scored(write(photos / "b.jpg"), "dog"),
        ],
    )
    assert kinds(items) == ["not_placed", "vanished", "placed"]
    assert names(photos) == ["a.jpg"]
    assert isinstance(items[0], Failure)
    assert "no folder" in items[0].message


def test_a_link_is_not_moved(photos: Path, into: Path) -> None:
    """A relative link would lead nowhere from there; a copy is of what it leads to."""
    write(photos / "real.jpg")
    (photos / "a.jpg").symlink_to("real.jpg")
    assert kinds(place(into, [scored(photos / "a.jpg")])) == ["link"]
    assert kinds(place(into, [scored(photos / "a.jpg")], "copy")) == ["placed"]
    assert not (into / "cat/a.jpg").is_symlink()


# --- the way back ---------------------------------------------------------------------------------


@pytest.mark.parametrize("action", moving.ACTIONS)
def test_undo_restores_the_tree(action: str, photos: Path, into: Path) -> None:
    """Bit for bit, with names of every kind, and the folders that were made are gone."""
    for name in (
        "a.jpg",
        "a.jpg.xmp",
        "sub/a.jpg",
        "two\nlines.jpg",
        "caf\udce9.jpg",
        "x" * 251 + ".jpg",
    ):
        write(photos / name)
    (photos / "a.jpg").chmod(0o400)
    files = sorted(str(p) for p in photos.rglob("*.jpg"))
    before = tree(photos.parent)
    place(
        into,
        [
            scored(file, label)
            for file, label in zip(files, ["bird/owl", "bird", "cat", "CON", "a:b"], strict=True)
        ],
        action,
    )
    assert len(names(into)) == 6
    assert kinds(take_back(into)) == [action] * 6
    assert tree(photos.parent) == before


def test_undo_takes_back_the_last_run_with_those_that_were_stopped_before_it(
    photos: Path, into: Path
) -> None:
    """Last week's run stays; a run that was killed and its continuation are one."""
    place(into, [scored(write(photos / "old.jpg"))])
    place(into, [scored(write(photos / "a.jpg"))])
    book = into / journal.NAME
    book.write_bytes(
        book.read_bytes().removesuffix(b"\n").rpartition(b"\n")[0] + b"\n"
    )  # without its end
    place(into, [scored(write(photos / "b.jpg"))])
    take_back(into)
    assert (names(photos), names(into)) == (["a.jpg", "b.jpg"], ["cat/old.jpg"])
    take_back(into)
    assert not into.exists()


def test_undo_leaves_what_has_changed_and_says_which(photos: Path, into: Path) -> None:
    """An edited file, a name that is taken again, and a file that is gone; all else goes back."""
    files = [write(photos / f"{name}.jpg") for name in ("edited", "taken", "gone", "fine")]
    place(into, [scored(file) for file in files])
    write(into / "cat/edited.jpg", "edited since")
    write(photos / "taken.jpg", "new")
    (into / "cat/gone.jpg").unlink()
    items = take_back(into)
    assert kinds(items) == ["move", "vanished", "occupied", "changed"]
    assert "edited.jpg" in items[-1].file
    assert names(photos) == ["fine.jpg", "taken.jpg"]
    (photos / "taken.jpg").unlink()
    assert kinds(take_back(into)) == ["move", "changed"]  # the journal is still there


def test_undo_keeps_a_copy_that_is_the_only_one_or_was_edited(photos: Path, into: Path) -> None:
    """A copy goes only while its original holds the same."""
    gone, edited = write(photos / "gone.jpg"), write(photos / "edited.jpg")
    place(into, [scored(gone), scored(edited)], "copy")
    gone.unlink()
    write(into / "cat/edited.jpg", "better")
    assert kinds(take_back(into)) == ["changed", "changed"]
    assert names(into) == ["cat/edited.jpg", "cat/gone.jpg"]


def test_a_torn_last_line_is_no_step_and_a_damaged_one_is_refused(photos: Path, into: Path) -> None:
    """A kill in the middle of a write leaves half a line, which was never acted upon."""
    place(into, [scored(write(photos / "a.jpg"))])
    book = into / journal.NAME
    whole = book.read_bytes()
    book.write_bytes(whole + b'{"do": "move", "to": "x"')
    place(into, [scored(write(photos / "b.jpg"))])
    assert names(into) == ["cat/a.jpg", "cat/b.jpg"]
    assert [len(run.entries) for run in journal.read(book)] == [3, 1]
    for line in (
        b"nonsense",
        b'{"do": "move", "to": "../x", "from": "/x", "size": 1, "mtime_ns": 1}',
        b'{"do": "format"}',
    ):
        book.write_bytes(whole + line + b"\n")
        with pytest.raises(UsageError, match=r"jsonl:6: not a line"):
            take_back(into)


def test_each_step_is_in_the_journal_before_it_is_done(photos: Path, into: Path) -> None:
    """Whoever looks at any moment finds no file in the destination that the journal does not name."""
    files = [write(photos / f"{i}.jpg") for i in range(3)]
    into.mkdir()
    with journal.opened(into / journal.NAME) as book:
        for _ in moving.apply(Plan(Layout(into, "move"), [scored(f) for f in files]), book):
            lines = [json.loads(line) for line in book.path.read_text().splitlines()]
            assert set(names(into)) <= {line.get("to") for line in lines}
        with pytest.raises(UsageError, match="Another run"), journal.opened(book.path):
            pass


def test_a_run_that_was_killed_between_copy_and_removal_is_begun_anew(
    photos: Path, into: Path
) -> None:
    """The file is in two places for a moment: the next run places the listed one, an undo removes the other."""
    file = write(photos / "a.jpg", "content")
    before = tree(photos)
    for is_undo in (False, True):
        (into / "cat").mkdir(parents=True)
        with journal.opened(into / journal.NAME) as book:
            book.begin("move", [journal.Entry("folder", "."), journal.Entry("folder", "cat")])
            book.intend([steps.step("move", str(file), "cat/a.jpg", 1)])
            placing.copy(file, into / "cat/a.jpg")
        (into / "cat" / placing.PART).write_text("half")
        if not is_undo:
            place(into, [])
            assert (names(photos), names(into)) == (["a.jpg"], [])
            assert kinds(place(into, [scored(file)])) == ["placed"]
            assert (names(photos), names(into)) == ([], ["cat/a.jpg"])
        take_back(into)
        assert tree(photos) == before
        assert not into.exists()


def test_no_journal_can_be_written(photos: Path, into: Path) -> None:
    """Then nothing is moved."""
    (into / journal.NAME).mkdir(parents=True)
    with pytest.raises(OutputError):
        place(into, [scored(write(photos / "a.jpg"))])
    assert names(photos) == ["a.jpg"]


@pytest.mark.parametrize(
    ("kills", "files"), [(4, 150), pytest.param(200, 2_000, marks=pytest.mark.stress)]
)
def test_kills_lose_nothing(kills: int, files: int) -> None:
    """Kill -9 at random moments of moves and undos."""
    script = Path(__file__).parents[1] / "scripts" / "sort_kills.py"
    run = subprocess.run(
        [sys.executable, script, "--kills", str(kills), "--files", str(files)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["breaches"] == 0


def test_folders_of_labels_are_deterministic(photos: Path, into: Path) -> None:
    """A second run with the same set puts the same label into the same folder."""
    for name in ("a", "b"):
        place(into, [scored(write(photos / f"{name}.jpg"), "a?b")], folders=Folders(["a:b", "a?b"]))
    assert len({Path(name).parent for name in names(into)}) == 1


def test_one_name_by_two_paths_is_never_taken_for_a_copy(photos: Path, into: Path) -> None:
    """A folder of the destination that became a link to where the files are: they are the only ones."""
    file = write(photos / "a.jpg")
    for action in moving.ACTIONS[:3]:
        place(into, [scored(file)], action)
        book = into / journal.NAME
        book.write_bytes(book.read_bytes().removesuffix(b"\n").rpartition(b"\n")[0] + b"\n")
        (into / "cat/a.jpg").unlink()
        (into / "cat").rmdir()
        (into / "cat").symlink_to(photos, target_is_directory=True)
        write(file)
        place(into, [])
        take_back(into)
        assert names(photos) == ["a.jpg"]
        (into / "cat").unlink()
        book.unlink(missing_ok=True)


def test_pipes_and_folders_of_such_names_are_left_alone(photos: Path, into: Path) -> None:
    """A pipe in the way would be waited for; a folder is no companion."""
    (into / "cat").mkdir(parents=True)
    os.mkfifo(into / "cat/a.jpg")
    (photos / "a.mov").mkdir(parents=True)
    place(into, [scored(write(photos / "a.jpg"))])
    assert (into / "cat/a (2).jpg").is_file()
    assert (photos / "a.mov").is_dir()


# --- groups stay together -------------------------------------------------------------------------


def test_undo_takes_along_a_sidecar_that_was_made_since(photos: Path, into: Path) -> None:
    """A raw converter or a run of keywords wrote it beside the image, which has another number there."""
    write(into / "cat/a.jpg", "another")
    file = write(photos / "a.jpg", "one")
    place(into, [scored(file)])
    write(into / "cat/a (2).jpg.xmp", "edits")
    assert kinds(take_back(into)) == ["move", "move"]
    assert names(photos) == ["a.jpg", "a.jpg.xmp"]
    assert names(into) == ["cat/a.jpg"]


@pytest.mark.parametrize("in_the_way", [False, True])
def test_undo_separates_no_image_from_its_sidecar(
    photos: Path, into: Path, *, in_the_way: bool
) -> None:
    """A sidecar that was edited, or whose old place is taken: both stay, both have a row, and so does the journal."""
    for name in ("a.jpg", "a.jpg.xmp"):
        write(photos / name)
    place(into, [scored(photos / "a.jpg")])
    write(photos / "a.jpg.xmp" if in_the_way else into / "cat/a.jpg.xmp", "edited since")
    assert set(kinds(take_back(into))) == {"occupied" if in_the_way else "changed"}
    assert names(into) == ["cat/a.jpg", "cat/a.jpg.xmp"]
    assert (into / journal.NAME).exists()


def test_undo_keeps_a_copy_that_has_a_sidecar_of_its_own(photos: Path, into: Path) -> None:
    """Its edits belong to no other file."""
    place(into, [scored(write(photos / "a.jpg"))], "copy")
    write(into / "cat/a.jpg.xmp", "edits")
    assert kinds(take_back(into)) == ["changed", "changed"]
    assert names(into) == ["cat/a.jpg", "cat/a.jpg.xmp"]


def test_another_cards_image_joins_no_group_of_an_earlier_run(photos: Path, into: Path) -> None:
    """The counter of a camera began anew: IMG_1 is another shot, after runs that ended and after one that was killed."""
    for number in range(2):
        target = into.with_name(f"into{number}")
        place(target, [scored(write(photos / "IMG_1.jpg", "one"))])
        if number:
            book = target / journal.NAME
            book.write_bytes(book.read_bytes().removesuffix(b"\n").rpartition(b"\n")[0] + b"\n")
        for name in ("IMG_1.heic", "IMG_1.xmp"):
            write(photos / name, "two")
        place(target, [scored(photos / "IMG_1.heic")])
        assert names(target) == ["cat/IMG_1 (2).heic", "cat/IMG_1 (2).xmp", "cat/IMG_1.jpg"]


def test_a_group_of_which_a_part_came_in_goes_back_before_the_next_run(
    photos: Path, into: Path
) -> None:
    """Killed between sidecar and image, and the next run has another label: both are in its folder."""
    for name in ("a.jpg", "a.jpg.xmp"):
        write(photos / name)
    before = tree(photos)
    interrupt(into, scored(photos / "a.jpg"), 1)
    assert (names(photos), names(into)) == (["a.jpg"], ["cat/a.jpg.xmp"])
    place(into, [scored(photos / "a.jpg", "dog")])
    assert names(into) == ["dog/a.jpg", "dog/a.jpg.xmp"]
    take_back(into)
    assert tree(photos) == before


def test_a_run_of_which_nothing_can_go_back_does_not_block_those_before_it(
    photos: Path, into: Path
) -> None:
    """What went back is forgotten; the next undo names what is left, and goes on with the run before."""
    place(into, [scored(write(photos / "a.jpg"))])
    place(into, [scored(write(photos / "b.jpg")), scored(write(photos / "c.jpg"))])
    write(into / "cat/b.jpg", "edited")
    assert kinds(take_back(into)) == ["move", "changed"]
    assert names(into) == ["cat/a.jpg", "cat/b.jpg"]
    assert kinds(take_back(into)) == ["changed", "move"]
    assert names(photos) == ["a.jpg", "c.jpg"]
    assert kinds(take_back(into)) == ["changed"]
    write(into / "cat/b.jpg", str(photos / "b.jpg"))  # not what it was
    assert kinds(take_back(into)) == ["changed"]


def test_a_copy_that_a_person_put_back_is_not_deleted(photos: Path, into: Path) -> None:
    """Not by the run after one that was killed; an undo leaves the one that has the original's time and mode."""
    file = write(photos / "a.jpg", "one")
    file.chmod(0o600)
    before = tree(photos)
    interrupt(into, scored(file), 1)
    shutil.copy2(into / "cat/a.jpg", file)
    place(into, [])
    assert (names(photos), names(into)) == (["a.jpg"], ["cat/a.jpg"])
    write(file, "one", time=1)
    file.chmod(0o644)
    assert kinds(take_back(into)) == ["move"]
    assert tree(photos) == before


def test_undo_refuses_an_edit_that_kept_size_and_time(photos: Path, into: Path) -> None:
    """Tools can keep a file's time; the content tells, of a large file its first and last part."""
    large = "x" * (5 << 20)
    place(into, [scored(write(photos / "a.jpg", "one")), scored(write(photos / "b.jpg", large))])
    write(into / "cat/a.jpg", "two")
    write(into / "cat/b.jpg", "y" + large[1:])
    assert kinds(take_back(into)) == ["changed", "changed"]


def test_undo_of_another_owners_file_is_no_failure(
    photos: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times of such files cannot be set, nor need they."""
    place(into, [scored(write(photos / "a.jpg"))])
    monkeypatch.setattr(os, "utime", lambda *_, **__: (_ for _ in ()).throw(PermissionError))
    assert kinds(take_back(into)) == ["move"]


def test_a_journal_that_cannot_be_deleted_says_that_all_is_undone(
    photos: Path, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows deletes no file that another program has open: no error, and nothing to be undone again."""
    place(into, [scored(write(photos / "a.jpg"))])
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(PermissionError))
        assert kinds(take_back(into)) == ["move"]
    assert journal.read(into / journal.NAME) == []


def test_a_sidecar_that_is_a_link_fails_its_image(photos: Path, into: Path) -> None:
    """It is not left behind in silence, and moved it would lead nowhere; a copy is of what it leads to."""
    write(photos / "real/a.jpg.xmp")
    write(photos / "a.jpg")
    (photos / "a.jpg.xmp").symlink_to("real/a.jpg.xmp")
    assert kinds(place(into, [scored(photos / "a.jpg")])) == ["link"]
    assert kinds(place(into, [scored(photos / "a.jpg")], "copy")) == ["placed"]
    assert names(into) == ["cat/a.jpg", "cat/a.jpg.xmp"]


def test_a_sidecar_in_other_case_goes_along(photos: Path, into: Path) -> None:
    """A.JPG and a.jpg.xmp come from file systems that take them for one name; what has its exact image is its own."""
    for name in ("A.JPG", "a.jpg.xmp", "A.MOV", "a.XMP", "B.jpg", "b.jpg", "b.xmp", "b.jpg.xmp"):
        write(photos / name)
    before = tree(photos)
    companions = Companions()
    assert companions.of(str(photos / "B.jpg")) == []
    place(into, [scored(photos / "A.JPG")])
    assert names(into) == ["cat/A.JPG", "cat/A.MOV", "cat/A.XMP", "cat/A.jpg.xmp"]
    assert names(photos) == ["B.jpg", "b.jpg", "b.jpg.xmp", "b.xmp"]
    take_back(into)
    assert tree(photos) == before


def test_on_macos_all_metadata_is_copied(tmp_path: Path) -> None:
    """Its copyfile is called with both paths and ACL, STAT and XATTR."""
    library = Mock()
    placing.copy_mac_metadata(tmp_path / "a", tmp_path / "b", library)
    a, b = (os.fsencode(tmp_path / name) for name in "ab")
    library.copyfile.assert_called_once_with(a, b, None, 7)


def test_an_image_that_was_replaced_since_it_was_scored_stays(photos: Path, into: Path) -> None:
    """Its label is another image's; the others are placed, also where two names are one file."""
    files = [write(photos / name) for name in ("a.jpg", "b.jpg")]
    os.link(files[1], photos / "c.jpg")
    files.append(photos / "c.jpg")
    states = {str(file): steps.state(file) for file in files}
    write(photos / "new", "other")
    (photos / "new").replace(files[0])
    into.mkdir()
    with journal.opened(into / journal.NAME) as book:
        plan = Plan(Layout(into, "link"), [scored(file) for file in files], None, states)
        assert kinds(list(moving.apply(plan, book))) == ["changed", "placed", "placed"]
