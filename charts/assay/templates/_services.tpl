{{/* The services that are enabled, each with what `defaults` say where it says nothing. JSON; read with fromJson. */}}

{{- define "assay.services" -}}
{{- include "assay.check" . }}
{{- $found := dict }}
{{- range $name, $own := .Values.services }}
{{- $service := mergeOverwrite (deepCopy $.Values.defaults) ($own | default dict) }}
{{- if $service.enabled }}
{{- if gt (len (include "assay.engine" (dict "root" $ "service" $name))) 47 }}
{{- fail (printf "services.%s: with the release's name %s its engine's name is over 47 characters, which KubeRay refuses; shorten one of them" $name $.Release.Name) }}
{{- end }}
{{- if and (eq $service.engine.placement "rayservice") $service.engine.pool (not (hasKey $.Values.pools $service.engine.pool)) }}
{{- fail (printf "services.%s.engine.pool: %s is none of pools; name one of %s, or leave it empty for nodes without GPUs" $name $service.engine.pool (keys $.Values.pools | sortAlpha | join ", ")) }}
{{- end }}
{{- if not $service.grpcService }}
{{- fail (printf "services.%s.grpcService: is not set; write the full name, e.g. assay.%s.v1.ExampleService" $name $name) }}
{{- end }}
{{- if gt (int $service.engine.replicas.min) (int $service.engine.replicas.max) }}
{{- fail (printf "services.%s.engine.replicas: min %v is over max %v" $name $service.engine.replicas.min $service.engine.replicas.max) }}
{{- end }}
{{- if and (eq $service.engine.placement "rayservice") (gt (include "assay.bytes" $service.engine.objectStore | int64) (include "assay.bytes" $service.engine.sharedMemory | int64)) }}
{{- fail (printf "services.%s.engine.objectStore: %s is over sharedMemory, %s, in which it lives; raise that, or lower this" $name $service.engine.objectStore $service.engine.sharedMemory) }}
{{- end }}
{{- $_ := set $found $name $service }}
{{- end }}
{{- end }}
{{- if not $found }}
{{- fail "services: none is enabled; set services.SERVICE.enabled to true for at least one" }}
{{- end }}
{{- toJson $found }}
{{- end }}

{{/* What belongs together and the schema cannot say in plain words. */}}
{{- define "assay.check" -}}
{{- if and (not .Values.minio.enabled) (not (and .Values.store.url .Values.store.existingSecret)) }}
{{- fail "store: there is none; set store.url and store.existingSecret, or minio.enabled and minio.image for a trial" }}
{{- end }}
{{- if and .Values.minio.enabled .Values.store.url }}
{{- fail "store.url and minio.enabled: there is one store; leave out one of the two" }}
{{- end }}
{{- if and .Values.minio.enabled (not .Values.minio.image) }}
{{- fail "minio.image: is not set; name an image of MinIO's server" }}
{{- end }}
{{- if and (eq .Values.transport "mtls") (not .Values.mtls.existingSecret) (not .Values.mtls.issuer.name) }}
{{- fail "mtls: needs certificates; set mtls.issuer.name to an issuer of cert-manager, or mtls.existingSecret" }}
{{- end }}
{{- if and (ne .Values.transport "mesh") .Values.mesh.callers }}
{{- fail "mesh.callers: are for transport mesh; set transport to mesh, or leave them out" }}
{{- end }}
{{- if and .Values.gcsFaultTolerance.enabled (not (and .Values.gcsFaultTolerance.redisAddress .Values.gcsFaultTolerance.existingSecret)) }}
{{- fail "gcsFaultTolerance: needs redisAddress (host:6379) and existingSecret (key password)" }}
{{- end }}
{{- if and .Values.monitoring.serviceMonitor .Values.networkPolicy.enabled (not .Values.networkPolicy.metricsNamespace) }}
{{- fail "networkPolicy.metricsNamespace: is empty, and monitoring.serviceMonitor wants fronts read; name Prometheus's namespace" }}
{{- end }}
{{- if and .Values.gateway.enabled (eq .Values.transport "mtls") }}
{{- fail "gateway.enabled: with transport mtls fronts demand a caller's certificate, which a Gateway does not show; set transport to mesh, or to plaintext behind a Gateway that ends TLS, or leave the Gateway out and pass TLS through to the fronts by a TLSRoute of your own (gateway.hostnames stand on their certificates)" }}
{{- end }}
{{- if and .Values.gateway.enabled (not .Values.gateway.parent.name) }}
{{- fail "gateway.parent.name: is not set; name the Gateway that the routes hang on" }}
{{- end }}
{{- end }}
