{{/* Names and labels. */}}

{{- define "tokengrpc.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 50 characters, so that suffixes fit into the 63 of a DNS label. */}}
{{- define "tokengrpc.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "tokengrpc.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "tokengrpc.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tokengrpc.headless" -}}
{{- include "tokengrpc.fullname" . }}-headless
{{- end -}}

{{- define "tokengrpc.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "tokengrpc.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "tokengrpc.selector" -}}
app.kubernetes.io/name: {{ include "tokengrpc.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Of the pod of `helm test`, which no service selects. */}}
{{- define "tokengrpc.probeLabels" -}}
app.kubernetes.io/name: {{ include "tokengrpc.name" . }}-probe
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tokengrpc.labels" -}}
{{ include "tokengrpc.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* metadata: of an object that is named like the release. */}}
{{- define "tokengrpc.metadata" -}}
name: {{ include "tokengrpc.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "tokengrpc.labels" . | nindent 2 }}
{{- end -}}

{{- define "tokengrpc.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
