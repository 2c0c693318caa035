"""A capacity file, TOML or JSON, with every wrong entry named by its path."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.capacity.arrivals import Arrivals, arrivals_of
from assay.capacity.batching import Batch
from assay.capacity.figures import Figure, Section, assumed, documented, measured
from assay.capacity.memory import Model
from assay.capacity.specification import (
    Calls,
    Cluster,
    Front,
    Margin,
    Operations,
    Pool,
    Scaling,
    ServiceNeeds,
    Specification,
)
from assay.errors import InvalidInput

ENGINE = "shared/assay/engine/serve_app.py"
RAY = "ray 2.60.0"
AUTOSCALER = "https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md"


def read_specification(path: Path, changes: Sequence[str] = ()) -> tuple[Specification, dict[str, Figure]]:
    """The file, and every number in it or taken for it, with its source, by its path.

    changes: entries to set over the file's, as PATH=VALUE in TOML, e.g. services.moe_router.front.replicas=4.
    """
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise InvalidInput("file", f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise InvalidInput(
            "file", f"{path.name} is no {'JSON' if path.suffix == '.json' else 'TOML'}: {error}"
        ) from None
    if not isinstance(values, dict):
        raise InvalidInput("file", f"{path.name} holds no table")
    for change in changes:
        _change(values, change)
    return specification_of(values)


def _change(values: dict[str, Any], change: str) -> None:
    path, _, text = change.partition("=")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a word without quotes
    *parents, name = path.split(".")
    place = values
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise InvalidInput("set", f"{path}: {parent} is no table")
    if not text:
        raise InvalidInput("set", f"{change!r}; PATH=VALUE, e.g. cluster.routing=shared")
    place[name] = value


def specification_of(values: Mapping[str, Any]) -> tuple[Specification, dict[str, Figure]]:
    figures: dict[str, Figure] = {}
    root = Section(values, "", figures)
    title, currency = root.text("title", ""), root.text("currency", "USD")
    models = {name: _model(name, section) for name, section in root.section("models").sections()}
    pools = {name: _pool(name, section) for name, section in root.section("pools").sections()}
    if not pools:
        raise InvalidInput("pools", "is missing; name at least one kind of node, e.g. [pools.gpu]")
    services = {name: _service(name, section, pools, models) for name, section in root.section("services").sections()}
    if not services:
        raise InvalidInput("services", "is missing; name at least one service, e.g. [services.moe_router]")
    margin, cluster = _margin(root.section("margin")), _cluster(root.section("cluster"))
    root.done()
    return Specification(title, currency, pools, services, margin, cluster), figures


def _model(name: str, section: Section) -> Model:
    model = Model(
        name,
        section.number("parameters", above=True),
        section.whole("layers", least=1),
        section.whole("kv_heads", least=1),
        section.whole("head_dim", least=1),
        section.text("dtype", "bfloat16"),
        section.text("kv_dtype", "bfloat16"),
    )
    section.done()
    return model


def _pool(name: str, section: Section) -> Pool:
    pool = Pool(
        name,
        section.whole("gpus_per_node", least=0),
        section.number("gpu_memory_gib"),
        section.number("cpus_per_node", above=True),
        section.number("memory_gib_per_node", above=True),
        section.number("price_per_node_hour"),
        section.whole("zones", assumed(1, "one zone unless the file says more"), least=1),
        section.whole("quota_gpus", assumed(10**6, "no quota in the file")),
        section.number("provision_s", assumed(180, "a GPU node from asked for to Ready; differs by provider")),
        section.number("image_pull_s", assumed(60, "first pod of an image on a node")),
        section.number("failures_per_node_hour", assumed(0, "no failures unless the file says how many")),
        section.labels("node_selector"),
    )
    section.done()
    return pool


def _service(name: str, section: Section, pools: Mapping[str, Pool], models: Mapping[str, Model]) -> ServiceNeeds:
    pool = section.text("pool", among=tuple(pools))
    model = section.text("model", "", among=("", *models)) if section.has("model") else ""
    batch = _batch(section.section("batch")) if section.has("batch") else None
    calls = _calls(section.section("calls"), batch is not None) if section.has("calls") else None
    operations = _operations(section.section("operations")) if section.has("operations") else None
    if calls is None and operations is None:
        raise InvalidInput(section.path, "has neither `calls` nor `operations`; say what traffic it has")
    if batch is not None and operations is not None:
        raise InvalidInput(
            f"{section.path}.operations", "a service that batches takes calls alone; make it two services"
        )
    needs = ServiceNeeds(
        name,
        pool,
        section.whole("gpus", assumed(1, "the chart's default")),
        section.number("cpu", assumed(4, "the chart's default"), above=True),
        section.number("memory_gib", assumed(16, "the chart's default"), above=True),
        section.whole(
            "slots",
            assumed(1, "a step uses its GPU whole; the engine runs up to 4 at once, which then share it"),
            least=1,
            most=64,
        ),
        models[model] if model else None,
        batch,
        calls,
        operations,
        _front(section.section("front")),
        _scaling(section.section("scaling"), operations is None),
        section.text("upgrade", "NewCluster", among=("NewCluster", "None")),
    )
    if needs.gpus > pools[pool].gpus_per_node:
        raise InvalidInput(f"{section.path}.gpus", f"is {needs.gpus}; a node of {pool} has {pools[pool].gpus_per_node}")
    section.done()
    return needs


def _batch(section: Section) -> Batch:
    batch = Batch(
        section.number("turn_s", above=True),
        section.number("sequence_s"),
        section.number("prompt_token_s"),
        section.whole("most", least=1),
    )
    section.done()
    return batch


def _calls(section: Section, batched: bool) -> Calls:
    rate = section.number("per_s", above=True)
    calls = Calls(
        rate,
        section.number("arrival_scv", assumed(1, "Poisson arrivals")),
        0.0 if batched else section.number("step_s", above=True),
        1.0 if batched else section.number("step_scv", assumed(1, "exponential step times")),
        section.number("deadline_s", assumed(600, "MethodPolicy.max_deadline_s of shared/assay/server"), above=True),
        section.number("wait_s", assumed(1, "a second for a place on a replica")),
        section.number("percentile", assumed(0.99, "of the wait"), least=0.5, most=0.99999),
        section.number("prompt_tokens", least=1) if batched else 0.0,
        section.number("answer_tokens", least=1) if batched else 0.0,
        section.number("token_s", assumed(1e9, "no bound on the time of a token")) if batched else 0.0,
        _arrivals(section, rate),
    )
    section.done()
    return calls


def _operations(section: Section) -> Operations:
    per_hour = section.number("per_hour", above=True)
    operations = Operations(
        per_hour,
        section.whole("steps", least=1),
        section.whole("at_once", documented(2, "shared/assay/operations/job.py: concurrency of map"), least=1),
        section.number("step_s", above=True),
        section.number("step_scv", assumed(0.25, "steps of one operation are alike")),
        _arrivals(section, per_hour / 3600),
    )
    section.done()
    return operations


def _arrivals(section: Section, rate: float) -> Arrivals:
    section.read.add("arrivals")
    values = section.values.get("arrivals", {"kind": "poisson"})
    return arrivals_of(values, f"{section.path}.arrivals", rate, section.figures)


def _front(section: Section) -> Front:
    front = Front(
        section.whole("replicas", documented(2, "charts/assay/values.yaml"), least=1),
        section.whole("max_replicas", documented(6, "charts/assay/values.yaml"), least=1),
        section.number("cpu", documented(0.25, "charts/assay/values.yaml"), above=True),
        section.whole("cpu_percent", documented(70, "charts/assay/values.yaml"), least=1, most=100),
        section.number(
            "calls_per_core_s",
            measured(350, "ghz through the Service, 8 in flight: 349 calls/s, client, front and engine on 2 cores"),
            above=True,
        ),
        section.whole("in_flight", documented(64, "MethodPolicy.max_concurrent of shared/assay/server"), least=1),
        section.whole("running", documented(32, "MAX_RUNNING of shared/assay/operations/runner.py"), least=1),
    )
    section.done()
    if front.max_replicas < front.replicas:
        raise InvalidInput(f"{section.path}.max_replicas", f"is {front.max_replicas}; at least `replicas`")
    return front


def _scaling(section: Section, interactive: bool) -> Scaling:
    least = documented(1 if interactive else 0, "interactive engines keep one, operation engines none")
    scaling = Scaling(
        section.whole("min_replicas", least),
        section.whole("max_replicas", documented(4, "charts/assay/values.yaml"), least=1),
        section.number("ongoing", documented(1, f"{ENGINE}: target_ongoing_requests"), above=True),
        section.number("upscale_delay_s", documented(5, ENGINE)),
        section.number("downscale_delay_s", documented(300, ENGINE)),
        section.number("look_back_s", documented(30, f"{RAY}, AutoscalingConfig.look_back_period_s"), above=True),
        section.number("metrics_interval_s", documented(10, f"{RAY}, DEFAULT_METRICS_INTERVAL_S"), above=True),
        section.whole("max_ongoing", documented(64, f"{ENGINE}: max_ongoing_requests"), least=1),
        section.whole("max_queued", documented(-1, f"{ENGINE} sets none: max_queued_requests"), least=-1),
        section.number("idle_s", documented(300, "idleTimeoutSeconds of charts/assay/templates/engine.yaml")),
        section.flag("conservative", False),
        section.number("drain_s", documented(120, f"{ENGINE}: DRAIN_S")),
        section.number("load_s", assumed(30, "a replica from its actor to ready: imports and the model's weights")),
        section.number("pod_start_s", assumed(10, "a Ray worker pod from scheduled to joined, image there")),
    )
    section.done()
    if scaling.max_replicas < scaling.min_replicas:
        raise InvalidInput(f"{section.path}.max_replicas", f"is {scaling.max_replicas}; at least `min_replicas`")
    return scaling


def _margin(section: Section) -> Margin:
    margin = Margin(
        section.number("utilisation", assumed(0.8, "planned with at most"), least=0.01, most=0.99),
        section.whole("lost_nodes", assumed(1, "one node lost, targets still met")),
        section.whole("lost_zones", assumed(0, "no zone lost")),
        section.text("upgrades", "one", among=("one", "all", "none")),
        section.number("memory_usable", assumed(0.9, "share of GPU memory that may be planned with"), most=1),
        section.number("reserve_gib", assumed(2, "CUDA context and activations of each GPU")),
    )
    section.done()
    return margin


def _cluster(section: Section) -> Cluster:
    cluster = Cluster(
        section.text("routing", "leastconn", among=("leastconn", "shared")),
        section.number("scan_s", documented(10, f"{AUTOSCALER}: --scan-interval"), above=True),
        section.number("unneeded_s", documented(600, f"{AUTOSCALER}: --scale-down-unneeded-time")),
        section.number("detect_s", assumed(15, "from a node's death to Serve asking for replicas anew")),
        section.whole("launches", documented(10, f"{RAY}, AUTOSCALER_MAX_CONCURRENT_LAUNCHES, autoscaler v2"), least=1),
        section.number("update_s", documented(5, f"{RAY}, AUTOSCALER_UPDATE_INTERVAL_S"), above=True),
    )
    section.done()
    return cluster
