{{/* The environment that fronts and engines have in common: the store, its keys, traces. */}}

{{- define "assay.store.url" -}}
{{- if .Values.minio.enabled -}}
s3://{{ .Values.minio.bucket }}?endpoint=http://{{ include "assay.name" . }}-minio:9000
{{- else -}}
{{ .Values.store.url }}
{{- end }}
{{- end }}

{{- define "assay.store.secret" -}}
{{- if .Values.store.existingSecret }}{{ .Values.store.existingSecret }}{{ else }}{{ include "assay.name" . }}-store{{ end }}
{{- end }}

{{- define "assay.token.secret" -}}
{{- .Values.engineToken.existingSecret | default (printf "%s-engine-token" (include "assay.name" .)) }}
{{- end }}

{{- define "assay.environment" -}}
- name: ASSAY_STORE
  value: {{ include "assay.store.url" . | quote }}
- name: ASSAY_S3_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ include "assay.store.secret" . }}, key: accessKey}}
- name: ASSAY_S3_SECRET_KEY
  valueFrom: {secretKeyRef: {name: {{ include "assay.store.secret" . }}, key: secretKey}}
- name: ASSAY_CACHE_DIR
  value: /cache
- name: ASSAY_LOG_LEVEL
  value: {{ .Values.telemetry.logLevel }}
{{- with .Values.telemetry.otlpEndpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{/*
What the cache in a volume of this size is told to keep to: a kubelet evicts who is over, and trees that are in use, or
what a training has so far, may go beyond the bound.
*/}}
{{- define "assay.cacheBytes" -}}
{{ div (mul (include "assay.bytes" . | int64) 4) 5 }}
{{- end }}

{{/* What no pod of ours needs, it does not get. */}}
{{- define "assay.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "assay.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
