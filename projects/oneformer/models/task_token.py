"""The task token: which task the queries are asked to solve."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from ..tasks import TASKS, check_task
from ..text import task_sentence


@MODELS.register_module()
class TaskToken(BaseModule):
    """Map the sentence "The task is {task}" to a token.

    The two-layer MLP reads the 77 raw token ids of the sentence as numbers (up
    to 49407); there is no embedding table. Half precision would round the ids,
    so the token is computed in float32 under any autocast.

    Args:
        embed_dims (int): Width of the token.
        tokenizer (dict): Config of the tokenizer.
        init_cfg (dict, optional): Initialization config.

    Source: arXiv:2211.06220, task-conditioned joint training.
    """

    def __init__(
        self,
        embed_dims: int,
        tokenizer: dict,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        tokenize = TASK_UTILS.build(tokenizer)
        token_ids = tokenize([task_sentence(task) for task in TASKS])
        # Integers, so that ``model.half()`` leaves them alone; constant, so
        # not in the checkpoint.
        self.register_buffer('token_ids', token_ids, persistent=False)
        self.layers = nn.ModuleList(
            [
                nn.Linear(tokenize.context_length, embed_dims),
                nn.Linear(embed_dims, embed_dims),
            ]
        )

    def forward(self, tasks: Sequence[str]) -> Tensor:
        """Return one token per image.

        Args:
            tasks (Sequence[str]): The task of each image.

        Returns:
            Tensor: Tokens, float32, (B, C).

        Raises:
            ValueError: If a task is unknown.
        """
        return self.embed(self.ids_of(tasks))

    def ids_of(self, tasks: Sequence[str]) -> Tensor:
        """Return the token ids of each image, (B, 77), by its task.

        Raises:
            ValueError: If a task is unknown.
        """
        rows = [TASKS.index(check_task(task)) for task in tasks]
        return self.token_ids[rows]

    def embed(self, ids: Tensor) -> Tensor:
        """Return tokens, float32, (B, C), of ids, (B, 77)."""
        first, last = self.layers
        with torch.autocast(ids.device.type, enabled=False):
            ids = ids.float()
            return _project(_project(ids, first).relu(), last)


def _project(x: Tensor, layer: Any) -> Tensor:
    """Apply a linear layer in float32, whatever the type of its weights."""
    return F.linear(x, layer.weight.float(), layer.bias.float())
