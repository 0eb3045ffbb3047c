"""A Flask application, served by gunicorn."""

import sys

from flask import Flask

app = Flask(__name__)


@app.get("/")
def home():
    return f"Hello from Flask on Python {sys.version.split()[0]}\n"
