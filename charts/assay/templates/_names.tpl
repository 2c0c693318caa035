{{/* Names: of the release, of a service ("moe_router" is moe-router to Kubernetes), of images. */}}

{{- define "assay.name" -}}
{{- if contains "assay" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-assay{{ end }}
{{- end }}

{{/* Takes {root, service}. */}}
{{- define "assay.front" -}}
{{ include "assay.name" .root }}-{{ replace "_" "-" .service }}
{{- end }}

{{/* KubeRay allows 47 characters, and names pods and services after it. */}}
{{- define "assay.engine" -}}
{{ include "assay.front" . }}-engine
{{- end }}

{{/* Takes {root, service, part}; part: front or engine. */}}
{{- define "assay.image" -}}
{{- with .root.Values.image.registry }}{{ . }}/{{ end }}assay-{{ replace "_" "-" .service }}-{{ .part }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* Takes {root, service, part}. Not by app.kubernetes.io/name, which KubeRay's Services want for themselves. */}}
{{- define "assay.selector" -}}
app.kubernetes.io/instance: {{ .root.Release.Name }}
assay/service: {{ replace "_" "-" .service }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "assay.matches" -}}
{{ include "assay.selector" . | fromYaml | toJson }}
{{- end }}

{{/* Of pods. No version: a label that changes would roll what has not. */}}
{{- define "assay.podLabels" -}}
{{ include "assay.selector" . }}
app.kubernetes.io/part-of: assay
{{- end }}

{{- define "assay.labels" -}}
{{ include "assay.podLabels" . }}
app.kubernetes.io/name: {{ replace "_" "-" .service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}
