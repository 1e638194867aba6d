"""Save a model as a folder to share, or push it to the Hub.

The folder holds config.json, model.safetensors and a card (README.md), and no
code: OneFormerInferencer.from_pretrained(folder) and tools/infer.py read it.
SOURCE is a checkpoint with --config, a checkpoint of the reference, a folder
of transformers, or the name of a model on the Hub.

Examples:
  save_pretrained.py work_dirs/zoo/iter_20000.pth zoo --config zoo.py \\
      --data 'Zoo 2' --licence cc-by-4.0 --scores work_dirs/zoo-test
  save_pretrained.py shi-labs/oneformer_ade20k_swin_tiny ade20k --float16
  save_pretrained.py zoo --push-to-hub me/zoo
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from _cli import (
    add_config_options,
    find_project,
    load_config,
    one_line_errors,
)


def parse_args() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', metavar='SOURCE', help='model to save')
    parser.add_argument('folder', nargs='?', type=Path, help='folder to write')
    parser.add_argument('--config', help='config, if SOURCE is a checkpoint')
    parser.add_argument(
        '--float16', action='store_true', help='store the weights in float16'
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace a folder that this tool wrote',
    )
    parser.add_argument(
        '--data', help='for the card: what the model was trained on'
    )
    parser.add_argument(
        '--licence',
        help='for the card: an identifier of the Hub, such as apache-2.0',
    )
    parser.add_argument(
        '--scores',
        type=Path,
        metavar='PATH',
        help='for the card: work dir of tools/test.py, or the JSON in it',
    )
    parser.add_argument(
        '--evaluated-on',
        metavar='DATA',
        help='for the card: data of the scores, by default --data',
    )
    parser.add_argument(
        '--push-to-hub', metavar='OWNER/NAME', help='upload the model'
    )
    parser.add_argument(
        '--private',
        action='store_true',
        help='make the repository private if it is new',
    )
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    """Save."""
    args = parse_args()
    if args.folder is None and args.push_to_hub is None:
        sys.exit('Give a folder to write, --push-to-hub, or both.')
    config = None
    if args.config:
        config = load_config(args.config, args.cfg_options)
    elif args.cfg_options:
        sys.exit('--cfg-options needs --config.')
    find_project()
    from projects.oneformer.inferencer import OneFormerInferencer
    from projects.oneformer.pretrained import CardFacts, read_scores

    facts = CardFacts(
        data=args.data,
        licence=args.licence,
        scores=read_scores(args.scores) if args.scores else {},
        evaluated_on=args.evaluated_on,
    )
    inferencer = OneFormerInferencer.from_pretrained(
        args.source, device='cpu', config=config
    )
    if args.folder is not None:
        inferencer.save_pretrained(
            args.folder, args.float16, facts, args.overwrite
        )
        print(f'Wrote {args.folder}.')
    if args.push_to_hub:
        address = inferencer.push_to_hub(
            args.push_to_hub,
            args.float16,
            facts,
            private=args.private or None,
        )
        print(f'Uploaded {address}.')


if __name__ == '__main__':
    with one_line_errors():
        main()
