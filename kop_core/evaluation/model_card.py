"""A model's card as text, under the headings that the field expects.

First those of Model Cards (Mitchell et al. 2019, 10.1145/3287560.3287596), then the 44
items of CLAIM, the Checklist for Artificial Intelligence in Medical Imaging, in its 2024
update (Tejani et al., Radiology: Artificial Intelligence 6, e240300), by short names of
ours. Only what is on the card is said; the rest is listed as unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from kop_core import wording
from kop_core.classes import CLASS_NAMES

UNKNOWN = "Not known: the card does not say."
DAMAGED = "Not readable: what the card says of it is damaged."

_Card = dict[str, Any]
_Filled = Callable[[_Card], "str | None"]


@dataclass(frozen=True)
class Item:
    """One thing that a card should say.

    Attributes:
        name: what it is.
        text: what the card says of it, or one phrase that it says nothing, or nothing that
            can be read.
        known: whether it says anything.
    """

    name: str
    text: str
    known: bool


@dataclass(frozen=True)
class Section:
    """Items under one heading.

    Attributes:
        heading: as in the guideline.
        items: in its order.
    """

    heading: str
    items: tuple[Item, ...]


def sections(card: _Card) -> list[Section]:
    """Return a card as text: the headings of Model Cards, then those of CLAIM 2024.

    Args:
        card: what ``card.json`` says.
    """
    found = [_section(heading, items, card) for heading, items in _MODEL_CARD]
    return found + [_section(f"CLAIM 2024: {heading}", items, card) for heading, items in _CLAIM]


def damaged(card: _Card) -> list[str]:
    """Return the names of the items that a card has something of, but nothing that can be read.

    Args:
        card: what ``card.json`` says.
    """
    items = (item for section in sections(card) for item in section.items)
    return [item.name for item in items if item.text == DAMAGED]


def to_markdown(card: _Card) -> str:
    """Return :func:`sections` as a Markdown document for download."""
    lines = [f"# {card['title']}", ""]
    for section in sections(card):
        lines += [f"## {section.heading}", ""]
        lines += [f"- **{item.name}.** {item.text}" for item in section.items]
        lines.append("")
    return "\n".join(lines)


def _section(heading: str, items: Iterable[tuple[str, _Filled]], card: _Card) -> Section:
    found = []
    for name, filled in items:
        try:
            text = filled(card)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            # Of a card by another hand; what serving relies on was checked when it was opened.
            found.append(Item(name, DAMAGED, False))
            continue
        found.append(Item(name, text or UNKNOWN, bool(text)))
    return Section(heading, tuple(found))


# What a card can say. Each takes the card and returns sentences, or None.


def _unknown(_: _Card) -> None:
    return None


def _version(card: _Card) -> str:
    return f"{card['id']}, version {card['version']}."


def _kind(card: _Card) -> str:
    said = f"Classifier of one image into {', '.join(card['classes'])}; network {card['network']}"
    parameters = card.get("parameters")
    return said + (f" with {parameters:,} parameters." if parameters else ".")


def _reference(card: _Card) -> str | None:
    return _sentence(card.get("reference"))


def _algorithm(card: _Card) -> str | None:
    training = card["training"]
    config = training.get("config") or {}
    named = ("optimizer", "learning_rate", "schedule", "warmup_epochs", "batch_size", "seed")
    given = {name: config[name] for name in named if config.get(name) is not None}
    said = [f"{name.replace('_', ' ')} {value}" for name, value in given.items()]
    options = {**card.get("options", {}), **config.get("options", {})}
    said += [f"{name.replace('_', ' ')} {value}" for name, value in options.items()]
    if "epochs_run" in training:
        said.insert(0, f"{training['epochs_run']} epochs")
    if "precision" in training:
        said.append(f"arithmetic in {training['precision']}")
    if "augmentation" in config:
        said.append(_augmentation(config["augmentation"]))
    return _sentence(", ".join(said))


def _augmentation(settings: dict[str, Any] | None) -> str:
    if not settings:
        return "no augmentation"
    said = [k if v is True else f"{k} {v}" for k, v in settings.items() if v]
    return f"augmentation by {', '.join(said)}"


def _terms(card: _Card) -> str | None:
    return _sentence(card["data"].get("terms"))


def _uses(card: _Card) -> str | None:
    said = [s for s in card["statements"] if s.startswith("Not a medical device")]
    return " ".join(said) or None


def _measures(card: _Card) -> str | None:
    names = [name.replace("_", " ") for name in card["evaluation"]["metrics"]]
    return _sentence(", ".join(names))


def _threshold(card: _Card) -> str:
    output = "score" if card.get("calibration") is None else "probability"
    return f"None: the class with the largest {output} is the one called."


def _uncertainty(card: _Card) -> str | None:
    return _sentence(card["evaluation"]["interval"])


def _calibration(card: _Card) -> str:
    return " ".join(wording.calibration(card))


def _source(card: _Card) -> str:
    data = card["data"]
    said = [data.get("source") or f"The data set {data.get('name', 'without a name')}."]
    if data.get("fingerprint"):
        said.append(f"Fingerprint {data['fingerprint'][:16]}.")
    return " ".join(said)


def _preparation(card: _Card) -> str:
    p = card["preparation"]
    size = f"{p.get('height', '?')} × {p.get('width', '?')} × {p.get('channels', '?')}"
    values = f"values from {p.get('low', '?')} to {p.get('high', '?')}"
    return f"{p.get('name', 'Unnamed')}: {size}, {values}."


def _tested(card: _Card) -> str:
    evaluation = card["evaluation"]
    radiographs = evaluation.get("radiographs")
    of = f" of {radiographs:,} radiographs" if radiographs else ", radiographs not counted"
    badge = wording.split_badge(card["split"])[0]
    return f"{evaluation['images']:,} images{of} ({badge})."


def _trained(card: _Card) -> str | None:
    split, data = card["split"], card["data"]
    files = split.get("training_files")
    if files is None:
        return None
    radiographs = split.get("training_radiographs")
    of = f" of {radiographs:,} radiographs" if radiographs else ""
    return f"{files:,} files{of}, of {data.get('name', 'a data set without a name')}."


def _classes_of_data(card: _Card) -> str | None:
    counts = card["data"].get("classes")
    if not counts:
        return None
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) + "."


def _metric(card: _Card, name: str) -> str | None:
    metric = card["evaluation"]["metrics"].get(name)
    if metric is None:
        return None
    if metric["value"] is None:
        return "not defined"
    low, high = (f"{100 * metric[k]:.0f}" for k in ("low", "high"))
    return f"{wording.percent(metric['value'])} (95 % CI {low}–{high})"


def _accuracy(card: _Card) -> str:
    badge = wording.split_badge(card["split"])[0]
    return f"Accuracy {wording.accuracy(card['evaluation'])}; {badge}."


def _by_class(card: _Card) -> str | None:
    said = []
    for name in CLASS_NAMES:
        figures = [
            f"{word} {figure}"
            for word, metric in (
                ("sensitivity", "recall"),
                ("specificity", "specificity"),
                ("precision", "precision"),
            )
            if (figure := _metric(card, f"{metric}_{name}"))
        ]
        if figures:
            said.append(f"{name[0].upper()}{name[1:]}: {', '.join(figures)}.")
    if not said:
        return None
    return " ".join([*said, f"All on {_tested(card)}"])


def _confusion(card: _Card) -> str:
    rows = [
        f"labelled {name}, called {' / '.join(CLASS_NAMES)}: {' / '.join(map(str, row))}"
        for name, row in zip(CLASS_NAMES, card["evaluation"]["confusion"])
    ]
    return " ".join([f"Test images {'; '.join(rows)}.", *wording.cautions(card)])


def _caveats(card: _Card) -> str | None:
    return " ".join([*wording.cautions(card), *card["statements"]]) or None


def _recommendation(card: _Card) -> str | None:
    return _uses(card)


def _eligible(card: _Card) -> str | None:
    data = card["data"]
    if "unreadable" not in data or "files" not in data:
        return None
    read = data["files"] - len(data["unreadable"])
    return (
        f"Files of the class folders that could be read, {read:,} of {data['files']:,}. Clinical "
        "criteria are not on the card."
    )


def _subsets(card: _Card) -> str | None:
    split = card["split"]
    if "left_out_files" not in split:
        return None
    if not split["left_out_files"]:
        return "No file was left out by choice."
    marked = sum((card["data"].get("left_out_marked") or {}).values())
    disputed = split["left_out_files"] - marked
    said = []
    if disputed:
        said.append(
            f"{disputed:,} files were left out of both parts, because their radiographs are filed "
            "under more than one class."
        )
    if marked:
        said.append(f"{marked:,} were left out of both parts, because a reader had marked them.")
    return " ".join(said)


def _missing(card: _Card) -> str | None:
    unreadable = card["data"].get("unreadable")
    if unreadable is None:
        return None
    if not unreadable:
        return "Every file could be read. Other missing data are not on the card."
    return f"{len(unreadable):,} files that could not be read were left out."


def _reference_standard(card: _Card) -> str | None:
    source = card["data"].get("source")
    return (
        f"The classes are those of the data set, as its source gives them: {source}"
        if source
        else None
    )


def _partitions(card: _Card) -> str:
    split = card["split"]
    how = {
        "random": "At random, file by file",
        "radiograph": "By radiograph",
        "patient": "By patient",
    }.get(split["protocol"], f"By the protocol {split['protocol']}")
    said = [how]
    if split.get("folds"):
        said.append(f"fold {split['fold']} of {split['folds']}")
    if "seed" in split:
        said.append(f"seed {split['seed']}")
    if "training_files" in split and "test_files" in split:
        said.append(f"{split['training_files']:,} files to train")
        if split.get("validation_files"):
            said.append(f"{split['validation_files']:,} to validate while it trains")
        said.append(f"{split['test_files']:,} to test")
    return ", ".join(said) + "."


def _disjoint(card: _Card) -> str:
    split = card["split"]
    level = {"random": "the file", "radiograph": "the radiograph", "patient": "the patient"}
    said = [f"Parts are apart at the level of {level.get(split['protocol'], 'an unknown unit')}."]
    for name, what in (
        ("identical", "a byte-identical copy"),
        ("same_radiograph", "a picture of the same radiograph"),
        ("same_patient", "a picture of the same patient"),
    ):
        share = split.get(f"{name}_share")
        known = "not known" if share is None else wording.percent(share)
        said.append(f"Test images with {what} in training: {known}.")
    return " ".join(said)


def _software(card: _Card) -> str | None:
    return _sentence(wording.software(card["versions"]))


def _initial(card: _Card) -> str | None:
    config = card["training"].get("config") or {}
    return f"Drawn from the run's seed, {config['seed']}." if "seed" in config else None


def _chosen(card: _Card) -> str | None:
    said = card["training"].get("weights")
    return _sentence(f"Weights {said}") if said else None


def _one_network(card: _Card) -> str:
    return f"None: one network, {card['network']}."


def _internal(card: _Card) -> str:
    return f"The test part is of the same collection as the training part. {_accuracy(card)}"


def _flow(card: _Card) -> str | None:
    data = card["data"]
    if "files" not in data:
        return None
    said = [f"{data['files']:,} files"]
    if data.get("radiographs"):
        said.append(f"{data['radiographs']:,} radiographs")
    if data.get("conflicted_radiographs"):
        said.append(f"{data['conflicted_radiographs']:,} of them under more than one class")
    if "unreadable" in data:
        said.append(f"{len(data['unreadable']):,} files could not be read")
    if "passed_over" in data:
        said.append(f"{len(data['passed_over']):,} were passed over")
    return ", ".join(said) + ". Patients are not counted."


def _technical(card: _Card) -> str | None:
    version = card["versions"].get("kop")
    return f"The card's settings, with KOP {version}." if version else None


def _sentence(text: str | None) -> str | None:
    """Return a text with a full stop and a capital; ``None`` for nothing."""
    if not text:
        return None
    if not isinstance(text, str):
        raise TypeError("no text")
    text = f"{text[0].upper()}{text[1:]}"
    return text if text.endswith((".", "!", "?")) else f"{text}."


_Items = tuple[tuple[str, _Filled], ...]

_MODEL_CARD: tuple[tuple[str, _Items], ...] = (
    (
        "Model details",
        (
            ("Who developed it", _unknown),
            ("Date", _unknown),
            ("Version", _version),
            ("Type", _kind),
            ("Training algorithm and settings", _algorithm),
            ("Paper or other resource", _reference),
            ("Terms", _terms),
            ("Where to send questions", _unknown),
        ),
    ),
    (
        "Intended use",
        (
            ("Primary intended uses", _uses),
            ("Primary intended users", _unknown),
            ("Uses out of scope", _uses),
        ),
    ),
    (
        "Factors",
        (
            ("Groups, instruments and environments that matter", _unknown),
            ("Those it was evaluated by", _unknown),
        ),
    ),
    (
        "Metrics",
        (
            ("Measures of performance", _measures),
            ("Decision thresholds", _threshold),
            ("Uncertainty", _uncertainty),
            ("Calibration", _calibration),
        ),
    ),
    (
        "Evaluation data",
        (
            ("Data set", _tested),
            ("Source", _source),
            ("Why it was chosen", _unknown),
            ("Preprocessing", _preparation),
        ),
    ),
    (
        "Training data",
        (("Data set", _trained), ("Source", _source), ("Classes, in files", _classes_of_data)),
    ),
    (
        "Quantitative analyses",
        (
            ("Overall", _accuracy),
            ("By class", _by_class),
            ("By other groups and their intersections", _unknown),
        ),
    ),
    (
        "Ethical considerations",
        (
            ("Consent of the patients and protection of their data", _unknown),
            ("Terms of the data", _terms),
            ("Risks and harms", _unknown),
        ),
    ),
    (
        "Caveats and recommendations",
        (("Caveats", _caveats), ("Recommendations", _recommendation)),
    ),
)

_CLAIM: tuple[tuple[str, _Items], ...] = (
    (
        "title and abstract",
        (("1. AI methodology and its category", _kind), ("2. Structured summary", _unknown)),
    ),
    (
        "introduction",
        (
            ("3. Background, intended use and role", _uses),
            ("4. Aims, objectives and hypotheses", _unknown),
        ),
    ),
    (
        "methods, study design",
        (("5. Prospective or retrospective", _unknown), ("6. Study goal", _unknown)),
    ),
    (
        "methods, data",
        (
            ("7. Data sources", _source),
            ("8. Inclusion and exclusion criteria", _eligible),
            ("9. Data preprocessing", _preparation),
            ("10. Selection of data subsets", _subsets),
            ("11. De-identification", _unknown),
            ("12. Handling of missing data", _missing),
            ("13. Image acquisition protocol", _unknown),
        ),
    ),
    (
        "methods, reference standard",
        (
            ("14. How the reference standard was obtained", _reference_standard),
            ("15. Why this reference standard", _unknown),
            ("16. Source of its annotations", _unknown),
            ("17. Annotation of the test set", _unknown),
            ("18. Variability between and within annotators", _unknown),
        ),
    ),
    (
        "methods, data partitions",
        (
            ("19. Assignment to partitions", _partitions),
            ("20. Level at which partitions are disjoint", _disjoint),
        ),
    ),
    ("methods, testing data", (("21. Intended sample size", _unknown),)),
    (
        "methods, model",
        (
            ("22. Description of the model", _kind),
            ("23. Software libraries, frameworks and packages", _software),
            ("24. Initialisation of the parameters", _initial),
        ),
    ),
    (
        "methods, training",
        (
            ("25. Training approach", _algorithm),
            ("26. Selection of the final model", _chosen),
            ("27. Ensembling", _one_network),
        ),
    ),
    (
        "methods, evaluation",
        (
            ("28. Metrics of performance", _measures),
            ("29. Measures of significance and uncertainty", _uncertainty),
            ("30. Robustness or sensitivity analysis", _unknown),
            ("31. Explainability, and its validation", _unknown),
            ("32. Evaluation on internal data", _internal),
            ("33. Testing on external data", _unknown),
            ("34. Clinical trial registration", _unknown),
        ),
    ),
    (
        "results, data",
        (
            ("35. Numbers included and excluded", _flow),
            ("36. Demographic and clinical characteristics", _unknown),
        ),
    ),
    (
        "results, model performance",
        (
            ("37. Performance and its uncertainty", _accuracy),
            ("38. Estimates of diagnostic performance", _by_class),
            ("39. Failure analysis", _confusion),
        ),
    ),
    (
        "discussion",
        (("40. Limitations", _caveats), ("41. Implications for practice", _uses)),
    ),
    (
        "other information",
        (
            ("42. Full protocol or technical details", _technical),
            ("43. Availability of software, model and data", _terms),
            ("44. Funding and the role of funders", _unknown),
        ),
    ),
)
