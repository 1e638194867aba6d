"""From a folder of data to a config that a person would have written.

The way through it: :mod:`layouts` says what the folder holds, and has foreign
exports converted; :mod:`splits` says what is trained and tested on;
:mod:`labels` reads the classes; :mod:`measures` measures images and objects;
:mod:`rules` chooses every setting from these, with a reason; :mod:`plan` puts
them together; :mod:`config_text` writes the config.
"""

from .config_text import config_text
from .machine import find_machine
from .plan import Plan, Wishes, make_plan
from .rules import BACKBONES

__all__ = [
    'BACKBONES',
    'Plan',
    'Wishes',
    'config_text',
    'find_machine',
    'make_plan',
]
