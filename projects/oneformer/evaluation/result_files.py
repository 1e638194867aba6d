"""Names of result files, ids of categories in them."""

from collections.abc import Sequence

from ..datasets.annotation_files import read_json
from ..datasets.file_names import file_stem
from ..errors import InputError


def check_outputs(outfile_prefix: str | None, format_only: bool) -> None:
    """Check the two options of a metric that write files.

    Raises:
        ValueError: If only files are to be written, but without a name.
    """
    if format_only and not outfile_prefix:
        raise InputError(
            'format_only needs outfile_prefix: the beginning of the paths '
            "of the result files, as in 'work_dirs/results/coco'."
        )


def image_name(sample: dict) -> str:
    """Return the name of an image without folder and ending."""
    return file_stem(sample['img_path'])


def result_name(sample: dict, dataset_meta: dict) -> str:
    """Return the name of the result file of an image, without ending.

    It is that of the image. If images in several folders share it, ``_`` and
    the id of the image follow.

    Args:
        sample (dict): With ``img_path`` and ``img_id``.
        dataset_meta (dict): With ``repeated_names``, in lower case, if there
            are any in the dataset.
    """
    name = image_name(sample)
    if name.casefold() not in dataset_meta.get('repeated_names', ()):
        return name
    # The id of an image with a semantic PNG is its path.
    return f'{name}_{sample["img_id"]}'.replace('/', '_')


def category_ids(path: str, classes: Sequence[str]) -> list[int]:
    """Return the ids of classes in the categories of a JSON, by name.

    Args:
        path (str): File in the COCO layout.
        classes (Sequence[str]): Names, in label order.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If a class is not among the categories.
    """
    content = read_json(path, 'category_file of the metric')
    try:
        ids = {own['name']: own['id'] for own in content['categories']}
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path} lacks a list 'categories' of entries with 'id' and "
            "'name': check category_file of the metric."
        ) from error
    if missing := [name for name in classes if name not in ids]:
        raise InputError(
            f'{path} has no categories {missing}; it has {list(ids)}.'
        )
    return [ids[name] for name in classes]
