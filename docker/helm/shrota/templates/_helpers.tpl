{{- define "shrota.name" -}}
{{- $whole := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) }}
{{- $whole | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "shrota.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "shrota.labels" -}}
{{ include "shrota.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "shrota.image" -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "shrota.locked" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* requests and limits, with the GPUs among the limits: Kubernetes takes the same for the requests */}}
{{- define "shrota.resources" -}}
{{- $found := deepCopy .resources }}
{{- if .gpus }}
{{- $_ := set $found "limits" (merge (dict "nvidia.com/gpu" .gpus) ($found.limits | default dict)) }}
{{- end }}
{{- toYaml $found }}
{{- end }}

{{/* what cannot be right is said before anything is made */}}
{{- define "shrota.check" -}}
{{- $model := .Values.model }}
{{- if and (eq $model.from "claim") (not $model.claim) }}{{ fail "model.from is claim: name it with model.claim" }}{{ end }}
{{- if and (eq $model.from "url") (not $model.url) }}{{ fail "model.from is url: give model.url, such as s3://bucket/models" }}{{ end }}
{{- if and (contains "acoustic_trt" .Values.engines) (not .Values.gpus) }}{{ fail "engines has acoustic_trt, and gpus is 0: a plan runs on a GPU only" }}{{ end }}
{{- if and .Values.tls.grpcMutual (not .Values.tls.grpcSecret) }}{{ fail "tls.grpcMutual needs tls.grpcSecret" }}{{ end }}
{{- if ne $model.from "prepare" }}
{{- if $model.settings }}{{ fail (printf "model.settings changes what `prepare` lays out, and model.from is %s: make the settings in that repository, and set model.settings to nothing" $model.from) }}{{ end }}
{{- if not .Values.sharedMemory }}{{ fail (printf "model.from is %s: set sharedMemory for that repository's own limits, max_audio_seconds x 64 kB x (16 + the smaller of max_queue_size and 64), and resources.server by it" $model.from) }}{{ end }}
{{- end }}
{{- if and .Values.tls.proxyMutual (not .Values.tls.proxy) }}{{ fail "tls.proxyMutual needs tls.proxy: nobody would ask for certificates" }}{{ end }}
{{- if and .Values.tls.proxy (not .Values.tls.proxySecret) }}{{ fail "tls.proxy needs tls.proxySecret" }}{{ end }}
{{- if and .Values.tls.proxy .Values.tls.grpcSecret }}{{ fail "tls.proxy speaks to a Triton whose gRPC is not encrypted: set it, or tls.grpcSecret" }}{{ end }}
{{- end }}
