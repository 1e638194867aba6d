"""Recognise the origin of a state dict by the names in it."""

from collections.abc import Iterable, Mapping

from torch import Tensor

from ..errors import InputError
from .eomt import MASK_PROBS, from_authors, from_transformers_eomt
from .huggingface import from_huggingface
from .reference import from_reference

NATIVE = 'OpenMMLab'
# Names that each layout has, and no other.
_MARKS = {
    'reference': ('sem_seg_head.predictor.', 'task_mlp.'),
    'transformers': (
        *('model.transformer_module.', 'transformer_module.'),
        *('model.task_encoder.', 'task_encoder.'),
    ),
    'EoMT of tue-mps': ('network.q.', 'network.encoder.backbone.'),
    'EoMT of transformers': ('upscale_block.block.',),
    NATIVE: ('panoptic_head.task_token.', MASK_PROBS),
}
_CONVERTERS = {
    'reference': from_reference,
    'transformers': from_huggingface,
    'EoMT of tue-mps': from_authors,
    'EoMT of transformers': from_transformers_eomt,
}


def layout_of(names: Iterable[str]) -> str | None:
    """Return the layout that some names of entries belong to.

    Args:
        names (Iterable[str]): Names in a state dict.

    Returns:
        str | None: A key of the converters, ``'OpenMMLab'`` (ours), or None
        if these are not the weights of a OneFormer or EoMT.
    """
    names = [name for name in names if isinstance(name, str)]
    for layout, marks in _MARKS.items():
        if any(name.startswith(marks) for name in names):
            return layout
    return None


def to_native(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of a OneFormer to our names.

    Args:
        state_dict (Mapping[str, Tensor]): Entries of any known layout.

    Returns:
        dict[str, Tensor]: Entries under our names.

    Raises:
        InputError: If these are not the weights of a OneFormer, or not all
            of them belong to one.
    """
    layout = layout_of(state_dict)
    if layout is None:
        some = ', '.join(map(repr, list(state_dict)[:3]))
        raise InputError(
            'These are not the weights of a OneFormer: expected the layout '
            'of this package, of the reference or of transformers, got '
            f'{len(state_dict)} entries such as {some}.'
        )
    if layout == NATIVE:
        return dict(state_dict)
    return _CONVERTERS[layout](state_dict)
