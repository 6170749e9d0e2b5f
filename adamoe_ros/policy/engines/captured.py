# SPDX-License-Identifier: Apache-2.0
"""The engine of GPUs: one upload, captured graphs, one download, nothing waited for in between.

Every shape is captured when the engine is made. A batch runs in the cheapest captured shape that
holds it; one that none holds is refused. On a CPU the same static-shape program runs without
capture, which is how it is tested without a GPU.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from adamoe_ros.contract.errors import ContractError, problem
from adamoe_ros.model.conditioning import FREE, SamplingOptions
from adamoe_ros.model.config import ModelConfig
from adamoe_ros.model.policy_model import AdaMoEPolicy
from adamoe_ros.policy.engines.captured_shape import CapturedShape
from adamoe_ros.policy.engines.cuda_graphs import StageTimer
from adamoe_ros.policy.engines.eager import EngineResult
from adamoe_ros.policy.engines.engine_settings import EngineSettings, refuse_gradients
from adamoe_ros.policy.engines.flow_program import FlowProgram
from adamoe_ros.policy.engines.memory_budget import (
    check_fits,
    free_bytes,
    needed_bytes,
    weight_bytes,
)
from adamoe_ros.policy.engines.prefix_program import PrefixProgram
from adamoe_ros.policy.engines.shapes import (
    Shape,
    SmallInputs,
    exact_shape,
    frames_in_order,
    next_shape,
    small_inputs,
)
from adamoe_ros.policy.engines.transformer_block import block_runner
from adamoe_ros.policy.engines.weight_forms import WeightForms
from adamoe_ros.policy.processing import ModelInputs
from adamoe_ros.policy.resizing import DeviceResizer, shrink_on_host

STAGES = ("upload", "images", "prefix", "flow", "download")


@dataclass(frozen=True)
class Launched:
    """An inference that the device is working on.

    Attributes:
        shape: whose buffers it uses.
        count: observations that were asked for; the rest of the batch is padding.
    """

    shape: CapturedShape
    count: int


class CapturedEngine:
    """See ``eager.Engine``.

    Args:
        network: in eval mode, on its device; taken over where the settings say so.

    Raises:
        ContractError: the settings do not fit, or the device has not enough memory.
    """

    name = "captured"

    def __init__(self, network: AdaMoEPolicy, settings: EngineSettings) -> None:
        self.config: ModelConfig = network.config
        self.device = network.embed.weight.device
        self.settings = settings
        settings.check(self.config, self.device.type)
        self.steps = settings.steps or self.config.flow_steps
        shapes = settings.captured_shapes(self.config)
        self._check_memory(network, shapes)
        cuda = self.device.type == "cuda"
        if cuda:
            settings.check_graphs(network.dtype, torch.cuda.get_device_capability(self.device))
        form = settings.static_mixture(self.device, network.dtype)
        forms = WeightForms(mixture=form, int8=settings.int8, consume=settings.consume)
        compiled = settings.compiled and cuda
        runner = block_runner(compiled)
        self._timer = StageTimer(STAGES, self.device, settings.timing)
        self._resizer = DeviceResizer(self.config.vision.image_size, self.device)
        with torch.inference_mode(), _more_compiled_shapes(compiled):
            self.prefix = PrefixProgram(network, forms, shapes[-1], runner)
            self.flow = FlowProgram(network, forms, shapes[-1].batch, runner)
            if cuda:
                torch.cuda.empty_cache()  # the tensors that were taken over
            self._stream = torch.cuda.Stream(self.device) if cuda else None
            pool = torch.cuda.graph_pool_handle() if cuda else None
            self._shapes = {
                shape: CapturedShape(self.prefix, self.flow, shape, self.steps, self.device, pool)
                for shape in shapes
            }
            if cuda:
                torch.cuda.synchronize(self.device)  # graphs will replay on another stream
        self._done = torch.cuda.Event() if cuda else None

    def _check_memory(self, network: AdaMoEPolicy, shapes: list[Shape]) -> None:
        """The weights are on the device already and are taken over, or copied."""
        if self.device.type == "cuda":
            needed = needed_bytes(self.config, network.dtype, self.settings, shapes)
            if self.settings.consume:
                needed -= weight_bytes(self.config, network.dtype, self.settings.int8)
            free = free_bytes(self.device)
            assert free is not None
            check_fits(needed, free, str(self.device))

    def sample(
        self,
        inputs: ModelInputs,
        noise: Tensor,
        options: SamplingOptions = FREE,
    ) -> EngineResult:
        """See ``Engine``.

        Raises:
            ContractError: no captured shape holds the batch, other flow steps than captured, or
                guidance that is not of identity Jacobian.
        """
        return self.finish(self.launch(inputs, noise, options), options.trace)

    @torch.inference_mode()
    def launch(
        self, inputs: ModelInputs, noise: Tensor, options: SamplingOptions = FREE
    ) -> Launched:
        """Start an inference without waiting for the device; one at a time (``finish``)."""
        self._check(options)
        shape = next_shape(exact_shape(inputs), self._shapes)
        program = self._shapes[shape]
        small = small_inputs(inputs, shape, self.config)
        program.fill(small, noise, options)
        places, used = self._lay_frames(program, inputs, small)
        conditioned = options.frozen is not None or options.guidance is not None
        if self._stream is None:
            self._run(program, places, used, conditioned)
        else:
            with torch.cuda.stream(self._stream):
                self._run(program, places, used, conditioned)
                assert self._done is not None
                self._done.record()
        return Launched(program, len(inputs))

    def _run(
        self,
        program: CapturedShape,
        places: list[tuple[int, int, Tensor]],
        used: int,
        conditioned: bool,
    ) -> None:
        mark = self._timer.mark
        mark(0)
        program.given.upload(used)
        mark(1)
        for row, view, frame in places:
            self._resizer.place(frame, program.pixels[row, view])
        mark(2)
        program.run_prefix()
        mark(3)
        program.run_flow(conditioned)
        mark(4)
        program.made.download()
        mark(5)

    @torch.inference_mode()
    def finish(self, launched: Launched, trace: bool = False) -> EngineResult:
        """Wait for an inference and read it; the next ``launch`` may follow."""
        if self._done is not None:
            self._done.synchronize()
        sample = launched.shape.read(launched.count, trace)
        return EngineResult(sample, self._timer.read())

    def _lay_frames(
        self, program: CapturedShape, inputs: ModelInputs, small: SmallInputs
    ) -> tuple[list[tuple[int, int, Tensor]], int]:
        """Copy raw frames into the upload; where each will be on the device, and bytes used."""
        places, used, room = [], 0, program.given.host_tail
        waiting = frames_in_order(inputs, small)
        left = sum(frame is not None for row in waiting for frame in row)
        least = 3 * self.config.vision.image_size[0] * self.config.vision.image_size[1]
        for row, frames in enumerate(waiting):
            for view, frame in enumerate(frames):
                if frame is None:
                    continue
                left -= 1
                if used + frame.nbytes + left * least > len(room):
                    frame = shrink_on_host(frame, self.config.vision.image_size)
                places.append((row, view, self._copy_frame(program, frame, used)))
                used += frame.nbytes
        return places, used

    @staticmethod
    def _copy_frame(program: CapturedShape, frame: NDArray, at: int) -> Tensor:
        size, shape = frame.nbytes, frame.shape
        program.given.host_tail.numpy()[at : at + size].reshape(shape)[:] = frame
        return program.given.device_tail[at : at + size].view(shape)

    def _check(self, options: SamplingOptions) -> None:
        if options.steps not in (None, self.steps):
            expected, got = f"{self.steps} flow steps", options.steps
            raise ContractError(problem("engine captured", expected, got, "configure it so"))
        refuse_gradients(options, self.name)

    def peak_memory(self) -> int:
        """See ``Engine``; graphs' own memory included."""
        cuda = self.device.type == "cuda"
        return int(torch.cuda.max_memory_reserved(self.device)) if cuda else 0


def _more_compiled_shapes(wanted: bool) -> AbstractContextManager[Any]:
    """Room for one compiled form of a layer per captured shape."""
    if not wanted:  # loading the compiler takes seconds
        return nullcontext()
    from torch._dynamo import config

    limits: AbstractContextManager[Any] = config.patch(
        recompile_limit=256, accumulated_recompile_limit=1024
    )
    return limits
