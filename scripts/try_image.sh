#!/usr/bin/env bash
# Build the image and check that it does what the platform requires; needs a Docker engine with buildx, and no GPU:
#
#     BASE_IMAGE=python:3.11-slim-bookworm scripts/try_image.sh
#
# The engine is whichever DOCKER_HOST names. Stops at the first failed check. The image
# inpaint-server:try is kept for inspection, the containers are removed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
image=inpaint-server:try
name=inpaint-server-try-$$
port=${PORT:-18080}
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$root/src/inpaint_server/__init__.py")
revision=$(git -C "$root" rev-parse HEAD)
# What the platform's own limits allow: no capability, no place to write but /tmp.
locked=(--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges)

main() {
  trap 'docker rm --force --volumes "$name" >/dev/null 2>&1 || true' EXIT
  build
  labels
  libraries
  starts_and_drains "as the image's plain user, read-only" "${locked[@]}"
  starts_and_drains "as root, as SageMaker runs it, read-only" --user 0:0 "${locked[@]}"
  starts_and_drains "as any user" --user 4321:4321 "${locked[@]}"
  without_weights
  weights_from_a_volume
  log "All checks passed: $image, $(docker image inspect --format '{{.Size}}' "$image") bytes."
}

build() {
  log "Building $image ..."
  docker buildx build --platform linux/amd64 --provenance=false --sbom=false \
    --output type=docker,oci-mediatypes=false --build-arg "REVISION=$revision" \
    --build-arg "SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --format=%ct)" \
    ${BASE_IMAGE:+--build-arg "BASE_IMAGE=$BASE_IMAGE"} --tag "$image" "$root"
}

labels() {
  local found
  found=$(docker image inspect --format '{{json .Config.Labels}}' "$image")
  expect "the platform's label" '"com.amazonaws.sagemaker.capabilities.accept-bind-to-port":"true"' "$found"
  expect "the version's label" "\"org.opencontainers.image.version\":\"$version\"" "$found"
  expect "the commit's label" "\"org.opencontainers.image.revision\":\"$revision\"" "$found"
}

# What only the image has: xformers and the signing library load, and the program has its own name.
libraries() {
  local found
  found=$(docker run --rm "${locked[@]}" --env INPAINT_BUNDLE=demo "$image" doctor)
  expect "xformers loads" "ok  xformers" "$found"
  expect "xformers is installed" " loads" "$(grep xformers: <<<"$found")"
  expect "the signing library loads" " loads" "$(grep signing: <<<"$found")"
  expect "usage names the program" "Usage: inpaint-server" "$(docker run --rm "${locked[@]}" "$image" --help)"
}

# starts_and_drains HOW OPTION...: serve the demo models, answer, and finish a running request after SIGTERM.
starts_and_drains() {
  local how=$1
  shift
  log "Serving $how ..."
  # Long limits, for machines without a GPU or with other load; the platform's own limits are the settings' defaults.
  docker run --detach --name "$name" "$@" --env INPAINT_BUNDLE=demo --env SAGEMAKER_BIND_TO_PORT=9123 \
    --env INPAINT_DRAIN_S=280 --env INPAINT_DEADLINE_S=280 --publish "127.0.0.1:$port:9123" "$image" serve >/dev/null
  ready
  expect "/ping reports the commit" "\"revision\": \"$revision\"" "$(curl --silent "127.0.0.1:$port/ping")"
  expect "an advert is a picture" "200 image/png" "$(advert 2)"
  healthy
  drains
  docker rm --volumes "$name" >/dev/null
}

ready() {
  local deadline=$((SECONDS + 600))
  until curl --silent --fail --output /dev/null "127.0.0.1:$port/ping"; do
    if [[ $(docker inspect --format '{{.State.Running}}' "$name") != true ]]; then
      docker logs "$name" >&2
      fail "the container ended before it was ready: its log is above"
    fi
    if ((SECONDS > deadline)); then
      docker logs "$name" >&2
      fail "it was not ready within 600 s: its log is above"
    fi
    sleep 1
  done
}

# advert STEPS: request one; prints status and media type.
advert() {
  curl --silent --show-error --output /dev/null --write-out '%{http_code} %{content_type}' \
    --header 'Accept: image/png' --form "image=@$root/src/inpaint_server/demo/photos/bottle.jpg" \
    --form background_prompt='a brick wall' --form foreground_prompt='a wooden table' --form seed=7 \
    --form "steps=$1" "127.0.0.1:$port/invocations"
}

healthy() {
  local check
  check=$(docker image inspect --format '{{json (slice .Config.Healthcheck.Test 1)}}' "$image")
  mapfile -t check < <(python3 -c 'import json, sys; print(*json.loads(sys.argv[1]), sep="\n")' "$check")
  docker exec "$name" "${check[@]}" || fail "the image's own health check fails"
}

# A request that runs when SIGTERM comes is answered; then everything ends with code 0.
drains() {
  local answer began code
  exec {answer}< <(advert 15)
  sleep 1 # it takes several times as long
  began=$SECONDS
  docker stop --time 300 "$name" >/dev/null
  expect "the running request is answered" "200 image/png" "$(cat <&"$answer")"
  exec {answer}<&-
  code=$(docker inspect --format '{{.State.ExitCode}}' "$name")
  expect "the exit code after SIGTERM" "code 0" "code $code"
  log "Stopped in $((SECONDS - began)) s with a request running."
}

# Demo pictures are never served by accident.
without_weights() {
  log "Starting without weights ..."
  local output
  if output=$(docker run --rm "${locked[@]}" "$image" serve 2>&1); then
    fail "it serves without weights"
  fi
  expect "the error names what is missing" "No bundle in /opt/ml/model" "$output"
}

weights_from_a_volume() {
  log "Checking a bundle at /opt/ml/model, read-only ..."
  local bundle=$root/src/inpaint_server/demo/bundle
  expect "the bundle is complete" "is whole" \
    "$(docker run --rm "${locked[@]}" --volume "$bundle:/opt/ml/model:ro" "$image" models verify /opt/ml/model)"
}

expect() {
  if [[ $3 != *"$2"* ]]; then
    fail "$1: expected '$2', found '$3'"
  fi
  log "ok  $1"
}

fail() {
  log "FAILED: $*"
  exit 1
}

log() {
  printf '%s\n' "$*" >&2
}

main "$@"
