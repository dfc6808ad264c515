"""Tags become keywords on the disk: which files, in which states, and what happens when things go wrong."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import stat
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from test_xmp import DC, DIGIKAM, LIGHTROOM, RDF

from siglipcli.actions import embedded, placing, sidecar
from siglipcli.actions.embedded import Iptc, iptc_keywords, metadata
from siglipcli.actions.tagging import Tagged, Tagger, TagOptions
from siglipcli.actions.xmp import Document
from siglipcli.errors import UsageError
from siglipcli.results import Failure, Prediction, Score, Source

if TYPE_CHECKING:
    from collections.abc import Mapping

SUBJECT, HIERARCHY = "dc:subject", "lr:hierarchicalSubject"
ROOT = Path(__file__).parent.parent


def prediction(file: str | Path, **scores: float) -> Prediction:
    """An image with these labels as tags; `_` stands for `/`, a score below 0.5 is no tag."""
    rows = [
        Score("animals", name.replace("_", "/"), score, 0.5, score, score >= 0.5)
        for name, score in scores.items()
    ]
    return Prediction(os.fspath(file), tuple(rows), model="demo")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return image(tmp_path / "photo.jpg")


def image(path: Path, **options: object) -> Path:
    Image.new("RGB", (40, 30), "teal").save(path, **options)
    return path


def tag(
    path: Path | Prediction, options: TagOptions | None = None, **scores: float
) -> Tagged | Failure:
    with Tagger(options, now="2026-01-01T00:00:00Z") as tagger:
        return tagger.tag(path if isinstance(path, Prediction) else prediction(path, **scores))


def remove(path: Path) -> Tagged | Failure:
    with Tagger() as tagger:
        return tagger.remove(Source(os.fspath(path)))


def keywords(path: Path) -> Mapping[str, tuple[str, ...]]:
    return Document(path.read_bytes()).place("full").fields


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- what is written ------------------------------------------------------------------------------


def test_tags_alone_are_written_best_first(photo: Path) -> None:
    """Labels below their threshold are no keywords; the image is not touched, and the row says what was done."""
    before = photo.read_bytes()
    done = tag(photo, cat=0.6, bird_owl=0.9, dog=0.4)
    assert isinstance(done, Tagged)
    assert (done.keywords, done.added, done.removed) == (
        ("bird|owl", "cat"),
        ("bird|owl", "cat"),
        (),
    )
    assert done.written == (f"{photo}.xmp",)
    made = Path(f"{photo}.xmp")
    assert keywords(made) == {SUBJECT: ("owl", "cat"), HIERARCHY: ("bird|owl", "cat")}
    assert photo.read_bytes() == before
    (first, _) = Document(made.read_bytes()).place("full").records
    assert (first.label, first.score, first.set, first.model) == (
        "bird/owl",
        0.9,
        "animals",
        "demo",
    )
    assert first.time == "2026-01-01T00:00:00Z"


def test_min_score_max_tags_and_prefix(photo: Path) -> None:
    """The best two that score at least 0.6, all under AI."""
    options = TagOptions(prefix="AI|", min_score=0.6, max_tags=2)
    done = tag(photo, options, cat=0.7, owl=0.9, dog=0.8, fox=0.55)
    assert isinstance(done, Tagged)
    assert done.keywords == ("AI|owl", "AI|dog")
    (only,) = [tag(photo, TagOptions(min_score=0.99), cat=0.7)]
    assert isinstance(only, Tagged)
    assert (only.removed, names(photo.parent)) == (("AI|owl", "AI|dog"), ["photo.jpg"])


def test_a_dry_run_says_and_changes_nothing(photo: Path) -> None:
    """The row has what would be added, removed and written; the folder stays as it is."""
    tag(photo, cat=0.9)
    before = tree(photo.parent)
    done = tag(photo, TagOptions(dry_run=True), owl=0.9)
    assert isinstance(done, Tagged)
    assert (done.added, done.removed, done.written) == (("owl",), ("cat",), (f"{photo}.xmp",))
    assert tree(photo.parent) == before


def test_the_same_run_twice_touches_no_file(photo: Path) -> None:
    """Neither a byte nor a time changes, whatever the clock says and the last digits of scores."""
    tag(photo, cat=0.9, owl=0.8)
    before = Path(f"{photo}.xmp").stat()
    with Tagger(now="2027-02-02T00:00:00Z") as tagger:
        done = tagger.tag(prediction(photo, cat=0.9001, owl=0.8))
    assert isinstance(done, Tagged)
    assert not done.written
    assert Path(f"{photo}.xmp").stat() == before


def test_without_a_tag_nothing_is_made(photo: Path) -> None:
    """An image without tags gets no sidecar."""
    done = tag(photo, cat=0.1)
    assert isinstance(done, Tagged)
    assert names(photo.parent) == ["photo.jpg"]


def test_a_new_sidecar_holds_the_files_own_keywords(tmp_path: Path) -> None:
    """What a person has embedded stays visible to programs that read the sidecar and stop."""
    packet = LIGHTROOM.encode()
    photo = image(tmp_path / "photo.jpg", xmp=packet)
    tag(photo, cat=0.9)
    made = keywords(tmp_path / "photo.jpg.xmp")
    assert made == {SUBJECT: ("Paris", "cat"), HIERARCHY: ("Paris", "cat")}
    assert metadata(photo).packets == (packet,)
    remove(photo)
    assert names(tmp_path) == ["photo.jpg"]


@pytest.mark.parametrize("name", ["photo.png", "photo.webp", "photo.tif", "photo.avif"])
def test_keywords_within_each_format_are_seen(tmp_path: Path, name: str) -> None:
    """XMP within PNG, WebP, TIFF and AVIF counts as the file's keywords too."""
    packet = DIGIKAM.encode()
    if name.endswith("png"):
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", DIGIKAM, zip=True)
        image(tmp_path / name, pnginfo=info)
    elif name.endswith("tif"):
        image(tmp_path / name, tiffinfo={700: packet})
    else:
        image(tmp_path / name, xmp=packet)
    tag(tmp_path / name, cat=0.9)
    made = keywords(tmp_path / f"{name}.xmp")
    assert made[HIERARCHY] == ("Places|Paris", "holiday", "cat")
    assert made["digiKam:TagsList"] == ("Places/Paris", "holiday", "cat")


# --- which sidecar --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "image_name", "written"),
    [
        ([], "a.jpg", ["a.jpg.xmp"]),
        ([], "a.NEF", ["a.xmp"]),
        (["a.xmp"], "a.jpg", ["a.xmp"]),
        (["a.XMP"], "a.jpg", ["a.XMP"]),
        (["a.jpg.xmp"], "a.jpg", ["a.jpg.xmp"]),
        (["a.xmp", "a.jpg.xmp"], "a.jpg", ["a.jpg.xmp", "a.xmp"]),
        (["a.xmp", "a.CR2"], "a.jpg", ["a.jpg.xmp"]),
        (["a.CR2"], "a.DNG", ["a.DNG.xmp"]),
        (["a.xmp", "a.jpg"], "a.png", ["a.png.xmp"]),
        (["a.xmp", "a.jpg"], "a.CR2", ["a.xmp"]),
    ],
)
def test_which_sidecar_is_written(
    tmp_path: Path, files: list[str], image_name: str, written: list[str]
) -> None:
    """Those that exist, both if both; `a.xmp` is for the RAW of that name; no two images share one."""
    for name in files:
        (tmp_path / name).write_text(LIGHTROOM if name.lower().endswith("xmp") else "x")
    (tmp_path / image_name).write_bytes(b"x" * 99)
    done = tag(tmp_path / image_name, cat=0.9)
    assert isinstance(done, Tagged)
    assert [Path(path).name for path in done.written] == written
    for name in written:
        assert "cat" in keywords(tmp_path / name)[SUBJECT]


@pytest.mark.parametrize(("kind", "name"), [("stem", "photo.xmp"), ("full", "photo.jpg.xmp")])
def test_the_name_of_a_new_sidecar_can_be_chosen(photo: Path, kind: str, name: str) -> None:
    """`stem` makes photo.xmp, `full` photo.jpg.xmp."""
    tag(photo, TagOptions(sidecar_name=kind), cat=0.9)
    assert names(photo.parent) == sorted(["photo.jpg", name])


def test_choices_that_are_none_are_refused() -> None:
    """A program or a kind of sidecar that is not known is an error at once."""
    for options in ({"sidecar_name": "other"}, {"programs": ("gimp",)}):
        with pytest.raises(UsageError, match="is none of"):
            TagOptions(**options)  # type: ignore[arg-type]


def test_a_links_target_gets_the_keywords(tmp_path: Path) -> None:
    """The sidecar is made beside the file that a link leads to, under that file's name; a linked sidecar stays a link."""
    (tmp_path / "real").mkdir()
    photo = image(tmp_path / "real" / "photo.jpg")
    (tmp_path / "link.jpg").symlink_to(photo)
    done = tag(tmp_path / "link.jpg", cat=0.9)
    assert isinstance(done, Tagged)
    assert tree(tmp_path / "real").keys() == {"photo.jpg", "photo.jpg.xmp"}
    elsewhere = (tmp_path / "real" / "photo.jpg.xmp").rename(tmp_path / "elsewhere.xmp")
    (tmp_path / "real" / "photo.jpg.xmp").symlink_to(elsewhere)
    tag(photo, owl=0.9)
    assert (tmp_path / "real" / "photo.jpg.xmp").is_symlink()
    assert keywords(elsewhere)[SUBJECT] == ("owl",)


def test_odd_names_are_written(tmp_path: Path) -> None:
    """A newline, a leading hyphen, bytes that are not UTF-8, and 255 bytes of name less the ending."""
    names = [
        b"new\nline.jpg",
        b"-rf.jpg",
        b"\xff\xfe.jpg",
        b"x" * 247 + b".jpg",
        b"[1].jpg",
        b"#a.jpg",
    ]
    for raw in names:
        path = image(tmp_path / "a.jpg").rename(tmp_path / os.fsdecode(raw))
        done = tag(path, cat=0.9)
        assert isinstance(done, Tagged), done
        assert keywords(Path(f"{path}.xmp"))[SUBJECT] == ("cat",)


# --- what goes wrong ------------------------------------------------------------------------------


def failed(result: Tagged | Failure, kind: str) -> str:
    assert isinstance(result, Failure), result
    assert result.kind == kind
    return result.message


def test_a_damaged_sidecar_is_left_as_it_is(photo: Path) -> None:
    """Its image is a failed row that says so, and no second sidecar is made beside it."""
    Path(f"{photo}.xmp").write_bytes(b"<x:xmpmeta>half of")
    before = tree(photo.parent)
    assert "photo.jpg.xmp is left as it is" in failed(tag(photo, cat=0.9), "sidecar")
    failed(remove(photo), "sidecar")
    assert tree(photo.parent) == before


def test_a_read_only_sidecar_is_left_as_it_is(photo: Path) -> None:
    """A file that its owner has made read-only is not replaced, though the folder would allow it."""
    made = Path(f"{photo}.xmp")
    made.write_text(LIGHTROOM)
    made.chmod(0o444)
    failed(tag(photo, cat=0.9), "read_only")
    assert made.read_text() == LIGHTROOM
    assert names(photo.parent) == ["photo.jpg", "photo.jpg.xmp"]


def test_mode_attributes_and_owner_stay(photo: Path) -> None:
    """A sidecar that is replaced keeps its mode and its extended attributes."""
    made = Path(f"{photo}.xmp")
    made.write_text(LIGHTROOM)
    made.chmod(0o640)
    attributes = hasattr(os, "setxattr")
    try:
        os.setxattr(made, "user.colour", b"red") if attributes else None
    except OSError:
        attributes = False
    inode = made.stat().st_ino
    tag(photo, cat=0.9)
    assert stat.S_IMODE(made.stat().st_mode) == 0o640
    assert made.stat().st_ino != inode
    assert not attributes or os.getxattr(made, "user.colour") == b"red"


def test_a_full_disk_leaves_the_old_sidecar(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row says that there is no space; the draft is gone."""
    made = Path(f"{photo}.xmp")
    made.write_text(LIGHTROOM)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in failed(tag(photo, cat=0.9), "not_written")
    assert tree(photo.parent).keys() == {"photo.jpg", "photo.jpg.xmp"}
    assert made.read_text() == LIGHTROOM


def test_an_image_that_is_gone_is_a_row(tmp_path: Path) -> None:
    """As is one on stdin, which is no file of its own."""
    failed(tag(tmp_path / "gone.jpg", cat=0.9), "not_written")
    assert names(tmp_path) == []
    failed(tag(prediction("-", cat=0.9)), "no_file")


def test_what_another_program_writes_meanwhile_is_not_lost(
    photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sidecar that changes between reading and writing is read again; the other program's keyword stays."""
    made = Path(f"{photo}.xmp")
    made.write_text(LIGHTROOM)
    real, times = sidecar._flush, []

    def meanwhile(draft: Path) -> None:
        times.append(draft)
        if len(times) == 1:
            made.write_text(LIGHTROOM.replace("Paris", "Paris 2024"))
        real(draft)

    monkeypatch.setattr(sidecar, "_flush", meanwhile)
    assert isinstance(tag(photo, cat=0.9), Tagged)
    assert keywords(made)[SUBJECT] == ("Paris 2024", "cat")

    def always(draft: Path) -> None:
        made.write_text(LIGHTROOM.replace("Paris", f"Paris {draft.stat().st_mtime_ns}"))

    monkeypatch.setattr(sidecar, "_flush", always)
    failed(tag(photo, owl=0.9), "busy")
    assert tree(photo.parent).keys() == {"photo.jpg", "photo.jpg.xmp"}


def test_drafts_of_killed_runs_are_deleted(photo: Path) -> None:
    """What a run has left that was killed goes with the next one; a draft of a run that lives stays."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    start = f"{sidecar._DRAFT}{sidecar._HOST}-"
    (photo.parent / f"{start}{dead.pid}").write_text("half")
    (photo.parent / f"{start}{os.getppid()}").write_text("half")
    tag(photo, cat=0.9)
    assert tree(photo.parent).keys() == {"photo.jpg", "photo.jpg.xmp", f"{start}{os.getppid()}"}


@pytest.mark.parametrize(
    ("kills", "images", "more"),
    [
        (2, 20, []),
        pytest.param(200, 2_000, [], marks=pytest.mark.stress),
        pytest.param(40, 300, ["--embed"], marks=pytest.mark.stress),
    ],
)
def test_runs_that_are_killed_leave_whole_files_and_can_go_on(
    tmp_path: Path, kills: int, images: int, more: list[str]
) -> None:
    """Kill -9 at random moments: nothing is half written, nothing lost, and --remove brings the folder back."""
    script = ROOT / "scripts" / "kill_tagging.py"
    command = [sys.executable, str(script), *more, "--images", str(images), "--kills", str(kills)]
    command += ["--seed", "3", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing half written" in done.stdout


def test_memory_is_flat(tmp_path: Path) -> None:
    """However many images: folders, rows and files are forgotten as they are done."""
    photo, grown = image(tmp_path / "a.jpg"), []
    with Tagger(TagOptions(dry_run=True)) as tagger:
        for _ in range(3):
            tracemalloc.start()
            for _ in range(100):
                tagger.tag(prediction(photo, cat=0.9))
            gc.collect()
            grown.append(tracemalloc.get_traced_memory()[0])
            tracemalloc.stop()
    assert min(grown) < 10_000


# --- what a person's files may hold ---------------------------------------------------------------


def xmp(inner: str) -> str:
    return f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF {RDF}>{inner}</rdf:RDF></x:xmpmeta>"


def subject(*words: str) -> str:
    items = "".join(f"<rdf:li>{word}</rdf:li>" for word in words)
    return f"<rdf:Description {DC} rdf:about=''><dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject></rdf:Description>"


GAIN_MAP = "<rdf:Description rdf:about='' xmlns:g='http://ns.apple.com/HDRGainMap/1.0/' g:Version='65536'/>"
BARE = xmp(subject("Paris")).partition("<rdf:RDF")


@pytest.mark.parametrize(
    "packets",
    [
        xmp(GAIN_MAP) + "\0\0" + xmp(subject("Paris")),
        xmp(subject("Paris")) + xmp(GAIN_MAP),
        "<rdf:RDF" + BARE[2].removesuffix("</x:xmpmeta>"),
        "<x:xmpmeta without an end, " + xmp(subject("Paris")),
        xmp(GAIN_MAP) + "<rdf:RDF" + BARE[2].removesuffix("</x:xmpmeta>"),
    ],
)
def test_every_packet_of_a_file_is_read(tmp_path: Path, packets: str) -> None:
    """HEIC of phones has the packet of its gain map first; some programs write rdf:RDF alone."""
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(20) + packets.encode() + b"\0\0")
    tag(path, cat=0.9)
    assert keywords(tmp_path / "a.heic.xmp")[SUBJECT] == ("Paris", "cat")


def test_start_tags_without_an_end_cost_one_pass() -> None:
    """Twice as many take about twice as long to look through, not four times: no tag is looked at twice."""
    looked = [0, 0]

    class Counting(bytes):
        at = 0

        def find(self, *arguments: Any) -> int:
            looked[self.at] += 1
            return super().find(*arguments)

    for at, number in enumerate((1_000, 2_000)):
        view = Counting(b"<x:xmpmeta " * number + b"</x:xmpmeta >" * number)
        view.at = at
        assert len(list(embedded._packets(view))) == 1
    assert looked == [1_000, 2_000]


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(data) + 2).to_bytes(2, "big") + data


def with_segments(path: Path, *segments: bytes) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:2] + b"".join(segments) + whole[2:])


def test_an_embedded_packet_that_cannot_be_read_fails_its_image(photo: Path) -> None:
    """A sidecar made over it would hide what is in it."""
    packet = xmp(subject("B&uuml;ro")).encode()
    with_segments(photo, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))
    assert "cannot be read" in failed(tag(photo, cat=0.9), "sidecar")
    assert names(photo.parent) == ["photo.jpg"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_packets_in_utf_16_are_read(photo: Path, encoding: str) -> None:
    """With the blanks and NULs around them that fill their place up."""
    packet = (xmp(subject("Ā", "Paris")) + "\n \0").encode(encoding)
    with_segments(photo, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))
    tag(photo, cat=0.9)
    assert keywords(Path(f"{photo}.xmp"))[SUBJECT] == ("Ā", "Paris", "cat")


def dataset(record: int, number: int, value: bytes) -> bytes:
    return b"\x1c" + bytes([record, number]) + len(value).to_bytes(2, "big") + value


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["été".encode()], Iptc(("été",), "ascii")),
        (["l’été".encode("cp1252")], Iptc(("l’été",), "cp1252")),
        ([b"\xe9t\xe9\x81"], Iptc(("été\x81",), "ascii")),
        ([b"beach"], Iptc(("beach",), "cp1252")),
    ],
)
def test_iptc_without_a_mark_is_read_by_its_bytes(values: list[bytes], expected: Iptc) -> None:
    """UTF-8 where it is that, else Windows' Latin; nothing is added in letters that would be mixed up."""
    assert iptc_keywords(b"".join(dataset(2, 25, value) for value in values)) == expected


def test_keywords_of_other_programs_are_in_what_we_make(photo: Path) -> None:
    """Media Pro's sets, ACDSee's categories and Windows' Exif keywords stay visible, and are never written."""
    exif = Image.Exif()
    exif[0x9C9E] = "Rome;two words\0".encode("utf-16-le")
    image(photo, exif=exif)
    acdsee = (
        "&lt;Categories&gt;&lt;Category Assigned=&quot;0&quot;&gt;Places&lt;Category Assigned=&quot;1&quot;&gt;"
        "Oslo&lt;/Category&gt;&lt;/Category&gt;&lt;/Categories&gt;"
    )
    form = (
        "<rdf:Description rdf:about='' xmlns:m='http://ns.iview-multimedia.com/mediapro/1.0/'"
        f" xmlns:a='http://ns.acdsee.com/iptc/1.0/' a:categories='{acdsee}'>"
        "<m:CatalogSets><rdf:Bag><rdf:li>Animals|pet</rdf:li></rdf:Bag></m:CatalogSets></rdf:Description>"
    )
    beside = Path(f"{photo}.xmp")
    beside.write_text(xmp(form))
    before = tree(photo.parent)
    tag(photo, cat=0.9)
    assert set(keywords(beside)[HIERARCHY]) == {
        *("Animals|pet", "Places|Oslo", "Rome", "two words", "cat")
    }
    remove(photo)
    assert tree(photo.parent) == before


TEXTS = (
    "<rdf:Description xmlns:xmp='http://ns.adobe.com/xap/1.0/' xmp:Rating='4' xmp:Label='Red'"
    f" {DC} rdf:about=''><dc:title><rdf:Alt><rdf:li xml:lang='x-default'>Été &amp; sun</rdf:li>"
    "<rdf:li xml:lang='en'>Summer</rdf:li></rdf:Alt></dc:title><dc:rights>mine</dc:rights>"
    "<dc:creator><rdf:Seq><rdf:li>A</rdf:li><rdf:li>B</rdf:li></rdf:Seq></dc:creator></rdf:Description>"
)


def test_a_new_sidecar_repeats_title_creator_and_rating(photo: Path) -> None:
    """Programs that read the sidecar alone see them still; --remove deletes it, unless somebody wrote into it."""
    packet = xmp(TEXTS + subject("Paris")).encode()
    with_segments(photo, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))
    before = tree(photo.parent)
    beside = Path(f"{photo}.xmp")
    tag(photo, cat=0.9)
    made = beside.read_bytes()
    dc, xap = "{http://purl.org/dc/elements/1.1/}", "{http://ns.adobe.com/xap/1.0/}"
    texts = Document(made).texts()
    assert texts[f"{dc}title"] == [("x-default", "Été & sun"), ("en", "Summer")]
    assert texts[f"{dc}rights"] == [("x-default", "mine")]
    assert texts[f"{dc}creator"] == [("", "A"), ("", "B")]
    assert (texts[f"{xap}Rating"], texts[f"{xap}Label"]) == ([("", "4")], [("", "Red")])
    tag(photo, cat=0.9)
    assert beside.read_bytes() == made
    remove(photo)
    assert tree(photo.parent) == before
    tag(photo, cat=0.9)
    beside.write_bytes(made.replace(b">4<", b">5<"))
    remove(photo)
    left = beside.read_bytes()
    assert b">5<" in left
    assert b"Summer" in left
    assert b"siglip:" not in left


def test_a_sidecar_that_is_a_link_stays_one(photo: Path) -> None:
    """One that leads nowhere fails its image; one that leads to a file that we made is emptied, not deleted."""
    beside = Path(f"{photo}.xmp")
    beside.symlink_to(photo.parent / "away" / "photo.jpg.xmp")
    assert "leads nowhere" in failed(tag(photo, cat=0.9), "sidecar")
    assert beside.is_symlink()
    beside.unlink()
    tag(photo, cat=0.9)
    elsewhere = beside.rename(photo.parent / "elsewhere.xmp")
    beside.symlink_to(elsewhere)
    remove(photo)
    assert beside.is_symlink()
    assert keywords(elsewhere) == {}


def test_a_sidecar_that_another_program_makes_meanwhile_is_not_replaced(
    photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read, and gets our keywords beside its own."""
    beside = Path(f"{photo}.xmp")
    real = placing.rename

    def meanwhile(source: Path, target: Path) -> None:
        if not beside.exists():
            beside.write_text(LIGHTROOM)
        real(source, target)

    monkeypatch.setattr(placing, "rename", meanwhile)
    assert isinstance(tag(photo, cat=0.9), Tagged)
    assert keywords(beside)[SUBJECT] == ("Paris", "cat")


@pytest.mark.parametrize(
    ("files", "owner"),
    [
        (["s.Jpg", "s.jxl", "s.jpe"], "s.Jpg"),
        (["s.JXL", "s.jp2", "s.Tiff"], "s.Tiff"),
        (["s.jpg", "s.JPG"], "s.JPG"),
        (["s.Dng", "s.jpg"], "s.Dng"),
    ],
)
def test_a_shared_sidecar_has_one_owner(tmp_path: Path, files: list[str], owner: str) -> None:
    """Whatever letters an ending is in."""
    for name in (*files, "s.xmp"):
        (tmp_path / name).write_bytes(b"x")
    owners = [name for name in files if sidecar.existing(tmp_path / name)]
    assert owners == [owner]


def test_a_raw_file_called_like_an_image_leaves_its_sidecar_alone(photo: Path) -> None:
    """photo.jpg.xmp is that of photo.jpg, not of photo.jpg.dng."""
    raw = photo.with_name("photo.jpg.dng")
    raw.write_bytes(b"x" * 99)
    tag(raw, cat=0.9)
    assert names(photo.parent) == ["photo.jpg", "photo.jpg.dng", "photo.jpg.dng.xmp"]


def test_an_image_that_was_replaced_since_it_was_scored_gets_no_keywords(photo: Path) -> None:
    """The row says that it has changed; the next one is tagged."""
    other = image(photo.with_name("other.jpg"))
    sources = [Source(os.fspath(path)) for path in (photo, other)]
    with Tagger() as tagger:
        assert list(tagger.watched(sources)) == sources
        image(photo, quality=50)
        failed(tagger.tag(prediction(photo, cat=0.9)), "changed")
        assert isinstance(tagger.tag(prediction(other, cat=0.9)), Tagged)
    assert names(photo.parent) == ["other.jpg", "other.jpg.xmp", "photo.jpg"]


def test_is_tagged(photo: Path) -> None:
    """An image has tags of ours from a run on, until --remove."""
    with Tagger() as tagger:
        source = Source(os.fspath(photo))
        shutil.copy(photo, photo.with_name("other.jpg"))
        assert not tagger.is_tagged(source)
        tagger.tag(prediction(photo, cat=0.9))
        assert tagger.is_tagged(source)
        assert not tagger.is_tagged(Source(os.fspath(photo.with_name("other.jpg"))))
        tagger.remove(source)
        assert not tagger.is_tagged(source)
