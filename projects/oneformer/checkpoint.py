"""Load the weights of a model for use, and refuse those of another."""

from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

# What exists in training only, and is no loss to a model for inference.
TRAINING_PARTS = ('panoptic_head.text_mapper.', 'panoptic_head.contrastive')


def load_weights(model: nn.Module, path: str) -> dict:
    """Load a checkpoint whose weights fit the model, all of them.

    Args:
        model (nn.Module): Takes the weights. Unchanged if they do not fit.
        path (str): File or address of the checkpoint.

    Returns:
        dict: The content of the checkpoint.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the weights belong to another model. The message lists
            what is missing, left over or of another shape.
    """
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    weights = checkpoint.get('state_dict', checkpoint)
    expected = model.state_dict()
    missing = [key for key in expected if key not in weights]
    left_over = [
        key
        for key in weights
        if key not in expected and not key.startswith(TRAINING_PARTS)
    ]
    reshaped = [
        f'{key} {tuple(weights[key].shape)} for {tuple(value.shape)}'
        for key, value in expected.items()
        if key in weights and weights[key].shape != value.shape
    ]
    problems = [
        f'{len(keys)} {what}, as {keys[0]}'
        for what, keys in (
            ('missing', missing),
            ('left over', left_over),
            ('of another shape', reshaped),
        )
        if keys
    ]
    if problems:
        raise ValueError(
            f'{path} does not fit this config: {"; ".join(problems)}. Give '
            'the config that the weights were trained with.'
        )
    model.load_state_dict({key: weights[key] for key in expected})
    return checkpoint
