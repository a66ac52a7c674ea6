"""The server package's named errors; each message says what happened, to what, and what to do."""

from neuralforge_adapters.errors import NeuralForgeError


class SessionLogError(NeuralForgeError):
    """The session log cannot do what was asked; nothing was written."""


class SessionLogLockedError(SessionLogError):
    """Another process held the session log for longer than the busy timeout."""


class SessionLogReadOnlyError(SessionLogError):
    """The session log's file or folder cannot be opened or written."""


class SessionLogDiskError(SessionLogError):
    """The disk under the session log is full or failing."""


class SessionLogCorruptError(SessionLogError):
    """The session log is damaged and could not be set aside by itself."""


class EngineError(NeuralForgeError):
    """The engine could not do what was asked, or its process ended."""


class EngineUnloadableError(EngineError):
    """llama.cpp itself cannot be loaded, so that no engine can be started here."""


class EngineLostError(EngineError):
    """An engine that is shared ended, for a reason that is none of this server's."""


class TrainerStartError(NeuralForgeError):
    """The trainer's process cannot be started."""


class DaemonError(NeuralForgeError):
    """The daemon cannot be started as it was asked."""


class DaemonBusyError(DaemonError):
    """Another daemon serves the same profile."""


class CommandError(NeuralForgeError):
    """A command of the client cannot be carried out as it was given."""


class SegmentDamagedError(NeuralForgeError):
    """A file of the fast memory is missing or damaged; it is left out and made again."""


class ContextIndexError(NeuralForgeError):
    """The index of a workspace cannot be read, written or deleted."""
