"""Byte-pair encoding of OpenAI CLIP: text in, 77 token ids out.

Nothing is read before the first text: the vocabulary, ``regex`` and ``ftfy``
are loaded then, once in a process, and shared by all tokenizers.
"""

from __future__ import annotations

import gzip
import html
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

if TYPE_CHECKING:
    import regex

_MERGES_FILE = Path(__file__).parent / 'vocab' / 'clip_merges.txt.gz'
_NUM_MERGES = 48894
_END_OF_WORD = '</w>'
_SPECIAL_IDS = {'<|startoftext|>': 49406, '<|endoftext|>': 49407}


@TASK_UTILS.register_module()
class CLIPTokenizer:
    """Turn text into the token ids of OpenAI CLIP.

    A text becomes the start id, the ids of its words, the end id, then zeros
    up to ``context_length``. A longer text is cut there and its last id
    becomes the end id. Zero is also the id of ``!``: padding is not marked.

    The two special tokens written out in a text, ``<|startoftext|>`` and
    ``<|endoftext|>``, become their ids, as in the original.

    Args:
        context_length (int): Number of ids per text, 2 or more.

    Attributes:
        vocab_size (int): Number of token ids.
        start_id (int): Id before the first word.
        end_id (int): Id after the last word.

    Raises:
        TypeError: If ``context_length`` is not an int.
        ValueError: If ``context_length`` is less than 2.

    Source: https://github.com/openai/CLIP, the file of merges and its rules.
    """

    vocab_size = 2 * 256 + _NUM_MERGES + len(_SPECIAL_IDS)  # 49408
    start_id = _SPECIAL_IDS['<|startoftext|>']
    end_id = _SPECIAL_IDS['<|endoftext|>']

    def __init__(self, context_length: int = 77) -> None:
        if isinstance(context_length, bool) or not isinstance(
            context_length, int
        ):
            raise TypeError(
                'Expected context_length as an int, got '
                f'{context_length!r}: CLIP and OneFormer use 77.'
            )
        if context_length < 2:
            raise ValueError(
                'Expected context_length of 2 or more, for the start and the '
                f'end id, got {context_length}: CLIP and OneFormer use 77.'
            )
        self.context_length = context_length

    def __call__(self, texts: str | Sequence[str]) -> Tensor:
        """Tokenize one text or a batch of texts.

        Args:
            texts (str or Sequence[str]): A text, or a list or tuple of ``n``
                texts.

        Returns:
            Tensor: Token ids, int64, (context_length,) for a text and
            (n, context_length) for a list or tuple.

        Raises:
            TypeError: If ``texts`` is neither, or one of them is not a str.
        """
        if isinstance(texts, str):
            return self._tokenize(texts)
        if not isinstance(texts, (list, tuple)):
            raise TypeError(
                'Expected a str, or a list or tuple of str, got '
                f'{type(texts).__name__}.'
            )
        rows = torch.zeros(len(texts), self.context_length, dtype=torch.long)
        for row, text in zip(rows, texts, strict=True):
            row.copy_(self._tokenize(text))
        return rows  # (n, context_length)

    def encode(self, text: str) -> list[int]:
        """Return the ids of all words of a text.

        Args:
            text (str): A text of any length.

        Returns:
            list[int]: Ids without start, end, padding or cut; empty for a
            blank text.

        Raises:
            TypeError: If ``text`` is not a str.
        """
        if not isinstance(text, str):
            raise TypeError(
                f'Expected every text to be a str, got {text!r} of type '
                f'{type(text).__name__}: convert it with str() first.'
            )
        return list(_text_ids(text))

    def _tokenize(self, text: str) -> Tensor:
        words = self.encode(text)[: self.context_length - 2]
        ids = [self.start_id, *words, self.end_id]
        row = torch.zeros(self.context_length, dtype=torch.long)
        row[: len(ids)] = torch.tensor(ids)
        return row  # (context_length,)


class _Vocabulary(NamedTuple):
    """Token ids of bytes, and of two tokens that stand side by side."""

    byte_ids: dict[int, int]  # A byte inside a word; plus 256, at its end.
    merge_ids: dict[tuple[int, int], int]  # The earlier merge, the lower id.


def _clean(text: str) -> str:
    """Repair, unescape, trim and lower-case a text, in the order of CLIP."""
    import ftfy

    text = ftfy.fix_text(text)
    # Twice, because web text is often escaped twice: &amp;lt;
    text = html.unescape(html.unescape(text))
    return ' '.join(text.split()).lower()


@cache
def _word_pattern() -> regex.Pattern[str]:
    """Return the pattern that finds the words of a cleaned text.

    Cleaned text is lower case, yet the pattern ignores case as in CLIP: some
    lower-case letters, the long s for one, are a case of another.
    """
    import regex

    kinds = [
        *map(regex.escape, _SPECIAL_IDS),
        *("'s", "'t", "'re", "'ve", "'m", "'ll", "'d"),
        r'\p{L}+',
        r'\p{N}',
        r'[^\s\p{L}\p{N}]+',
    ]
    return regex.compile('|'.join(kinds), regex.IGNORECASE)


# Class texts come again with every image, and repairing them takes longest.
@lru_cache(maxsize=2**12)
def _text_ids(text: str) -> tuple[int, ...]:
    """Clean a text, split it into words and encode these."""
    words = _word_pattern().findall(_clean(text))
    return tuple(token_id for word in words for token_id in _word_ids(word))


@lru_cache(maxsize=2**14)
def _word_ids(word: str) -> tuple[int, ...]:
    """Merge the bytes of a word into as few tokens as the merges allow.

    Of all neighbours that can be merged, the pair of the earliest merge is
    merged first, wherever it occurs, from left to right.
    """
    if word in _SPECIAL_IDS:
        return (_SPECIAL_IDS[word],)
    byte_ids, merge_ids = _load_vocabulary()
    ids = [byte_ids[byte] for byte in word.encode()]
    ids[-1] += 256
    while True:
        pairs = set(zip(ids, ids[1:], strict=False))
        known = pairs & merge_ids.keys()
        best = min(known, key=merge_ids.__getitem__, default=None)
        if best is None:
            return tuple(ids)
        ids = _merge(ids, best, merge_ids[best])


def _merge(ids: list[int], pair: tuple[int, int], merged: int) -> list[int]:
    """Replace each occurrence of a pair, from left to right."""
    result: list[int] = []
    for token_id in ids:
        # A merged id never starts a pair of its own merge.
        if result and (result[-1], token_id) == pair:
            result[-1] = merged
        else:
            result.append(token_id)
    return result


# Not locked: threads that come first together load equal copies, while a
# lock held during a fork would block the child for good.
@cache
def _load_vocabulary() -> _Vocabulary:
    """Read the merges and number all tokens.

    Raises:
        ValueError: If the file does not hold all merges.
    """
    lines = _read_merges()
    symbols = _byte_symbols()
    byte_ids = {byte: i for i, byte in enumerate(symbols)}
    ids = {symbol: i for i, symbol in enumerate(symbols.values())}
    ids |= {symbol + _END_OF_WORD: i + 256 for symbol, i in ids.items()}
    merge_ids = {}
    for merged, line in enumerate(lines, start=len(ids)):
        left, right = line.split(' ')
        merge_ids[ids[left], ids[right]] = merged
        ids[left + right] = merged
    return _Vocabulary(byte_ids, merge_ids)


def _read_merges() -> list[str]:
    lines = gzip.decompress(_MERGES_FILE.read_bytes()).decode().splitlines()
    if len(lines) != _NUM_MERGES:
        raise ValueError(
            f'Expected {_NUM_MERGES} merges in {_MERGES_FILE}, got '
            f'{len(lines)}: install the package again.'
        )
    return lines


def written_vocabulary() -> tuple[list[str], list[str]]:
    """Return the vocabulary as other tokenizers of CLIP write it.

    Returns:
        tuple[list[str], list[str]]: The tokens in the order of their ids, and
        the merges, two tokens with a blank between them.
    """
    merges = _read_merges()
    symbols = list(_byte_symbols().values())
    tokens = symbols + [symbol + _END_OF_WORD for symbol in symbols]
    tokens += [merge.replace(' ', '') for merge in merges]
    return tokens + list(_SPECIAL_IDS), merges


def _byte_symbols() -> dict[int, str]:
    """Return the character that stands for each byte in the file of merges.

    Bytes that print in Latin-1 stand for themselves and come first; the
    others are written as U+0100 and following. The order is that of the ids.
    """
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    symbols = {byte: chr(byte) for byte in printed}
    symbols |= {byte: chr(256 + i) for i, byte in enumerate(others)}
    return symbols
