"""gradio without its usage reports, and the queue of what runs a model."""

import os

# Before gradio is imported, which would report its start otherwise.
os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'

from ..optional import import_optional

gr = import_optional('gradio', 'Pages of `oneformer serve`')

#: Options of listeners that run a model. A GPU computes one image at a time;
#: the others wait in the queue.
ONE_AT_A_TIME = dict(concurrency_id='model', concurrency_limit=1)
