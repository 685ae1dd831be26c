from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys, torch
from train.debug import Monitor
model = torch.nn.Linear(2, 2)
monitor = Monitor.from_environment(model=model, loss=torch.nn.MSELoss(), optimizer=None, rank=0)
with monitor.step("TRAIN", 0), monitor.phase("forward"):
    monitor.record_loss("loss", model(torch.ones(1, 2)).sum())
monitor.model_changed()
monitor.close()
monitor.close()
assert not monitor.active
assert not any(name.split(".")[0] == "smdebug" for name in sys.modules), "smdebug was imported"
"""


def test_without_a_configuration_nothing_happens_and_smdebug_is_not_imported(tmp_path: Path) -> None:
    environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, env=environment, timeout=60)
    assert list(tmp_path.iterdir()) == []
