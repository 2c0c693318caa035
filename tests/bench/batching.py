"""What answering many requests together is worth: our batching loop, one by one and all at once, beside transformers.

`python -m bench.batching [--rounds N]`. One thread, random weights (speed only), interleaved rounds, medians. Rivals:
`generate` one request after the other (naive), and one padded batch of all, which must know every request before it
begins, lets nobody in and holds everybody until the last has ended (the strongest there is for requests of one length).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from assay.cancel import CancelToken
from assay.zoo.tokenizer import train_tokenizer
from assay_inference_optimizer.core.generation.answer_text import AnswerText
from assay_inference_optimizer.core.generation.request import Context, NewToken, Request
from assay_inference_optimizer.core.generation.sampling import Sampling
from assay_inference_optimizer.core.generation.served_model import ServedModel

REQUESTS, PROMPT_TOKENS, NEW_TOKENS = 16, 64, 48
GAIN_BAR = 1.5
"""All at once over one by one; a loop that did not batch would give 1."""
VOCABULARY = 2048


def model_in(folder: Path) -> ServedModel:
    """Some 4 M parameters: large enough that matrix products, not Python, take the time of a single row."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    text = folder / "text"
    text.mkdir()
    (text / "train.jsonl").write_text(json.dumps({"text": "def main(): pass\n" * 20, "domain": ""}) + "\n")
    train_tokenizer(text, vocabulary=VOCABULARY).save_pretrained(folder)
    return ServedModel(folder, "sha256:bench")


def request(served: ServedModel, ids: Sequence[int]) -> Request:
    context = Context(served.new_cache(None), pending=list(ids))
    return Request(context, Sampling(NEW_TOKENS, ignore_end=True), CancelToken(), AnswerText(served.decode))


def tokens_of(one: Request) -> list[int]:
    return [event.token for event in one.events() if isinstance(event, NewToken)]


def one_by_one(served: ServedModel, prompts: torch.Tensor) -> list[list[int]]:
    answers = []
    for ids in prompts.tolist():
        asked = request(served, ids)
        served.loop.submit(asked)
        answers.append(tokens_of(asked))
    return answers


def at_once(served: ServedModel, prompts: torch.Tensor) -> list[list[int]]:
    asked = [request(served, ids) for ids in prompts.tolist()]
    for one in asked:
        served.loop.submit(one)
    return [tokens_of(one) for one in asked]


def transformers_batch(served: ServedModel, prompts: torch.Tensor) -> list[list[int]]:
    output = served.model.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        do_sample=False,
        pad_token_id=0,
    )
    answers: list[list[int]] = output[:, prompts.shape[1] :].tolist()
    return answers


def transformers_one_by_one(served: ServedModel, prompts: torch.Tensor) -> list[list[int]]:
    return [transformers_batch(served, prompts[row : row + 1])[0] for row in range(len(prompts))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        served = model_in(Path(folder))
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(1, VOCABULARY, (REQUESTS, PROMPT_TOKENS), generator=generator)
    paths: dict[str, Callable[[ServedModel, torch.Tensor], list[list[int]]]] = {
        "loop, one by one": one_by_one,
        "loop, all at once": at_once,
        "transformers, one by one": transformers_one_by_one,
        "transformers, one batch": transformers_batch,
    }
    answers = [path(served, prompts) for path in paths.values()]
    assert all(answer == answers[0] for answer in answers)  # wrong code has no speed
    seconds: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(rounds):
        for name, path in paths.items():
            started = time.perf_counter()
            path(served, prompts)
            seconds[name].append(time.perf_counter() - started)
    total = REQUESTS * NEW_TOKENS
    for name, taken in seconds.items():
        print(f"{total / statistics.median(taken):8.0f} tokens/s  {name}")
    ratios = {}
    for name in paths:
        if name != "loop, all at once":
            pairs = zip(seconds[name], seconds["loop, all at once"], strict=True)
            gains = sorted(theirs / ours for theirs, ours in pairs)
            ratios[name] = statistics.median(gains)
            print(f"{ratios[name]:.2f}x [{gains[0]:.2f}, {gains[-1]:.2f}]  all at once over {name}")
    versions = {name: metadata.version(name) for name in ("torch", "transformers")}
    print(json.dumps({"bench": "batching", "ratios": ratios, "rounds": rounds, "versions": versions}))
    if ratios["loop, one by one"] < GAIN_BAR:
        raise SystemExit(f"below the bar of {GAIN_BAR}x")


if __name__ == "__main__":
    main()
