{{/* The pod: what runs, what it may do, and what it sees. */}}

{{- define "tokengrpc.pod" -}}
serviceAccountName: {{ include "tokengrpc.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
# preStop, then limits.withdrawal_time and limits.drain_time, then what is left to be delivered.
terminationGracePeriodSeconds: {{ include "tokengrpc.gracePeriod" . }}
securityContext:
  {{- include "tokengrpc.podSecurity" . | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: tokengrpc
    image: {{ include "tokengrpc.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    command: [tokengrpc]
    args: [serve, --config, /etc/tokengrpc/tokengrpc.toml]
    securityContext:
      {{- include "tokengrpc.containerSecurity" . | nindent 6 }}
    ports:
      - {name: grpc, containerPort: 50051}
      - {name: admin-http, containerPort: 9090}
      - {name: admin-grpc, containerPort: 9091}
    {{- with .Values.secretEnv }}
    env:
      {{- range $variable, $secret := . }}
      - name: {{ $variable }}
        valueFrom:
          secretKeyRef:
            {{- toYaml $secret | nindent 12 }}
      {{- end }}
    {{- end }}
    # On the admin port: without TLS and keys, and while the event loop is full.
    startupProbe:
      grpc: {port: 9091, service: readiness}
      {{- toYaml .Values.probes.startup | nindent 6 }}
    readinessProbe:
      grpc: {port: 9091, service: readiness}
      {{- toYaml .Values.probes.readiness | nindent 6 }}
    livenessProbe:
      grpc: {port: 9091, service: liveness}
      {{- toYaml .Values.probes.liveness | nindent 6 }}
    {{- if .Values.preStopSeconds }}
    # Until clients and proxies have seen that the pod leaves.
    lifecycle:
      preStop:
        sleep: {seconds: {{ .Values.preStopSeconds }}}
    {{- end }}
    resources:
      {{- toYaml .Values.resources | nindent 6 }}
    volumeMounts:
      - {name: config, mountPath: /etc/tokengrpc, readOnly: true}
      - {name: data, mountPath: /var/lib/tokengrpc}
      - {name: tmp, mountPath: /tmp}
      {{- if ne .Values.tls.mode "none" }}
      - {name: tls, mountPath: /run/tokengrpc/tls, readOnly: true}
      {{- end }}
      {{- if eq .Values.tls.mode "mutual" }}
      - {name: client-ca, mountPath: /run/tokengrpc/client-ca, readOnly: true}
      {{- end }}
      {{- range $name, $secret := .Values.secretFiles }}
      - {name: secret-{{ $name }}, mountPath: /run/tokengrpc/secrets/{{ $name }}, readOnly: true}
      {{- end }}
      {{- with .Values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  {{- with .Values.extraContainers }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  - name: config
    configMap: {name: {{ include "tokengrpc.fullname" . }}}
  - name: data
    emptyDir: {sizeLimit: {{ .Values.dataDir.sizeLimit }}}
  - name: tmp
    emptyDir: {sizeLimit: 64Mi}
  {{- if ne .Values.tls.mode "none" }}
  - name: tls
    secret: {secretName: {{ .Values.tls.secretName }}}
  {{- end }}
  {{- if eq .Values.tls.mode "mutual" }}
  - name: client-ca
    secret: {secretName: {{ .Values.tls.clientCASecretName }}}
  {{- end }}
  {{- range $name, $secret := .Values.secretFiles }}
  - name: secret-{{ $name }}
    secret: {secretName: {{ $secret }}}
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- include "tokengrpc.scheduling" . }}
{{- end -}}

{{/* What the "restricted" Pod Security Standard asks for, and a root file system that is read-only. */}}
{{- define "tokengrpc.podSecurity" -}}
runAsNonRoot: true
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "tokengrpc.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "tokengrpc.scheduling" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- if kindIs "invalid" .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "tokengrpc.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- else if .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml .Values.topologySpreadConstraints | nindent 2 }}
{{- end }}
{{- end -}}
