import time

from flask import Flask

app = Flask(__name__)


@app.get("/<float:seconds>")
def answer(seconds):
    time.sleep(seconds)
    return "ok"
