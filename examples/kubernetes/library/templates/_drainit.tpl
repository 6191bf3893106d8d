{{/* An item of `initContainers`: it copies drainit into a volume. */}}
{{- define "drainit.initContainer" -}}
- name: drainit
  image: {{ .Values.drainit.image | quote }}
  args: [install, --force, /opt/drainit/]
  securityContext:
    readOnlyRootFilesystem: true
    allowPrivilegeEscalation: false
    capabilities: {drop: [ALL]}
  volumeMounts:
    {{- include "drainit.volumeMount" . | nindent 4 }}
{{- end }}

{{/* The first words of `command`, before the program of the image. */}}
{{- define "drainit.command" -}}
/opt/drainit/drainit, exec, --
{{- end }}

{{/* Items of `env`. */}}
{{- define "drainit.env" -}}
- {name: DRAINIT_DRAIN_ENVOY, value: {{ .Values.drainit.admin | quote }}}
- {name: DRAINIT_DRAIN_TIME, value: {{ .Values.drainit.drainTime | quote }}}
- {name: DRAINIT_READINESS, value: {{ .Values.drainit.readiness | quote }}}
- {name: DRAINIT_GRACE_PERIOD, value: {{ .Values.drainit.terminationGracePeriodSeconds | quote }}}
{{- end }}

{{/* The probes of the container. */}}
{{- define "drainit.probes" -}}
readinessProbe:
  exec: {command: [/opt/drainit/drainit, health]}
  periodSeconds: 1
  failureThreshold: 1
livenessProbe:
  exec: {command: [/opt/drainit/drainit, health, --live]}
{{- end }}

{{/* An item of `volumeMounts`, and one of `volumes`. */}}
{{- define "drainit.volumeMount" -}}
- {name: drainit, mountPath: /opt/drainit}
{{- end }}
{{- define "drainit.volume" -}}
- {name: drainit, emptyDir: {}}
{{- end }}
