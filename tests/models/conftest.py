"""What the tests of the model share."""

import pytest
import torch


@pytest.fixture(autouse=True, scope='module')
def one_thread():
    """Tensors are small here: on a busy machine more threads only wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
