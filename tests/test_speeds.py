"""The catalogue's speeds: read from a data file, shown where they were measured, timed on this machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from typer.testing import CliRunner

from siglipcli.cli import app
from siglipcli.encoders import ModelSpec, timing
from siglipcli.encoders.catalog import CATALOG
from siglipcli.encoders.facts import speed_facts
from siglipcli.encoders.speeds import PATH, Speeds, tower

if TYPE_CHECKING:
    from fake_encoder import FakeEncoder

FIXTURE = Path(__file__).with_name("speeds.json")
"""As benchmarks/models_bench.py writes it; of no processor."""


def test_models_of_one_image_tower_share_a_row(tmp_path: Path) -> None:
    """SigLIP and SigLIP 2 of one size run equally fast; other sizes do not."""
    path = tmp_path / "speeds.json"
    row = {"precision": "bf16", "images_per_second": 3.6, "peak_mb": 460}
    machine = {"cpu": "A processor", "cores": 2, "date": "2026-11-25"}
    path.write_text(json.dumps({"machine": machine, "towers": {"B/16 384": row}}))
    speeds = Speeds.read(path)
    assert speeds.machine == "A processor, 2 processors, 2026-11-25"
    known = [name for name, entry in CATALOG.items() if speeds.of(entry)]
    assert known == ["ViT-B-16-SigLIP-384", "ViT-B-16-SigLIP2-384"]
    facts = speed_facts(speeds.of(CATALOG["ViT-B-16-SigLIP-384"]))
    assert facts["images_per_second"] == 3.6
    assert facts["int8_images_per_second"] is None


def test_what_was_not_measured_is_not_shown(tmp_path: Path) -> None:
    """Without the file there are no figures, and no machine is named."""
    speeds = Speeds.read(tmp_path / "none.json")
    assert (speeds.machine, speeds.towers) == ("", {})
    assert set(speed_facts(None).values()) == {None}


def test_each_size_and_patch_is_a_tower_of_its_own() -> None:
    """Towers of one name have the same number of parameters and pixels."""
    towers: dict[str, set[tuple[float, int]]] = {}
    for entry in CATALOG.values():
        towers.setdefault(tower(entry), set()).add((entry.image_params, entry.image_size))
    assert all(len(each) == 1 for each in towers.values()), towers
    assert tower(CATALOG["ViT-SO400M-14-SigLIP-378"]) == "SO400M/14 378"


@pytest.mark.parametrize("path", [FIXTURE, *([PATH] if PATH.exists() else [])])
def test_the_data_file_names_towers_of_the_catalogue(path: Path) -> None:
    """What is installed was measured by the benchmark, with the processor's name; so is its like in the tests."""
    speeds = Speeds.read(path)
    assert speeds.machine
    assert speeds.towers
    assert set(speeds.towers) <= {tower(entry) for entry in CATALOG.values()}
    assert all(row["images_per_second"] > 0 for row in speeds.towers.values())


def test_the_list_has_a_column_for_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the speed at the automatic precision; a dash where none was measured."""
    speeds = Speeds.read(FIXTURE)
    monkeypatch.setattr(Speeds, "read", lambda: speeds)
    result = CliRunner().invoke(app, ["models", "list"])
    head, *lines = (re.split(r"  +", line.strip()) for line in result.stdout.splitlines())
    column = head.index("int8")
    assert head[column - 1 : column + 2] == ["img/s", "int8", "GB"]
    cells = {line[0]: line[column - 1 : column + 2] for line in lines}
    assert cells["ViT-B-16-SigLIP-384"] == ["3.6", "5.9", "0.5"]
    assert cells["ViT-B-16-SigLIP"][1] == "–"
    assert "on A processor" in result.stderr
    for figures in speeds.towers.values():
        figures.pop("int8", None)
    assert "int8" not in CliRunner().invoke(app, ["models", "list"]).stdout


def test_the_list_fits_80_columns() -> None:
    """With all figures that were measured, the longest name in one piece."""
    lines = CliRunner().invoke(app, ["models", "list"]).stdout.splitlines()
    assert max(map(len, lines)) <= 80


def test_encoders_are_timed_in_turns(encoder: FakeEncoder) -> None:
    """Each gets a rate; batches are what the encoder takes at a time."""
    size = encoder.preprocess.size
    pixels = np.zeros((3, size, size, 3), np.uint8)
    rates = timing.rates([encoder, encoder], pixels, 0.0)
    assert len(rates) == 2
    assert min(rates) > 0


def test_a_model_that_is_not_here_has_no_rate(tmp_path: Path) -> None:
    """It is no error: the list goes on."""
    spec = ModelSpec(str(tmp_path / "none"), cache_dir=tmp_path, offline=True)
    assert timing.rate_of(spec, 0.0) is None
