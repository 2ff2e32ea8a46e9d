"""Steps of training that are recorded once and replayed by the GPU on its own (CUDA graphs)."""

from __future__ import annotations

import torch

# Calls that run plainly first: libraries allocate and choose their kernels in them.
PLAIN_CALLS = 3


def recorded(step):
    """A step of training that a GPU replays on its own once it has been taken a few times."""
    return RecordedStep(step)


class RecordedStep:
    """A step that is recorded as a CUDA graph after a few calls, and replayed from then on.

    A replay launches all its kernels at once. It pays where these are so short that the host is
    the bottleneck: small batches. Inputs of other shapes than those recorded start anew. Tensors on
    other devices run plainly, and so does a step that cannot be recorded.

    Parameters
    ----------
    step : callable
        Takes tensors and returns a tuple of tensors. What it changes in place, it must change in
        the same tensors at every call, and numbers that change from step to step, such as a
        learning rate, must be tensors among its inputs.
    """

    def __init__(self, step):
        self.step = step
        self.can_be_recorded = True
        self.n_calls = 0
        self.shapes = self.inputs = self.replay = None

    def __call__(self, *inputs):
        """Take the step; the outputs are the caller's own."""
        if not (self.can_be_recorded and may_record(inputs)):
            return self.step(*inputs)
        shapes = [tensor.shape for tensor in inputs]
        if shapes != self.shapes:
            self.shapes, self.n_calls, self.inputs, self.replay = shapes, 0, None, None
        self.n_calls += 1
        if self.n_calls <= PLAIN_CALLS:
            return self.step(*inputs)
        if self.replay is None:
            self._record(inputs)
        if self.replay is None:
            return self.step(*inputs)
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        return tuple(output.clone() for output in self.replay())

    def _record(self, inputs):
        """Record the step on inputs of its own, without running it."""
        self.inputs = [tensor.clone() for tensor in inputs]
        try:
            self.replay = capture(self.step, self.inputs)
        except (RuntimeError, MemoryError):
            # It waits for the host somewhere, or memory is short. Nothing of it was run.
            self.can_be_recorded, self.inputs = False, None


def may_record(inputs):
    """Whether the device of the inputs can record what it is told to do."""
    return all(tensor.device.type == "cuda" for tensor in inputs)


def capture(step, inputs):
    """Record a step; what is returned runs it on the inputs as they then are, in place."""
    graph = torch.cuda.CUDAGraph()
    # Other threads go on to allocate: those that read the next batches.
    with (
        torch.cuda.device(inputs[0].device),
        torch.cuda.graph(graph, capture_error_mode="thread_local"),
    ):
        outputs = step(*inputs)

    def replay():
        graph.replay()
        return outputs

    return replay


def wait_for_device():
    """Say so where the host is about to wait for the device, which cannot be recorded."""
    if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
        raise RuntimeError("the host waits for the device here: this step cannot be recorded")
