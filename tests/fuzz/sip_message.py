"""Fuzz target: SIP messages and their typed headers."""

from __future__ import annotations

from collections.abc import Callable

from soip.sip import headers as typed
from soip.sip.errors import SipParseError
from soip.sip.message import MAX_HEADERS, MAX_MESSAGE, Headers, Message, Request, parse_message
from soip.sip.reply import error_response
from soip.sip.uri import split_user

VIEWS: tuple[Callable[[Headers], object], ...] = (
    typed.via_list,
    typed.top_via,
    typed.from_,
    typed.to,
    typed.cseq,
    typed.call_id,
    typed.contacts,
    typed.is_wildcard,
    typed.routes,
    typed.record_routes,
    typed.asserted_identity,
    typed.expires,
    typed.retry_after,
    typed.max_forwards,
    typed.challenges,
    typed.authorizations,
    typed.content_type,
    typed.event,
    lambda headers: typed.accepts(headers, "application/pidf+xml"),
    lambda headers: typed.option_tags(headers, "Require"),
)


def fuzz(data: bytes) -> None:
    """Any bytes parse or raise SipParseError, as does every typed header; build, then parse changes nothing."""
    try:
        message = parse_message(data)
    except SipParseError as error:
        answer = error_response(error, "tag")
        if answer is not None:
            parse_message(answer.to_bytes())
        return
    _check_views(message)
    built = message.to_bytes()
    if len(built) > MAX_MESSAGE or len(message.headers) == MAX_HEADERS:
        return  # a Content-Length put in pushed it over a limit
    again = parse_message(built)
    assert again.to_bytes() == built
    assert again.body == message.body
    message.headers.remove("Content-Length")
    again.headers.remove("Content-Length")
    assert again == message


def _check_views(message: Message) -> None:
    for view in VIEWS:
        try:
            view(message.headers)
        except SipParseError:
            continue
    if isinstance(message, Request):
        try:
            split_user(message.uri.user)
        except SipParseError:
            return
