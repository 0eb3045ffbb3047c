"""A FastAPI application, served by uvicorn."""

import sys

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def home() -> dict[str, str]:
    return {"hello": "FastAPI", "python": sys.version.split()[0]}
