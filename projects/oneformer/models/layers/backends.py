"""The choice among several implementations of one operation."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from mmengine.logging import print_log


class Conditions(NamedTuple):
    """What decides which backends can run.

    Attributes:
        device_type (str): ``'cpu'``, ``'cuda'``, ...
        dtype (torch.dtype): Type of the inputs.
        compiling (bool): Whether ``torch.compile`` traces the operation.
        exporting (bool): Whether it is exported to ONNX or to a graph that
            counts operations.
        deterministic (bool): Whether PyTorch must use deterministic
            algorithms.
    """

    device_type: str
    dtype: torch.dtype = torch.float32
    compiling: bool = False
    exporting: bool = False
    deterministic: bool = False

    @classmethod
    def now(
        cls, device_type: str, dtype: torch.dtype, compiling: bool
    ) -> 'Conditions':
        """Return the conditions of this moment."""
        return cls(
            device_type,
            dtype,
            compiling,
            torch.onnx.is_in_onnx_export() or torch.jit.is_tracing(),
            torch.are_deterministic_algorithms_enabled(),
        )


class Backends:
    """The backends of an operation, and the rule that chooses one.

    Args:
        operation (str): Name of the operation in messages.
        option (str): Where a config names a backend.
        descriptions (dict[str, str]): What each backend is, by its name.
        preferences (dict[str, Sequence[str]]): Order in which ``'auto'``
            tries backends, by type of device, and for ``'other'`` devices.
            The last one is taken whether or not it has a problem.
        problem (Callable): Takes the name of a backend and
            :class:`Conditions`; returns why it cannot run, or None if it can.
    """

    def __init__(
        self,
        operation: str,
        option: str,
        descriptions: dict[str, str],
        preferences: dict[str, Sequence[str]],
        problem: Callable[[str, Conditions], str | None],
    ) -> None:
        self.operation = operation
        self.option = option
        self.descriptions = descriptions
        self.preferences = preferences
        self.problem = problem
        self._chosen: dict[tuple[str, Conditions], str] = {}

    def check_name(self, name: str) -> None:
        """Raise a ValueError if there is no such backend."""
        if name != 'auto' and name not in self.descriptions:
            raise ValueError(
                f'{self.operation} has no backend {name!r}: set {self.option} '
                f'to one of auto, {", ".join(self.descriptions)}.'
            )

    def select(self, name: str, conditions: Conditions) -> tuple[str, str]:
        """Return the backend to run, and why.

        Args:
            name (str): The backend to take, or ``'auto'``.
            conditions (Conditions): Under which it has to run.

        Raises:
            ValueError: If there is no such backend, or it cannot run.
        """
        self.check_name(name)
        if name != 'auto':
            if problem := self.problem(name, conditions):
                raise ValueError(
                    f'{self.operation} cannot run on {name}: {problem}. Set '
                    f"{self.option} to 'auto'."
                )
            return name, f'{self.descriptions[name]}, as configured'
        problems = []
        candidates = self.preferences.get(
            conditions.device_type, self.preferences['other']
        )
        for backend in candidates:
            problem = self.problem(backend, conditions)
            if problem is None:
                break
            problems.append(problem)
        return backend, '; '.join([self.descriptions[backend], *problems])

    # While torch.compile traces, this runs as it is, and its result is a
    # constant of the graph.
    @torch.compiler.assume_constant_result
    def choose(
        self,
        name: str,
        device_type: str,
        dtype: torch.dtype,
        compiling: bool,
    ) -> str:
        """Return the backend to run now; the log names it once.

        Args:
            name (str): The backend to take, or ``'auto'``.
            device_type (str): Of the inputs.
            dtype (torch.dtype): Of the inputs.
            compiling (bool): ``torch.compiler.is_compiling()`` of the caller,
                which cannot be seen from here.
        """
        conditions = Conditions.now(device_type, dtype, compiling)
        key = name, conditions
        if key not in self._chosen:
            backend, reason = self.select(name, conditions)
            print_log(
                f'{self.operation} runs on {backend} ({reason}) for {dtype} '
                f'on {device_type}.',
                logger='current',
            )
            self._chosen[key] = backend
        return self._chosen[key]
