{{/* What a schema cannot say: values that do not fit together. Each message says what, why and what to do. */}}

{{- define "tokengrpc.drainTime" -}}
{{- dig "limits" "drain_time" 30 .Values.config -}}
{{- end -}}

{{/* Seconds after SIGTERM in which calls are still accepted: only with an event store. */}}
{{- define "tokengrpc.withdrawalTime" -}}
{{- if .Values.config.store -}}{{- dig "limits" "withdrawal_time" 3 .Values.config -}}{{- else -}}0{{- end -}}
{{- end -}}

{{/* Seconds beyond preStop, withdrawal and drain: what remains after drain_time is handed over or ended, and the process exits. */}}
{{- define "tokengrpc.gracePeriod.least" -}}
{{- $stopping := addf (include "tokengrpc.withdrawalTime" . | float64) (include "tokengrpc.drainTime" . | float64) -}}
{{- add .Values.preStopSeconds ($stopping | ceil | int64) 10 -}}
{{- end -}}

{{- define "tokengrpc.gracePeriod" -}}
{{- $least := include "tokengrpc.gracePeriod.least" . | int64 -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- $least -}}
{{- else if lt (int64 .Values.terminationGracePeriodSeconds) $least -}}
{{- fail (printf "terminationGracePeriodSeconds: %d is too short, because the kubelet would kill the server while it drains: preStopSeconds (%d) + config.limits.withdrawal_time (%s) + config.limits.drain_time (%s) + 10 = %d; raise it, or leave it out, or lower the others" (int64 .Values.terminationGracePeriodSeconds) (int64 .Values.preStopSeconds) (include "tokengrpc.withdrawalTime" .) (include "tokengrpc.drainTime" .) $least) -}}
{{- else -}}
{{- int64 .Values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}

{{- define "tokengrpc.isAuthenticated" -}}
{{- if or (eq .Values.tls.mode "mutual") .Values.config.tenants (ne (.Values.config.authenticator | default "static") "static") -}}true{{- end -}}
{{- end -}}

{{/* Why the port is insecure, or nothing. */}}
{{- define "tokengrpc.insecurity" -}}
{{- if and (eq .Values.tls.mode "none") (not (include "tokengrpc.isAuthenticated" .)) -}}
plaintext, and without authentication
{{- else if eq .Values.tls.mode "none" -}}
plaintext, so that keys and prompts can be read on the network
{{- else if not (include "tokengrpc.isAuthenticated" .) -}}
without authentication, so that every caller that reaches it is served
{{- end -}}
{{- end -}}

{{- define "tokengrpc.checks" -}}
{{- if not .Values.image.repository -}}
{{- fail "image.repository: required, because no registry has the image yet; build deploy/Containerfile, push it to your registry and name it, as in --set image.repository=registry.example.com/tokengrpc" -}}
{{- end -}}
{{- with include "tokengrpc.insecurity" . -}}
{{- if not $.Values.insecure -}}
{{- fail (printf "insecure: the serving port would be %s; set tls.mode with tls.secretName, and config.tenants with keys; or set insecure=true if a mesh, a proxy or the network protects it" .) -}}
{{- end -}}
{{- end -}}
{{- if and (ne .Values.tls.mode "none") (not .Values.tls.secretName) -}}
{{- fail (printf "tls.secretName: required with tls.mode %s: a Secret of type kubernetes.io/tls" .Values.tls.mode) -}}
{{- end -}}
{{- if and (eq .Values.tls.mode "mutual") (not .Values.tls.clientCASecretName) -}}
{{- fail "tls.clientCASecretName: required with tls.mode mutual: a Secret with the authorities of the callers in ca.crt" -}}
{{- end -}}
{{- if and .Values.istio.enabled (ne .Values.tls.mode "none") -}}
{{- fail "istio.enabled: needs tls.mode none and insecure=true, because the mesh encrypts the connections, and its rules for HTTP do not see into a port with TLS of its own" -}}
{{- end -}}
{{- if and .Values.istio.enabled (not .Values.istio.hosts) .Values.istio.gateways -}}
{{- fail "istio.hosts: required with istio.gateways: the host names that the gateway serves" -}}
{{- end -}}
{{- if and .Values.route.enabled (not .Values.route.parentRefs) -}}
{{- fail "route.parentRefs: required with route.enabled: the Gateway, as in [{name: GATEWAY, namespace: NAMESPACE}]" -}}
{{- end -}}
{{- if and .Values.envoyGateway.enabled (not .Values.route.enabled) -}}
{{- fail "envoyGateway.enabled: needs route.enabled, because the BackendTrafficPolicy targets that route" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.hosts: required with ingress.enabled" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int64 .Values.autoscaling.minReplicas) (int64 .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas: must be at most autoscaling.maxReplicas" -}}
{{- end -}}
{{- end -}}
