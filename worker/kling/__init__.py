"""Kling's own language: bytes and values, nothing else.

The law of this package:

* **Pure.** No I/O, no clock (``now`` is handed in), no environment, no global that changes. The only libraries are
  pydantic, PyJWT and standardwebhooks. Who needs a socket, a row or a setting lives above and calls down.
* **Facts are data.** A family, a model's capability, a price, a rule, a gateway is a row with its source and edition;
  code only reads rows. Adding a family is a row in ``catalog.py``, a model in ``requests*.py`` and its rules.
* **Total.** ``evaluate`` answers for every JSON value, ``read_task`` and ``read_callback`` for all bytes: a value, or
  one of the errors that ``errors.py`` draws. Nobody else looks at a status code or a ``code`` number.
* **Discreet.** No error text, fault or ``repr`` shows a credential, a query string of a URL or a base64 file.

Not here: what a job is (``worker.jobs``), looking into media files, talking HTTP, and the emulator, which states the
same contract a second time without importing this one.
"""
