"""For notebooks and scripts: `from byoc_sagemaker.notebook import Project`."""

from byoc_sagemaker import find_rooms

find_rooms()

from scripts.celloutput import NotebookError, Result  # noqa: E402 (found now)
from scripts.dogs import write as draw_dogs  # noqa: E402
from scripts.notebook import Project  # noqa: E402

__all__ = ["NotebookError", "Project", "Result", "draw_dogs"]
