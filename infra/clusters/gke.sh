#!/usr/bin/env bash
# A regional GKE cluster for values-gpu.yaml with gke-values.yaml. PROJECT and REGION from the environment.
set -euo pipefail
: "${PROJECT:?set it to your project}" "${REGION:=europe-west4}"

# Dataplane V2 enforces network policies; image streaming starts engines before their gigabytes have arrived (images
# must lie in Artifact Registry). One node a zone for fronts, Ray heads and operators.
gcloud container clusters create assay --project "$PROJECT" --region "$REGION" --release-channel regular \
  --enable-dataplane-v2 --enable-image-streaming --machine-type e2-standard-4 --num-nodes 1 --disk-size 100 \
  --enable-autoscaling --min-nodes 1 --max-nodes 3

# Pool gke-l4: operations, whose committed steps outlive a node that is taken back. GKE brings driver and device plugin,
# and taints nodes with GPUs. 1 L4, 8 CPUs, 32 GiB, of which a replica asks for 4 and 16.
gcloud container node-pools create gpu-l4 --project "$PROJECT" --region "$REGION" --cluster assay \
  --machine-type g2-standard-8 --accelerator type=nvidia-l4,count=1,gpu-driver-version=default --spot \
  --enable-autoscaling --num-nodes 0 --total-min-nodes 0 --total-max-nodes 8 --location-policy ANY \
  --enable-image-streaming --disk-size 200

# Pool gke-h100: 1 H100, 26 CPUs, 234 GiB, of which a replica asks for 8 and 64. Machines with one H100 are offered as
# spot or flex-start alone: a replica may be taken back, its calls get UNAVAILABLE and go to another one. For machines
# that stay, take a3-highgpu-8g and count=8 without --spot; eight replicas then share a node.
gcloud container node-pools create gpu-h100 --project "$PROJECT" --region "$REGION" --cluster assay \
  --machine-type a3-highgpu-1g --accelerator type=nvidia-h100-80gb,count=1,gpu-driver-version=latest --spot \
  --enable-autoscaling --num-nodes 0 --total-min-nodes 0 --total-max-nodes 8 --location-policy ANY \
  --enable-image-streaming --disk-size 200
