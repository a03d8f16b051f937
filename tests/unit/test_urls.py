"""Which URLs can be called at all."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.guard import Guard
from infra.http import Http, NoPlace, NotSent
from infra.urls import BadUrl, fault_of, host_of, parsed, port_of

URL = "must be an absolute http:// or https:// URL"
HOST = "names a host that there can't be"


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("https://h", None), ("HTTPS://H:8443/a b?c#d", None), ("http://[::1%25lo]:80/", None),
        ("", URL), ("h", URL), ("//h", URL), ("ftp://h", URL), ("http:h", URL), ("http://", URL), ("http://[::1", URL),
        ("https://h:0/", URL), ("https://h:70000/", URL), ("https://h:x/", URL), ("https://\u2100.com/", URL),
        ("https://h/\0", "must not hold control characters"), ("https://h/\n", "must not hold control characters"),
        ("https://u:p@h/", "must not hold credentials"), ("https://1.1.1.1\\@h/", "must not hold credentials"),
        ("https://a..b/", HOST), (f"https://{'a' * 64}/", HOST), ("https://a b/", HOST), (" https://h/", HOST),
        ("https://\u2460\u2461\u2466.0.0.1/", HOST), ("https://\\a.example/", HOST), ("http://\\:80/", HOST),
    ],
)  # fmt: skip
def test_what_can_never_be_called_is_said_before(url: str, fault: str | None) -> None:
    """By the door as by the guard, with the same words; and a call of it leads nowhere, unless all that
    is odd are letters that can be sent in another way.
    """
    assert fault == fault_of(url)
    if fault:
        assert fault == Guard().refusal_of(url)
    if fault and "control" not in fault:
        with pytest.raises(NoPlace, match=f"the URL {fault}"):
            Http().send("GET", url, {}, None, seconds=5)


@given(st.sampled_from(["http://", "https://"]), st.text(max_size=30) | st.text("a.\\/[]:1", max_size=6),
       st.sampled_from(["", ":1/", "/", "@127.0.0.1/"]))  # fmt: skip
def test_of_any_text_there_is_one_reading(scheme: str, text: str, end: str) -> None:
    """A host that can be looked up, a port and no credentials, or what is wrong with it."""
    with suppress(BadUrl):
        target = parsed(scheme + text + end)

        assert target.auth is None
        assert scheme == f"{target.scheme}://"
        assert host_of(target)
        assert host_of(target).isascii()
        assert 0 < port_of(target) <= 65535


@given(st.text(max_size=30))
def test_no_text_of_a_url_breaks_a_call(text: str) -> None:
    """Of any URL that nobody is reached by there is `NotSent`, and nothing else."""
    with pytest.raises(NotSent):
        Http(Guard()).send("GET", f"https://{text}", {}, None, seconds=0)
