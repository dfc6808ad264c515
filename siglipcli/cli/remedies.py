"""What a person at the command line can do about an error: one table, looked up by the error's code."""

from __future__ import annotations

from string import Formatter
from typing import TYPE_CHECKING, Any

from siglipcli.terminal.quoting import shell_word

if TYPE_CHECKING:
    from siglipcli.errors import SiglipError

__all__ = ["REMEDIES", "with_remedy"]

REMEDIES: dict[str, str] = {
    "error": "",
    "usage": "",
    "closed": "",  # never at the command line
    "labels": "",
    "label_errors": "`siglip labels check {file}` lists them all.",
    "unknown_label_set": "`siglip labels list` names the built-in sets.",
    "calibrated_elsewhere": "Leave out --strict to go on with a warning.",
    "keyword": "",
    "exiftool": "Or leave out --embed: sidecars need no exiftool.",
    "missing_extra": "",  # the message has the command
    "image": "",
    "model": "",
    "unknown_model": "",
    "offline": "Where there is a network run `siglip models pull {model}` and copy {cache} here, or give a model "
    "folder, or try --model demo.",
    "unknown_name": "A model is a name from `siglip models list`, a folder, hf-hub:ORG/NAME, or demo.",
    "checkpoint": "",
    "config": "",
    "damaged_download": "Run `siglip models pull {model} --force`.",
    "damaged_file": "",
    "hub_damaged": "",
    "hub_endless": "",
    "hub_lies": "",
    "naflex": "",
    "no_siglip": "",
    "other_format": "Use --model {name}.",
    "unreadable": "",
    "device": "",
    "device_memory": "Try --device cpu.",
    "device_disagrees": "Use --precision fp32 or --device cpu.",
    "openvino": "Use --runtime torch.",
    "openvino_missing": "Install it with: pip install openvino; or leave --precision out.",
    "openvino_device": "Use --runtime torch, or leave --device out.",
    "precision": "Use --precision {available}.",
    "sort_stopped": "Take it back with: siglip sort --undo {journal!q}",
    "damaged_journal": "Files can still be moved by hand: each line says from where to where.",
    "untuned": "Run `siglip models tune {model} --with FOLDER`, FOLDER being some of your images.",
    "retuned": "Run the command again.",
    "tuning": "",
    "tuning_runtime": "",
    "few_images": "",
    "below_floors": "More images show more; `siglip models tune --accept` installs it in spite of that.",
    "no_images": "",
    "unmatched_names": "For example: --map {example}.",
    "other_model": "Use --model {model}.",
    "output": "",
    "unknown_ending": "Or give --format.",
    "stdout_closed": "Name a file with --output.",
    "output_is_folder": "Name a file with --output.",
    "output_is_input": "Choose another name.",
    "foreign_output": "Choose another name, or replace it with --force.",
    "storage": "",
    "no_cluster": "Start one with `ray start --head`, or use --ray local.",
    "image_column": "Name it with --image-column.",
    "no_embeddings": "",
    "nothing_to_keep": "Leave out --keep.",
    "not_a_run": "Choose another --output.",
    "other_run": "Choose another --output, or repeat the options of the run that is there.",
    "not_a_file": "Name a file with --output.",
}
"""Code → a sentence with the options of the command line; `{fact}` is filled in, `{path!q}` as a shell's word. "" where the message says all."""


class _Filled(Formatter):
    """Fills facts in; `{path!q}` is quoted for a shell."""

    def convert_field(self, value: Any, conversion: Any) -> Any:
        return (
            shell_word(str(value))
            if conversion == "q"
            else super().convert_field(value, conversion)
        )


def with_remedy(error: SiglipError) -> str:
    """Return the error's message, and the remedy that the table has for its code."""
    remedy = _Filled().vformat(REMEDIES.get(error.code, ""), (), error.facts)
    return f"{error} {remedy}".rstrip()
