"""Between messages and what the science says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import json_format

from assay.errors import InvalidInput
from assay.inference_optimizer.v1 import inference_optimizer_pb2 as api
from assay.models.language_model import FinishReason
from assay_inference_optimizer.core.attention_benchmark import Benchmark, BenchmarkSettings
from assay_inference_optimizer.core.early_exit.calibrate import Thresholds
from assay_inference_optimizer.core.early_exit.curves import layer_curves, oracle_saving, rule_curve
from assay_inference_optimizer.core.early_exit.exit_profile import ExitProfile
from assay_inference_optimizer.core.early_exit.rules import Rule
from assay_inference_optimizer.core.early_exit.suitability import suitability
from assay_inference_optimizer.core.generation.request import Alternative, Ended, NewToken
from assay_inference_optimizer.core.generation.sampling import Sampling
from assay_inference_optimizer.core.generation.score import Scored
from assay_inference_optimizer.core.generation.served_model import ServedModel
from assay_inference_optimizer.core.sparse.config import DensityScope, Method, SparseConfig, Variant
from assay_inference_optimizer.core.sparse.inspect import Inspection
from assay_inference_optimizer.core.sparse.plan_sparsity import SparsityPlan
from assay_inference_optimizer.core.sparse.quality import Interval, MethodLoss
from assay_inference_optimizer.core.sparse.speed import PredictedSpeed

VARIANTS = {api.SPARSE_VARIANT_ICML: Variant.ICML, api.SPARSE_VARIANT_V1: Variant.V1}
METHODS = {
    api.SELECTION_SKETCH_WALK: Method.SKETCH_WALK,
    api.SELECTION_ONE_HOP: Method.ONE_HOP,
    api.SELECTION_ORACLE: Method.ORACLE,
    api.SELECTION_SINK_WINDOW: Method.SINK_WINDOW,
    api.SELECTION_RANDOM: Method.RANDOM,
    api.SELECTION_DENSE: Method.DENSE,
}
SCOPES = {
    api.DENSITY_SCOPE_SPARSE_LAYERS: DensityScope.SPARSE_LAYERS,
    api.DENSITY_SCOPE_ALL_LAYERS: DensityScope.ALL_LAYERS,
}
RULES = {
    api.EXIT_RULE_MAX_PROBABILITY: Rule.MAX_PROBABILITY,
    api.EXIT_RULE_MARGIN: Rule.MARGIN,
    api.EXIT_RULE_ENTROPY: Rule.ENTROPY,
    api.EXIT_RULE_STATE_COSINE: Rule.STATE_COSINE,
    api.EXIT_RULE_PATIENCE: Rule.PATIENCE,
}
FINISH_REASONS = {
    FinishReason.END: api.FINISH_REASON_END,
    FinishReason.STOP: api.FINISH_REASON_STOP,
    FinishReason.LENGTH: api.FINISH_REASON_LENGTH,
}


def sampling_of(message: api.Sampling) -> Sampling:
    """InvalidInput naming the field."""
    sampling = Sampling(
        max_new_tokens=message.max_new_tokens,
        temperature=message.temperature,
        top_p=message.top_p,
        top_k=message.top_k,
        # A generator takes 64 bits, of which torch reads the upper half as negative.
        seed=message.seed % 2**63,
        stop=tuple(message.stop),
        ignore_end=message.ignore_end,
        alternatives=message.alternatives,
        fit_context=message.fit_context,
    )
    sampling.check()
    return sampling


def sparse_of(message: api.SparseConfig) -> SparseConfig:
    """With the defaults of what is left out. InvalidInput for a choice that is unknown; the rest is checked with the
    model."""
    given: dict[str, Any] = {
        "variant": _choice("variant", VARIANTS, message.variant or api.SPARSE_VARIANT_ICML),
        "method": _choice("selection", METHODS, message.selection or api.SELECTION_SKETCH_WALK),
        "density_scope": _choice("density_scope", SCOPES, message.density_scope or api.DENSITY_SCOPE_SPARSE_LAYERS),
        "seed": message.seed,
        "layer_densities": tuple(message.layer_densities),
    }
    given |= {name: getattr(message, name) for name in ("block_size", "sketch_dim") if getattr(message, name)}
    optional = ("damping", "degree", "sink_tokens", "window_tokens", "target_density", "dense_layers", "causal_sketch")
    given |= {name: getattr(message, name) for name in optional if message.HasField(name)}
    return SparseConfig(**given)


def sparse_to_proto(sparse: SparseConfig) -> api.SparseConfig:
    """With nothing left out."""
    return api.SparseConfig(
        variant=_key(VARIANTS, sparse.variant),
        selection=_key(METHODS, sparse.method),
        block_size=sparse.block_size,
        sketch_dim=sparse.sketch_dim or 0,
        damping=sparse.damping,
        degree=sparse.degree,
        sink_tokens=sparse.sink_tokens,
        window_tokens=sparse.window_tokens,
        target_density=sparse.target_density,
        density_scope=_key(SCOPES, sparse.density_scope),
        dense_layers=sparse.dense_layers,
        seed=sparse.seed,
        causal_sketch=sparse.causal_sketch,
        layer_densities=sparse.layer_densities,
    )


def sparse_to_json(sparse: SparseConfig | None) -> dict[str, Any] | None:
    return None if sparse is None else json_format.MessageToDict(sparse_to_proto(sparse))


def sparse_from_json(document: dict[str, Any] | None) -> SparseConfig | None:
    return None if document is None else sparse_of(json_format.ParseDict(document, api.SparseConfig()))


def prompt_ids(served: ServedModel, prompt: api.Prompt, *, goes_on: bool = False) -> list[int]:
    """Tokens of a prompt. goes_on: it follows on tokens that are there already. InvalidInput naming the field."""
    kind = prompt.WhichOneof("content")
    if kind == "text":
        return served.encode_more(prompt.text) if goes_on else served.encode(prompt.text)
    if kind == "conversation":
        if not prompt.conversation.messages:
            raise InvalidInput("prompt.conversation.messages", "are none; give at least one")
        return served.encode_conversation(
            [{"role": m.role, "content": m.content} for m in prompt.conversation.messages]
        )
    if kind == "tokens" and prompt.tokens.ids:
        ids = list(prompt.tokens.ids)
        served.check_tokens(ids, "prompt.tokens.ids")
        return ids
    raise InvalidInput("prompt", "is empty; give text, tokens or a conversation")


def token_to_proto(served: ServedModel, event: NewToken) -> api.Token:
    return api.Token(
        id=event.token,
        text=served.decode([event.token]),
        log_probability=event.log_probability,
        exit_layer=event.layers,
        density=event.density,
        alternatives=_alternatives(served, event.alternatives),
    )


def usage_to_proto(served: ServedModel, ended: Ended) -> api.Usage:
    return api.Usage(
        prompt_tokens=ended.prompt_tokens,
        generated_tokens=ended.generated_tokens,
        layers=layers_to_proto(ended.densities, ended.fallbacks),
        density=sum(ended.densities.values()) / len(ended.densities) if ended.densities else 1.0,
        drafted_tokens=ended.drafted,
        accepted_tokens=ended.accepted,
        model=served.digest,
        dense_retry=ended.dense_retry,
    )


def layers_to_proto(densities: Mapping[int, float], fallbacks: Mapping[int, str]) -> Iterable[api.LayerDensity]:
    for layer in sorted({*densities, *fallbacks}):
        yield api.LayerDensity(layer=layer, density=densities.get(layer, 1.0), fallback=fallbacks.get(layer, ""))


def score_to_proto(served: ServedModel, scored: Scored) -> api.TextScore:
    answer, score = api.TextScore(text=scored.text, dense_retry=scored.dense_retry), scored.score
    each = zip(score.tokens, score.log_probabilities, score.byte_offsets, scored.alternatives, strict=True)
    for token, nats, (start, end), alternatives in each:
        added = answer.tokens.add(
            id=token, start_byte=start, end_byte=end, alternatives=_alternatives(served, alternatives)
        )
        if nats is not None:
            added.log_probability = nats
    return answer


def model_to_proto(served: ServedModel, labels: Iterable[str] = ()) -> api.Model:
    return api.Model(
        model=served.digest,
        labels=labels,
        loaded=True,
        model_type=served.model.config.model_type,
        bytes=served.weight_bytes,
        layers=served.layers,
        vocabulary=served.vocabulary,
        context_tokens=served.context_tokens or 0,
        cache_bytes_per_token=served.cache_bytes_per_token,
        chat_template=bool(served.tokenizer.chat_template),
    )


def plan_to_proto(plan: SparsityPlan, speed: PredictedSpeed, sequences: int, tokens: int) -> api.PlanSparsityResult:
    """All but the digest."""
    result = api.PlanSparsityResult(
        sparse=sparse_to_proto(plan.sparse),
        layers=layers_to_proto(plan.layer_density, {}),
        dense_loss_nats=plan.dense_loss_nats,
        loss_nats=plan.loss_nats,
        within_budget=plan.within_budget,
        predicted_attention_ratio=speed.attention_ratio,
        predicted_prefill_ratio=speed.prefill_ratio,
        sequences=sequences,
        sequence_tokens=tokens,
        length=speed.length,
        increase_nats=interval_to_proto(plan.rise),
    )
    for point in plan.curve:
        added = result.curve.add(
            density=point.density,
            loss_nats=point.loss_nats,
            increase_nats=interval_to_proto(point.rise),
            layer_densities=point.layer_densities,
        )
        if point.target_density is not None:
            added.target_density = point.target_density
    return result


def comparison_to_proto(losses: Iterable[MethodLoss], sequences: int, tokens: int) -> api.CompareSelectionResult:
    """All but the digest."""
    result = api.CompareSelectionResult(sequences=sequences, sequence_tokens=tokens)
    for loss in losses:
        added = result.methods.add(
            selection=_key(METHODS, loss.method),
            loss_nats=loss.loss_nats,
            density=loss.density,
            increase_nats=interval_to_proto(loss.rise),
        )
        if loss.gain_kept is not None:
            added.gain_kept.CopyFrom(interval_to_proto(loss.gain_kept))
    return result


def profile_to_proto(profile: ExitProfile) -> api.ProfileEarlyExitResult:
    """All but the digest."""
    curves, oracle, suited = layer_curves(profile), oracle_saving(profile), suitability(profile)
    assert curves is not None  # a profile has tokens
    result = api.ProfileEarlyExitResult(
        oracle_saving=oracle.gross,
        oracle_net_saving=oracle.net,
        head_cost_layers=profile.head_layers,
        tokens=curves.tokens,
        prompts=profile.prompts,
        suitability=api.Suitability(
            rule=_key(RULES, suited.rule) if suited.rule else api.EXIT_RULE_UNSPECIFIED,
            threshold=suited.threshold or 0.0,
            gross_saving=suited.score,
            net_saving=suited.net,
            disagreement=suited.disagreement,
            disagreement_bound=suited.calibrated_bound,
            tokens=suited.tokens,
            p_by_prompt=suited.p_by_prompt,
        ),
    )
    for index in range(profile.depth):
        result.layers.add(
            layer=index + 1,
            agreement=curves.agreement[index],
            saturated=curves.saturated[index],
            previous_cosine=curves.next_cosine[index],
            final_cosine=curves.final_cosine[index],
            divergence_nats=curves.divergence[index],
        )
    for name in profile.class_names:
        found = layer_curves(profile, name)
        if found is not None:
            result.classes.add(name=name, tokens=found.tokens, agreement=found.agreement.tolist())
    for rule in profile.rules:
        curve = rule_curve(profile, rule)
        result.rules.add(
            rule=_key(RULES, rule),
            thresholds=curve.thresholds.tolist(),
            agreement=curve.agreement.tolist(),
            gross_saving=curve.gross.tolist(),
            net_saving=curve.net.tolist(),
        )
    return result


def calibration_to_proto(thresholds: Thresholds, plug_in_saving: float) -> api.CalibrateEarlyExitResult:
    """All but the digest."""
    return api.CalibrateEarlyExitResult(
        rule=_key(RULES, thresholds.rule),
        threshold=thresholds.threshold or 0.0,
        exit_layers=thresholds.exit_layers,
        epsilon=thresholds.epsilon,
        delta=thresholds.delta,
        risk=thresholds.risk,
        gross_saving=thresholds.gross,
        net_saving=thresholds.net,
        plug_in_saving=plug_in_saving,
        prompts=thresholds.prompts,
        certified=thresholds.threshold is not None,
    )


def benchmark_to_proto(found: Benchmark, settings: BenchmarkSettings) -> api.BenchmarkAttentionResult:
    decoding = settings.phase == "decode"
    return api.BenchmarkAttentionResult(
        phase=api.ATTENTION_PHASE_DECODE if decoding else api.ATTENTION_PHASE_PREFILL,
        dense_ms=found.dense_ms,
        sparse_ms=found.sparse_ms,
        selection_ms=found.selection_ms,
        ratio=found.ratio,
        ratio_low=found.ratio_low,
        ratio_high=found.ratio_high,
        density=found.density,
        baseline=found.baseline,
        dtype=found.dtype,
        device=found.device,
        dense_tflops=found.dense_tflops,
        paths_ms=found.paths_ms,
        length=settings.length,
        rounds=settings.rounds,
        versions=found.versions,
    )


def inspection_to_proto(found: Inspection) -> api.InspectSelectionResult:
    """All but the digest."""
    result = api.InspectSelectionResult(density=found.density, tokens=found.tokens, block_size=found.block_size)
    for layer in found.layers:
        result.layers.add(
            layer=layer.layer,
            density=layer.density,
            fallback=layer.fallback.detail if layer.fallback else "",
            mass=layer.mass,
            oracle_mass=layer.oracle_mass,
            query_blocks=[api.QueryBlock(key_blocks=blocks) for blocks in layer.blocks],
        )
    return result


def interval_to_proto(interval: Interval) -> api.Interval:
    return api.Interval(mean=interval.mean, low=interval.low, high=interval.high)


def _alternatives(served: ServedModel, found: Iterable[Alternative]) -> list[api.Alternative]:
    return [
        api.Alternative(id=one.token, text=served.decode([one.token]), log_probability=one.log_probability)
        for one in found
    ]


def _choice(name: str, known: Mapping[Any, Any], value: int) -> Any:
    if value not in known:
        raise InvalidInput(f"sparse.{name}", f"{value} is unknown; upgrade the service, or choose another")
    return known[value]


def _key(known: Mapping[Any, Any], value: object) -> Any:
    return next(key for key, meaning in known.items() if meaning is value)
