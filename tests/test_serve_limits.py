"""What requests may say: strict JSON, image references, URLs, keys, and the memory they take."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from siglipcli.errors import (
    ImageError,
    LabelError,
    MissingExtraError,
    ModelError,
    SiglipError,
    UsageError,
)
from siglipcli.results import Failure
from siglipcli.serve import references
from siglipcli.serve.addresses import RefusedError, check, is_public
from siglipcli.serve.body import Pace, parse_json
from siglipcli.serve.cache import Cache
from siglipcli.serve.errors import ApiError, from_failure, from_library
from siglipcli.serve.keys import KeyRing, read_keys
from siglipcli.serve.memory import RequestMemory
from siglipcli.serve.settings import ServeSettings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LIMITS = ServeSettings(max_image_bytes=100)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b'{"a": 1', b"\xff{}", b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}',
        b'{"a": 1, "a": 2}', b'{"a": {"b": 1, "b": 1}}', b'{"a": "\\ud800"}', b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}", b'{"a": 0.' + b"9" * 5000 + b"}", b"[" * 100_000,
        b'{"a":' * 65 + b"1" + b"}" * 65, b"[" + b"[]," * 300_000 + b"[]]", b"{} {}", b"{'a': 1}",
        '{"a": 1}'.encode("utf-16"), b'\xef\xbb\xbf{"a": 1}',
    ],
)  # fmt: skip
def test_json_that_readers_disagree_about_is_refused(body: bytes) -> None:
    """Truncated, deep, doubled, huge or undecodable JSON is a 400 in few words, whatever the parser does."""
    with pytest.raises(ApiError) as refused:
        parse_json(body)
    assert (refused.value.status, refused.value.code) == (400, "bad_json")
    assert len(str(refused.value)) < 200


def test_json_that_all_agree_about_is_taken() -> None:
    """Emoji as a surrogate pair, whole numbers, floats and empty values are what they are."""
    body = b'{"a": "\\ud83d\\ude00", "b": [1, 2.5, null, true], "c": {}}'
    assert parse_json(body) == {"a": "😀", "b": [1, 2.5, None, True], "c": {}}


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(b"some bytes").decode(),
        base64.b64encode(b"some bytes").decode().rstrip("="),
        "c29tZSBi\r\neXRlcw==",
        "data:image/png;base64,c29tZSBieXRlcw==",
        "DATA:;base64,c29tZSBieXRlcw%3D%3D",
        "data:,some%20bytes",
    ],
)
def test_an_image_is_base64_or_a_data_uri(text: str) -> None:
    """With or without padding, line breaks and a media type."""
    assert references.decoded(text, LIMITS, "image 0") == b"some bytes"


@pytest.mark.parametrize(
    "text", ["", "!!!", "data:image/png;base64,", "data:image/png", "ab%zz", "ä"]
)
def test_what_is_no_image_reference_is_a_failure(text: str) -> None:
    """Bad base64 costs its image only."""
    failed = references.decoded(text, LIMITS, "image 3")
    assert isinstance(failed, Failure)
    assert (failed.file, failed.kind) == ("image 3", "not_base64")


def test_a_data_uri_that_is_not_base64_is_short() -> None:
    """Unquoting takes 75 bytes of memory for each character: 60 MB would be 4.5 GB."""
    failed = references.decoded("data:," + "%41" * 100_000, ServeSettings(), "image 0")
    assert isinstance(failed, Failure)
    assert (failed.kind, "has to be base64" in failed.message) == ("not_base64", True)


class Words(str):
    """A text that may not be translated: with characters beyond ASCII that takes seconds, in one go."""

    __slots__ = ()

    def translate(self, _table: object) -> str:
        raise AssertionError


def test_a_text_beyond_ascii_is_no_base64_at_once() -> None:
    """It is refused before any work that is as long as it is."""
    failed = references.decoded(Words("ä" * 100), LIMITS, "image 0")
    assert isinstance(failed, Failure)


def test_a_body_that_came_fast_may_not_stand_still_for_long() -> None:
    """Bytes that were sent fast earn a few seconds only, and none of them may be one long pause."""
    now = 0.0
    settings = ServeSettings(body_seconds=30, stall_seconds=10)
    pace = Pace(settings, lambda: now)
    assert pace.left() == 10
    pace.took(60_000_000)  # 240 s at the slowest
    now = 9.0
    assert pace.left() == 1
    for _ in range(4):  # one byte now and then
        pace.took(1)
        now += 9
    assert pace.left() == 0
    now = 0.0
    pace = Pace(settings, lambda: now)
    for _ in range(100):  # as slow as may be
        now += 1
        assert pace.left() > 0
        pace.took(250_000)


def test_an_image_that_is_too_large_is_a_failure() -> None:
    """The limit is on an image's bytes, and far too long a text is not even decoded."""
    for size in (101, 10_000):
        failed = references.decoded(base64.b64encode(bytes(size)).decode(), LIMITS, "image 0")
        assert isinstance(failed, Failure)
        assert failed.kind == "too_large"


def lookup(*addresses: str) -> object:
    """A resolver that has these addresses for every host."""

    def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "192.0.0.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::",
        "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1",
        "2002:7f00:1::", "2002:a00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2001:db8::1",
        "2001:0:0:0:0:0:80ff:fffe", "no address",
    ],
)  # fmt: skip
def test_addresses_of_this_machine_and_its_network_are_not_public(address: str) -> None:
    """Loopback, private, link-local, shared and reserved ones, also within IPv6."""
    assert not is_public(address)
    with pytest.raises(RefusedError):
        check("http://example.org/a.png", (), lookup(address))
    with pytest.raises(RefusedError):
        check("http://example.org/a.png", (), lookup("93.184.216.34", address))


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"]
)
def test_public_addresses_are_fetched_from(address: str) -> None:
    """The connection goes to the very address that was checked."""
    target = check("https://example.org/a.png?b=c#d", (), lookup(address))
    assert (target.host, target.port, target.path) == ("example.org", 443, "/a.png?b=c")
    assert target.address == address


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1", "localhost",
        "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "127.0.0.1.", "0",
    ],
)  # fmt: skip
def test_loopback_in_disguise_is_refused(host: str) -> None:
    """However an address of this machine is written, the system's own look-up tells what it is."""
    with pytest.raises((RefusedError, OSError)):
        check(f"http://{host}/", ())


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/a", "file:///etc/passwd", "gopher://example.org/", "http://user@example.org/",
        "http://a:b@example.org/", "http://example.org:22/", "http://example.org:99999/", "http:///a",
        "http://exa mple.org/", "http://example.org/\r\nX: y", "http://example.org\\@127.0.0.1/",
        "http://ex\u00e4mple.org/", "http://[::1/", "http://%31%32%37.0.0.1/", "http://a/" + "b" * 3000,
    ],
)  # fmt: skip
def test_urls_that_readers_disagree_about_are_refused(url: str) -> None:
    """Other schemes and ports, credentials, odd characters and overlong URLs lead nowhere."""
    with pytest.raises(RefusedError):
        check(url, (), lookup("93.184.216.34"))


def test_hosts_can_be_limited_and_named() -> None:
    """With patterns only those hosts; one named in full may be private, and have a port of its own."""
    patterns = ("*.example.org", "Images.local")
    private = lookup("10.0.0.5")
    assert check("http://a.example.org/", patterns, lookup("8.8.8.8")).address == "8.8.8.8"
    assert check("http://images.local:8080/x", patterns, private).address == "10.0.0.5"
    for url in ("http://example.org/", "http://a.example.org.evil.net/"):
        with pytest.raises(RefusedError):
            check(url, patterns, lookup("8.8.8.8"))
    with pytest.raises(RefusedError):
        check("http://a.example.org/", patterns, private)


def test_keys_are_read_from_a_file_and_the_environment(tmp_path: Path) -> None:
    """One per line, comments apart; an unusable file is an error that does not show what is in it."""
    file = tmp_path / "keys"
    file.write_text("# mine\n\n  abcdefgh1 \nabcdefgh2\n")
    assert read_keys(file, "abcdefgh3") == ["abcdefgh1", "abcdefgh2", "abcdefgh3"]
    for text in ("", "# none\n", "short\n", "with blank in it\n", "schlüssel-123\n"):
        file.write_text(text)
        with pytest.raises(UsageError) as refused:
            read_keys(file, None)
        assert not text.strip() or text.strip() not in str(refused.value)
    with pytest.raises(UsageError):
        read_keys(tmp_path / "gone", None)


def test_replaced_keys_open_nothing_any_more() -> None:
    """After a reload the new keys count, and only they."""
    ring = KeyRing(["abcdefgh1"])
    assert ring.accepts("Bearer abcdefgh1")
    assert ring.accepts("bearer  abcdefgh1 ")
    ring.replace(["abcdefgh2"])
    assert not ring.accepts("Bearer abcdefgh1")
    assert not ring.accepts("Basic abcdefgh2")
    assert ring.accepts("Bearer abcdefgh2")


def test_library_errors_have_the_status_that_fits() -> None:
    """The client's mistakes are 4xx in the library's words; the model's are 5xx, and say nothing of this machine."""
    cases = [
        (ImageError("truncated", "Cut short."), 422),
        (ImageError("too_large", "Raise --max-megapixels."), 413),
        (LabelError("labels: bad"), 400),
        (ModelError("/srv/model.bin is damaged"), 500),
        (SiglipError("/srv/x"), 500),
    ]
    for error, status in cases:
        seen = from_library(error)
        assert seen.status == status
        assert "/srv" not in str(seen)
        assert "--" not in str(seen)
    assert from_failure(Failure("image 0", "url_timeout", "Late.")).status == 504
    stopping = from_library(UsageError("the session is closed", code="closed"))
    assert (stopping.status, stopping.code) == (503, "stopping")
    words = "HEIC needs a plugin: install it with: pip install pillow-heif, or convert it."
    assert "pip" not in str(from_failure(Failure("image 0", "unsupported", words)))
    assert "pip" not in str(from_library(MissingExtraError("It", library="x", extra="raw")))


def test_memory_is_counted_until_a_request_ends() -> None:
    """Bytes over the limit are a 429 until another request has ended."""
    memory = RequestMemory(100)
    memory.begin("a")
    memory.add(60)
    memory.begin("b")
    with pytest.raises(ApiError) as refused:
        memory.add(60)
    assert refused.value.status == 429
    memory.end("a")
    memory.add(60)
    memory.end("b")
    assert memory.total == 0


def test_the_cache_drops_what_was_used_least_recently() -> None:
    """It stays below its bytes, and what alone is too large is not kept."""
    cache: Cache[str] = Cache(1000)
    for key in "abcd":
        cache.put(key, key, 100)
        cache.get("a")
    assert [cache.get(key) for key in "abcd"] == ["a", None, "c", "d"]
    cache.put("e", "e", 5000)
    assert cache.get("e") is None
