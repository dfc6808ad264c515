"""Fetching a model: from a stand-in for the hub, into an empty cache, with every kind of bad luck."""

from __future__ import annotations

import errno
import json
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import huggingface_hub
import pytest
from hub_stand_in import (
    HubStandIn,
    serving,
    tiny_config,
    tiny_model,
    tiny_tokenizer,
    tiny_weights,
)
from huggingface_hub import constants

from siglipcli.cli.remedies import with_remedy
from siglipcli.encoders import hub as room
from siglipcli.encoders.checkpoint import is_cached, locate, pull
from siglipcli.errors import CheckpointError, ModelError, OfflineError, UnknownModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "ViT-B-16-SigLIP-384"
REPO = f"timm/{NAME}"
WORDS = "timm/ViT-B-16-SigLIP"
WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(autouse=True)
def _online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees this machine's models; the network is allowed, and leads to the stand-in only."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    """Serve the default model: weights in one repository, tokenizer in another."""
    with serving({REPO: tiny_model(WORDS), WORDS: tiny_tokenizer()}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead the network to a port where nobody listens; waiting for better times is an error."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    monkeypatch.setenv("HF_ENDPOINT", url)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waits"))


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Return where digests are kept."""
    return tmp_path / "cache"


def fetched(server: HubStandIn) -> list[str]:
    """Return what was downloaded, in order."""
    return [
        r.rpartition("/")[2] for r in server.requests if r.startswith("GET") and "/resolve/" in r
    ]


def test_pull_covers_both_repositories(server: HubStandIn, notes: Path) -> None:
    """After a pull the model works without the network, tokenizer and all."""
    assert not is_cached(NAME)
    first = pull(NAME, cache_dir=notes)
    assert sorted(fetched(server)) == [
        "open_clip_config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    server.requests.clear()
    assert is_cached(NAME)
    assert locate(NAME, offline=True, cache_dir=notes) == first
    assert locate(NAME, cache_dir=notes) == first
    assert server.requests == []


def test_the_first_run_fetches(server: HubStandIn, notes: Path) -> None:
    """A model that is not here is fetched by the command that needs it."""
    assert locate(NAME, cache_dir=notes).head.logit_bias == -12.5
    assert WEIGHTS in fetched(server)


def test_the_small_files_come_first(server: HubStandIn, notes: Path) -> None:
    """A tokenizer that is missing on the hub is found out before the weights are on their way."""
    del server.repos[WORDS]
    with pytest.raises(UnknownModelError, match=WORDS):
        pull(NAME, cache_dir=notes)
    assert WEIGHTS not in fetched(server)


def test_progress_is_told(server: HubStandIn, notes: Path) -> None:
    """Each file's progress ends at its size, and never goes back."""
    told: dict[str, list[tuple[int, int | None]]] = {}
    pull(NAME, cache_dir=notes, progress=lambda n, d, t: told.setdefault(n, []).append((d, t)))
    size = len(server.repos[REPO][WEIGHTS])
    assert told[WEIGHTS][-1] == (size, size)
    assert told[f"checking {WEIGHTS}"][-1] == (size, size)
    assert all(steps == sorted(steps) for steps in told.values())


def test_nothing_is_printed(
    server: HubStandIn, notes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The hub's library prints no bar and no log line of its own."""
    server.cut[WEIGHTS] = [20_000]
    pull(NAME, cache_dir=notes)
    assert capfd.readouterr() == ("", "")


def test_a_connection_that_drops_is_taken_up(
    server: HubStandIn, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download cut short goes on where it stopped, and is whole."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    server.cut[WEIGHTS] = [20_500, 5_500]
    found = pull(NAME, cache_dir=notes)
    assert found.weights.read_bytes() == tiny_weights()
    assert [r.split()[0] for r in server.ranges] == [WEIGHTS, WEIGHTS]


def test_a_download_that_never_ends_leaves_no_half(
    server: HubStandIn, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that always hangs up is given up on; nothing half is taken for a model later."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    server.cut[WEIGHTS] = [0] * 100
    with pytest.raises(ModelError) as caught:
        pull(NAME, cache_dir=notes)
    assert f"siglip models pull {NAME}" in with_remedy(caught.value)
    assert not is_cached(NAME)
    server.cut.clear()
    assert pull(NAME, cache_dir=notes).head.logit_bias == -12.5


@pytest.mark.usefixtures("dead")
def test_no_network(notes: Path) -> None:
    """Without a network the answer is there at once: why, and what to run elsewhere."""
    for get in (locate, pull):
        with pytest.raises(OfflineError) as caught:
            get(NAME, cache_dir=notes)
        for part in (f"siglip models pull {NAME}", "--model demo", str(room.cache_root())):
            assert part in with_remedy(caught.value)
        assert "--" not in str(caught.value)
        assert "\n" not in with_remedy(caught.value)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_hub_that_is_down(server: HubStandIn, notes: Path, status: int) -> None:
    """A hub that answers with an error is asked once."""
    server.status = status
    with pytest.raises(OfflineError, match=f"{status}"):
        pull(NAME, cache_dir=notes)
    assert len(server.requests) == 1


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_the_environment_can_forbid_the_network(
    server: HubStandIn, notes: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """With HF_HUB_OFFLINE nothing is asked, not even by pull."""
    monkeypatch.setenv(variable, "1")
    for get in (locate, pull):
        with pytest.raises(OfflineError, match="the network is switched off"):
            get(NAME, cache_dir=notes)
    assert server.requests == []


def test_no_such_repository(server: HubStandIn, notes: Path) -> None:
    """A repository that is not there is an unknown model, asked for once."""
    with pytest.raises(UnknownModelError, match="org/nothing"):
        locate("hf-hub:org/nothing", cache_dir=notes)
    assert len(server.requests) == 1


def test_a_gated_repository(server: HubStandIn, notes: Path) -> None:
    """A gated repository says how to get in."""
    server.gated.add(REPO)
    with pytest.raises(ModelError, match="hf auth login"):
        pull(NAME, cache_dir=notes)


def test_a_repository_of_pickles(server: HubStandIn, notes: Path) -> None:
    """Pickled weights are refused with the way out, and not downloaded."""
    files = server.repos[REPO]
    files["open_clip_pytorch_model.bin"] = files.pop(WEIGHTS)
    with pytest.raises(CheckpointError, match=r"pickle.*safetensors\.torch\.save_file"):
        pull(NAME, cache_dir=notes)
    assert "open_clip_pytorch_model.bin" not in fetched(server)


def test_a_repository_of_something_else(server: HubStandIn, notes: Path) -> None:
    """A repository in another library's format is told what an open_clip model is."""
    server.repos["org/other"] = {"model.safetensors": tiny_weights(), "config.json": b"{}"}
    with pytest.raises(CheckpointError, match=r"has no open_clip_config\.json"):
        locate("hf-hub:org/other", cache_dir=notes)


@pytest.mark.parametrize("own", [True, False])
def test_a_repository_by_its_name(server: HubStandIn, notes: Path, own: bool) -> None:
    """`hf-hub:` takes the repository's own tokenizer, else the one that its config names."""
    server.repos["org/mine"] = tiny_model("org/words") | (tiny_tokenizer() if own else {})
    server.repos["org/words"] = tiny_tokenizer()
    found = locate("hf-hub:org/mine", cache_dir=notes)
    assert ("models--org--mine" if own else "models--org--words") in str(found.tokenizer)
    server.requests.clear()
    assert locate("hf-hub:org/mine", offline=True, cache_dir=notes) == found
    assert is_cached("hf-hub:org/mine")
    assert server.requests == []


def test_one_repository_under_two_names(server: HubStandIn, notes: Path) -> None:
    """ViT-SO400M-14-SigLIP-378 is the weights of -384 seen at 378 pixels, and another fingerprint."""
    server.repos["timm/ViT-SO400M-14-SigLIP-384"] = tiny_model(WORDS)
    narrow = pull("ViT-SO400M-14-SigLIP-378", cache_dir=notes)
    plain = pull("ViT-SO400M-14-SigLIP-384", cache_dir=notes)
    assert narrow.weights == plain.weights
    assert (narrow.preprocess.size, plain.preprocess.size) == (378, 32)
    tower = narrow.config["model_cfg"]["vision_cfg"]
    assert tower["timm_model_name"] == "vit_so400m_patch14_siglip_378"
    assert narrow.fingerprint != plain.fingerprint


def test_a_flipped_bit_is_noticed(server: HubStandIn, notes: Path) -> None:
    """Weights that are not what the hub sent are refused; `--force` gets them again."""
    found = pull(NAME, cache_dir=notes)
    blob = found.weights.resolve()
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    for _ in range(2):
        with pytest.raises(CheckpointError, match="not what the hub sent") as caught:
            locate(NAME, offline=True, cache_dir=notes)
        assert f"siglip models pull {NAME} --force" in with_remedy(caught.value)
    with pytest.raises(CheckpointError, match="damaged"):
        pull(NAME, cache_dir=notes)
    assert pull(NAME, force=True, cache_dir=notes) == found


def test_force_gets_everything_once(server: HubStandIn, notes: Path) -> None:
    """`--force` gets each file again, once."""
    pull(NAME, cache_dir=notes)
    server.requests.clear()
    pull(NAME, force=True, cache_dir=notes)
    assert len(fetched(server)) == 4


def test_force_without_a_network_keeps_what_is_here(server: HubStandIn, notes: Path) -> None:
    """`--force` while the hub is down fails, and the model stays usable."""
    found = pull(NAME, cache_dir=notes)
    server.status = 503
    with pytest.raises(OfflineError):
        pull(NAME, force=True, cache_dir=notes)
    assert locate(NAME, cache_dir=notes) == found


def test_a_new_revision_is_taken_whole(server: HubStandIn, notes: Path) -> None:
    """Files of an older revision are not mixed with what a newer one brings; offline use still works."""
    whole = server.repos[REPO]
    server.repos[REPO] = {n: d for n, d in whole.items() if n != WEIGHTS}
    with pytest.raises(CheckpointError, match="has no"):
        pull(NAME, cache_dir=notes)
    server.commits[REPO] = "b" * 40
    server.repos[REPO] = whole
    found = pull(NAME, cache_dir=notes)
    assert "b" * 40 in str(found.weights)
    assert locate(NAME, offline=True, cache_dir=notes) == found


def test_a_cut_file_in_the_cache(server: HubStandIn, notes: Path) -> None:
    """Weights that were cut in the cache are named with the command that gets them again."""
    blob = pull(NAME, cache_dir=notes).weights.resolve()
    blob.write_bytes(blob.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cut short") as caught:
        locate(NAME, cache_dir=notes)
    assert f"siglip models pull {NAME} --force" in with_remedy(caught.value)


def test_a_full_disk_is_told_beforehand(
    server: HubStandIn, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little space is said before anything is downloaded, in megabytes."""
    full = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: full)
    server.repos[REPO]["open_clip_config.json"] += b" " * 2000
    with pytest.raises(ModelError, match=r"MB.*HF_HOME"):
        pull(NAME, cache_dir=notes)
    assert fetched(server) == []


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EACCES, "cannot be written"),
        (errno.EROFS, "cannot be written"),
    ],
)
def test_a_disk_that_refuses(
    server: HubStandIn, notes: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    """A disk that fills up or may not be written to is called that, not a network."""

    def refuse(*_: Any) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr("siglipcli.encoders.download.fetch", refuse)
    with pytest.raises(ModelError, match=message):
        pull(NAME, cache_dir=notes)
    assert server.requests


def test_the_cache_is_read_as_the_hub_reads_it(
    server: HubStandIn, notes: Path, tmp_path: Path
) -> None:
    """Our reading of the cache finds what the official function finds, and nothing else."""
    pull(NAME, cache_dir=notes)
    root = room.cache_root()
    assert root == tmp_path / "hf" / "hub"
    asked = [
        (REPO, WEIGHTS),
        (REPO, "tokenizer.json"),
        (WORDS, "tokenizer.json"),
        ("org/none", WEIGHTS),
    ]
    for repo, name in asked:
        official = huggingface_hub.try_to_load_from_cache(repo, name, cache_dir=root)
        assert room.cached(repo, name) == (Path(official) if isinstance(official, str) else None)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HUGGINGFACE_HUB_CACHE": "/c", "HF_HOME": "/b"}, "/c"),
        ({"HF_HOME": "/b", "XDG_CACHE_HOME": "/d"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/d"}, "/d/huggingface/hub"),
        ({"HOME": "/e"}, "/e/.cache/huggingface/hub"),
        ({"HF_HOME": "~/f", "HOME": "/e"}, "/e/f/hub"),
    ],
)
def test_where_the_cache_is(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    """The cache is where the hub's own library looks for it."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert str(room.cache_root()) == expected


def test_a_siglip_is_known_by_its_weights(server: HubStandIn, notes: Path) -> None:
    """Whether it is a SigLIP is decided by the weights' bias, whatever the config says."""
    config = tiny_config(WORDS)
    config["model_cfg"].pop("init_logit_bias")
    server.repos[REPO]["open_clip_config.json"] = json.dumps(config).encode()
    assert pull(NAME, cache_dir=notes).head.logit_bias == -12.5


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("timm_model_name", "naflexvit_base_patch16_siglip", "NaFlex"),
        ("image_size", 0, "image_size"),
    ],
)
def test_a_model_that_cannot_run_is_not_downloaded(
    server: HubStandIn, notes: Path, key: str, value: object, message: str
) -> None:
    """The config is judged before anything large is fetched: GBs are not downloaded to be refused."""
    config: Any = tiny_config(WORDS)
    config["model_cfg"]["vision_cfg"][key] = value
    server.repos["org/other"] = tiny_model(WORDS) | {
        "open_clip_config.json": json.dumps(config).encode()
    }
    with pytest.raises(CheckpointError, match=message):
        locate("hf-hub:org/other", cache_dir=notes)
    assert fetched(server) == ["open_clip_config.json"]
