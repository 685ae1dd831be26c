#!/bin/bash
# torch 2.10.0: load_state_dict of an SGD takes the state of an AdamW without a word, although its groups lack momentum.
# The error comes in the next step, as KeyError 'momentum'; the other way round it is 'betas'.
#
# So a checkpoint has to say itself which optimizer it belongs to.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
cd "$folder"
venv/bin/pip install -q --disable-pip-version-check torch==2.10.0 'numpy<2.3'
venv/bin/python -I - >now <<'PYTHON'
import torch


def optimizer(kind: str) -> torch.optim.Optimizer:
    parameter = torch.nn.Parameter(torch.ones(2))
    made = getattr(torch.optim, kind)([parameter], lr=0.1)
    parameter.grad = torch.ones(2)
    return made


for kind, other in (("SGD", "AdamW"), ("AdamW", "SGD")):
    source, target = optimizer(other), optimizer(kind)
    source.step()
    try:
        target.load_state_dict(source.state_dict())
        loaded = "loads"
    except Exception as error:
        loaded = f"refuses: {type(error).__name__}"
    try:
        target.step()
        stepped = "steps"
    except Exception as error:
        stepped = f"step: {type(error).__name__} {error}"
    print(f"{kind} with the state of {other}: {loaded}; {stepped}")
PYTHON
cat now
diff - now <<'SEEN'
SGD with the state of AdamW: loads; step: KeyError 'momentum'
AdamW with the state of SGD: loads; step: KeyError 'betas'
SEEN
