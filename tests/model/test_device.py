"""Which device is used on which machine, and what is said where it cannot be."""

import itertools

import pytest

from model.device import MIN_DRIVER, DeviceError, Gpu, Machine, choose, describe, probe

ARCHITECTURES = ("sm_70", "sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
A10G = Gpu("NVIDIA A10G", (8, 6), 24 << 30)
T4 = Gpu("Tesla T4", (7, 5), 16 << 30)
L4 = Gpu("NVIDIA L4", (8, 9), 24 << 30)
H100 = Gpu("NVIDIA H100", (9, 0), 80 << 30)
K80 = Gpu("Tesla K80", (3, 7), 12 << 30)
THOR = Gpu("NVIDIA Thor", (11, 0), 128 << 30)


def machine(*gpus: Gpu, **different: object) -> Machine:
    """A machine on which these GPUs work, but for what is `different`."""
    usual = {
        "torch": "2.10.0+cu128",
        "cuda": "12.8",
        "driver": "570.86.15" if gpus else None,
        "present": len(gpus),
        "gpus": gpus,
        "architectures": ARCHITECTURES if gpus else (),
    }
    return Machine(**{**usual, **different})  # type: ignore[arg-type]


@pytest.mark.parametrize("gpus", [(A10G,), (T4,), (L4,), (H100,), (A10G, A10G), (T4, H100)])
@pytest.mark.parametrize("driver", ["525.60.13", "535.183.01", "550.54", "580.95.05", None])
def test_a_working_gpu_is_used(gpus: tuple[Gpu, ...], driver: str | None) -> None:
    found = machine(*gpus, driver=driver)
    assert choose(found) == choose(found, "cuda") == "cuda"
    assert choose(found, "cpu") == "cpu"


def test_no_gpu() -> None:
    assert choose(machine()) == "cpu"
    with pytest.raises(DeviceError, match=r"no GPU; use a GPU instance, or .*device=cpu"):
        choose(machine(), "cuda")


# What is wrong with the machine → what must be said about it.
BROKEN = [
    (machine(A10G, driver="470.256.02"), r"470\.256\.02 is too old for CUDA 12\.8.* 525\.60 .*AmiVersion"),
    (machine(A10G, driver="470.256.02", gpus=(), error="driver too old"), "too old for CUDA"),
    (machine(A10G, driver="525.59.99"), "too old"),
    (machine(A10G, gpus=()), "torch cannot open it: no reason given.*nvidia-smi"),
    (machine(A10G, gpus=(), error="CUDA unknown error"), "torch cannot open it: CUDA unknown error"),
    (machine(A10G, gpus=(), driver=None, error="no driver"), "torch cannot open it: no driver.*--gpus all"),
    (machine(A10G, cuda=None, torch="2.10.0+cpu", gpus=()), r"torch 2\.10\.0\+cpu is built without CUDA"),
    (machine(K80), r"Tesla K80 has compute capability 3\.7.*sm_70, .*another GPU instance"),
    (machine(THOR), r"compute capability 11\.0"),
    (machine(A10G, K80), "Tesla K80"),
    (machine(H100, architectures=("sm_80", "sm_86")), r"compute capability 9\.0"),
    (machine(T4, architectures=("sm_80",)), r"compute capability 7\.5"),
]  # fmt: skip


@pytest.mark.parametrize(("broken", "words"), BROKEN)
def test_a_gpu_that_cannot_be_used_is_never_passed_over(broken: Machine, words: str) -> None:
    for wanted in ("auto", "cuda"):
        with pytest.raises(DeviceError, match=words) as caught:
            choose(broken, wanted)  # type: ignore[arg-type]
        assert "device=cpu" in str(caught.value)  # there is always a way on
        assert "\n" not in str(caught.value)
    assert choose(broken, "cpu") == "cpu"


def test_every_combination_gives_a_device_or_a_sentence() -> None:
    parts = itertools.product(
        ("auto", "cpu", "cuda"),
        ("2.10.0+cu128", "2.10.0+cpu"),
        ("12.8", None),
        ("470.1", "525.60.13", "580.95.05", None),
        (0, 1, 8),
        (False, True),
        ((), (A10G,), (K80,), (A10G, K80)),
        ((), ARCHITECTURES),
        ("", "CUDA driver initialization failed"),
    )
    for wanted, torch, cuda, driver, present, hidden, gpus, architectures, error in parts:
        found = Machine(torch, cuda, driver, present, hidden, gpus, architectures, error)
        try:
            device = choose(found, wanted)  # type: ignore[arg-type]
        except DeviceError as problem:
            assert wanted != "cpu"
            assert wanted == "cuda" or (not hidden and (present or gpus))
            assert len(str(problem)) < 500  # noqa: PT017 (which combinations raise is what is tested)
            continue
        if device == "cuda":
            assert gpus
            assert not hidden
            assert cuda
            assert driver != "470.1"
            assert K80 not in gpus or not architectures
        else:
            assert wanted == "cpu" or hidden or not (present or gpus)
        assert "\n" not in describe(found, device)


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((8, 6), ("sm_80",), True),  # code for 8.0 runs on all later 8.x
        ((8, 0), ("sm_86",), False),
        ((9, 0), ("sm_80", "sm_86"), False),
        ((9, 0), ("sm_80", "compute_80"), True),  # the driver compiles PTX for whatever is newer
        ((7, 5), ("compute_80",), False),
        ((9, 0), ("sm_90a",), True),
        ((12, 1), ("sm_120",), True),
        ((10, 3), ("sm_100",), True),
        ((8, 6), (), True),  # not known: torch will say
    ],
)
def test_code_for_the_capability(
    capability: tuple[int, int], architectures: tuple[str, ...], runs: bool
) -> None:
    found = machine(Gpu("GPU", capability, 1), architectures=architectures)
    if runs:
        assert choose(found) == "cuda"
    else:
        with pytest.raises(DeviceError):
            choose(found)


def test_hidden_gpus_are_nobodys_fault() -> None:
    found = machine(A10G, gpus=(), hidden=True)
    assert choose(found) == "cpu"
    with pytest.raises(DeviceError, match="CUDA_VISIBLE_DEVICES hides"):
        choose(found, "cuda")


def test_the_line_for_the_log() -> None:
    assert describe(machine(A10G, A10G), "cuda") == (
        "torch 2.10.0+cu128, CUDA 12.8, NVIDIA driver 570.86.15, device cuda: 2 x NVIDIA A10G (sm_86)"
    )
    assert describe(machine(), "cpu") == "torch 2.10.0+cu128, CUDA 12.8, NVIDIA driver none, device cpu"
    assert "no CUDA" in describe(machine(cuda=None), "cpu")
    # /proc shows the host's driver to a container that got no GPU.
    assert "docker run --gpus all" in describe(machine(driver="570.86.15"), "cpu")
    with pytest.raises(DeviceError, match="docker run --gpus all"):
        choose(machine(driver="570.86.15"), "cuda")


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = probe()
    assert found.hidden
    assert choose(found) == "cpu"
    assert MIN_DRIVER == (525, 60)
