{{/* What the pods of a Ray cluster have in common. */}}

{{/* Only the head asks the API server for anything: its autoscaler sets the number of workers. */}}
{{- define "assay.ray.pod" -}}
serviceAccountName: {{ include "assay.engine" .key }}
automountServiceAccountToken: {{ .token | default false }}
securityContext: {{- include "assay.podSecurity" .root | nindent 2 }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
Ray's nodes find each other by address, on ports that no Service lists: a sidecar would send to them in the clear, and
that of the other side refuse it. Only Serve's port goes through the mesh; infra/addons/README.md says more.
*/}}
{{- define "assay.ray.mesh" -}}
traffic.sidecar.istio.io/includeInboundPorts: "9000"
traffic.sidecar.istio.io/excludeOutboundPorts: "6379,8265,10001"
{{- end }}

{{/* Takes {root, image, cacheSize}. */}}
{{- define "assay.ray.container" -}}
image: {{ .image }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext: {{- include "assay.containerSecurity" .root | nindent 2 }}
env:
  {{- /* How Serve carries calls; kept equal to infra/ray/cluster.env by a test. */}}
  - {name: RAY_USAGE_STATS_ENABLED, value: "0"}
  - {name: RAY_SERVE_ENABLE_HA_PROXY, value: "1"}
  - {name: RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD, value: "0"}
  - {name: RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S, value: "3600"}
  - {name: RAY_SERVE_HAPROXY_H2_FE_MAX_CONCURRENT_STREAMS, value: "1000"}
  - {name: RAY_SERVE_HAPROXY_H2_BE_MAX_CONCURRENT_STREAMS, value: "1000"}
  - name: ASSAY_ENGINE_TOKEN
    valueFrom: {secretKeyRef: {name: {{ include "assay.token.secret" .root }}, key: token}}
  - {name: ASSAY_CACHE_BYTES, value: {{ include "assay.cacheBytes" .cacheSize | quote }}}
  {{- include "assay.environment" .root | nindent 2 }}
volumeMounts:
  - {name: cache, mountPath: /cache}
  - {name: tmp, mountPath: /tmp}
  - {name: shared-memory, mountPath: /dev/shm}
{{- end }}

{{/* Takes {cacheSize, sharedMemory}. Ray writes its sessions to /tmp. */}}
{{- define "assay.ray.volumes" -}}
- {name: cache, emptyDir: {sizeLimit: {{ .cacheSize }}}}
- {name: tmp, emptyDir: {sizeLimit: 20Gi}}
- {name: shared-memory, emptyDir: {medium: Memory, sizeLimit: {{ .sharedMemory }}}}
{{- end }}

{{/* "4Gi" in bytes, which Ray wants. */}}
{{- define "assay.bytes" -}}
{{- if hasSuffix "Gi" . }}{{ mul (trimSuffix "Gi" . | int64) 1073741824 }}
{{- else if hasSuffix "Mi" . }}{{ mul (trimSuffix "Mi" . | int64) 1048576 }}
{{- else }}{{ . }}{{ end }}
{{- end }}
