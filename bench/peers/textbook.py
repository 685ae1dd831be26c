"""A classifier as tutorials write it: Pillow, torchvision's transforms, an eager forward pass, a dict out."""

import io
import json
import os

import torch
from PIL import Image
from torchvision import transforms

from model import weights

_model = None
_classes = ()
_transform = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)


def load(folder):
    global _model, _classes  # noqa: PLW0603
    _model, info = weights.load(folder)
    _classes = info.classes


def predict(data):
    image = Image.open(io.BytesIO(data)).convert("RGB")
    with torch.no_grad():
        probabilities = _model(_transform(image)[None]).softmax(1)[0]
    top = probabilities.topk(5)
    return {_classes[int(i)]: float(p) for p, i in zip(*top, strict=True)}


def handle(data, context):
    if _model is None:
        load(context.system_properties["model_dir"])
    if not data:
        return None
    return [json.dumps(predict(bytes(item["body"]))) for item in data]


if os.environ.get("OMP_NUM_THREADS") == "1":
    torch.set_num_threads(1)
