"""Text of OneFormer: the sentences and their token ids."""

from .prompts import class_text, fill_text_slots, filler_text, task_sentence
from .tokenizer import CLIPTokenizer

__all__ = [
    'CLIPTokenizer',
    'class_text',
    'fill_text_slots',
    'filler_text',
    'task_sentence',
]
