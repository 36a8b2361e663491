{{/* Name of the application, as it stands in labels. */}}
{{- define "lb-agent.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Name of the objects: the release's, with the chart's unless it is in it. */}}
{{- define "lb-agent.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* What a selector may hold: it can never change. */}}
{{- define "lb-agent.selectorLabels" -}}
app.kubernetes.io/name: {{ include "lb-agent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of every object, with those of the user. */}}
{{- define "lb-agent.labels" -}}
{{ include "lb-agent.ownLabels" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Annotations of an object: those of all, and its own, given as list of the root and a dict; empty for none. */}}
{{- define "lb-agent.annotations" -}}
{{- $root := index . 0 -}}
{{- with mergeOverwrite (dict) $root.Values.commonAnnotations (default dict (index . 1)) -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end }}

{{- define "lb-agent.ownLabels" -}}
{{ include "lb-agent.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: agent
app.kubernetes.io/part-of: lb-agent
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Not the agent's own name: the DaemonSet's selector must not match pods of tests. */}}
{{- define "lb-agent.testLabels" -}}
app.kubernetes.io/name: {{ printf "%s-test" (include "lb-agent.name" . | trunc 58 | trimSuffix "-") }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: lb-agent
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "lb-agent.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "lb-agent.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* A repository whose first part is a host, as in `registry.example/lb-agent`, names its registry itself. */}}
{{- define "lb-agent.image" -}}
{{- $repository := .Values.image.repository -}}
{{- $registry := default .Values.image.registry (dig "imageRegistry" "" (default dict .Values.global)) -}}
{{- $host := first (splitList "/" $repository) -}}
{{- $named := and (contains "/" $repository) (or (contains "." $host) (contains ":" $host) (eq $host "localhost")) -}}
{{- if and $registry (not $named) -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" $registry) $repository -}}
{{- end -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- if .Values.image.digest -}}
{{ printf "%s:%s@%s" $repository $tag .Values.image.digest }}
{{- else -}}
{{ printf "%s:%s" $repository $tag }}
{{- end }}
{{- end }}

{{/* An address and a port, with the brackets that an IPv6 address needs. */}}
{{- define "lb-agent.hostPort" -}}
{{- $host := index . 0 -}}
{{- if contains ":" $host -}}
{{ printf "[%s]:%d" $host (int (index . 1)) }}
{{- else -}}
{{ printf "%s:%d" $host (int (index . 1)) }}
{{- end }}
{{- end }}

{{/* kube-proxy's configuration as one text; empty for none. */}}
{{- define "lb-agent.kubeProxyConfig" -}}
{{- with .Values.kubeProxyConfig -}}
{{- if kindIs "string" . -}}
{{ . }}
{{- else -}}
{{ toYaml . }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Where the kubelet asks, given where the agent listens. */}}
{{- define "lb-agent.probeHost" -}}
{{- if eq .Values.health.bindAddress "0.0.0.0" -}}
127.0.0.1
{{- else if eq .Values.health.bindAddress "::" -}}
::1
{{- else -}}
{{ .Values.health.bindAddress }}
{{- end }}
{{- end }}

{{/* Security context of a pod: what the cluster's version does not know is left out. */}}
{{- define "lb-agent.podSecurityContext" -}}
{{- $context := .Values.podSecurityContext -}}
{{- if semverCompare "<1.30-0" .Capabilities.KubeVersion.Version -}}
{{- $context = omit $context "appArmorProfile" -}}
{{- end -}}
{{- with $context -}}
{{- toYaml . -}}
{{- end -}}
{{- end }}

{{/* Security context of the container: another network namespace is entered with SYS_ADMIN only. */}}
{{- define "lb-agent.securityContext" -}}
{{- $context := deepCopy (default dict .Values.securityContext) -}}
{{- if .Values.socketReset -}}
{{- $capabilities := default dict $context.capabilities -}}
{{- $add := append (default list $capabilities.add) "SYS_ADMIN" | uniq -}}
{{- $context = set $context "capabilities" (set $capabilities "add" $add) -}}
{{- end -}}
{{- with $context -}}
{{- toYaml . -}}
{{- end -}}
{{- end }}

{{/* Flags that a value of this chart sets always, and that value; a second one would stop the agent. */}}
{{- define "lb-agent.valueOfFlag" -}}
--attach-xdp: config.attachXdp
--bind-hold: config.bindHold
--bpf-dir: config.bpfDir
--cgroup: config.cgroupRoot
--cluster-cidr: config.clusterCidr
--cluster-key-file: config.clusterKeySecret
--config: kubeProxyConfig
--config-strict: kubeProxyConfigStrict
--devices: config.devices
--external-ip-cidrs: config.externalIpCidrs
--forwarding: config.forwarding
--health-bind-address: health
--lb0: config.lb0
--log-format: config.logFormat
--log-level: config.logLevel
--map-capacity: config.mapCapacity
--metrics-bind-address: metrics
--node-port-addresses: config.nodePortAddresses
--node-port-range: config.nodePortRange
--on-backend-removal: config.onBackendRemoval
--passive-health: config.passiveHealth
--scheduler: config.scheduler
--service-cidrs: config.serviceCidrs
--service-metrics: config.serviceMetrics
--snat-ports: config.snatPorts
--socket-lb: config.socketLb
--socket-reset: socketReset
--state-dir: config.stateDir
--xdp-mode: config.xdpMode
{{- end }}
