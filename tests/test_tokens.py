"""Cleaning and tokenising prompts: what the text tower is given."""

from __future__ import annotations

import html
import json
import string
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import ftfy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siglipcli.demo import MODEL_DIR
from siglipcli.encoders.checkpoint import locate
from siglipcli.encoders.spec import CLEANINGS
from siglipcli.encoders.tokens import Tokenizer, canonicalize, cleaner
from siglipcli.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

END = 1
FILE = MODEL_DIR / "tokenizer.json"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(FILE, 16, "</s>", "canonicalize")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a photo of a cat.", "a photo of a cat"),
        ("A  Photo\tof\na CAT!", "a photo of a cat"),
        ("T-shirt", "tshirt"),
        ("hot_dog", "hot dog"),
        ("C++", "c"),
        ("rock & roll", "rock roll"),
        ("rock &amp; roll", "rock roll"),
        ("&amp;lt;b&amp;gt;", "b"),
        ("cafÃ©", "café"),
        ("“quoted”", "quoted"),
        ("ﬁsh", "fish"),
        ("ÉCOLE", "école"),
        ("日本語 の 写真", "日本語 の 写真"),
        ("¿qué?", "¿qué"),
        ("  ", ""),
        ("?!", ""),
        ("", ""),
    ],
)
def test_canonicalize(text: str, clean: str) -> None:
    """Prompts are fixed, lowered and stripped of ASCII punctuation, as SigLIP was trained."""
    assert canonicalize(text) == clean


PRINTABLE = st.text(st.sampled_from(string.printable), max_size=40)


@given(st.text(max_size=40) | PRINTABLE)
def test_the_short_cut_for_plain_text_changes_nothing(text: str) -> None:
    """Texts that need no fixing are not sent through ftfy, and come out the same."""
    fixed = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
    bare = fixed.replace("_", " ").translate(str.maketrans("", "", string.punctuation)).lower()
    assert canonicalize(text) == " ".join(bare.split())


@given(PRINTABLE)
def test_canonical_text_is_left_alone(text: str) -> None:
    """Cleaning twice is cleaning once."""
    assert canonicalize(canonicalize(text)) == canonicalize(text)


def test_other_cleanings() -> None:
    """A model's config may ask for less cleaning."""
    assert cleaner("lower")(" A_b  C. ") == "a_b c."
    assert cleaner("whitespace")(" A_b  C. ") == "A_b C."
    assert cleaner("canonicalize") is canonicalize


def test_an_unknown_cleaning_is_refused() -> None:
    """A cleaning that is not known would give wrong scores: the model is refused, names are given."""
    with pytest.raises(CheckpointError, match=r"'shave'.*canonicalize, lower, whitespace"):
        Tokenizer(FILE, 16, "</s>", "shave")


def test_rows_are_padded_to_the_full_context(tokenizer: Tokenizer) -> None:
    """Each row has the context's length, the end mark and then the pad token to the end."""
    ids = tokenizer(["a cat", "a photo of a red circle"])
    assert ids.dtype == np.int64
    assert ids.shape == (2, 16)
    short = tokenizer.count("a cat")
    assert (ids[0, short - 1 :] == END).all()
    assert (ids[0, : short - 1] != END).all()


def test_long_texts_are_cut_and_keep_their_end_mark(tokenizer: Tokenizer) -> None:
    """A text beyond the context is cut; its last token is the end mark, which the tower reads."""
    (row,) = tokenizer(["red circle " * 40])
    assert row.shape == (16,)
    assert row[-1] == END
    assert (row[:-1] != END).all()


def test_count_says_how_long_a_text_is_before_the_cut(tokenizer: Tokenizer) -> None:
    """Counting sees the whole text, special tokens included, and leaves tokenising as it was."""
    before = tokenizer(["red circle " * 40])
    assert tokenizer.count("") == 1
    assert tokenizer.count("red circle " * 40) > 40
    assert tokenizer.count("Red  circle!") == tokenizer.count("red circle")
    np.testing.assert_array_equal(tokenizer(["red circle " * 40]), before)


def test_no_texts_give_no_rows(tokenizer: Tokenizer) -> None:
    """Nothing to tokenise is a table without rows, of the full width."""
    assert tokenizer([]).shape == (0, 16)


def test_a_text_gives_the_same_row_alone_and_among_others(tokenizer: Tokenizer) -> None:
    """A row does not depend on the texts beside it."""
    texts = ["a", "a photo of a purple ring.", "кошка 😀", ""]
    together = tokenizer(texts)
    for i, text in enumerate(texts):
        np.testing.assert_array_equal(tokenizer([text])[0], together[i])


def test_a_missing_pad_token_is_refused() -> None:
    """A pad token that the tokenizer does not know is said, with the file and the token."""
    with pytest.raises(CheckpointError, match=r"tokenizer\.json does not know .*'<blank>'"):
        Tokenizer(FILE, 16, "<blank>", "canonicalize")(["a"])


@pytest.mark.parametrize("content", [b"", b"not json", b"{}", b'{"model": 1}', b"\xff\xfe"])
def test_an_unreadable_tokenizer_names_its_file(tmp_path: Path, content: bytes) -> None:
    """A damaged tokenizer.json is an error of the model that names the file."""
    file = tmp_path / "tokenizer.json"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is not a tokenizer file"):
        Tokenizer(file, 16, "</s>", "canonicalize")(["a"])


def test_a_tokenizer_that_is_not_there_names_its_file(tmp_path: Path) -> None:
    """A missing tokenizer.json is an error of the model too."""
    with pytest.raises(CheckpointError, match=r"nothing\.json"):
        Tokenizer(tmp_path / "nothing.json", 16, "</s>", "canonicalize").count("a")


def test_settings_in_the_file_do_not_count(tmp_path: Path) -> None:
    """Truncation and padding that a tokenizer.json brings along give way to the model's context."""
    content = json.loads(FILE.read_bytes())
    content["truncation"] = {
        "max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right",
    }  # fmt: skip
    content["padding"] = {
        "strategy": {"Fixed": 7}, "direction": "Left", "pad_to_multiple_of": None,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>",
    }  # fmt: skip
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(content))
    texts = ["a cat", "a photo of a very small red circle"]
    plain = Tokenizer(FILE, 16, "</s>", "canonicalize")(texts)
    np.testing.assert_array_equal(Tokenizer(file, 16, "</s>", "canonicalize")(texts), plain)


def test_ids_are_what_the_model_reads(tokenizer: Tokenizer) -> None:
    """Ids are the row without its padding, cut as the row is; texts that clean alike have equal ids."""
    for text in ("a cat", "red circle " * 40, ""):
        ids = tokenizer.ids(text)
        assert ids == tuple(tokenizer([text])[0][: len(ids)])
        assert len(tokenizer.pieces(text)) == len(ids) == min(16, tokenizer.count(text))
    assert tokenizer.ids("T-shirt") == tokenizer.ids("tshirt")
    assert tokenizer.pieces("Red circle")[-1] == "</s>"


def test_unknown_words_are_seen(tokenizer: Tokenizer) -> None:
    """A text in letters that the tokenizer lacks is told from one that it can spell."""
    assert tokenizer.unknown("a photo of 猫")
    assert tokenizer.pieces("a 猫") == ("▁a", "▁", "<unk>", "</s>")
    assert not tokenizer.unknown("a photo of a cat")
    assert tokenizer.ids("猫") == tokenizer.ids("犬")


def test_another_cleaning_keeps_punctuation(tmp_path: Path) -> None:
    """`lower` leaves the hyphen that SigLIP's own cleaning deletes, and marks the texts' fingerprint."""
    checkpoint = locate("demo", cache_dir=tmp_path)
    own, lower = Tokenizer.of(checkpoint), Tokenizer.of(checkpoint, cleaning="lower")
    assert (own.clean("Red-Circle"), lower.clean("Red-Circle")) == ("redcircle", "red-circle")
    assert (own.suffix, lower.suffix) == ("", "-lower")
    assert Tokenizer.of(checkpoint, cleaning=own.cleaning).suffix == ""
    with pytest.raises(UsageError, match="text cleaning is one of canonicalize, lower, whitespace"):
        Tokenizer.of(checkpoint, cleaning="shave")


def test_threads_may_share_a_tokenizer(tokenizer: Tokenizer) -> None:
    """Counting in one thread, which lifts the truncation, does not change another thread's rows."""
    text = "red circle " * 40
    expected = tokenizer([text])
    with ThreadPoolExecutor(4) as pool:
        counts = [pool.submit(tokenizer.count, text) for _ in range(200)]
        rows = [pool.submit(tokenizer, [text]) for _ in range(200)]
    assert {count.result() for count in counts} == {tokenizer.count(text)}
    assert all(np.array_equal(row.result(), expected) for row in rows)


def test_every_cleaning_on_offer_exists() -> None:
    """What the options offer is what the tokenizer knows."""
    assert [cleaner(name)("a") for name in CLEANINGS] == ["a"] * len(CLEANINGS)


def test_a_token_that_the_model_lacks_is_refused() -> None:
    """A tokenizer that does not belong to the weights is found out, not read beyond the table's end."""
    small = Tokenizer(FILE, 16, "</s>", "canonicalize", vocab_size=10)
    with pytest.raises(CheckpointError, match=r"gives token \d+, where the model has 10"):
        small(["a photo of a cat"])
