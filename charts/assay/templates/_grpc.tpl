{{/* What fronts answer beside their own service. JSON; a test holds it equal to what a front registers. */}}
{{- define "assay.grpc.helpers" -}}
["assay.artifacts.v1.ArtifactService", "assay.checkup.v1.CheckupService", "assay.operations.v1.OperationWatchService", "google.longrunning.Operations"]
{{- end }}
