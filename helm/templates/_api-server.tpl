{{/* Where the agents reach the API server: a dict with `host` and `port`, as JSON; empty for the Service `kubernetes`. */}}
{{- define "lb-agent.apiServer" -}}
{{- if eq .Values.k8sServiceHost "auto" -}}
{{- $found := default (include "lb-agent.apiServerOfSlice" .) (include "lb-agent.apiServerOfClusterInfo" .) -}}
{{- if not $found -}}
{{- fail "k8sServiceHost is auto, but neither the ConfigMap kube-public/cluster-info nor the EndpointSlice default/kubernetes could be read (`helm template` and tools that use it ask no cluster): set k8sServiceHost and k8sServicePort to an address of the API server that works without kube-proxy, or k8sServiceHost to \"\" as long as kube-proxy runs" -}}
{{- end -}}
{{- $found -}}
{{- else if .Values.k8sServiceHost -}}
{{- dict "host" .Values.k8sServiceHost "port" .Values.k8sServicePort | toJson -}}
{{- end -}}
{{- end }}

{{/* As kubeadm tells nodes that join: the address in front of all control plane nodes, if there is one. One of the node itself
is no use to others. */}}
{{- define "lb-agent.apiServerOfClusterInfo" -}}
{{- $config := dig "data" "kubeconfig" "" (lookup "v1" "ConfigMap" "kube-public" "cluster-info") | fromYaml -}}
{{- with first (default (list dict) $config.clusters) -}}
{{- $url := urlParse (dig "cluster" "server" "" .) -}}
{{- $host := $url.hostname -}}
{{- $port := trimPrefix ":" (regexFind ":[0-9]+$" $url.host) -}}
{{- if and $host (not (has $host (list "localhost" "127.0.0.1" "::1"))) -}}
{{- dict "host" $host "port" (default "443" $port | int) | toJson -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The first in order of what API servers write of themselves; the agents learn the others once they reach one. */}}
{{- define "lb-agent.apiServerOfSlice" -}}
{{- $slice := lookup "discovery.k8s.io/v1" "EndpointSlice" "default" "kubernetes" -}}
{{- $addresses := list -}}
{{- range default list $slice.endpoints -}}
{{- $addresses = concat $addresses .addresses -}}
{{- end -}}
{{- $port := dict -}}
{{- range default list $slice.ports -}}
{{- if eq (default "" .name) "https" -}}
{{- $port = . -}}
{{- end -}}
{{- end -}}
{{- if and $addresses $port -}}
{{- dict "host" (first (sortAlpha $addresses)) "port" (int $port.port) | toJson -}}
{{- end -}}
{{- end }}
