"""The errors of this package: each message says what happened, to what, and what to do next."""


class NeuralForgeError(Exception):
    """Any failure that the user can read, and act on, as it stands."""


class HomeError(NeuralForgeError):
    """The home folder cannot be created, read or written."""


class BaseFileError(NeuralForgeError):
    """A base is missing, truncated, not GGUF, or of a kind that cannot be served."""


class AdapterError(NeuralForgeError):
    """An adapter is missing, malformed, not finite, or trained for another base."""


class StackError(NeuralForgeError):
    """A stack cannot be resolved or changed as asked."""


class HubError(NeuralForgeError):
    """A base cannot be fetched from the hub; what was fetched so far is kept unless it is wrong."""
