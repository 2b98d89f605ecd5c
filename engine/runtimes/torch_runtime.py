"""A model under torch, on any device: as it came, or its network in half precision."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from engine.errors import FormUnavailable
from engine.forms import EAGER, ModelForm, Precision
from engine.runtimes.split import empty

_HALF = {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}


class TorchRuntime:
    """The eager form is the module itself, called as it is."""

    def __init__(
        self,
        form: ModelForm,
        module: nn.Module,
        compute: Callable[[Tensor], object],
        spare: nn.Module | None = None,
    ) -> None:
        """`module` holds the weights that `compute` needs, `spare` those of the loaded model that it does not."""
        self.form = form
        self.module = module
        self._compute = compute
        self._spare = spare

    @classmethod
    def eager(cls, module: nn.Module) -> TorchRuntime:
        """The model as it came."""
        return cls(EAGER, module, module)

    @classmethod
    def of(cls, form: ModelForm, front: nn.Module | None, network: nn.Module) -> TorchRuntime:
        """Raises FormUnavailable for a form that torch cannot compute. `network` stays as it is."""
        if form.variant or form.precision not in _HALF:
            raise FormUnavailable(f"torch computes no {form.name}")
        kind = _HALF[form.precision]
        if front is None or all(each.device.type == "cpu" for each in network.parameters()):
            # Whoever has a front of their own has it among the layers: only torch knows what bears half precision. On a
            # processor it costs no speed to leave it that, and weights that a network computes with before it applies
            # them, such as kernels that are summed, are rounded once: a quarter of the error of the demo model.
            return cls(form, network, _Autocast(front, network, kind))
        half = copy.deepcopy(network).to(kind)
        return cls(form, nn.ModuleList([front, half]), _Halved(front, half, kind), spare=network)

    def __call__(self, batch: Tensor) -> object:
        return self._compute(batch)

    def lay_out(self, layout: torch.memory_format) -> bool:
        """Lays the weights of convolutions out anew, whose values stay; False where there are none."""
        weights = [parameter for parameter in self.module.parameters() if parameter.dim() == 4]
        for weight in weights:
            weight.data = weight.data.to(memory_format=layout)
        return bool(weights)

    def let_go(self) -> None:
        if self._spare is not None:
            empty(self._spare)
            self._spare = None

    def memory_bytes(self) -> int:
        return sum(value.nbytes for value in (*self.module.parameters(), *self.module.buffers()))

    def close(self) -> None:
        """There is nothing but memory."""


class _Halved:
    """Front in fp32, network in half precision."""

    def __init__(self, front: nn.Module, network: nn.Module, kind: torch.dtype) -> None:
        self._front = front
        self._network = network
        self._kind = kind

    def __call__(self, batch: Tensor) -> object:
        return self._network(self._front(batch).to(self._kind))


class _Autocast:
    """Front in fp32, network in what half precision torch holds to be safe."""

    def __init__(self, front: nn.Module | None, network: nn.Module, kind: torch.dtype) -> None:
        self._front = front
        self._network = network
        self._kind = kind

    def __call__(self, batch: Tensor) -> object:
        given = batch if self._front is None else self._front(batch)
        with torch.autocast(batch.device.type, self._kind):
            return self._network(given)
