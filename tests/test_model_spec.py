"""What describes an encoder: a spec that travels, a table of precisions, what an image must become."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from typing import TYPE_CHECKING

import numpy as np
import pytest

from siglipcli.encoders import ModelSpec, Preprocess, open_encoder, precisions
from siglipcli.errors import DeviceError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_spec_opens_the_same_model_elsewhere(tmp_path: Path) -> None:
    """A pickled spec opens an encoder of the same fingerprint, which asks for the same pixels."""
    spec = ModelSpec("demo", "cpu", "torch", "fp32", tmp_path, offline=True)
    here, there = open_encoder(spec), open_encoder(pickle.loads(pickle.dumps(spec)))
    assert here.fingerprint == there.fingerprint
    assert here.preprocess == there.preprocess == pickle.loads(pickle.dumps(here.preprocess))
    with pytest.raises(FrozenInstanceError):
        spec.name = "other"  # type: ignore[misc]


def test_preprocess_says_what_siglip_takes() -> None:
    """Squashed to a square, bicubic, each channel from -1 to 1."""
    asked = Preprocess(384)
    assert (asked.size, asked.resize_mode, asked.interpolation) == (384, "squash", "bicubic")
    assert asked.mean == asked.std == (0.5, 0.5, 0.5)


@pytest.mark.full
@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_another_cleaning_changes_text_embeddings_only(tmp_path: Path, runtime: str) -> None:
    """`text_cleaning` gives other embeddings of texts, stored apart; images stay as they are."""
    own = open_encoder(ModelSpec("demo", "cpu", runtime, "fp32", tmp_path))
    lower = open_encoder(ModelSpec("demo", "cpu", runtime, "fp32", tmp_path, text_cleaning="lower"))
    assert own.fingerprint == own.text_fingerprint == lower.fingerprint
    assert lower.text_fingerprint == f"{own.fingerprint}-lower"
    glued, apart = own.encode_texts(["red-circle"]), lower.encode_texts(["red-circle"])
    np.testing.assert_allclose(glued, own.encode_texts(["redcircle"]), atol=1e-6)
    assert (glued * apart).sum() < 0.999


@pytest.mark.parametrize(
    ("wanted", "runtime", "device", "has_bf16", "expected"),
    [
        ("auto", "openvino", "cpu", True, "bf16"),
        ("auto", "openvino", "cpu", False, "fp32"),
        ("auto", "torch", "cuda", True, "bf16"),
        ("auto", "torch", "cuda", False, "fp16"),
        ("auto", "torch", "mps", True, "fp32"),
        ("bf16", "torch", "cpu", False, "bf16"),
        ("fp16", "torch", "mps", False, "fp16"),
    ],
)
def test_which_precision_is_taken(
    wanted: str, runtime: str, device: str, has_bf16: bool, expected: str
) -> None:
    """`auto` is the fastest that is exact enough there; what was asked for by name is taken."""
    assert precisions.choose(wanted, runtime, device, has_bf16=has_bf16).name == expected


@pytest.mark.parametrize(
    ("wanted", "runtime", "device"),
    [("fp16", "openvino", "cpu"), ("fp16", "torch", "cpu"), ("int3", "torch", "cuda")],
)
def test_a_precision_that_does_not_run_there(wanted: str, runtime: str, device: str) -> None:
    """The error names what runs there instead."""
    with pytest.raises(DeviceError, match=f"{runtime} has no {wanted} on {device}") as caught:
        precisions.choose(wanted, runtime, device, has_bf16=True)
    assert caught.value.code == "precision"
    assert "fp32" in str(caught.value.facts["available"])


def test_every_automatic_choice_is_a_row_that_runs_there() -> None:
    """No device is offered a precision that it cannot run, and each has one that needs no bf16."""
    for device, names in precisions.AUTOMATIC.items():
        rows = [precisions.PRECISIONS[name] for name in names]
        assert all(row.runs_on("torch", device) for row in rows)
        assert not rows[-1].is_native_only
