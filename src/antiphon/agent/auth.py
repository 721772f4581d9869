"""Who may speak to the agent, and of what: bearer tokens, the surfaces that they name, and the one
that may only erase."""

from __future__ import annotations

import hashlib
import hmac

import msgspec

from antiphon.agent_api.messages import AnyVerb, AuthorErase, ErrorCode, ThreadDelete
from antiphon.errors import AgentProtocolError, SettingsError
from antiphon.settings import AgentSettings, Secret

DEFAULT_SURFACE = "default"


class Grant(msgspec.Struct, frozen=True):
    """What a token lets one do: everything in the threads of `surface`; where that is None, erase
    in those of any surface, and nothing else."""

    surface: str | None

    def surface_of(self, verb: AnyVerb) -> str:
        """The surface that `verb` is about. Raises AgentProtocolError `forbidden`, which never
        depends on what there is."""
        named = verb.surface if isinstance(verb, ThreadDelete | AuthorErase) else None
        if self.surface is not None:
            if named not in (None, self.surface):
                raise _forbidden("This token is for the threads of its own surface.")
            return self.surface
        if not isinstance(verb, ThreadDelete | AuthorErase):
            raise _forbidden("With this token one can only erase: thread.delete, author.erase.")
        if named is None:
            raise _forbidden("Name the `surface` whose thread you mean.")
        return named


def _forbidden(sentence: str) -> AgentProtocolError:
    return AgentProtocolError(sentence, code=ErrorCode.FORBIDDEN)


class Tokens:
    """The grants by their tokens. Raises SettingsError when there is no surface's, or two are
    equal."""

    def __init__(self, settings: AgentSettings):
        named: dict[str, Secret] = dict(settings.tokens)
        if not named and settings.token:
            named = {DEFAULT_SURFACE: settings.token}
        self._digests: dict[Grant, bytes] = {}
        for surface, token in named.items():
            if not token or not surface or len(surface) > 64:
                raise SettingsError(
                    "[agent] tokens: each needs a name of up to 64 characters and a token."
                )
            self._digests[Grant(surface)] = _digest(token.reveal())
        if not self._digests:
            raise SettingsError(
                "The agent has no token, so nobody could use it. Set ANTIPHON_AGENT__TOKEN (or "
                "[agent] tokens, one for each surface) to a long random text, such as the output "
                "of `openssl rand -hex 32`."
            )
        if len(set(self._digests.values())) < len(self._digests):
            raise SettingsError("[agent] tokens: two surfaces have the same token. Change one.")
        if settings.erase_token:
            erasing = _digest(settings.erase_token.reveal())
            if erasing in self._digests.values():
                raise SettingsError(
                    "[agent] erase_token: a surface has the same token. Change one: this one must "
                    "not be able to read."
                )
            self._digests[Grant(None)] = erasing

    def grant(self, authorization: str | None) -> Grant | None:
        """What an Authorization header grants, or None. Takes the same time for every wrong
        token."""
        scheme, _, token = (authorization or "").strip().partition(" ")
        given = _digest(token.strip())
        found: Grant | None = None
        for grant, digest in self._digests.items():
            if hmac.compare_digest(digest, given):
                found = grant
        return found if scheme.lower() == "bearer" else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
