"""The errors of this package: each message says what happened, to what, and what to do next."""

from neuralforge_adapters.errors import NeuralForgeError


class RepositoryError(NeuralForgeError):
    """A git repository cannot be learned from."""


class GitMissingError(RepositoryError):
    """The git program is not installed, or not on the path."""


class NotARepositoryError(RepositoryError):
    """The path does not exist, or no git repository encloses it."""


class EmptyRepositoryError(RepositoryError):
    """The repository has no commit (of anybody) to learn from."""


class UntrustedRepositoryError(RepositoryError):
    """git refuses the repository because another user owns it."""


class NoSuchAuthorError(RepositoryError):
    """The author asked for has no commit in the repository."""


class SampleFormatError(NeuralForgeError):
    """A line of a sample file is not a sample."""
