"""A card with every kind of answer, and strangers' text in every place where text may stand."""

from __future__ import annotations

from assay.artifacts.manifest import Artifact, File, Manifest
from assay.checkup.card import card_document
from assay.checkup.examine import Answer
from assay.checkup.facts import ModelFacts
from assay.checkup.section import Figure, Plot, Section, Table
from assay.errors import Internal, Unavailable, Unimplemented

HOSTILE_TEXT = (
    "<script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"
    "<b>bold</b>&amp;\" onmouseover='document.title=1' {{ 7*7 }} \N{RIGHT-TO-LEFT OVERRIDE}gnp.exe"
)
LINE_PLOT = b"""<?xml version="1.0" encoding="utf-8"?>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="460pt" height="230pt"
     viewBox="0 0 460 230">
 <metadata><rdf xmlns="http://example.org/rdf">made by a program</rdf></metadata>
 <defs><style type="text/css">*{stroke-linejoin: round; stroke-linecap: butt}</style></defs>
 <defs><path id="m1" d="M 0 0 L 0 4" style="stroke: currentColor; stroke-width: 0.8"/></defs>
 <defs><clipPath id="p1"><rect x="40" y="10" width="400" height="180"/></clipPath></defs>
 <g id="axes"><use xlink:href="#m1" x="60" y="190" style="fill: currentColor; stroke: currentColor"/>
 <path d="M 40 190 L 440 190" style="fill: none; stroke: currentColor"/>
 <path d="M 40 180 L 200 60 L 440 30" clip-path="url(#p1)" style="fill: none; stroke: #0072b2; stroke-width: 1.5"/>
 <text x="240" y="220" style="font-size: 10px; font-family: 'DejaVu Sans', sans-serif; text-anchor: middle; fill:
 currentColor">tokens &lt;seen&gt;</text></g></svg>"""


def artifact(kind: str, *inputs: Artifact, size_bytes: int = 1234, parameters: dict | None = None) -> Artifact:
    """One that could be stored; its digest depends on kind, inputs and parameters."""
    files = (File(f"{kind}.json", size_bytes, "ab" * 32), File("weights/model.safetensors", 9 * size_bytes, "cd" * 32))
    manifest = Manifest(kind, files, tuple(a.digest for a in inputs), parameters or {}, {"torch": "2.13.0"})
    return Artifact(manifest.digest, manifest)


TEXT = artifact("text", parameters={"source": "standard library"})
MODEL = artifact("model", TEXT, size_bytes=10**9, parameters={"recipe": {"name": HOSTILE_TEXT, "deep": [1, [2, [3]]]}})
STATISTICS = artifact("routing-statistics", MODEL, TEXT, parameters={"sequences": 96})
PLAN = artifact("balance-plan", STATISTICS, MODEL)
SECTION = artifact("section", PLAN, STATISTICS)
LINEAGE = (TEXT, MODEL, STATISTICS, PLAN, SECTION)


def full_section(service: str = "moe_router", text: str = "Are the experts balanced?") -> Section:
    wide = tuple(f"a rather long column name, number {n}" for n in range(12))
    return Section(
        service=service,
        title=f"Expert balance {text[:200]}",
        question=text,
        answer=f"The busiest expert carries 3.1 times its fair share. {text}",
        figures=(
            Figure("Imbalance, worst layer", 3.1, "x fair share", note=text),
            Figure("Change in loss", -4.027e-05, "nats per token", -0.0002276, 0.0001478, "paired bootstrap"),
            Figure("Tokens", 1234567, "", 1_200_000, 1_300_000),
            Figure(text, 0.0, text),
        ),
        tables=(
            Table("Layers", ("layer", "LIS", "kept", text), ((0, 2.6656, True, text), (1, None, False, None)), text),
            Table("Wide", wide, tuple(tuple(float(row * column) for column in range(12)) for row in range(4))),
            Table("Long", ("row", "square"), tuple((row, row * row) for row in range(450))),
        ),
        plots=(
            Plot("lines.svg", "Lines", f"A line. {text}"),
            Plot("bad.svg", text, "A plot that is not shown."),
            Plot("classes.svg", "Classes", "A plot that only an image can show."),
            Plot("missing.svg", "Missing", "A plot that is not there."),
        ),
        caveats=(text, "Measured on one text."),
        lineage={"plan": PLAN.digest, text[:60]: STATISTICS.digest},
    )


PLOTS = {
    "lines.svg": LINE_PLOT,
    "bad.svg": LINE_PLOT.replace(b"<g ", b"<script>document.title='pwned'</script><g onclick='x()' "),
    "classes.svg": LINE_PLOT.replace(b"*{stroke-linejoin: round; stroke-linecap: butt}", b".a{fill: red}"),
}


def answers(text: str = "Are the experts balanced?") -> list[Answer]:
    """One of each kind."""
    names = ("copyright_detective", "inference_optimizer", "tokenizer_eval", "tom_verifier")
    errors = (
        Internal(f"an unexpected error happened; quote error id abc {text}", reason="UNEXPECTED"),
        Unavailable("the service cannot be reached; check the endpoint and that it is running"),
        Unimplemented("this model sees no images; ask about one with a visual tokenizer"),
        Unimplemented(text),
    )
    states = ("failed", "unreachable", "not_applicable", "not_applicable")
    found = [
        Answer(service, state, 1.25, operation="operations/" + "0" * 32 if state == "failed" else "", error=error)
        for service, state, error in zip(names, states, errors, strict=True)
    ]
    found += [
        Answer(
            service,
            "answered",
            41.2,
            operation="operations/" + "a" * 32,
            digest=SECTION.digest,
            section=full_section(service, text),
            plots=PLOTS,
            lineage=LINEAGE,
        )
        for service in ("function_call_agent", "moe_router")
    ]
    return sorted(found, key=lambda answer: answer.service)


def facts(name: str = "qwen3-moe-tiny") -> ModelFacts:
    return ModelFacts(name, MODEL.digest, 10**10, "qwen3_moe", "Qwen3MoeForCausalLM", 551_234, {"BF16": 551_234})


def card(text: str = "Are the experts balanced?", name: str = "qwen3-moe-tiny") -> tuple[dict, dict]:
    """A document and the plots of its sections."""
    given = answers(text)
    plots = {(answer.service, file): svg for answer in given for file, svg in answer.plots.items()}
    return card_document(facts(name), TEXT, "standard library", given), plots
