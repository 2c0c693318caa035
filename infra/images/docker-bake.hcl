# All images: docker buildx bake -f infra/images/docker-bake.hcl [front|engine|TARGET]
variable "REGISTRY" { default = "" }    # e.g. "registry.example.org/team/", with the slash
variable "TAG" { default = "0.1.0" }    # the chart's appVersion
variable "BASE" { default = "python:3.11-slim-bookworm" } # by digest for a release: ...@sha256:...
variable "TORCH_INDEX" { default = "" }

variable "SERVICES" {
  default = [
    { name = "moe_router", extras = "engine" },
    { name = "inference_optimizer", extras = "engine" },
    { name = "tom_verifier", extras = "engine,symbolic" },
  ]
}

group "default" { targets = ["front", "engine"] }

target "front" {
  name       = "${replace(service.name, "_", "-")}-front"
  matrix     = { service = SERVICES }
  dockerfile = "infra/images/Dockerfile"
  target     = "front"
  args       = { BASE = BASE, SERVICE = service.name }
  tags       = ["${REGISTRY}assay-${replace(service.name, "_", "-")}-front:${TAG}"]
  attest     = ["type=provenance,mode=max"]
}

target "engine" {
  name       = "${replace(service.name, "_", "-")}-engine"
  matrix     = { service = SERVICES }
  dockerfile = "infra/images/Dockerfile"
  target     = "engine"
  args       = { BASE = BASE, SERVICE = service.name, EXTRAS = service.extras, TORCH_INDEX = TORCH_INDEX }
  tags       = ["${REGISTRY}assay-${replace(service.name, "_", "-")}-engine:${TAG}"]
  attest     = ["type=provenance,mode=max"]
}
