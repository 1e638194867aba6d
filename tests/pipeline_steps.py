"""Steps of pipelines, by their types."""

from collections.abc import Iterable


def step_of(pipeline: Iterable[dict], kind: str) -> dict:
    """Return the only step of a type, to read it or to change it in place."""
    (step,) = (step for step in pipeline if step['type'] == kind)
    return step
