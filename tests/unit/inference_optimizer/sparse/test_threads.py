"""One model, several caches at once."""

from __future__ import annotations

import threading
from dataclasses import replace

import torch

from assay.cancel import CancelToken
from assay_inference_optimizer.core.sparse.attach import attach
from assay_inference_optimizer.core.sparse.cache import SparseCache
from assay_inference_optimizer.core.sparse.config import Method
from assay_inference_optimizer.core.sparse.joint_cache import JointSparseCache
from assay_inference_optimizer.core.sparse.prefill import prefill


def test_threads_with_caches_of_their_own_do_not_mix(llama, text, sparse):
    attach(llama)
    jobs = [
        (text(1, 130, seed=1), sparse),
        (text(2, 110, seed=2), replace(sparse, method=Method.RANDOM)),
        (text(1, 120, seed=3), replace(sparse, method=Method.DENSE)),
    ]

    def run(ids, sparse):
        with torch.no_grad():
            cache = SparseCache(llama.config, sparse)
            parts = [prefill(llama, ids[:, :96], cache, chunk_tokens=16, cancel=CancelToken())]
            parts += [llama(ids[:, step : step + 1], past_key_values=cache).logits for step in range(96, ids.shape[1])]
            return torch.cat(parts, dim=1)

    alone = [run(*job) for job in jobs]
    together: list[torch.Tensor | None] = [None] * len(jobs)
    barrier = threading.Barrier(len(jobs))

    def in_thread(index):
        barrier.wait()
        together[index] = run(*jobs[index])

    threads = [threading.Thread(target=in_thread, args=(index,)) for index in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for expected, found in zip(alone, together, strict=True):
        assert torch.equal(expected, found)


def test_requests_decoded_together_are_what_they_are_alone(llama, text, sparse):
    attach(llama)
    ids = [text(1, length, seed=length) for length in (110, 97, 40)]
    more = text(3, 18, seed=9)

    def read():
        caches = [SparseCache(llama.config, sparse) for _ in ids]
        for part, cache in zip(ids, caches, strict=True):
            prefill(llama, part, cache, cancel=CancelToken())
        return caches

    alone, together = read(), read()
    for step in range(18):
        expected = torch.cat(
            [
                llama(more[row : row + 1, step : step + 1], past_key_values=cache).logits
                for row, cache in enumerate(alone)
            ]
        )
        joint = JointSparseCache(together)
        found = llama(
            more[:, step : step + 1],
            attention_mask=joint.attention_mask(),
            position_ids=joint.position_ids(),
            past_key_values=joint,
        ).logits
        assert (found - expected).abs().max() < 1e-4
    assert [cache.density() for cache in together] == [cache.density() for cache in alone]
    assert [cache.tokens for cache in together] == [128, 115, 58]
