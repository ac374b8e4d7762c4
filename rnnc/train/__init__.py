"""Training: ``fit`` runs the models that the compiler makes for it over data."""

from rnnc.runtime.vocabulary import Vocabulary
from rnnc.train.checkpoint import load_weights, metadata_of, vocabulary_in
from rnnc.train.fit import Fit, fit
from rnnc.train.loop import DivergedError
from rnnc.train.text import Text

__all__ = [
    "DivergedError",
    "Fit",
    "Text",
    "Vocabulary",
    "fit",
    "load_weights",
    "metadata_of",
    "vocabulary_in",
]
