"""In a real kernel: an interrupted cell, and an error, read as a notebook shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.e2e.conftest import ENVIRONMENT

if TYPE_CHECKING:
    from conftest import Project

pytestmark = pytest.mark.slow


class Kernel:
    """A kernel, and what its cells show."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager, self.client = manager, client

    def run(self, code: str, seen: Callable[[str], None] = lambda text: None) -> tuple[str, list[str]]:
        """The cell's last text, and its traceback; `seen` gets each text that it shows."""
        number = self.client.execute(code)
        text, traceback = "", []
        while True:
            message: Any = self.client.get_iopub_msg(timeout=120)
            if message["parent_header"].get("msg_id") != number:
                continue
            content, kind = message["content"], message["msg_type"]
            if kind in ("display_data", "update_display_data"):
                text = content["data"]["text/plain"]
                seen(text)
            elif kind == "error":
                traceback = content["traceback"]
            elif kind == "status" and content["execution_state"] == "idle":
                return text, traceback


@pytest.fixture
def kernel(project: Project) -> Iterator[Kernel]:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(project.folder), env=ENVIRONMENT)
    client: Any = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=120)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def test_an_interrupted_cell_leaves_the_job_running_and_says_so(kernel: Kernel) -> None:
    assert kernel.run("from byoc_sagemaker.notebook import Project; digits = Project()") == ("", [])
    pressed = False

    def press(text: str) -> None:
        nonlocal pressed
        if "epoch 1 " in text and not pressed:
            pressed = True
            kernel.manager.interrupt_kernel()

    text, traceback = kernel.run("digits.train(name='long', epochs=200, lr=0.001)", press)
    assert "No longer watching; long goes on." in text
    assert "byoc stop long" in text
    assert traceback == ["Error: Interrupted."]
    pressed = False
    text, traceback = kernel.run("digits.watch()", press)
    assert text.startswith("Training job long.")
    assert traceback == ["Error: Interrupted."]
    text, traceback = kernel.run("stopped = digits.stop('long')")
    assert (text, traceback) == ("Training job long: Stopped.\n", [])


def test_an_error_is_a_sentence_and_a_remedy(kernel: Kernel) -> None:
    code = "from byoc_sagemaker.notebook import Project; Project().predict(b'no picture', endpoint='nobody')"
    _, traceback = kernel.run(code)
    assert traceback[0] == "Error: There is no endpoint nobody in service."
    assert traceback[1].startswith("→ ")
    assert len(traceback) == 2
