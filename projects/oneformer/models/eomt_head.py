"""The EoMT head: queries that join the last blocks of a plain ViT."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from .backbones.plain_vit import ImageTokens
from .layers import recompute
from .layers.rotary_positions import Rotation
from .layers.upscaling import Upscaling
from .layers.vit_block import ViTBlock, init_vit_weights
from .query_head import HeadOutput, QueryHead, mask_logits

# Where the task token may enter.
PLACES = ('queries', 'prefix')


class Prediction(NamedTuple):
    """What the queries predict at one depth."""

    cls_scores: Tensor  # (B, Q, K + 1)
    mask_embeds: Tensor  # (B, Q, C)
    mask_features: Tensor  # (B, C, H/4, W/4)


@MODELS.register_module()
class EoMTHead(QueryHead):
    """Let queries join the last blocks of a ViT, and predict masks.

    In training there is a prediction before each of these joint blocks and one
    after the last. The attention of a query to the patches may be restricted
    to the mask it predicts, with a probability for each block
    (:meth:`set_mask_probs`), which training anneals to 0
    (:class:`MaskAnnealingHook`). Without masks, inference is that of a ViT
    with more tokens. Before the annealing ends, evaluation masks a block if
    training masks it for most queries.

    With a task token the predictions depend on the task, and one network
    solves three tasks. Without it, this is the EoMT of the paper.

    Args:
        num_classes (int): Number of classes, K.
        num_queries (int): Number of queries, Q.
        num_layers (int): Number of joint blocks, at least one.
        block (dict): Arguments of :class:`ViTBlock`, as of the backbone.
        patch_size (int): As of the backbone.
        task_token (dict, optional): Config of the task token.
        task_at (Sequence[str]): Where the task token enters: ``'queries'``
            adds it to each of them, ``'prefix'`` makes it a token beside the
            class token.
        criterion (dict, optional): Config of the classification and mask
            losses.
        text_mapper (dict, optional): Config of the text branch.
        contrastive_loss (dict, optional): Config of the query-text loss. It
            compares the texts with the queries after the first joint block,
            when they have attended to the image.
        with_cp (bool): Recompute the joint blocks in the backward pass, for
            memory.
        init_cfg (dict, optional): Initialization config.

    Raises:
        InputError: If a part is given without the parts it needs, or a place
            is unknown.

    Source: arXiv:2503.19108; the task token and texts arXiv:2211.06220.
    """

    compiled_methods = ('decode_ids',)

    def __init__(
        self,
        num_classes: int,
        num_queries: int,
        num_layers: int,
        block: Mapping[str, Any],
        patch_size: int = 16,
        task_token: dict | None = None,
        task_at: Sequence[str] = ('queries',),
        criterion: dict | None = None,
        text_mapper: dict | None = None,
        contrastive_loss: dict | None = None,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(num_classes, init_cfg=init_cfg)
        width = block['embed_dims']
        self.stride = patch_size
        self.with_cp = with_cp
        self.blocks = nn.ModuleList(
            ViTBlock(**block) for _ in range(num_layers)
        )
        init_vit_weights(self.blocks)
        # That of the whole ViT, shared by all predictions.
        self.norm = nn.LayerNorm(width, eps=block.get('norm_eps', 1e-6))
        self.query_embed = nn.Embedding(num_queries, width)
        self.cls_embed = nn.Linear(width, num_classes + 1)
        self.mask_embed = nn.Sequential(
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, width),
        )
        self.upscale = Upscaling(width, patch_size)
        self.register_buffer('mask_probs', torch.zeros(num_layers))
        # The same on the host, which decides by them.
        self._mask_probs = [0.0] * num_layers
        self.register_load_state_dict_post_hook(self._read_mask_probs)

        self.task_token: Any = None
        self.task_at = tuple(task_at)
        if unknown := sorted(set(task_at) - set(PLACES)):
            raise InputError(
                f'Expected task_at of {list(PLACES)}, got {unknown}.'
            )
        if task_token is not None:
            if not task_at:
                raise InputError(
                    'A task_token needs a place: give task_at=("queries",), '
                    '("prefix",) or both, or leave task_token out.'
                )
            self.task_token = MODELS.build(dict(task_token, embed_dims=width))
            self.task_norm = nn.LayerNorm(width)
        if (text_mapper is None) != (contrastive_loss is None) or (
            text_mapper and not criterion
        ):
            raise InputError(
                'text_mapper and contrastive_loss are needed together, with '
                'the criterion: give both in train_cfg, or none of them to '
                'train without texts.'
            )
        if criterion is not None:
            self.build_training_parts(
                criterion, text_mapper, contrastive_loss, num_queries, width
            )

    def set_mask_probs(self, probs: Sequence[float]) -> None:
        """Set how often the attention of a query is masked.

        Args:
            probs (Sequence[float]): For each joint block, from 0 to 1.
        """
        assert len(probs) == len(self.blocks)
        self._mask_probs = [float(prob) for prob in probs]
        self.mask_probs.copy_(torch.tensor(self._mask_probs))

    @staticmethod
    def _read_mask_probs(head: 'EoMTHead', *_) -> None:
        head._mask_probs = head.mask_probs.tolist()

    def pixel_features(self, feats: ImageTokens) -> ImageTokens:
        """Return the tokens of the images; no task changes them."""
        return feats

    def shared_tensors(self, feats: ImageTokens) -> dict[str, Tensor]:
        """Return class token and registers, and the patches as a map.

        What turns the patches is a map, too.
        """
        rows, columns = feats.size
        others = feats.tokens.shape[1] - rows * columns
        prefix, patches = feats.tokens.split([others, rows * columns], dim=1)
        tensors = dict(prefix_tokens=prefix, patch_tokens=patches)
        if feats.rotation is not None:
            tensors['rotation'] = torch.cat(feats.rotation, dim=-1)[None]
        return {
            name: tensor
            if tensor is prefix
            else tensor.transpose(1, 2).unflatten(2, feats.size)
            for name, tensor in tensors.items()
        }

    def from_tensors(self, tensors: Mapping[str, Tensor]) -> ImageTokens:
        """Return :meth:`pixel_features` of :meth:`shared_tensors`."""
        size = tensors['patch_tokens'].shape[2:]
        patches = tensors['patch_tokens'].flatten(2).transpose(1, 2)
        rotation = None
        if 'rotation' in tensors:
            turned = tensors['rotation'][0].flatten(1).T  # (P, 2 * D)
            rotation = Rotation(*turned.chunk(2, dim=-1))
        tokens = torch.cat([tensors['prefix_tokens'], patches], dim=1)
        return ImageTokens(tokens, (size[0], size[1]), rotation)

    def decode_indices(self, pixels: ImageTokens, tasks: Tensor) -> HeadOutput:
        """Decode as :meth:`decode`, for tasks as indices in ``TASKS``."""
        if self.task_token is not None:
            return self.decode_ids(pixels, self.task_token.token_ids[tasks])
        return self.repeat_tasks(pixels, tasks.shape[0])

    def decode(self, pixels: ImageTokens, tasks: Sequence[str]) -> HeadOutput:
        """Predict as :meth:`QueryHead.decode` says.

        Each of several tasks has its own queries, which run through the joint
        blocks; without a task token the predictions of all tasks are the same.
        """
        if self.task_token is not None:
            return self.decode_ids(pixels, self.task_token.ids_of(tasks))
        return self.repeat_tasks(pixels, len(tasks))

    def repeat_tasks(self, pixels: ImageTokens, count: int) -> HeadOutput:
        """Predict without a task, and give T tasks that answer, T * B."""
        output = self.decode_ids(pixels, None)
        # Not len(), whose result is a constant of an exported graph.
        repeat = count // pixels.tokens.shape[0]
        if repeat == 1:
            return output
        return output._replace(
            cls_scores=[x.repeat(repeat, 1, 1) for x in output.cls_scores],
            mask_embeds=[x.repeat(repeat, 1, 1) for x in output.mask_embeds],
            queries=output.queries.repeat(repeat, 1, 1),
        )

    def decode_ids(
        self, pixels: ImageTokens, task_ids: Tensor | None
    ) -> HeadOutput:
        """Decode as :meth:`decode`, from the token ids of the tasks.

        Args:
            pixels (ImageTokens): Of B images.
            task_ids (Tensor | None): See :meth:`TaskToken.ids_of`,
                (T * B, 77); None without a task token.
        """
        x = self.join(pixels.tokens, task_ids)  # (T * B, N, C)
        num_queries = self.query_embed.num_embeddings
        predictions = []
        queries = x[:, :num_queries]
        for i, block in enumerate(self.blocks):
            mask = None
            if self.training or self.masks_block(i):
                prediction = self.predict(x, pixels.size)
                predictions.append(prediction)
                if self.masks_block(i):
                    mask = self.attention_mask(
                        prediction, pixels.size, x.shape[1], i
                    )
            x = recompute.call(
                block,
                self.with_cp,
                x=x,
                rotation=pixels.rotation,
                mask=mask,
            )
            if i == 0:
                queries = x[:, :num_queries]
        predictions.append(self.predict(x, pixels.size))
        cls_scores, mask_embeds, mask_features = map(
            list, zip(*predictions, strict=True)
        )
        return HeadOutput(cls_scores, mask_embeds, mask_features, queries)

    def join(self, tokens: Tensor, task_ids: Tensor | None) -> Tensor:
        """Put the queries before the tokens of the images.

        Args:
            tokens (Tensor): Of B images, (B, 1 + R + P, C).
            task_ids (Tensor | None): See :meth:`decode_ids`.

        Returns:
            Tensor: Queries, the task token if it is a prefix, then those of
            the image, (T * B, N, C).
        """
        queries = self.query_embed.weight[None]  # (1, Q, C)
        if task_ids is None:
            queries = queries.expand(len(tokens), -1, -1)
            return torch.cat([queries, tokens], dim=1)
        tokens = tokens.repeat(task_ids.shape[0] // tokens.shape[0], 1, 1)
        task = self.task_norm(self.task_token.embed(task_ids))[:, None]
        parts = [queries.expand(tokens.shape[0], -1, -1), tokens]
        if 'queries' in self.task_at:
            parts[0] = queries + task
        if 'prefix' in self.task_at:
            parts.insert(1, task)
        return torch.cat(parts, dim=1)

    def predict(self, x: Tensor, size: tuple[int, int]) -> Prediction:
        """Predict from tokens at any depth.

        Args:
            x (Tensor): Queries first, patches last, (B, N, C).
            size (tuple[int, int]): Rows and columns of patches.
        """
        x = self.norm(x)
        queries = x[:, : self.query_embed.num_embeddings]
        patches = x[:, -size[0] * size[1] :]
        grid = patches.transpose(1, 2).unflatten(2, size)  # (B, C, h, w)
        return Prediction(
            self.cls_embed(queries),
            self.mask_embed(queries),
            self.upscale(grid),
        )

    def masks_block(self, i: int) -> bool:
        """Whether the attention of some queries is masked in a joint block.

        In evaluation it is masked for all queries or for none.
        """
        return self._mask_probs[i] > (0 if self.training else 0.5)

    @torch.no_grad()
    def attention_mask(
        self,
        prediction: Prediction,
        size: tuple[int, int],
        num_tokens: int,
        i: int,
    ) -> Tensor:
        """Keep queries to the foreground of the masks they predict.

        In training some queries, chosen at random, attend everywhere.

        Args:
            prediction (Prediction): Before the block.
            size (tuple[int, int]): Rows and columns of patches.
            num_tokens (int): Of an image, queries included, N.
            i (int): Number of the joint block.

        Returns:
            Tensor: True where a query may attend, (B, Q, N). Queries and
            prefix tokens are always attended to.
        """
        # Masks are linear in the features and so is resizing.
        features = F.interpolate(
            prediction.mask_features,
            size,
            mode='bilinear',
            align_corners=False,
        )
        inside = mask_logits(prediction.mask_embeds, features).flatten(2) > 0
        if self.training and self._mask_probs[i] < 1:
            chance = torch.rand(inside.shape[:2], device=inside.device)
            inside |= (chance > self._mask_probs[i])[..., None]
        others = num_tokens - inside.shape[2]
        return F.pad(inside, (others, 0), value=True)
