"""A worker process that divides 8 by a number; it dies of a negative one."""

import os

from recurlm.errors import InputError
from recurlm.workers import serve


def answer(request, tell):
    number = request["divide"]
    if number < 0:
        os._exit(7)
    if not number:
        raise InputError("nothing divides by zero")
    tell({"half": number / 2})
    return {"result": 8 / number}


if __name__ == "__main__":
    serve(answer)
