"""What is taken out, and what stays."""

from __future__ import annotations

import pytest

from assay.platform.redact import GONE, Redactor

REMOVED = [
    "Authorization: Bearer abc.def-123456",
    '{"authorization": "Basic dXNlcjpwYXNz"}',
    "curl -H 'Bearer abcdef123456'",
    "postgres://user:s3cr3t-word@db:5432/x",
    "redis://:s3cr3t-word@redis:6379",
    "https://s3/bucket/key?X-Amz-Credential=AKIA&X-Amz-Signature=0f0f0f0f&x=1",
    "ASSAY_S3_SECRET_KEY=s3cr3t-word",
    "password: s3cr3t-word",
    '"accessKey": "s3cr3t-word"',
    "token=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "got eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl from it",
    "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----",
]
SECRETS = ("abc.def", "dXNlcjpwYXNz", "abcdef123456", "s3cr3t", "0f0f0f0f", "c2lnbmF0dXJl", "MHcCAQEE")


@pytest.mark.parametrize("text", REMOVED)
def test_texts_lose_what_has_the_form_of_a_secret(text: str):
    cleaned = Redactor().text(text)
    assert GONE in cleaned
    assert [secret for secret in SECRETS if secret in cleaned] == []


@pytest.mark.parametrize(
    "text",
    [
        "serving assay.moe_router.v1.MoeRouterService on 127.0.0.1:50051",
        "http://collector.telemetry:4317",
        "s3://assay?endpoint=http://minio:9000",
        "read 512 tokens in 3 s",
        "the authority signed no certificate",
    ],
)
def test_other_texts_stay_as_they_are(text: str):
    assert Redactor().text(text) == text


def test_known_values_go_wherever_they_are_plainly_and_in_base64():
    cleaned = Redactor(["correct horse\n", "abc"]).text("is correct horse or Y29ycmVjdCBob3JzZQ==, not abc")
    assert cleaned == f"is {GONE} or {GONE}==, not abc"


def test_documents_lose_secrets_by_name_and_keep_what_points_at_them():
    pod = {
        "kind": "Pod",
        "env": [
            {"name": "API_TOKEN", "value": "x1"},
            {"name": "MODE", "value": "fast"},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "accessKey"}}},
        ],
        "volumes": [{"secret": {"secretName": "tls"}}],
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    }
    assert Redactor().document(pod) == {**pod, "env": [{"name": "API_TOKEN", "value": GONE}, *pod["env"][1:]]}
    secret = {
        "kind": "Secret",
        "metadata": {"name": "keys", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{...}"}},
        "data": {"accessKey": "eA=="},
        "stringData": {"other": "x"},
    }
    cleaned = Redactor().document(secret)
    assert (cleaned["data"], cleaned["stringData"]) == ({"accessKey": GONE}, {"other": GONE})
    assert set(cleaned["metadata"]["annotations"].values()) == {GONE}
    values = {"store": {"existingSecret": "keys"}, "redis": {"password": "x"}, "list": [{"apiKey": "y"}]}
    assert Redactor().document(values) == {
        "store": {"existingSecret": "keys"},
        "redis": {"password": GONE},
        "list": [{"apiKey": GONE}],
    }
