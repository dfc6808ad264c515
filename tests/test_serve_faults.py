"""Hostile requests of every kind, decoders that are killed, and a good client beside them; `make stress` sends 2,000."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import serve_faults
from hostile_requests import KEY, KINDS
from serve_fixture import Server
from settings import with_engine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("requests", "threads"),
    [(3 * len(KINDS), 3), pytest.param(2_000, 8, marks=pytest.mark.stress)],
)
def test_hostile_requests_disturb_nobody(
    tmp_path: Path, prepared: Path, requests: int, threads: int
) -> None:
    """Each gets the status it should, nothing leaks, every good response is right, and health is 200 throughout."""
    (tmp_path / "keys").write_text(KEY)
    elsewhere = serve_faults.Elsewhere()
    environment = with_engine(prepared, tmp_path / "cache")
    try:
        with Server(tmp_path, serve_faults.ARGUMENTS, environment) as server:
            counted = serve_faults.attack(server, elsewhere, requests, threads, seed=1)
    finally:
        elsewhere.shutdown()
        elsewhere.server_close()
    assert not counted["broken"]
    assert counted["good"]
    assert {kind.partition(":")[0] for kind in counted["outcomes"]} >= set(KINDS)
    assert server.process.returncode == 0
