"""The same for TorchServe."""

import textbook
import torch

torch.set_num_threads(1)


def handle(data, context):
    if textbook._model is None:
        textbook.load(context.system_properties["model_dir"])
    if not data:
        return None
    return [textbook.predict(bytes(item.get("body") or item.get("data"))) for item in data]
