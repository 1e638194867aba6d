"""The text branch: from class texts to text queries, in training only."""

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..text import fill_text_slots


@MODELS.register_module()
class TextMapper(BaseModule):
    """Encode the texts of each image and add learned context.

    ``num_queries - num_context`` text slots are encoded and projected;
    ``num_context`` learned vectors, the same for every image, are appended, so
    that there are as many text queries as object queries.

    Args:
        num_queries (int): Text queries to produce, Q.
        embed_dims (int): Width of the text queries, C.
        num_context (int): Learned context vectors.
        num_layers (int): Layers of the text encoder.
        tokenizer (dict): Config of the tokenizer.
        num_projection_layers (int): Layers of the projection MLP.
        init_cfg (dict, optional): Initialization config.

    Raises:
        ValueError: If no text slot is left beside the context.

    Source: arXiv:2211.06220, task-dynamic text queries.
    """

    def __init__(
        self,
        num_queries: int,
        embed_dims: int,
        num_context: int,
        num_layers: int,
        tokenizer: dict,
        num_projection_layers: int = 2,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_texts = num_queries - num_context
        if self.num_texts < 1:
            raise ValueError(
                f'num_context={num_context} leaves no text slot with '
                f'num_queries={num_queries}: lower num_context of the text '
                'mapper or raise num_queries.'
            )
        self.tokenizer = TASK_UTILS.build(tokenizer)
        self.encoder = TextEncoder(
            embed_dims,
            num_layers,
            context_length=self.tokenizer.context_length,
            vocab_size=self.tokenizer.vocab_size,
        )
        self.projector = nn.ModuleList(
            nn.Linear(embed_dims, embed_dims)
            for _ in range(num_projection_layers)
        )
        self.context = nn.Embedding(num_context, embed_dims)
        self._ids: dict[str, Tensor] = {}

    def forward(
        self, texts: Sequence[Sequence[str]], fillers: Sequence[str]
    ) -> Tensor:
        """Return the text queries of a batch.

        Args:
            texts (Sequence[Sequence[str]]): Class texts of each image, one per
                object (or class), in class order. Texts beyond the slots are
                dropped.
            fillers (Sequence[str]): The text for the empty slots of each
                image.

        Returns:
            Tensor: Text queries, (B, Q, C).
        """
        slots = [
            fill_text_slots(own, filler, self.num_texts)
            for own, filler in zip(texts, fillers, strict=True)
        ]
        # A batch repeats few texts many times: each is encoded once.
        distinct = sorted({text for image in slots for text in image})
        row = {text: i for i, text in enumerate(distinct)}
        rows = torch.tensor([[row[text] for text in image] for image in slots])
        device = self.context.weight.device
        encoded = self.encode(distinct)[rows.to(device)]  # (B, N_txt, C)
        context = self.context.weight.expand(len(slots), -1, -1)
        return torch.cat([encoded, context.to(encoded.dtype)], dim=1)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Encode and project texts, (N, C)."""
        ids = torch.stack([self._tokenize(text) for text in texts])  # (N, 77)
        features = self.encoder(ids.to(self.context.weight.device))
        for i, layer in enumerate(self.projector):
            features = layer(features.relu() if i else features)
        return features

    def _tokenize(self, text: str) -> Tensor:
        if text not in self._ids:
            self._ids[text] = self.tokenizer(text)
        return self._ids[text]


class TextEncoder(BaseModule):
    """A CLIP-style causal transformer; the feature is the end token's.

    Args:
        embed_dims (int): Width, a multiple of 64 above 64 (64 per head).
        num_layers (int): Residual blocks.
        context_length (int): Longest text, in tokens.
        vocab_size (int): Number of token ids.

    Source: arXiv:2103.00020 without the final text projection.
    """

    def __init__(
        self,
        embed_dims: int,
        num_layers: int,
        context_length: int,
        vocab_size: int,
    ) -> None:
        super().__init__()
        num_heads = max(1, embed_dims // 64)
        self.token_embedding = nn.Embedding(vocab_size, embed_dims)
        self.positional_embedding = nn.Parameter(
            torch.empty(context_length, embed_dims)
        )
        self.layers = nn.ModuleList(
            TextEncoderLayer(embed_dims, num_heads) for _ in range(num_layers)
        )
        self.final_norm = nn.LayerNorm(embed_dims)
        self.init_weights()

    def init_weights(self) -> None:
        """Initialise as CLIP does."""
        width, depth = self.final_norm.normalized_shape[0], len(self.layers)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        for layer in self.layers:
            assert isinstance(layer, TextEncoderLayer)
            nn.init.normal_(layer.attn.in_proj_weight, std=width**-0.5)
            residual_std = width**-0.5 * (2 * depth) ** -0.5
            nn.init.normal_(layer.attn.out_proj.weight, std=residual_std)
            nn.init.normal_(layer.fc1.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(layer.fc2.weight, std=residual_std)

    def forward(self, ids: Tensor) -> Tensor:
        """Encode token ids.

        Args:
            ids (Tensor): Token ids, (N, 77). The end token has the largest
                id.

        Returns:
            Tensor: Features at the end tokens, (N, C).
        """
        ends = ids.argmax(dim=-1)  # (N,)
        # Attention is causal, so what follows the last end token has no
        # influence on any feature and need not be computed.
        length = int(ends.max()) + 1
        x = self.token_embedding(ids[:, :length])
        x = x + self.positional_embedding[:length]  # (N, L, C)
        blocked = torch.ones(
            length, length, dtype=torch.bool, device=ids.device
        ).triu(1)
        for layer in self.layers:
            x = layer(x, blocked)
        x = x[torch.arange(len(ids), device=ids.device), ends]
        return self.final_norm(x)


class TextEncoderLayer(nn.Module):
    """Pre-norm attention and MLP with the fast GELU of CLIP."""

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dims)
        self.attn = nn.MultiheadAttention(
            embed_dims, num_heads, batch_first=True
        )
        self.norm2 = nn.LayerNorm(embed_dims)
        self.fc1 = nn.Linear(embed_dims, 4 * embed_dims)
        self.fc2 = nn.Linear(4 * embed_dims, embed_dims)

    def forward(self, x: Tensor, blocked: Tensor) -> Tensor:
        """Apply the layer to (N, L, C), ``blocked`` being (L, L) bool."""
        y = self.norm1(x)
        x = x + self.attn(y, y, y, attn_mask=blocked, need_weights=False)[0]
        y = self.fc1(self.norm2(x))
        return x + self.fc2(y * torch.sigmoid(1.702 * y))
