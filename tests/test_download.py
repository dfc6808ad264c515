"""Downloads: taken up where they broke off, bounded, checked at their end; and nothing a mirror says is a path."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import huggingface_hub
import pytest
from hub_stand_in import (
    HubStandIn,
    content_name,
    serving,
    tiny_model,
    tiny_tokenizer,
    tiny_weights,
)
from huggingface_hub import constants

from siglipcli.encoders import hub_cache
from siglipcli.encoders.checkpoint import pull
from siglipcli.encoders.download import Patience, _BrokenError, fetch, read_body
from siglipcli.encoders.remote import Remote
from siglipcli.errors import CheckpointError, ModelError, OfflineError

if TYPE_CHECKING:
    from collections.abc import Iterator

SPEC = "hf-hub:org/mine"
REPO = "org/mine"
WEIGHTS = "open_clip_model.safetensors"
DATA = tiny_weights()
QUICK = Patience(attempts=3, pause=0.0, seconds=0.3, least=1000)


@pytest.fixture(autouse=True)
def _online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees this machine's models; the network leads to the stand-in only."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    """Serve one repository with a whole model."""
    with serving({REPO: tiny_model() | tiny_tokenizer()}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Return where digests are kept."""
    return tmp_path / "cache"


def described(server: HubStandIn, etag: str = content_name(DATA), size: int = len(DATA)) -> Remote:
    """Return the weights as the hub describes them."""
    url = f"{server.url}/{REPO}/resolve/main/{WEIGHTS}"
    return Remote(url, server.commit(REPO), etag, size)


def blobs() -> list[str]:
    """Return what is in the cache's store of contents."""
    folder = hub_cache.cache_root() / "models--org--mine" / "blobs"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_killed_download_is_gone_on_with(server: HubStandIn, notes: Path) -> None:
    """What an earlier run had is not fetched again; at the end only the whole file is left."""
    remote = described(server)
    partial = hub_cache.partial(REPO, remote)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(DATA[:30_000])
    assert pull(SPEC, cache_dir=notes).weights.read_bytes() == DATA
    assert server.ranges == [f"{WEIGHTS} from 30000"]
    assert not [name for name in blobs() if "incomplete" in name]


def test_what_other_downloads_left_is_cleared(server: HubStandIn, notes: Path) -> None:
    """Half files of the hub's library, and old ones of earlier revisions, do not stay for ever."""
    folder = hub_cache.partial(REPO, described(server)).parent
    folder.mkdir(parents=True)
    (folder / f"{content_name(DATA)}.1234abcd.incomplete").write_bytes(b"x")
    old = folder / f"{'0' * 64}.incomplete"
    old.write_bytes(b"x")
    os.utime(old, (0, 0))
    in_use = folder / f"{'1' * 64}.incomplete"
    in_use.write_bytes(b"x")
    pull(SPEC, cache_dir=notes)
    assert [name for name in blobs() if "incomplete" in name] == [in_use.name]


def test_a_wrong_start_is_found_out(server: HubStandIn, tmp_path: Path) -> None:
    """A half file of other bytes gives a wrong digest: the file is fetched whole, once."""
    partial = tmp_path / "partial"
    partial.write_bytes(b"?" * 30_000)
    fetch(described(server), partial, patience=QUICK)
    assert partial.read_bytes() == DATA


def test_a_half_file_that_is_too_long_is_started_anew(server: HubStandIn, tmp_path: Path) -> None:
    """More than the whole cannot be a part."""
    partial = tmp_path / "partial"
    partial.write_bytes(bytes(len(DATA) + 1))
    fetch(described(server), partial, patience=QUICK)
    assert partial.read_bytes() == DATA


def test_a_server_without_ranges_sends_all_again(server: HubStandIn, tmp_path: Path) -> None:
    """A mirror that ignores the range is taken from the start; nothing is appended to the half."""
    server.ignores_ranges = True
    partial = tmp_path / "partial"
    partial.write_bytes(DATA[:30_000])
    fetch(described(server), partial, patience=QUICK)
    assert partial.read_bytes() == DATA


def test_another_content_is_refused(server: HubStandIn, tmp_path: Path) -> None:
    """Bytes that do not have the announced SHA-256 are no model, and do not stay."""
    partial = tmp_path / "partial"
    with pytest.raises(CheckpointError, match="its digest differs"):
        fetch(described(server, etag="0" * 64), partial, patience=QUICK)
    assert not partial.exists()


@pytest.mark.parametrize("size", [0, 10, 300_000])
def test_small_files_are_checked_by_gits_name(
    server: HubStandIn, tmp_path: Path, size: int
) -> None:
    """Files under the hub's limit for large ones have git's SHA-1; a mirror's plain SHA-1 is as good."""
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    server.repos[REPO][WEIGHTS] = data
    git = hashlib.sha1(b"blob %d\0" % size + data).hexdigest()
    for etag in (git, hashlib.sha1(data).hexdigest(), hashlib.md5(data).hexdigest()):
        partial = tmp_path / etag
        fetch(described(server, etag, size), partial, patience=QUICK)
        assert partial.read_bytes() == data
    with pytest.raises(CheckpointError):
        fetch(described(server, "0" * 40, size), tmp_path / "partial", patience=QUICK)


def test_an_endless_body_ends(server: HubStandIn, tmp_path: Path, notes: Path) -> None:
    """A server that sends more than it announced is cut off there; so is an endless list of files."""
    server.endless.add(WEIGHTS)
    partial = tmp_path / "partial"
    with pytest.raises(ModelError, match="more than 40,"):
        fetch(described(server), partial, patience=QUICK)
    assert partial.stat().st_size <= len(DATA)
    with pytest.raises(ModelError, match="more than 40,"):
        pull(SPEC, cache_dir=notes)
    with pytest.raises(ModelError, match="more than 1,000 bytes"):
        read_body(described(server).url, 1000)


def test_a_body_that_drips_ends(server: HubStandIn, tmp_path: Path) -> None:
    """A server that keeps the line open with a byte now and then is given up on."""
    server.drip[WEIGHTS] = 0.02
    with pytest.raises(_BrokenError, match="the hub sends only"):
        fetch(described(server), tmp_path / "partial", patience=QUICK)


def test_a_server_that_always_hangs_up_is_given_up_on(server: HubStandIn, notes: Path) -> None:
    """After a few connections that drop in a row the run ends; what came is kept for the next one."""
    server.cut[WEIGHTS] = [1000] * 100
    with pytest.raises(OfflineError, match=r"the connection ended|peer closed"):
        pull(SPEC, cache_dir=notes)
    assert 0 < hub_cache.partial(REPO, described(server)).stat().st_size < len(DATA)
    server.cut.clear()
    assert pull(SPEC, cache_dir=notes).weights.read_bytes() == DATA


@pytest.mark.parametrize(
    "etag",
    [
        "../../../../x",
        "..",
        "/etc/passwd",
        "A" * 64,
        "0" * 65,
        "0" * 31,
        "a/b",
        "nul",
        "0" * 63 + "/",
    ],
)
def test_an_etag_that_is_a_path_is_refused(
    server: HubStandIn, notes: Path, tmp_path: Path, etag: str
) -> None:
    """A hostile mirror's ETag names no file: nothing is written for it, inside the cache or outside."""
    server.etags["open_clip_config.json"] = etag
    before = set(tmp_path.rglob("*"))
    with pytest.raises(ModelError, match="as the ETag of a file"):
        pull(SPEC, cache_dir=notes)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("commit", ["../../../x", "main", "A" * 40, "0" * 39, "0" * 40 + "/"])
def test_a_commit_that_is_a_path_is_refused(
    server: HubStandIn, notes: Path, tmp_path: Path, commit: str
) -> None:
    """A hostile mirror's commit names no folder."""
    server.commits[REPO] = commit
    with pytest.raises(ModelError):
        pull(SPEC, cache_dir=notes)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [-1, 1 << 60, None, "7"])
def test_a_size_that_is_none_is_refused(size: object) -> None:
    """A description needs a size: it bounds the download."""
    with pytest.raises(ModelError, match="as the size of a file"):
        Remote("http://x", "0" * 40, "0" * 64, size)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "listing", [b"[]", b"{", b'{"siblings": [1]}', b'{"siblings": 7}', b"[" * 100_000, b"\xff"]
)
def test_a_list_of_files_that_is_none(server: HubStandIn, notes: Path, listing: bytes) -> None:
    """A hub whose list cannot be read is said to be the matter."""
    server.listing = listing
    with pytest.raises(ModelError, match=r"list of the files|has no open_clip_config"):
        pull(SPEC, cache_dir=notes)


def test_the_hubs_own_library_finds_what_was_fetched(server: HubStandIn, notes: Path) -> None:
    """The cache is the hub's: its library takes what is here, and fetches no byte again."""
    found = pull(SPEC, cache_dir=notes)
    root = hub_cache.cache_root()
    server.requests.clear()
    for offline in (True, False):
        path = huggingface_hub.hf_hub_download(
            REPO, WEIGHTS, cache_dir=root, endpoint=server.url, local_files_only=offline
        )
        assert Path(path) == found.weights
    assert not [r for r in server.requests if r.startswith("GET")]
    (repo,) = huggingface_hub.scan_cache_dir(root).repos
    assert (repo.repo_id, repo.nb_files) == (REPO, 4)
    assert not huggingface_hub.scan_cache_dir(root).warnings


def test_a_token_of_the_environment_is_sent(
    server: HubStandIn, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HF_TOKEN opens gated repositories, for the list and for each file."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    pull(SPEC, cache_dir=notes)
    assert server.tokens == {"Bearer hf_secret"}


def test_a_proxy_of_the_environment_is_used(
    server: HubStandIn, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With HTTP_PROXY set, every request goes through it, for a hub that is not reachable otherwise."""
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, server.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    huggingface_hub.utils.close_session()  # type: ignore[attr-defined]
    try:
        assert pull(SPEC, cache_dir=notes).weights.read_bytes() == DATA
    finally:
        huggingface_hub.utils.close_session()  # type: ignore[attr-defined]
