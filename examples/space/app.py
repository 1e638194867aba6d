"""The page of ``oneformer serve`` as a Space of Hugging Face.

The variable MODEL of the Space names one model or several, with spaces
between them: folders beside this file, or models of the Hub. The folder
``examples`` may hold images that the page offers.
"""

import os
from pathlib import Path

from projects.oneformer.datasets.file_names import image_stem
from projects.oneformer.inferencer import OneFormerInferencer
from projects.oneformer.serve.page import Page
from projects.oneformer.serve.served_model import ServedModel

MODELS = os.environ.get('MODEL', 'shi-labs/oneformer_ade20k_swin_tiny')
EXAMPLES = Path(__file__).parent / 'examples'


def main() -> None:
    """Load the models and serve the page where the Space says."""
    models = [
        ServedModel(name, OneFormerInferencer.from_pretrained(name))
        for name in MODELS.split()
    ]
    examples = sorted(map(str, EXAMPLES.glob('*')))
    page = Page(models, examples=list(filter(image_stem, examples)))
    page.launch(host=None)  # GRADIO_SERVER_NAME, which the Space sets


if __name__ == '__main__':
    main()
