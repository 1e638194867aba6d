"""The sentences OneFormer reads: one for the task, one for each object.

Every template has one ``{}``; the defaults are those of the paper's models.
"""

from collections.abc import Sequence

from ..tasks import check_task

_WITH_ARTICLE = {
    'panoptic': 'a panoptic',
    'instance': 'an instance',
    'semantic': 'a semantic',
}


def task_sentence(task: str, template: str = 'The task is {}') -> str:
    """Return the sentence that tells the model its task.

    Args:
        task (str): One of :data:`~projects.oneformer.tasks.TASKS`.
        template (str): Sentence with ``{}`` for the task.

    Raises:
        ValueError: If the task is unknown or the template has not one ``{}``.
    """
    return _fill(template, check_task(task))


def class_text(name: str, template: str = 'a photo with a {}') -> str:
    """Return the text of one object or region of a class.

    Args:
        name (str): Class name, used as it is: synonyms, commas and blanks
            included. The article does not adapt to it.
        template (str): Sentence with ``{}`` for the name.

    Raises:
        TypeError: If the name is not a str.
        ValueError: If the name is blank or the template has not one ``{}``.
    """
    if not isinstance(name, str):
        raise TypeError(
            f'Expected a class name as str, got {name!r}: pass names, not '
            'class indices.'
        )
    if not name.strip():
        raise ValueError(
            f'Expected a class name, got {name!r}: name every class in the '
            'metainfo of the dataset.'
        )
    return _fill(template, name)


def filler_text(task: str, template: str = '{} photo') -> str:
    """Return the text that pads the list of class texts.

    Args:
        task (str): One of :data:`~projects.oneformer.tasks.TASKS`.
        template (str): Text with ``{}`` for the task and its article, such as
            ``an instance``.

    Raises:
        ValueError: If the task is unknown or the template has not one ``{}``.
    """
    return _fill(template, _WITH_ARTICLE[check_task(task)])


def fill_text_slots(
    texts: Sequence[str], filler: str, num_slots: int
) -> list[str]:
    """Cut or pad a list of texts to a fixed length.

    Args:
        texts (Sequence[str]): Texts, the most important first.
        filler (str): Text for each slot that is left.
        num_slots (int): Length of the result: the number of queries less the
            number of learned context tokens.

    Returns:
        list[str]: ``num_slots`` texts.

    Raises:
        TypeError: If ``texts`` is a single str.
        ValueError: If ``num_slots`` is negative.
    """
    if isinstance(texts, str):
        raise TypeError(
            f'Expected a sequence of texts, got the str {texts!r}: put it in '
            'a list.'
        )
    if num_slots < 0:
        raise ValueError(
            f'Expected 0 text slots or more, got {num_slots}: the model needs '
            'at least as many queries as learned context tokens.'
        )
    kept = list(texts[:num_slots])
    return kept + [filler] * (num_slots - len(kept))


def _fill(template: str, words: str) -> str:
    if not isinstance(template, str) or template.count('{}') != 1:
        raise ValueError(
            f"Expected a template with one '{{}}', got {template!r}: write "
            "the text as in 'a photo with a {}'."
        )
    # Not str.format: other braces, in the template or the words, are text.
    return template.replace('{}', words)
