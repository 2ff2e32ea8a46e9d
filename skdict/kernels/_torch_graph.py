"""Steps of training that are recorded once and replayed by the GPU on its own (CUDA graphs)."""

from __future__ import annotations

import torch

# Calls that run plainly first: libraries allocate and choose their kernels in them.
PLAIN_CALLS = 3


class RecordedStep:
    """A step that is recorded as a CUDA graph after a few calls, and replayed from then on.

    A replay launches all its kernels at once. It pays where these are so short that the host is
    the bottleneck: small batches. Inputs of another shape than those recorded, and tensors on
    other devices, run plainly.

    Parameters
    ----------
    step : callable
        Takes tensors and returns a tensor or a tuple of tensors. What it changes in place, it must
        change in the same tensors at every call, nothing in it may wait for the device, and
        numbers that change from step to step, such as a learning rate, must be tensors.
    """

    def __init__(self, step):
        self.step = step
        self.n_calls = 0
        self.graph = None
        self.inputs = self.outputs = None

    def __call__(self, *inputs):
        """Take the step; the outputs are the caller's own."""
        if any(tensor.device.type != "cuda" for tensor in inputs):
            return self.step(*inputs)
        self.n_calls += 1
        if self.graph is None:
            if self.n_calls <= PLAIN_CALLS:
                return self.step(*inputs)
            self._record(inputs)
        if [tensor.shape for tensor in inputs] != [tensor.shape for tensor in self.inputs]:
            return self.step(*inputs)
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        self.graph.replay()
        if isinstance(self.outputs, torch.Tensor):
            return self.outputs.clone()
        return tuple(output.clone() for output in self.outputs)

    def _record(self, inputs):
        """Record the step on inputs of its own, without running it."""
        self.inputs = [tensor.clone() for tensor in inputs]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device_of(inputs[0]), torch.cuda.graph(graph):
            self.outputs = self.step(*self.inputs)
        self.graph = graph
