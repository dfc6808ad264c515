"""The one table of precisions: what each is, where it runs, how it is built. No model library is imported.

A precision is the arithmetic of the two towers; logits are always computed in fp32. A new one is one
row of `PRECISIONS`, and a place in `AUTOMATIC` where it may be chosen unasked.
"""

from __future__ import annotations

from dataclasses import dataclass

from siglipcli.errors import DeviceError

__all__ = ["AUTOMATIC", "CHOICES", "PRECISIONS", "Precision", "choose", "is_on_openvino"]
__all__ += ["is_only_on_openvino"]


@dataclass(frozen=True, slots=True)
class Precision:
    """One row: `summary` says for people what it is.

    `torch_dtype` is the name of torch's type and `torch_devices` the device types that compute in it (none
    where torch does not run it). `openvino_hint` is OpenVINO's inference precision ("" where OpenVINO does
    not run it), and `graph_weights` how the weights of its graphs are stored on disk: fp32 or fp16.
    `is_native_only` says that it is chosen automatically only where the hardware multiplies in it.
    `is_tuned` says that its image tower is made from a user's images (`siglipcli.tuning`), from an engine of
    another precision, which the text tower and the layers that are not quantized keep.
    """

    name: str
    summary: str
    torch_dtype: str
    torch_devices: tuple[str, ...]
    openvino_hint: str
    graph_weights: str
    is_native_only: bool = False
    is_tuned: bool = False

    def runs_on(self, runtime: str, device: str) -> bool:
        """Whether `runtime` (torch, openvino) runs it on a device type (cpu, cuda, mps)."""
        if runtime == "openvino":
            return bool(self.openvino_hint) and device == "cpu"
        return device in self.torch_devices


_ROWS = (
    Precision(
        "fp32", "32-bit floating point, as the checkpoints are published",
        "float32", ("cpu", "cuda", "mps"), "f32", "fp32",
    ),
    # fp16 weights hold more digits than bf16 does, at half the disk and memory of fp32.
    Precision(
        "bf16", "16-bit brain floating point: the range of fp32, fewer digits",
        "bfloat16", ("cpu", "cuda", "mps"), "bf16", "fp16", is_native_only=True,
    ),
    Precision("fp16", "16-bit floating point, on GPUs", "float16", ("cuda", "mps"), "", "fp16"),
    Precision(
        "int8", "8-bit integers in an engine tuned on a user's images, on CPUs",
        "", (), "f32", "fp32", is_tuned=True,
    ),
)  # fmt: skip

PRECISIONS: dict[str, Precision] = {row.name: row for row in _ROWS}

CHOICES = ("auto", *PRECISIONS)
"""What a user may ask for."""

AUTOMATIC = {"cpu": ("bf16", "fp32"), "cuda": ("bf16", "fp16"), "mps": ("fp32",)}
"""Device type → what `auto` takes there, best first; the last one runs on any of these devices."""


def choose(wanted: str, runtime: str, device: str, *, has_bf16: bool) -> Precision:
    """Return the row for `wanted`, or for `auto` the fastest that is exact enough on the device type.

    `has_bf16`: the hardware multiplies bf16 itself. Raises DeviceError for what does not run there.
    """
    if wanted == "auto":
        rows = [PRECISIONS[name] for name in AUTOMATIC[device]]
        return next(row for row in rows if has_bf16 or not row.is_native_only)
    available = [row.name for row in _ROWS if row.runs_on(runtime, device)]
    if wanted not in available:
        raise DeviceError(
            f"{runtime} has no {wanted} on {device}; it has {', '.join(available)}",
            code="precision",
            precision=wanted,
            runtime=runtime,
            available=" or ".join(available),
        )
    return PRECISIONS[wanted]


def is_only_on_openvino(wanted: str) -> bool:
    """Whether no other runtime runs a precision."""
    return wanted in PRECISIONS and not PRECISIONS[wanted].torch_devices


def is_on_openvino(wanted: str) -> bool:
    """Whether OpenVINO runs a precision; it always has one for `auto`."""
    return wanted == "auto" or (
        wanted in PRECISIONS and PRECISIONS[wanted].runs_on("openvino", "cpu")
    )
