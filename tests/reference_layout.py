"""Names and shapes of the published checkpoints, typed in from their tables.

``c`` are the channels of the backbone at strides 4, 8, 16 and 32.
"""

from torch import Size

Shapes = dict[str, tuple[int, ...]]


def pair(name: str, *shape: int) -> Shapes:
    """Return a weight of some shape and its bias."""
    return {f'{name}.weight': shape, f'{name}.bias': shape[:1]}


def attention(name: str) -> Shapes:
    return {
        f'{name}.in_proj_weight': (768, 256),
        f'{name}.in_proj_bias': (768,),
        **pair(f'{name}.out_proj', 256, 256),
    }


def head(c: tuple[int, ...], queries: int, classes: int) -> Shapes:
    """Return pixel decoder, predictor, task MLP and criterion."""
    p = 'sem_seg_head.pixel_decoder.'
    shapes: Shapes = {f'{p}transformer.level_embed': (3, 256)}
    for i, channels in enumerate((c[3], c[2], c[1])):
        shapes |= pair(f'{p}input_proj.{i}.0', 256, channels, 1, 1)
        shapes |= pair(f'{p}input_proj.{i}.1', 256)
    for i in range(6):
        q = f'{p}transformer.encoder.layers.{i}.'
        shapes |= pair(f'{q}self_attn.sampling_offsets', 192, 256)
        shapes |= pair(f'{q}self_attn.attention_weights', 96, 256)
        shapes |= pair(f'{q}self_attn.value_proj', 256, 256)
        shapes |= pair(f'{q}self_attn.output_proj', 256, 256)
        shapes |= pair(f'{q}norm1', 256) | pair(f'{q}norm2', 256)
        shapes |= pair(f'{q}linear1', 1024, 256)
        shapes |= pair(f'{q}linear2', 256, 1024)
    shapes[f'{p}adapter_1.weight'] = (256, c[0], 1, 1)
    shapes |= pair(f'{p}adapter_1.norm', 256)
    shapes[f'{p}layer_1.weight'] = (256, 256, 3, 3)
    shapes |= pair(f'{p}layer_1.norm', 256)
    shapes |= pair(f'{p}mask_features', 256, 256, 1, 1)

    p = 'sem_seg_head.predictor.'
    shapes[f'{p}query_embed.weight'] = (queries, 256)
    shapes[f'{p}level_embed.weight'] = (3, 256)
    shapes |= pair(f'{p}class_input_proj', 256, 256, 1, 1)
    shapes |= pair(f'{p}decoder_norm', 256)
    shapes |= pair(f'{p}class_embed', classes + 1, 256)
    for i in range(3):
        shapes |= pair(f'{p}mask_embed.layers.{i}', 256, 256)
    for i in range(2):
        q = f'{p}class_transformer.decoder.layers.{i}.'
        shapes |= attention(f'{q}self_attn') | attention(f'{q}multihead_attn')
        shapes |= pair(f'{q}linear1', 2048, 256)
        shapes |= pair(f'{q}linear2', 256, 2048)
        for k in (1, 2, 3):
            shapes |= pair(f'{q}norm{k}', 256)
    shapes |= pair(f'{p}class_transformer.decoder.norm', 256)
    for i in range(9):
        q = f'{p}transformer_cross_attention_layers.{i}.'
        shapes |= attention(f'{q}multihead_attn') | pair(f'{q}norm', 256)
        q = f'{p}transformer_self_attention_layers.{i}.'
        shapes |= attention(f'{q}self_attn') | pair(f'{q}norm', 256)
        q = f'{p}transformer_ffn_layers.{i}.'
        shapes |= pair(f'{q}linear1', 2048, 256)
        shapes |= pair(f'{q}linear2', 256, 2048) | pair(f'{q}norm', 256)
    shapes |= pair('task_mlp.layers.0', 256, 77)
    shapes |= pair('task_mlp.layers.1', 256, 256)
    shapes['criterion.empty_weight'] = (classes + 1,)
    shapes['criterion.logit_scale'] = ()
    return shapes


def text() -> Shapes:
    """Return the text branch."""
    shapes: Shapes = {
        'text_encoder.token_embedding.weight': (49408, 256),
        'text_encoder.positional_embedding': (77, 256),
        'prompt_ctx.weight': (16, 256),
    }
    for i in range(6):
        p = f'text_encoder.transformer.resblocks.{i}.'
        shapes |= attention(f'{p}attn')
        shapes |= pair(f'{p}ln_1', 256) | pair(f'{p}ln_2', 256)
        shapes |= pair(f'{p}mlp.c_fc', 1024, 256)
        shapes |= pair(f'{p}mlp.c_proj', 256, 1024)
    shapes |= pair('text_encoder.ln_final', 256)
    for i in range(2):
        shapes |= pair(f'text_projector.layers.{i}', 256, 256)
    return shapes


def swin(width: int, depths: tuple, heads: tuple, window: int) -> Shapes:
    shapes = pair('patch_embed.proj', width, 3, 4, 4)
    shapes |= pair('patch_embed.norm', width)
    for i, (depth, h) in enumerate(zip(depths, heads, strict=True)):
        d = width * 2**i
        for j in range(depth):
            p = f'layers.{i}.blocks.{j}.'
            shapes |= pair(f'{p}norm1', d) | pair(f'{p}norm2', d)
            shapes |= pair(f'{p}attn.qkv', 3 * d, d)
            shapes |= pair(f'{p}attn.proj', d, d)
            size = (2 * window - 1) ** 2
            shapes[f'{p}attn.relative_position_bias_table'] = (size, h)
            shapes[f'{p}attn.relative_position_index'] = (window**2,) * 2
            shapes |= pair(f'{p}mlp.fc1', 4 * d, d)
            shapes |= pair(f'{p}mlp.fc2', d, 4 * d)
        if i < 3:
            p = f'layers.{i}.downsample.'
            shapes[f'{p}reduction.weight'] = (2 * d, 4 * d)
            shapes |= pair(f'{p}norm', 4 * d)
        shapes |= pair(f'norm{i}', d)
    return shapes


def dinat(kernel: int) -> Shapes:
    shapes = pair('patch_embed.proj.0', 96, 3, 3, 3)
    shapes |= pair('patch_embed.proj.1', 192, 96, 3, 3)
    shapes |= pair('patch_embed.norm', 192)
    for i, (depth, h) in enumerate(((3, 6), (4, 12), (18, 24), (5, 48))):
        d = 192 * 2**i
        for j in range(depth):
            p = f'levels.{i}.blocks.{j}.'
            shapes |= pair(f'{p}norm1', d) | pair(f'{p}norm2', d)
            shapes[f'{p}attn.rpb'] = (h, 2 * kernel - 1, 2 * kernel - 1)
            shapes |= pair(f'{p}attn.qkv', 3 * d, d)
            shapes |= pair(f'{p}attn.proj', d, d)
            shapes |= pair(f'{p}mlp.fc1', 2 * d, d)
            shapes |= pair(f'{p}mlp.fc2', d, 2 * d)
        if i < 3:
            p = f'levels.{i}.downsample.'
            shapes[f'{p}reduction.weight'] = (2 * d, d, 3, 3)
            shapes |= pair(f'{p}norm', 2 * d)
        shapes |= pair(f'norm{i}', d)
    return shapes


def convnext(dims: tuple[int, ...]) -> Shapes:
    shapes = pair('downsample_layers.0.0', dims[0], 3, 4, 4)
    shapes |= pair('downsample_layers.0.1', dims[0])
    for i in (1, 2, 3):
        shapes |= pair(f'downsample_layers.{i}.0', dims[i - 1])
        shapes |= pair(f'downsample_layers.{i}.1', dims[i], dims[i - 1], 2, 2)
    for i, (depth, d) in enumerate(zip((3, 3, 27, 3), dims, strict=True)):
        for j in range(depth):
            p = f'stages.{i}.{j}.'
            shapes[f'{p}gamma'] = (d,)
            shapes |= pair(f'{p}dwconv', d, 1, 7, 7) | pair(f'{p}norm', d)
            shapes |= pair(f'{p}pwconv1', 4 * d, d)
            shapes |= pair(f'{p}pwconv2', d, 4 * d)
        shapes |= pair(f'norm{i}', d)
    return shapes


def resnet50(sync_bn: bool) -> Shapes:
    def convolution(name: str, *shape: int) -> Shapes:
        shapes: Shapes = {f'{name}.weight': shape}
        for entry in ('weight', 'bias', 'running_mean', 'running_var'):
            shapes[f'{name}.norm.{entry}'] = shape[:1]
        if sync_bn:
            shapes[f'{name}.norm.num_batches_tracked'] = ()
        return shapes

    shapes = convolution('stem.conv1', 64, 3, 7, 7)
    inputs = 64
    for stage, depth in ((2, 3), (3, 4), (4, 6), (5, 3)):
        inner, outputs = 16 * 2**stage, 64 * 2**stage
        for b in range(depth):
            p = f'res{stage}.{b}.'
            shapes |= convolution(f'{p}conv1', inner, inputs, 1, 1)
            shapes |= convolution(f'{p}conv2', inner, inner, 3, 3)
            shapes |= convolution(f'{p}conv3', outputs, inner, 1, 1)
            if b == 0:
                shapes |= convolution(f'{p}shortcut', outputs, inputs, 1, 1)
            inputs = outputs
    return shapes


BACKBONES = {
    'r50': (lambda: resnet50(False), (256, 512, 1024, 2048)),
    'r50-syncbn': (lambda: resnet50(True), (256, 512, 1024, 2048)),
    'swin-t': (
        lambda: swin(96, (2, 2, 6, 2), (3, 6, 12, 24), 7),
        (96, 192, 384, 768),
    ),
    'swin-l': (
        lambda: swin(192, (2, 2, 18, 2), (6, 12, 24, 48), 12),
        (192, 384, 768, 1536),
    ),
    'convnext-l': (
        lambda: convnext((192, 384, 768, 1536)),
        (192, 384, 768, 1536),
    ),
    'convnext-xl': (
        lambda: convnext((256, 512, 1024, 2048)),
        (256, 512, 1024, 2048),
    ),
    'dinat-l': (lambda: dinat(11), (192, 384, 768, 1536)),
    'dinat-l-k7': (lambda: dinat(7), (192, 384, 768, 1536)),
}


def checkpoint_shapes(
    backbone: str, queries: int, classes: int, training: bool = True
) -> dict[str, Size]:
    """Return name and shape of every entry of a published checkpoint."""
    make, channels = BACKBONES[backbone]
    shapes = {f'backbone.{name}': shape for name, shape in make().items()}
    shapes |= head(channels, queries, classes)
    if training:
        shapes |= text()
    return {name: Size(shape) for name, shape in shapes.items()}
