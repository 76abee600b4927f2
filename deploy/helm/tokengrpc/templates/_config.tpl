{{/* The server's settings: those of the values, and those that follow from the pod. */}}

{{- define "tokengrpc.config" -}}
{{- $own := dict
  "listen" "0.0.0.0:50051"
  "admin_listen" "0.0.0.0:9090"
  "admin_grpc_listen" "0.0.0.0:9091"
  "data_dir" "/var/lib/tokengrpc"
-}}
{{- if .Values.insecure -}}
{{- $_ := set $own "insecure" true -}}
{{- end -}}
{{- if ne .Values.tls.mode "none" -}}
{{- $tls := dict "cert_file" "/run/tokengrpc/tls/tls.crt" "key_file" "/run/tokengrpc/tls/tls.key" -}}
{{- if eq .Values.tls.mode "mutual" -}}
{{- $_ := set $tls "client_ca_file" "/run/tokengrpc/client-ca/ca.crt" -}}
{{- end -}}
{{- $_ := set $own "tls" $tls -}}
{{- end -}}
{{- include "tokengrpc.toml" (mergeOverwrite (deepCopy .Values.config) $own) | trim -}}
{{- end -}}
