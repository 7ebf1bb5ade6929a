"""The client of any OpenAI-compatible server: OpenAI itself, ``vllm serve``, and others."""

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from openai import OpenAI


def open_client(address: str) -> "tuple[OpenAI, str]":
    """A client, and its address with ``/v1`` where ``address`` has no path.

    The key is read from ``OPENAI_API_KEY``. Connection errors, timeouts, 408, 409, 429 and 5xx are
    tried again with back-off before they are raised.
    """
    from openai import OpenAI

    if urlsplit(address).path in ("", "/"):
        address = address.rstrip("/") + "/v1"
    key = os.environ.get("OPENAI_API_KEY") or "none"
    return OpenAI(base_url=address, api_key=key, max_retries=4, timeout=300.0), address
