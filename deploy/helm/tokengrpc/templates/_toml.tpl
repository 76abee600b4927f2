{{/*
Values as TOML. `toToml` writes every number as a float, which the server refuses for a count.

Tables are written inline, so that one rule serves at every depth.
*/}}

{{- define "tokengrpc.toml.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ . | toJson }}{{ end -}}
{{- end -}}

{{- define "tokengrpc.toml.value" -}}
{{- if kindIs "map" . -}}
{ {{- range $index, $key := keys . | sortAlpha }}{{ if $index }},{{ end }} {{ include "tokengrpc.toml.key" $key }} = {{ include "tokengrpc.toml.value" (get $ $key) }}{{ end }} }
{{- else if kindIs "slice" . -}}
[{{- range $index, $item := . }}{{ if $index }}, {{ end }}{{ include "tokengrpc.toml.value" $item }}{{ end }}]
{{- else if kindIs "string" . -}}
{{ . | toJson }}
{{- else if kindIs "bool" . -}}
{{ . }}
{{- else if eq (float64 .) (float64 (int64 .)) -}}
{{ int64 . }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end -}}

{{/* A file: scalars first, then a table for each map, and an array of tables for each list of maps. */}}
{{- define "tokengrpc.toml" -}}
{{- $file := . -}}
{{- range $key := keys $file | sortAlpha }}
{{- $value := get $file $key }}
{{- if not (or (kindIs "map" $value) (include "tokengrpc.toml.isTables" $value)) }}
{{ $key }} = {{ include "tokengrpc.toml.value" $value }}
{{- end }}
{{- end }}
{{- range $key := keys $file | sortAlpha }}
{{- $value := get $file $key }}
{{- if kindIs "map" $value }}

[{{ $key }}]
{{- range $name := keys $value | sortAlpha }}
{{ include "tokengrpc.toml.key" $name }} = {{ include "tokengrpc.toml.value" (get $value $name) }}
{{- end }}
{{- else if include "tokengrpc.toml.isTables" $value }}
{{- range $table := $value }}

[[{{ $key }}]]
{{- range $name := keys $table | sortAlpha }}
{{ $name }} = {{ include "tokengrpc.toml.value" (get $table $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "tokengrpc.toml.isTables" -}}
{{- if kindIs "slice" . -}}{{- if . -}}{{- if kindIs "map" (first .) -}}true{{- end -}}{{- end -}}{{- end -}}
{{- end -}}
