"""OneFormer with its parameters divided among the processes (FSDP)."""

from typing import Any

from mmdet.registry import MODEL_WRAPPERS
from mmengine import dist
from mmengine.device import get_device
from mmengine.model import MMFullyShardedDataParallel
from mmengine.optim import OptimWrapper
from torch import nn
from torch.distributed.fsdp import (
    FullOptimStateDictConfig,
    FullStateDictConfig,
    StateDictType,
)


@MODEL_WRAPPERS.register_module()
class ShardedModel(MMFullyShardedDataParallel):
    """Divide parameters, gradients and optimizer state among processes.

    mmengine's wrapper fails on parameters without dimensions, such as the
    temperature of the contrastive loss, since FSDP does not divide them. Here
    each process has a full copy, and their gradients are averaged before a
    step.

    Args:
        module (nn.Module): The model.
        min_layer_params (int, optional): Layers with at least as many
            parameters are gathered one at a time, when they compute. A layer
            is an element of an ``nn.ModuleList`` that consists of other
            modules. By default the model is gathered at once.
        **kwargs: Options of mmengine's ``MMFullyShardedDataParallel`` and of
            PyTorch's ``FullyShardedDataParallel``.
    """

    def __init__(
        self,
        module: nn.Module,
        min_layer_params: int | None = None,
        **kwargs: Any,
    ) -> None:
        whole = [param for param in module.parameters() if param.dim() == 0]
        for param in whole:
            param.data = param.data.to(get_device())
        if min_layer_params is not None:
            layers = {
                id(layer)
                for part in module.modules()
                if isinstance(part, nn.ModuleList)
                for layer in part
                # Of a bare linear layer, others may use the weights.
                if any(layer.children())
            }

            def is_layer(
                module: nn.Module, recurse: bool, nonwrapped_numel: int
            ) -> bool:
                enough = nonwrapped_numel >= min_layer_params
                return enough and (recurse or id(module) in layers)

            kwargs['auto_wrap_policy'] = is_layer
        super().__init__(module, ignored_states=whole, **kwargs)
        self._whole = whole
        self._optimizer: Any = None

    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> dict:
        """Train on a batch; see mmengine's wrapper."""
        if optim_wrapper.optimizer is not self._optimizer:
            self._optimizer = optim_wrapper.optimizer
            self._optimizer.register_step_pre_hook(self._average)
        return super().train_step(data, optim_wrapper)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return only the weights, so that a checkpoint holds nothing else.

        FSDP marks the tensors. A marked tensor is saved as an object, which
        the safe reading of checkpoints refuses.
        """
        state = super().state_dict(*args, **kwargs)
        for name, value in state.items():
            state[name] = value.detach()
        return state

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load weights, which every process compares with the model's.

        Otherwise only the first process would know those of the model.
        """
        with self.state_dict_type(
            self,
            StateDictType.FULL_STATE_DICT,
            FullStateDictConfig(rank0_only=False),
            FullOptimStateDictConfig(rank0_only=False),
        ):
            return super().load_state_dict(*args, **kwargs)

    def _average(self, *args: Any) -> None:
        """Give all processes the mean of the gradients that none divides."""
        for param in self._whole:
            if param.grad is not None:
                dist.all_reduce(param.grad, op='mean')
