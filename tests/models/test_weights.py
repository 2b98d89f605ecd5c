"""Every kind of model file is known by its content; none may run code of its own."""

from __future__ import annotations

import json
import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.errors import ConfigError
from engine.models.foreign import UndecodableWeights
from engine.models.weights import FileKind, kind_of, read_checkpoint, read_program


class Doubler(nn.Module):
    """Logits that a test can predict."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor([2.0]))

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :3] * self.factor


def save_torchscript(path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(Doubler(), torch.zeros(2, 4)), str(path))  # type: ignore[no-untyped-call]
    return path


def save_exported(path: Path) -> Path:
    batch = torch.export.Dim("batch")
    torch.export.save(torch.export.export(Doubler(), (torch.zeros(2, 4),), dynamic_shapes=({0: batch},)), path)
    return path


def save_safetensors(path: Path, tensors: dict[str, Tensor], notes: dict[str, str] | None = None) -> Path:
    """Writes the format by hand, from its description."""
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
    header: dict[str, Any] = {"__metadata__": notes} if notes else {}
    content = b""
    for name, value in tensors.items():
        raw = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        span = [len(content), len(content) + len(raw)]
        header[name] = {"dtype": names[value.dtype], "shape": list(value.shape), "data_offsets": span}
        content += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)
    return path


STATE = {"a.weight": torch.randn(3, 4), "a.count": torch.tensor(7), "a.half": torch.randn(5).half()}


def assert_is_state(found: dict[str, Tensor]) -> None:
    assert found.keys() == STATE.keys()
    assert found["a.half"].dtype == torch.float32 and found["a.count"].dtype == torch.int64
    for name, value in STATE.items():
        assert torch.equal(found[name], value.float() if value.is_floating_point() else value)


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "state.pt")
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert kind_of(tmp_path / "state.pt") is FileKind.STATE
    assert kind_of(tmp_path / "old.pth") is FileKind.STATE
    assert kind_of(save_torchscript(tmp_path / "script.pt")) is FileKind.TORCHSCRIPT
    assert kind_of(save_exported(tmp_path / "program.pt2")) is FileKind.EXPORTED
    assert kind_of(save_safetensors(tmp_path / "x.safetensors", STATE)) is FileKind.SAFETENSORS
    with pytest.raises(ConfigError, match="no model file at .*missing.pth"):
        kind_of(tmp_path / "missing.pth")


@pytest.mark.parametrize("wrapped", [
    STATE, {"state_dict": STATE, "epoch": 3}, {"model_state_dict": STATE}, {"model": STATE},
    {"module." + name: value for name, value in STATE.items()},
    {"state_dict": {"_orig_mod.module." + name: value for name, value in STATE.items()}},
], ids=["bare", "state_dict", "model_state_dict", "model", "data parallel", "compiled"])
def test_a_state_dict_is_found_in_its_wrapping(tmp_path: Path, wrapped: dict[str, Any]) -> None:
    torch.save(wrapped, tmp_path / "state.pth")
    assert_is_state(read_checkpoint(tmp_path / "state.pth").state)


def test_old_pickles_are_read_too(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_is_state(read_checkpoint(tmp_path / "old.pth").state)


def test_labels_and_preprocessing_come_along(tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "labels": ["owl"], "preprocessing": {"segment_s": 4.0}}, tmp_path / "state.pth")
    read = read_checkpoint(tmp_path / "state.pth")
    assert read.labels == ("owl",)
    assert read.preprocessing == {"segment_s": 4.0}


def test_safetensors_need_no_package(tmp_path: Path) -> None:
    notes = {"labels": '["owl", "fox"]', "preprocessing": '{"segment_s": 3.0}', "format": "pt"}
    read = read_checkpoint(save_safetensors(tmp_path / "x.safetensors", STATE, notes))
    assert_is_state(read.state)
    assert read.labels == ("owl", "fox") and read.preprocessing == {"segment_s": 3.0}
    brain = {"b": torch.randn(3).bfloat16(), "empty": torch.zeros(0, 4)}
    found = read_checkpoint(save_safetensors(tmp_path / "b.safetensors", brain)).state
    assert torch.equal(found["b"], brain["b"].float()) and found["empty"].shape == (0, 4)


@pytest.mark.parametrize("content", [
    b"", b"\x00" * 7, struct.pack("<Q", 1 << 60) + b"{}", struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 2) + b"{]",
    struct.pack("<Q", 62) + b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,800000000]}}' + bytes(8),
    struct.pack("<Q", 54) + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,8]}}' + bytes(8),
    struct.pack("<Q", 54) + b'{"a":{"dtype":"X99","shape":[2],"data_offsets":[0,8]}}' + bytes(8),
])
def test_broken_safetensors_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(UndecodableWeights, match="safetensors"):
        read_checkpoint(tmp_path / "x.safetensors")


class Trap:
    """A pickle that would run code when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("sprung"),))


def test_a_pickle_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trap.pth").write_bytes(pickle.dumps({"a": Trap()}))
    torch.save({"a": Trap()}, tmp_path / "trap.pt")
    for name in ("trap.pth", "trap.pt"):
        with pytest.raises(UndecodableWeights, match="save model.state_dict"):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04broken", bytes(1000)])
def test_broken_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(UndecodableWeights, match="x.pth"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("value", [[1, 2], {"epoch": 3}, {}, torch.zeros(3)])
def test_something_else_than_a_state_dict_is_refused(tmp_path: Path, value: object) -> None:
    torch.save(value, tmp_path / "x.pth")
    with pytest.raises(UndecodableWeights, match="state_dict"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("save", [save_torchscript, save_exported])
def test_programs_run_at_any_batch_size(tmp_path: Path, save: Any) -> None:
    program = read_program(save(tmp_path / "program.pt")).eval()
    for batch in (2, 1, 5):
        assert torch.equal(program(torch.ones(batch, 4)), torch.full((batch, 3), 2.0))


def test_a_broken_program_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "broken.pt", "w") as archive:
        archive.writestr("broken/constants.pkl", b"not a pickle")
    assert kind_of(tmp_path / "broken.pt") is FileKind.TORCHSCRIPT
    with pytest.raises(UndecodableWeights, match="broken.pt"):
        read_program(tmp_path / "broken.pt")
