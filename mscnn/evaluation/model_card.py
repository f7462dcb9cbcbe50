"""The model card of an exported network, in Markdown: model_card.md filled in.   mscnn export RUN --out DIR"""

from pathlib import Path

import jinja2

from mscnn.evaluation.export_description import CONFIG, ONNX, PLATES, PROGRAM, WEIGHTS, ExportDescription
from mscnn.evaluation.readout_scores import EvaluationScores
from mscnn.evaluation.scoring import LevelScores
from mscnn.model import NUM_FEATURES
from mscnn.readout.tables import NETWORK

TEMPLATE = Path(__file__).with_suffix(".md")
FILES = {"weights": WEIGHTS, "config": CONFIG, "plates": PLATES, "program": PROGRAM, "onnx": ONNX}


def model_card(description: ExportDescription, scores: EvaluationScores | None, *, onnx: bool) -> str:
    """Return the model card; scores: on the fields that were held out, None before an evaluation."""
    # No HTML: the filter `plain` takes the markup of Markdown out of names.
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
                                     autoescape=jinja2.select_autoescape(default_for_string=False))
    environment.filters["plain"] = lambda names: ", ".join(map(_plain, names))
    height, width = description.image_size
    return environment.from_string(TEMPLATE.read_text()).render(
        description=description, split=description.split, mode=description.normalisation["mode"], height=height,
        width=width, num_features=NUM_FEATURES, scores=_scores(scores), files=FILES, onnx=onnx)


def _scores(scores: EvaluationScores | None) -> str:
    """Return the scores in words; of a run whose read-out was chosen, those of the network alone too."""
    if scores is None:
        return "None: the run has not been evaluated."
    words = _words(scores) or "None: no scored field has a known mechanism."
    if scores.readout is None:
        return words
    alone = scores.readout.scored().get(NETWORK)
    of_network = f" The network's features alone: {_words(alone)}." if alone and _words(alone) else ""
    return f"By the read-out that was chosen, {scores.readout.chosen}: {words}.{of_network}"


def _words(scores: LevelScores) -> str:
    return "; ".join(f"{level} {score.correct}/{score.total} right" for level, score in scores.by_level().items()
                     if score.total)


def _plain(text: str) -> str:
    """Return a name of the user's table as one line of Markdown without markup."""
    return "".join(f"\\{letter}" if letter in r"\`*_[]<>#|" else letter for letter in " ".join(str(text).split()))
