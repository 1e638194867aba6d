"""Serve a web page that segments images, and its HTTP interface.

By default only this machine can reach the page. It contacts no other server.

Examples:
  python tools/serve.py configs/oneformer_swin-l_coco.py model.pth
  python tools/serve.py me/zoo --models me/other --examples photos/
  python tools/serve.py zoo/ --host 0.0.0.0 --port 8080

A model is a config with its checkpoint, or one name alone: a folder that
save_pretrained wrote, a model on the Hub, or a checkpoint of the reference.
"""

import argparse
import os
import sys
from pathlib import Path

from _cli import (
    device,
    find_project,
    load_config,
    one_line_errors,
    positive,
)


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'model',
        metavar='MODEL',
        help='config file, or folder, checkpoint or name on the Hub',
    )
    parser.add_argument(
        'weights', nargs='?', help='checkpoint file for a config'
    )
    parser.add_argument(
        '--models',
        nargs='+',
        default=[],
        metavar='MODEL',
        help='further models to choose from: names, or CONFIG,WEIGHTS',
    )
    parser.add_argument(
        '--examples',
        type=Path,
        metavar='FOLDER',
        help='folder of images that the page offers',
    )
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen on; 0.0.0.0 lets other machines in '
        '(default: 127.0.0.1)',
    )
    parser.add_argument(
        '--port',
        type=port,
        help='port to listen on; by default the first free one from 7860',
    )
    parser.add_argument(
        '--share',
        action='store_true',
        help='also get a public address from gradio.live; anybody who has it '
        'can use the page',
    )
    parser.add_argument(
        '--device',
        type=device,
        help='cpu, cuda, cuda:1, ...; by default a GPU if present',
    )
    parser.add_argument(
        '--max-megabytes',
        type=positive,
        default=50,
        help='largest size of an uploaded file (default: 50)',
    )
    parser.add_argument(
        '--max-megapixels',
        type=positive,
        default=50,
        help='largest size of an uploaded image (default: 50)',
    )
    parser.add_argument(
        '--max-side',
        type=positive,
        default=2048,
        help='longer side to which larger images are reduced before they '
        'are segmented (default: 2048)',
    )
    return parser.parse_args()


def port(text: str) -> int:
    """Return an argument that has to be a port."""
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise argparse.ArgumentTypeError(
            f'expected a port from 1 to {2**16 - 1}, got {text!r}'
        )
    return int(text)


def main() -> None:
    """Load the models and serve the page."""
    args = parse_args()
    sources = [(args.model, args.weights)]
    for text in args.models:
        name, _, weights = text.partition(',')
        sources.append((name, weights or None))
    for name, weights in sources:
        if name.endswith('.py') and not weights:
            sys.exit(f'Config {name} needs its checkpoint beside it.')
    find_project()

    from projects.oneformer.datasets.file_names import image_stem, list_files
    from projects.oneformer.serve.limits import Limits
    from projects.oneformer.serve.page import Page

    examples: list[str] = []
    if args.examples is not None:
        if not args.examples.is_dir():
            sys.exit(f'--examples {args.examples} is no folder.')
        files = list_files(args.examples)
        examples = [
            str(args.examples / name) for name in files if image_stem(name)
        ]
    page = Page(
        load_models(sources, args.device),
        Limits(
            max_bytes=args.max_megabytes * 1_000_000,
            max_pixels=args.max_megapixels * 1_000_000,
            max_side=args.max_side,
        ),
        examples,
    )
    if args.host not in ('127.0.0.1', 'localhost', '::1'):
        print(
            f'Listening on {args.host}: everyone who reaches this '
            'machine can use the page.'
        )
    page.launch(args.host, args.port, args.share)


def load_models(sources: list[tuple[str, str | None]], device: str | None):
    """Return the models under short names that differ."""
    from projects.oneformer.inferencer import OneFormerInferencer
    from projects.oneformer.serve.served_model import ServedModel

    models: list[ServedModel] = []
    for source, weights in sources:
        print(f'Loading {weights or source}', flush=True)
        inferencer = OneFormerInferencer.from_pretrained(
            weights or source,
            device,
            config=load_config(source, {}) if weights else None,
        )
        stem = Path(source.rstrip('/')).name or os.path.basename(source)
        name = stem.removesuffix('.py')
        taken = [model.name for model in models]
        number = 1
        while name in taken:
            number += 1
            name = f'{stem.removesuffix(".py")} ({number})'
        models.append(ServedModel(name, inferencer))
    return models


if __name__ == '__main__':
    with one_line_errors():
        main()
