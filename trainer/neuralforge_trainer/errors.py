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


class DatasetError(NeuralForgeError):
    """A dataset cannot be read, or holds nothing that can be used."""


class BaseNotTrainableError(NeuralForgeError):
    """The base can be served, but transformers cannot read it as it is served."""


class TrainerBusyError(NeuralForgeError):
    """Another trainer of this user is at work."""


class NothingToLearnError(NeuralForgeError):
    """There are too few new samples, or too few new lines to measure a candidate on."""


class AlreadyLearntError(NothingToLearnError):
    """Everything that a job names was learnt, or passed over for good, before."""


class TrainingDivergedError(NeuralForgeError):
    """Loss or gradients stayed NaN or infinite, or the weights became so."""


class TrainingMemoryError(NeuralForgeError):
    """The base, or a single example, does not fit into memory."""


class TrainingStoppedError(NeuralForgeError):
    """A run ended before its time.

    `skip`: its samples are to be passed over for good. `later`: nobody gave it up, and it goes on
    from its last checkpoint.
    """

    def __init__(self, message: str, *, skip: bool = False, later: bool = False) -> None:
        super().__init__(message)
        self.skip = skip
        self.later = later


class ReplayError(NeuralForgeError):
    """The replay buffer cannot be read or written."""


class ConsolidationError(NeuralForgeError):
    """EWC's anchor and Fisher beside a version are damaged, or not of this base and LoRA."""


class JobError(NeuralForgeError):
    """A job file is not one, or has a setting that cannot be used."""


class ProofError(NeuralForgeError):
    """A travel through a history cannot go on, or its list of histories cannot be used."""


class CodeChangedError(ProofError):
    """The code that learns or asks was edited under a run of the proof."""


class PretrainError(NeuralForgeError):
    """A stage of pretraining cannot go on."""


class PretrainConfigError(PretrainError):
    """A run file is missing, or says something that cannot be done."""


class CorpusError(PretrainError):
    """A package cannot be fetched or read, or is not what the manifest says."""


class ExportError(PretrainError):
    """A GGUF cannot be written, or does not read back as it was meant."""
