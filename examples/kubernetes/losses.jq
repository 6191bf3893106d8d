# Sums up the losses of stops: `kubectl get pods -o json | jq --stream -nrf losses.jq`. Ends with 1 if a request was cut, or
# if the input is not whole, and with 4 if a count is unknown, such as that of a pod which still stops.
#
# A step for CI (`sh -e`), which fails if a rollout of the Deployment `web` cut something. `rollout status` does not wait for
# the old pods. The step also fails if the watch ends before them.
#
#   kubectl get pods -l app=web --watch -o json >pods.json &
#   watch=$!
#   old=$(kubectl get pods -l app=web -o name)
#   kubectl rollout restart deployment/web
#   kubectl rollout status deployment/web
#   kubectl wait --for=delete --timeout=15m $old
#   sleep 1
#   kill $watch
#   jq --stream -nrf losses.jq pods.json

# Each value of the input, or each item of a list. If the input ends early, the last value has the error and its beginning.
# `of` is the part of the state that an event adds to, and `done` the part that is whole.
def values:
  foreach (try inputs catch {bad: .}) as $event ({};
    if $event | type == "object" then
      if $event | has("bad") then {done: "bad", bad: ($event + {metadata: ((if .done then null else .item // .top end).metadata? // {})})}
      else error("jq needs --stream") end
    else
      (if ($event[0] | length > 1 and .[0] == "items") and ($event[0][1] | type) == "number" then 2 else 0 end) as $depth
      | (if $depth == 2 then "item" else "top" end) as $of
      | if .done == "top" then {} elif .done then {top, is_list: true} else . end
      | if $event | length == 2 then setpath([$of] + $event[0][$depth:]; $event[1]) else . end
      | setpath(["done"]; if ($event[0] | length) + ($event | length) == $depth + 2 then $of else null end)
    end;
    if .done and (.done != "top" or (.is_list or (.top | type == "object" and .items == []) | not)) then .[.done] else empty end);

def line: capture("^stopped in (?<took>[^\n]+?), exit code [0-9]+: (?<why>[^\n]*); connections (?<connections>[^ ,]+), requests (?<requests>[^ ,]+), cut (?<cut>[^ ,]+), killed (?<killed>[0-9]+), counted by (?<by>[^\n;]+)") // {why: (split("\n")[0] // "")};
def known(row): try row catch {id: "unknown", why: "unknown: its status is malformed"};

# The stops of a container, each with an `id`, because a watch shows it many times. A stop that has begun has the id of its end.
def stop: known(.terminated | select(. != null) | {id: (.containerID // . | tostring), message});
def stops($open): {name: ((.name? | strings) // "-")} + known([.state, .lastState | stop] + [select($open != "has not ended" and .state.running) | {id: (.containerID // ""), why: $open}] | if . == [] then {id: "", why: $open} else .[] end);

def rows:
  ((.metadata.deletionTimestamp? // false) and ([.status | (.containerStatuses?, .initContainerStatuses?)[]?.state?.running?] | any) | if . then "is stopping" else "has not ended" end) as $open
  # A pod that was evicted has ended as a whole, and nobody knows of a pod whose node is lost.
  | known(.status | {id: "", why: (if .phase | IN("Failed", "Succeeded", "Unknown") then (.reason | strings) // .phase else $open end)}) as $pod
  | $pod,
    known(.status | (.containerStatuses // [])[] | stops($pod.why)),
    # An init container counts if it is drainit: a native sidecar that still stops may be. Whatever has ended otherwise is none.
    known(.status | (.initContainerStatuses // [])[] | stops($pod.why)
      | if (.why // .message | tostring | test("^(is stopping|unknown: |stopped in )")) then . else . + {is_other: true} end);

def row:
  {pod: ((.metadata?.name? | strings) // "-"), of: ([.kind?, .metadata?.namespace?, .metadata?.name?, .metadata?.uid?] | tostring)}
  + if .bad? // false then {why: "the input is not whole: \(.bad)"}
    elif (.kind? // "") == "Pod" then rows
    else {why: "\(.kind? // type) is no Pod"} end;

def sum(of): map(select(.why | . != "has not ended" and (endswith(" is no Pod") | not)) | of // "-")
  | (map(rtrimstr("+") | tonumber? // 0) | add // 0) as $sum
  | if length > 0 and all(test("^[0-9]+$")) then "\($sum)" elif $sum > 0 then "\($sum)+" else "-" end;

# The last state of each stop counts. Without stops, the last state of the container or the pod gets the row.
reduce (values | row) as $row ({}; setpath([$row.of, $row.name // $row.id // "", $row.id // ""]; $row))
| map_values(map_values(map_values(select(.is_other | not))) | map_values(select(. != {})))
| [.[] | if length > 1 then del(.[""]) else . end | .[] | if length > 1 then del(.[""]) else . end | .[]
  | if has("message") then . + (.message | if . == null then {why: "no termination message"} else known(line) end) else . end]
| . + [{pod: "sum", connections: sum(.connections), requests: sum(.requests), cut: sum(.cut), killed: sum(.killed)}]
| (["POD", "CONTAINER", "TOOK", "CONNECTIONS", "REQUESTS", "CUT", "KILLED", "COUNTED BY", "WHY"],
  (.[] | [.pod, .name, .took, .connections, .requests, .cut, .killed, .by, .why] | map(. // "-")) | @tsv),
  (if any(.why // "" | startswith("the input is not whole")) or (last.cut | test("^[1-9]")) then "cut: \(last.cut)\n" | halt_error(1)
  elif last.cut == "-" then "cut: unknown\n" | halt_error(4) else empty end)
