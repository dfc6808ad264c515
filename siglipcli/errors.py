"""What can go wrong.

    SiglipError                could not go on
    ├── UsageError             arguments that contradict each other or name nothing; also a ValueError
    │   ├── LabelError         a label set that cannot be used: file, line, key, what was expected
    │   └── MissingExtraError  a library that an extra installs is not here
    ├── ImageError             one input that is not a usable image; becomes a Failure
    ├── ModelError             checkpoint, tokenizer or catalogue
    │   ├── UnknownModelError  a name that is neither in the catalogue nor a folder
    │   ├── OfflineError       files are missing here and may not, or cannot, be fetched
    │   └── CheckpointError    files are here but cannot be trusted: truncated, pickled, non-finite
    ├── DeviceError            a device, runtime or precision that this machine does not have
    ├── StorageError           an object store, or a folder used as one, that could not be read or written
    └── OutputError            a result could not be written

Every error carries a stable `code` for programs and `facts` (path, limit, what was found …). Its message
says in one or two plain sentences what happened; it names no command-line option, as the library has
none. A front end adds the remedy that fits it, looked up by `code`.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "DeviceError",
    "ImageError",
    "LabelError",
    "MissingExtraError",
    "ModelError",
    "OfflineError",
    "OutputError",
    "SiglipError",
    "StorageError",
    "UnknownModelError",
    "UsageError",
]


class SiglipError(Exception):
    """Root of every error this package raises on purpose.

    `code` is a stable word, the class's own where none is passed; `facts` are the values that the
    message mentions, by name. Errors pickle with both.
    """

    code = "error"

    def __init__(self, message: str, *, code: str | None = None, **facts: object) -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.facts = facts

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(
    kind: type[SiglipError], arguments: tuple[object, ...], attributes: dict[str, object]
) -> SiglipError:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(attributes)
    return error


class UsageError(SiglipError, ValueError):
    """Arguments that contradict each other, or that name something that is not there."""

    code = "usage"


class LabelError(UsageError):
    """A label set that cannot be used."""

    code = "labels"


class MissingExtraError(UsageError):
    """A library that an extra installs is not here. `facts` hold `extra` and `library`."""

    code = "missing_extra"

    def __init__(self, what: str, *, library: str, extra: str) -> None:
        super().__init__(
            f"{what} needs {library}. Install it with: pip install 'siglipcli[{extra}]'",
            library=library,
            extra=extra,
        )


class ImageError(SiglipError):
    """One input that is not a usable image.

    `kind` is a stable word for programs (`truncated`, `unidentified`, `too_large`, …); it is the code.
    """

    code = "image"

    def __init__(self, kind: str, message: str, **facts: object) -> None:
        super().__init__(message, code=kind, **facts)
        self.kind = kind


class ModelError(SiglipError):
    """A checkpoint, tokenizer or catalogue entry that cannot be used."""

    code = "model"


class UnknownModelError(ModelError):
    """A model name that is neither in the catalogue nor a folder."""

    code = "unknown_model"


class OfflineError(ModelError):
    """Files that are not here and may not, or cannot, be fetched."""

    code = "offline"


class CheckpointError(ModelError):
    """Files that are here but cannot be trusted."""

    code = "checkpoint"


class DeviceError(SiglipError):
    """A device, runtime or precision that this machine does not have."""

    code = "device"


class StorageError(SiglipError):
    """An object store, or a folder used as one, that could not be read or written.

    `is_missing`: there is no such file. `is_forbidden`: no right to it. `is_final`: another try would end
    the same way, as for these two and for a file of another format than its name says.
    """

    code = "storage"

    def __init__(
        self,
        message: str,
        *,
        is_missing: bool = False,
        is_forbidden: bool = False,
        is_final: bool = False,
    ) -> None:
        super().__init__(message)
        self.is_missing = is_missing
        self.is_forbidden = is_forbidden
        self.is_final = is_missing or is_forbidden or is_final


class OutputError(SiglipError):
    """A result could not be written."""

    code = "output"
