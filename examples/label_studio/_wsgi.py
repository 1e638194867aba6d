"""The web server of the backend, started by gunicorn."""

from label_studio_ml.api import init_app
from model import OneFormerBackend

app = init_app(model_class=OneFormerBackend)
