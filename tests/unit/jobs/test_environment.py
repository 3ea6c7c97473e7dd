"""Which Python a job's functions find."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from jobs.environment import WITHOUT_BEAM, python_options
from koban.settings import Settings


@pytest.mark.parametrize(("mode", "without"), [("thread", True), ("process", False)])
def test_only_python_inside_flinks_own_process_does_without_beam(tmp_path: Path, mode: str, without: bool) -> None:
    settings = Settings(data_dir=tmp_path, lake_dir=tmp_path)
    options = python_options(msgspec.structs.replace(settings, flink_python=mode))
    first = options["python.pythonpath"].split(os.pathsep)[0]
    assert (first == str(WITHOUT_BEAM)) is without


def test_pyflinks_functions_are_there_without_beam() -> None:
    """PyFlink tries Beam as it is imported, and has to go on."""
    asked = (
        "import sys, pyflink.fn_execution.coders, pyflink.fn_execution.flink_fn_execution_pb2;"
        " print(any(name.startswith('apache_beam.') for name in sys.modules))"
    )
    environ = {**os.environ, "PYTHONPATH": str(WITHOUT_BEAM)}
    done = subprocess.run([sys.executable, "-c", asked], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
