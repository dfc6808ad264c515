"""Keywords read back and made by exiftool and exiv2, and embedded through exiftool.

In CI both come from Debian, and SIGLIP_NEED_TOOLS=1 has their absence fail.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from test_tagging import image, keywords, prediction, tag, tree
from test_xmp import DARKTABLE, DIGIKAM, LIGHTROOM, SPLIT

from siglipcli import Classifier, LabelSet, LoadOptions
from siglipcli.actions.embedded import image_parts, metadata
from siglipcli.actions.exiftool import ExifTool, ExifToolError
from siglipcli.actions.tagging import Tagged, Tagger, TagOptions
from siglipcli.errors import SiglipError
from siglipcli.results import Failure, Source
from siglipcli.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fake_encoder import FakeEncoder

SUBJECT, HIERARCHY = "dc:subject", "lr:hierarchicalSubject"
EMBED = TagOptions(embed=True)
NEEDED = os.environ.get("SIGLIP_NEED_TOOLS") == "1"


@pytest.fixture(autouse=True)
def _tools() -> None:
    missing = [name for name in ("exiftool", "exiv2") if not shutil.which(name)]
    if missing and not NEEDED:
        pytest.skip(f"no {' and no '.join(missing)} here")
    assert not missing


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A JPEG with Exif, a comment, a profile and a thumbnail's worth of maker notes."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6
    path = tmp_path / "photo.jpg"
    rows = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(rows).save(path, exif=exif, comment=b"a comment", quality=90)
    return path


_running: list[ExifTool] = []


@pytest.fixture(autouse=True, scope="module")
def _exiftool_ends() -> Iterator[None]:
    yield
    for running in _running:
        running.close()


def exiftool(*arguments: str | Path) -> str:
    """Run exiftool, in one process for all tests: it takes a third of a second to start."""
    if not _running:
        _running.append(ExifTool())
    return _running[0].run(*map(str, arguments))


def read(path: Path) -> dict[str, list[str]]:
    """All keywords as exiftool sees them, lists as lists, numbers as written."""
    fields = ["XMP-dc:Subject", "XMP-lr:HierarchicalSubject", "XMP-digiKam:TagsList"]
    fields += ["XMP-microsoft:LastKeywordXMP", "IPTC:Keywords", "XMP-xmp:Rating"]
    text = exiftool("-j", "-G1", *(f"-{name}" for name in fields), path)
    (row,) = json.loads(text, parse_int=str, parse_float=str)
    return {k: v if isinstance(v, list) else [v] for k, v in row.items() if k != "SourceFile"}


def exiv2(path: Path, key: str) -> list[str]:
    """A field as exiv2 sees it, whose library digiKam and darktable read with."""
    command = ["exiv2", "-Pkt", "-K", key, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [
        part
        for line in done.stdout.splitlines()
        for part in line.split(None, 1)[1].strip().split(", ")
    ]


# --- sidecars -------------------------------------------------------------------------------------


WRAPPED = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{SPLIT}</x:xmpmeta>'


@pytest.mark.parametrize("form", [DIGIKAM, LIGHTROOM, DARKTABLE, WRAPPED, None])
def test_sidecars_are_read_by_programs_of_others(photo: Path, form: str | None) -> None:
    """Both exiftool and exiv2 see a person's keywords and ours, in every form of a sidecar."""
    beside = Path(f"{photo}.xmp")
    before = None
    if form:
        beside.write_text(form)
        before = read(beside)
    done = tag(photo, bird_owl=0.9, cat=0.8)
    assert isinstance(done, Tagged), done
    now = read(beside)
    for name, values in (before or {}).items():
        assert set(values) - {""} <= set(now[name]), name
    assert {"owl", "cat"} <= set(now["XMP-dc:Subject"])
    assert {"bird|owl", "cat"} <= set(now["XMP-lr:HierarchicalSubject"])
    assert {"owl", "cat"} <= set(exiv2(beside, "Xmp.dc.subject"))
    assert {"bird|owl", "cat"} <= set(exiv2(beside, "Xmp.lr.hierarchicalSubject"))


@pytest.mark.parametrize("program", ["exiftool", "exiv2"])
def test_sidecars_that_programs_have_rewritten_are_still_known(photo: Path, program: str) -> None:
    """After exiftool or exiv2 has written our sidecar in its own form, ours are replaced and removed, theirs stay."""
    tag(photo, bird_owl=0.9, cat=0.8)
    beside = Path(f"{photo}.xmp")
    if program == "exiftool":
        exiftool("-overwrite_original", "-XMP-dc:Subject+=holiday", "-XMP-xmp:Rating=4", beside)
    else:
        commands = ["-M", "set Xmp.dc.subject XmpBag holiday", "-M", "set Xmp.xmp.Rating 4"]
        subprocess.run(["exiv2", *commands, "-k", str(beside)], check=True)
    assert "holiday" in keywords(beside)[SUBJECT]
    tag(photo, fox=0.9)
    assert set(keywords(beside)[SUBJECT]) == {"holiday", "fox"}
    assert set(keywords(beside)[HIERARCHY]) == {"holiday", "fox"}
    again = beside.read_bytes()
    tag(photo, fox=0.9)
    assert beside.read_bytes() == again
    with Tagger() as tagger:
        tagger.remove(Source(str(photo)))
    assert read(beside)["XMP-xmp:Rating"] == ["4"]
    assert set(keywords(beside)[SUBJECT]) == {"holiday"}


@pytest.mark.parametrize("program", ["exiftool", "exiv2"])
def test_sidecars_made_by_programs_are_edited(photo: Path, program: str) -> None:
    """A sidecar that exiftool or exiv2 has made keeps all that it says."""
    beside = Path(f"{photo}.xmp")
    if program == "exiftool":
        values = [
            "-XMP-dc:Subject=Paris",
            "-XMP-digiKam:TagsList=Places/Paris",
            "-XMP-dc:Title-fr=Été",
        ]
        exiftool(*values, "-XMP-crs:Exposure2012=0.35", beside)
    else:
        commands = [
            "add Xmp.dc.subject XmpBag Paris",
            "add Xmp.digiKam.TagsList XmpSeq Places/Paris",
        ]
        commands += ["set Xmp.dc.title lang=fr Été", "set Xmp.crs.Exposure2012 0.35"]
        made = photo.with_suffix(".exv")
        more = [part for command in commands for part in ("-M", command)]
        subprocess.run(["exiv2", *more, str(photo)], check=True)
        subprocess.run(["exiv2", "-eX", str(photo)], check=True)
        photo.with_suffix(".xmp").rename(beside)
        made.unlink(missing_ok=True)
    everything = exiftool("-a", "-G1", "-XMP:all", beside)
    before = beside.read_bytes()
    assert isinstance(tag(photo, cat=0.9), Tagged)
    now = read(beside)
    assert now["XMP-digiKam:TagsList"] == ["Places/Paris", "cat"]
    assert now["XMP-lr:HierarchicalSubject"] == ["Places|Paris", "cat"]
    with Tagger() as tagger:
        tagger.remove(Source(str(photo)))
    assert exiftool("-a", "-G1", "-XMP:all", beside) == everything
    assert beside.read_bytes() == before


# --- embedding ------------------------------------------------------------------------------------


def rest(path: Path) -> str:
    """What else is in a file, but for where a TIFF's strips begin."""
    return exiftool(
        "-a", "-G1", "-EXIF:all", "-ICC_Profile:all", "-Comment", "--StripOffsets", path
    )


FORMATS = ["photo.jpg", "photo.png", "photo.webp", "photo.tif", "photo.avif", "photo.gif"]


def pixels(path: Path) -> bytes:
    with Image.open(path) as opened:
        return opened.convert("RGB").tobytes()


@pytest.mark.parametrize("name", FORMATS)
def test_keywords_are_embedded_and_the_image_stays(photo: Path, name: str) -> None:
    """Both programs read them from the file; pixels, Exif and all other metadata are as before."""
    path = photo.with_name(name)
    if name != "photo.jpg":
        with Image.open(photo) as opened:
            opened.save(path, exif=opened.getexif())
    before, image_before = rest(path), pixels(path)
    done = tag(path, EMBED, bird_owl=0.9, cat=0.8)
    assert isinstance(done, Tagged), done
    assert done.written == (str(path),)
    now = read(path)
    assert now["XMP-dc:Subject"] == ["owl", "cat"]
    assert now["XMP-lr:HierarchicalSubject"] == ["bird|owl", "cat"]
    if name not in {"photo.avif", "photo.gif"}:  # where exiv2 reads no XMP
        assert set(exiv2(path, "Xmp.dc.subject")) == {"owl", "cat"}
    assert pixels(path) == image_before
    assert rest(path) == before
    state, content = path.stat(), path.read_bytes()
    again = tag(path, EMBED, bird_owl=0.9, cat=0.8)
    assert isinstance(again, Tagged)
    assert (path.stat(), path.read_bytes(), again.written) == (state, content, ())
    with Tagger() as tagger:
        gone = tagger.remove(Source(str(path)))
    assert isinstance(gone, Tagged)
    assert gone.removed == ("bird|owl", "cat")
    assert not read(path).keys() - {"XMP-xmp:Rating"}
    assert pixels(path) == image_before
    assert {p.name for p in path.parent.iterdir()} == {"photo.jpg", name}


def test_iptc_is_written_where_a_file_has_it(photo: Path) -> None:
    """IPTC keywords get ours, with MWG's digest; a file without IPTC gets none; --remove takes ours alone."""
    exiftool("-overwrite_original", "-IPTC:Keywords=beach", "-IPTCDigest=new", photo)
    done = tag(photo, EMBED, cat=0.9)
    assert isinstance(done, Tagged)
    assert read(photo)["IPTC:Keywords"] == [
        "beach",
        "cat",
    ]
    digests = exiftool("-s3", "-IPTCDigest", "-CurrentIPTCDigest", photo).split()
    assert digests[0] == digests[1]
    assert read(photo)["XMP-dc:Subject"] == ["beach", "cat"]
    with Tagger() as tagger:
        tagger.remove(Source(str(photo)))
    assert read(photo) == {"IPTC:Keywords": ["beach"]}


@pytest.mark.parametrize("state", ["none", "differs", "match"])
def test_a_persons_iptc_counts_as_much_as_before(photo: Path, state: str) -> None:
    """The digest says which of IPTC and XMP counts: it is renewed where it matched, and else left as it was."""
    iptc = ["-IPTC:Caption-Abstract=My caption", "-IPTC:By-line=Me", "-IPTC:Keywords=beach"]
    exiftool("-overwrite_original", *iptc, "-XMP-dc:Description=old", photo)
    if state != "none":
        exiftool("-overwrite_original", "-IPTCDigest=new", photo)
    if state == "differs":
        exiftool("-overwrite_original", "-IPTC:Headline=later", photo)
    everything = ("-a", "-G1", "-IPTC:all", "-Photoshop:all", "-XMP:all", photo)
    before, digest = exiftool(*everything), exiftool("-s3", "-Photoshop:IPTCDigest", photo)
    iptc_found = metadata(photo).iptc
    assert iptc_found
    assert iptc_found.digest == state
    assert isinstance(tag(photo, EMBED, cat=0.9), Tagged)
    assert read(photo)["IPTC:Keywords"] == ["beach", "cat"]
    if state == "match":
        now = exiftool("-s3", "-IPTCDigest", "-CurrentIPTCDigest", photo).split()
        assert now[0] == now[1]
    else:
        assert exiftool("-s3", "-Photoshop:IPTCDigest", photo) == digest
    with Tagger() as tagger:
        assert isinstance(tagger.remove(Source(str(photo))), Tagged)
    after = exiftool(*everything)
    assert [line for line in after.splitlines() if "XMP Toolkit" not in line] == [
        line for line in before.splitlines() if "XMP Toolkit" not in line
    ]


def test_what_cannot_be_read_back_is_not_embedded(
    photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A draft without the keywords that it is to have never takes the file's place."""
    before = tree(photo.parent)
    monkeypatch.setattr("siglipcli.actions.embedding.arguments", lambda *_: ["-XMP-dc:Subject=cat"])
    refused = tag(photo, EMBED, cat=0.9)
    assert isinstance(refused, Failure)
    assert (refused.kind, tree(photo.parent)) == ("not_embedded", before)
    assert "cannot be read back" in refused.message


def test_odd_keywords_and_names_reach_the_file(photo: Path) -> None:
    """Signs that exiftool gives a meaning to, other scripts, and a file name with a newline that is not UTF-8."""
    labels = ["a{b}[c]", "=x", "<y", "#z", "猫 é", "  ", "-1", "007", "true", "a$b%c\\d", "$&"]
    path = photo.rename(photo.with_name(os.fsdecode(b"-we\n\xffird .jpg")))
    odd = prediction(path)
    from siglipcli.results import Prediction, Score

    odd = Prediction(
        odd.file,
        tuple(Score("s {}|,", label, 0.9, 0.5, 1.0, tag=True) for label in labels if label.strip()),
    )
    done = tag(odd, EMBED)
    assert isinstance(done, Tagged), done
    again = tag(odd, EMBED)
    assert isinstance(again, Tagged)
    assert not again.written
    assert set(again.keywords) == {label for label in labels if label.strip()}
    with Tagger() as tagger:
        tagger.remove(Source(os.fspath(path)))
    assert not tagger.is_tagged(Source(os.fspath(path)))


def test_sidecars_that_exist_get_what_is_embedded(photo: Path) -> None:
    """Programs that read the sidecar see the same; RAW files are never written to, DNG apart."""
    Path(f"{photo}.xmp").write_text(LIGHTROOM)
    raw = photo.with_name("other.NEF")
    shutil.copy(photo, raw)
    before = raw.read_bytes()
    assert isinstance(tag(photo, EMBED, cat=0.9), Tagged)
    assert keywords(Path(f"{photo}.xmp"))[SUBJECT] == ("Paris", "cat")
    assert read(photo)["XMP-dc:Subject"] == ["Paris", "cat"]
    assert isinstance(tag(raw, EMBED, cat=0.9), Tagged)
    assert raw.read_bytes() == before
    assert keywords(raw.with_suffix(".xmp"))[SUBJECT] == ("cat",)


def test_times_mode_and_links_stay(photo: Path) -> None:
    """--keep-times keeps the modification time; the mode stays; a link stays a link and its target is written."""
    link = photo.with_name("link.jpg")
    link.symlink_to(photo)
    photo.chmod(0o640)
    os.utime(photo, ns=(10**18, 10**18))
    assert isinstance(tag(link, TagOptions(embed=True, keep_times=True), cat=0.9), Tagged)
    assert link.is_symlink()
    assert (photo.stat().st_mtime_ns, photo.stat().st_mode & 0o777) == (10**18, 0o640)
    assert isinstance(tag(photo, EMBED, owl=0.9), Tagged)
    assert photo.stat().st_mtime_ns != 10**18
    photo.chmod(0o444)
    before = tree(photo.parent)
    refused = tag(photo, EMBED, fox=0.9)
    assert isinstance(refused, Failure)
    assert refused.kind == "read_only"
    assert tree(photo.parent) == before


@pytest.mark.parametrize(("name", "content"), [("a.jpg", b"\xff\xd8 no image"), ("a.bmp", None)])
def test_files_that_exiftool_cannot_write_are_rows(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    """A damaged file, or a format that holds no XMP, stays as it is, and the row says why; the next one is written."""
    path = tmp_path / name
    path.write_bytes(content) if content else image(path)
    good = image(tmp_path / "good.jpg")
    before = path.read_bytes()
    with Tagger(EMBED) as tagger:
        bad = tagger.tag(prediction(path, cat=0.9))
        assert isinstance(tagger.tag(prediction(good, cat=0.9)), Tagged)
    assert isinstance(bad, Failure)
    assert (bad.kind, path.read_bytes()) == ("not_embedded", before)
    assert tree(tmp_path).keys() == {name, "good.jpg"}


def test_large_xmp_in_several_segments_stays(photo: Path) -> None:
    """What does not fit into one JPEG segment (as the depth maps of phones) is there afterwards, and read."""
    long = "x" * 100_000
    exiftool("-overwrite_original", f"-XMP-dc:Description={long}", "-XMP-dc:Subject=Paris", photo)
    assert len(metadata(photo).packets) == 2
    assert isinstance(tag(photo, EMBED, cat=0.9), Tagged)
    assert read(photo)["XMP-dc:Subject"] == ["Paris", "cat"]
    assert exiftool("-s3", "-XMP-dc:Description", photo) == long


def test_image_parts_tell_images_apart(photo: Path) -> None:
    """The digest that must not change: other pixels, or another orientation, have another one."""
    first = image_parts(photo)
    exiftool(
        "-overwrite_original", "-XMP-dc:Subject=Paris", "-IPTC:Keywords=x", "-Comment=y", photo
    )
    assert image_parts(photo) == first
    exiftool("-overwrite_original", "-n", "-Orientation=3", photo)
    assert image_parts(photo) != first


# --- the store ------------------------------------------------------------------------------------


@pytest.fixture
def classifier(encoder: FakeEncoder, tmp_path: Path) -> Iterator[Classifier]:
    with Classifier(encoder, LoadOptions(isolate=False), Store(tmp_path / "cache")) as opened:
        yield opened


@pytest.mark.parametrize("verify", [False, True])
def test_the_store_knows_an_image_again_after_embedding(
    photo: Path, classifier: Classifier, encoder: FakeEncoder, verify: bool
) -> None:
    """Embedding changes the file, not its pixels: nothing is encoded afterwards, by file state or by content."""
    other = photo.with_name("other.png")
    image(other)
    labels = LabelSet.of(["cat", "dog"])
    time.sleep(0.06)  # the store trusts no file that was written just now
    predictions = [
        p for p in classifier.classify([photo, other], labels) if not isinstance(p, Failure)
    ]
    assert len(predictions) == 2
    scored = [prediction(p.file, cat=0.9) for p in predictions]
    with Tagger(EMBED, classifier.session.store) as tagger:
        assert all(isinstance(tagger.tag(p), Tagged) for p in scored)
        tagger.tell_store()
    encoder.batches.clear()
    assert classifier.session.store
    again = Classifier(classifier.session, LoadOptions(isolate=False, verify=verify))
    results: list[Any] = list(again.classify([photo, other], labels))
    assert [p.stored for p in results] == [True, True]
    assert encoder.batches == []
    assert [p.scores for p in results] == [p.scores for p in predictions]


def test_the_store_knows_an_image_again_after_remove(
    photo: Path, classifier: Classifier, encoder: FakeEncoder
) -> None:
    """Taking keywords out of a file changes no pixel either."""
    assert list(classifier.classify([photo], LabelSet.of(["cat"])))
    with Tagger(EMBED, classifier.session.store) as tagger:
        assert isinstance(tagger.tag(prediction(photo, cat=0.9)), Tagged)
    with Tagger(store=classifier.session.store) as tagger:
        assert isinstance(tagger.remove(Source(str(photo))), Tagged)
        tagger.tell_store()
    encoder.batches.clear()
    (again,) = classifier.classify([photo], LabelSet.of(["cat"]))
    assert not isinstance(again, Failure)
    assert (again.stored, encoder.batches) == (True, [])


def test_keywords_of_an_earlier_run_in_the_file_are_said_to_be_outdated(photo: Path) -> None:
    """A run without --embed does not touch the file, and says that other keywords are in it."""
    tag(photo, EMBED, cat=0.9)
    before = photo.read_bytes()
    done = tag(photo, dog=0.9)
    assert isinstance(done, Tagged)
    assert (done.outdated, photo.read_bytes()) == (True, before)
    again = tag(photo, EMBED, dog=0.9)
    assert isinstance(again, Tagged)
    assert not again.outdated


def test_an_image_that_is_named_twice_is_no_changed_one(photo: Path) -> None:
    """What we have embedded ourselves under another of its names is no change by others."""
    link = photo.with_name("link.jpg")
    link.symlink_to(photo)
    with Tagger(EMBED) as tagger:
        list(tagger.watched([Source(str(photo)), Source(str(link))]))
        for path in (photo, link):
            assert isinstance(tagger.tag(prediction(path, cat=0.9)), Tagged)


# --- the process ----------------------------------------------------------------------------------


def test_without_exiftool_the_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before any image is read; sidecars need none."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SiglipError, match="libimage-exiftool-perl") as caught:
        Tagger(EMBED)
    assert caught.value.code == "exiftool"
    Tagger(TagOptions()).close()


def test_removing_from_a_file_without_exiftool_fails_that_image(
    photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images with keywords in sidecars go on."""
    other = image(photo.with_name("other.jpg"))
    tag(photo, EMBED, cat=0.9)
    tag(other, cat=0.9)
    monkeypatch.setenv("PATH", "/nowhere")
    with Tagger() as tagger:
        refused, done = (tagger.remove(Source(str(path))) for path in (photo, other))
    assert isinstance(refused, Failure)
    assert (refused.kind, "needs exiftool" in refused.message) == ("not_embedded", True)
    assert isinstance(done, Tagged)
    assert done.removed == ("cat",)


@pytest.mark.parametrize("said", ["11.88", "no version"])
def test_an_exiftool_that_is_too_old_is_refused(tmp_path: Path, said: str) -> None:
    """The message names its version and the oldest that will do."""
    old = tmp_path / "exiftool"
    old.write_text(
        f"#!{sys.executable}\nimport sys\nfor line in sys.stdin:\n if line == '-execute1\\n':\n"
        f"  print('{said}\\n{{ready1}}', flush=True); print('{{done}}', file=sys.stderr, flush=True)\n"
    )
    old.chmod(0o755)
    with pytest.raises(SiglipError, match=rf"12\.20 or newer is needed; here is {said}"):
        ExifTool(str(old))


def test_an_exiftool_that_dies_or_hangs_fails_one_image(tmp_path: Path) -> None:
    """It is started anew for the next one."""
    with ExifTool() as running:
        assert running._process
        running._process.kill()
        running._process.wait()
        assert running.run("-ver").strip()
        patience, running._seconds = running._seconds, 0.5
        os.kill(running._process.pid, 19)  # SIGSTOP
        with pytest.raises(ExifToolError, match="ended or hangs"):
            running.run("-ver")
        running._seconds = patience
        assert running.run("-ver").strip()


def test_exiftool_ends_with_a_run_that_is_killed(tmp_path: Path) -> None:
    """No process is left behind that waits for commands for ever."""
    script = "from siglipcli.actions.exiftool import ExifTool; import time\nt = ExifTool(); print(t._process.pid, flush=True); time.sleep(60)"
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert run.stdout
    pid = int(run.stdout.readline())
    run.kill()
    run.communicate()
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        with suppress(OSError):  # gone since
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        time.sleep(0.05)
    os.kill(pid, 9)
    raise AssertionError("exiftool is still there")
