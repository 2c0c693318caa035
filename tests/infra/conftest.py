"""The real Helm, and the schemas of everything that infra/ may hold."""

from charts.conftest import custom_resources, helm, schemas

__all__ = ["custom_resources", "helm", "schemas"]
