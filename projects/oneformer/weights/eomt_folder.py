"""Settings of ``EomtForUniversalSegmentation``, in a folder beside weights."""

from mmengine.config import Config

from ..errors import InputError


def files_of(config: Config) -> dict[str, dict]:
    """Return the settings of the network and of the images, by file.

    Raises:
        InputError: If transformers has no such model.
    """
    return {
        'config.json': model_settings(config),
        'preprocessor_config.json': image_settings(config),
    }


def model_settings(config: Config) -> dict:
    """Return what ``EomtConfig`` reads.

    Raises:
        InputError: If the model has a task token, or rotary positions, which
            ``EomtConfig`` does not know.
    """
    backbone, head = config.model.backbone, config.model.panoptic_head
    block = head.block
    if head.get('task_token') is not None:
        raise InputError(
            'The EoMT of transformers has no task token: only a model without '
            'task_token can be written for it.'
        )
    if backbone.get('image_size') is None:
        raise InputError(
            'The EoMT of transformers before version 5 has learned positions '
            'only: a ViT of the DINOv3 kind cannot be written for it.'
        )
    gated = block.get('gated', False)
    ratio = block.feedforward_channels / block.embed_dims
    if gated:
        # Of which transformers takes two thirds, rounded up to eights.
        ratio *= 1.5
    names = config.model.metainfo.classes
    return dict(
        architectures=['EomtForUniversalSegmentation'],
        model_type='eomt',
        hidden_size=block.embed_dims,
        num_hidden_layers=backbone.num_layers + head.num_layers,
        num_attention_heads=block.num_heads,
        mlp_ratio=ratio,
        use_swiglu_ffn=gated,
        layer_norm_eps=block.get('norm_eps', 1e-6),
        image_size=backbone.image_size,
        patch_size=backbone.get('patch_size', 16),
        num_register_tokens=backbone.get('num_registers', 4),
        num_blocks=head.num_layers,
        num_queries=head.num_queries,
        id2label={str(i): name for i, name in enumerate(names)},
        label2id={name: i for i, name in enumerate(names)},
    )


def image_settings(config: Config) -> dict:
    """Return what ``EomtImageProcessor`` reads.

    The network there takes squares of one size: images are resized to fit
    it, and padded.
    """
    preprocessor = config.model.data_preprocessor
    metainfo = config.model.metainfo
    side = config.model.backbone.image_size
    return dict(
        image_processor_type='EomtImageProcessor',
        size=dict(shortest_edge=side, longest_edge=side),
        do_split_image=False,
        do_pad=True,
        image_mean=[value / 255 for value in preprocessor.mean],
        image_std=[value / 255 for value in preprocessor.std],
        ignore_index=255,
        num_labels=len(metainfo.classes),
        metadata=dict(
            thing_ids=[
                label
                for label, name in enumerate(metainfo.classes)
                if name in metainfo.thing_classes
            ]
        ),
    )
