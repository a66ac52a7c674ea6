"""What the server says to its client and asks it, as far as the client can do that.

Invariant: a message is shown once, however often its reason recurs; no question waits forever.
Knows the protocol, not the reasons.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from neuralforge_server.notice import Notice
from neuralforge_server.settings import SECTION

logger = logging.getLogger(__name__)

_CONFIGURATION_SECONDS = 2.0
_KINDS = {
    "info": types.MessageType.Info,
    "warning": types.MessageType.Warning,
    "error": types.MessageType.Error,
}


class ClientLink:
    """The client of one connection."""

    def __init__(self, server: LanguageServer) -> None:
        self.server = server
        self._shown: set[str] = set()
        self._early: list[Notice] | None = []
        """What came before the client may be spoken to."""

    def open(self) -> None:
        """The client is ready: show what has come until now."""
        early, self._early = self._early or [], None
        for notice in early:
            self.show(notice)

    def show(self, notice: Notice) -> None:
        """Put a message before the user; one that was shown is only logged, unless it answers."""
        logger.info("%s: %s", notice.kind, notice.message)
        if self._early is not None:
            self._early.append(notice)
        elif notice.answers or notice.message not in self._shown:
            self._shown.add(notice.message)
            self.server.window_show_message(
                types.ShowMessageParams(type=_KINDS[notice.kind], message=notice.message)
            )

    async def ask(self, question: str, answers: Sequence[str]) -> str | None:
        """Put a question before the user, who may take his time; None: no answer."""
        params = types.ShowMessageRequestParams(
            type=types.MessageType.Info,
            message=question,
            actions=[types.MessageActionItem(title=answer) for answer in answers],
        )
        try:
            chosen = await self.server.window_show_message_request_async(params)
        except JsonRpcException:
            return None
        title = getattr(chosen, "title", None)
        return title if title in answers else None

    async def configuration(self) -> Any | None:
        """The settings as the client has them now; None where it cannot be asked."""
        workspace = self.server.client_capabilities.workspace
        if workspace is None or not workspace.configuration:
            return None
        params = types.ConfigurationParams(items=[types.ConfigurationItem(section=SECTION)])
        try:
            values = await asyncio.wait_for(
                self.server.workspace_configuration_async(params), _CONFIGURATION_SECONDS
            )
        except (JsonRpcException, TimeoutError):
            return None
        return values[0] if values else None

    async def follow_configuration(self) -> None:
        """Have changes of the settings announced, where the client waits to be asked for that."""
        workspace = self.server.client_capabilities.workspace
        changes = workspace.did_change_configuration if workspace else None
        if changes is None or not changes.dynamic_registration:
            return
        registration = types.Registration(
            id="neuralforge-configuration",
            method=types.WORKSPACE_DID_CHANGE_CONFIGURATION,
            register_options=types.DidChangeConfigurationRegistrationOptions(section=SECTION),
        )
        try:
            await self.server.client_register_capability_async(
                types.RegistrationParams(registrations=[registration])
            )
        except JsonRpcException as error:
            logger.warning("changes of settings are not announced: %s", error)
