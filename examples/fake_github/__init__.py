"""A GitHub that runs on this machine: for the tests, and for trying the App without an account.

It answers the part of the REST API that Zeitwork uses, sends signed webhooks, keeps their
deliveries, and serves git over HTTP. It checks what GitHub checks: the App's JWT, tokens, their
scope and their end.
"""

from __future__ import annotations
