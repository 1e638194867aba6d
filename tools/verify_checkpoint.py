"""Check that an official checkpoint gives the published numbers here.

Loads shi-labs/oneformer_ade20k_swin_tiny, runs the semantic task on image
39769 of COCO and compares four slices of what the network computes with the
values that the tests of transformers publish. Both are downloaded, unless
they are given as files.

Example: python tools/verify_checkpoint.py
"""

import argparse
import sys
from pathlib import Path

from _cli import (
    load_config,
    one_line_errors,
)

CONFIG = 'configs/oneformer_swin-t_ade20k.py'
WEIGHTS = (
    'https://huggingface.co/shi-labs/oneformer_ade20k_swin_tiny/resolve/main/'
    'pytorch_model.bin'
)
IMAGE = 'http://images.cocodataset.org/val2017/000000039769.jpg'
SIZE = (512, 682)  # height, width; not padded, as there
# Rows and columns 0 to 2 of channel or query 0 of the first image.
GOLDEN = {
    'backbone features, stride 32': (
        (0.2723, 0.8280, 0.6026),
        (1.2699, 1.1257, 1.1444),
        (1.1344, 0.6153, 0.4177),
    ),
    'mask features': (
        (1.0581, 1.2276, 1.2003),
        (1.1903, 1.2925, 1.2862),
        (1.1580, 1.2559, 1.3216),
    ),
    'class logits': (
        (3.0668, -1.1833, -5.1103),
        (3.3440, -3.3620, -5.1101),
        (2.6017, -4.3613, -4.1444),
    ),
    'mask logits': (
        (3.1848, 4.2141, 4.1993),
        (2.9000, 3.5721, 3.6603),
        (2.5358, 3.0883, 3.6168),
    ),
}
TOLERANCE = 1e-3


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        '--weights', default=WEIGHTS, help='file, folder or address'
    )
    parser.add_argument('--image', default=IMAGE, help='file or address')
    parser.add_argument(
        '--config',
        default=str(Path(__file__).parents[1] / CONFIG),
        help='config of the model',
    )
    return parser.parse_args()


def main() -> None:
    """Compare and print a verdict for each tensor."""
    args = parse_args()
    config = load_config(args.config, {})
    computed = compute(config, args.weights, args.image)
    sys.exit(0 if compare(computed) else 1)


def compute(config, weights: str, image: str) -> dict:
    """Return the slices that :data:`GOLDEN` holds, (3, 3) each."""
    import torch
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope

    from projects.oneformer.models.query_head import mask_logits
    from projects.oneformer.weights.inference_model import inference_model
    from projects.oneformer.weights.reader import load_weights

    init_default_scope(config.default_scope)
    model = MODELS.build(inference_model(config.model)).eval()
    load_weights(model, weights)
    with torch.no_grad():
        inputs = read_image(image, model.data_preprocessor)
        feats = model.extract_feat(inputs)
        head = model.panoptic_head
        pixels = head.pixel_features(feats)
        output = head.decode(pixels, ['semantic'])
        masks = mask_logits(output.mask_embeds[-1], pixels.mask_features)
    return {
        'backbone features, stride 32': feats[-1][0, 0, :3, :3],
        'mask features': pixels.mask_features[0, 0, :3, :3],
        'class logits': output.cls_scores[-1][0, :3, :3],
        'mask logits': masks[0, 0, :3, :3],
    }


def read_image(image: str, preprocessor):
    """Return the image as the network sees it, (1, 3, 512, 682)."""
    import numpy as np
    import torch
    from PIL import Image

    from projects.oneformer import images

    rgb = np.ascontiguousarray(images.read_image(image)[..., ::-1])
    resized = Image.fromarray(rgb).resize(
        SIZE[::-1], Image.Resampling.BILINEAR
    )
    pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float()
    return ((pixels - preprocessor.mean) / preprocessor.std)[None]


def compare(computed: dict) -> bool:
    """Print a line for each tensor; return whether all agree."""
    import torch

    agreed = True
    for name, golden in GOLDEN.items():
        difference = (computed[name] - torch.tensor(golden)).abs().max().item()
        passed = difference < TOLERANCE
        agreed &= passed
        print(
            f'{"pass" if passed else "FAIL"}  {name}: largest difference '
            f'{difference:.1e} (tolerance {TOLERANCE:.0e})'
        )
    return agreed


if __name__ == '__main__':
    with one_line_errors():
        main()
