#!/usr/bin/env bash
# Build the image, push it to Amazon ECR and print its URI; `./build_and_push.sh --help` lists the options.
#
# stdout carries only the result (the URI, or with --dry-run the commands); everything else goes to stderr.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=inpaint-server
region=${AWS_REGION:-${AWS_DEFAULT_REGION:-}}
base_image=
allow_dirty=false
dry_run=false

# SageMaker accepts this and no OCI manifest: CreateModel answers "Unsupported manifest media type".
readonly docker_manifest=application/vnd.docker.distribution.manifest.v2+json
readonly lifecycle_policy='{"rules":[{"rulePriority":1,"description":"Expire what no tag names",'\
'"selection":{"tagStatus":"untagged","countType":"sinceImagePushed","countUnit":"days","countNumber":14},'\
'"action":{"type":"expire"}}]}'

usage() {
  cat <<'END'
Usage: ./build_and_push.sh [options]

Builds this checkout for linux/amd64, pushes it to Amazon ECR as REPOSITORY:VERSION-COMMIT, prints the image's URI.
An existing tag is left as it is.

  --repository NAME   ECR repository, created if it is missing (default: inpaint-server)
  --region REGION     default: AWS_REGION, AWS_DEFAULT_REGION, then the AWS profile's
  --base-image IMAGE  Python 3.11 on Debian (default: the Dockerfile's)
  --allow-dirty       build although there are changes that are not committed; the tag says so, with the time
  --dry-run           call neither docker nor aws, print their commands (REGISTRY stands for the registry's host)
  --help              print this
END
}

main() {
  read_options "$@"
  exec 3>&1 1>&2
  errors=$(mktemp)
  trap 'rm -f "$errors"' EXIT
  name_image
  require_tools
  find_account
  find_repository
  find_image
  if [[ -n $answer ]]; then
    log "$image is there already: nothing to do."
  else
    log_in
    build
    push
  fi
  if ! "$dry_run"; then
    printf '%s\n' "$image" >&3
  fi
}

read_options() {
  while (($#)); do
    case $1 in
      --repository | --region | --base-image)
        if [[ -z ${2:-} || ${2:-} == --* ]]; then
          misuse "$1 needs a value"
        fi
        case $1 in
          --repository) repository=$2 ;;
          --region) region=$2 ;;
          --base-image) base_image=$2 ;;
        esac
        shift
        ;;
      --allow-dirty) allow_dirty=true ;;
      --dry-run) dry_run=true ;;
      --help)
        usage
        exit
        ;;
      *) misuse "there is no option '$1'" ;;
    esac
    shift
  done
}

# The tag and the labels: this checkout's version and commit.
name_image() {
  need git "install git"
  version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$root/src/inpaint_server/__init__.py")
  if ! revision=$(git -C "$root" rev-parse HEAD) || ! changes=$(git -C "$root" status --porcelain); then
    fail "$root is no git checkout with a commit: clone the repository, the image is named after its commit."
  fi
  tag="${version//+/-}-${revision:0:12}"
  if [[ -n $changes ]]; then
    if ! "$allow_dirty"; then
      fail "There are changes that are not committed (git status): commit them, or build all the same with --allow-dirty."
    fi
    # Tags are immutable and two dirty builds of a commit differ: the time keeps them apart.
    tag+="-dirty.$(date -u +%Y%m%dT%H%M%SZ)"
    revision+=-dirty
  fi
}

require_tools() {
  if "$dry_run"; then
    return
  fi
  need docker "install Docker Engine 23 or newer (https://docs.docker.com/engine/install/)"
  need aws "install the AWS command line (https://docs.aws.amazon.com/cli/)"
  if ! docker version >"$errors" 2>&1; then
    complain "Docker's engine does not answer: start it (sudo systemctl start docker) and check that 'docker version' works."
  fi
  if ! docker buildx version >"$errors" 2>&1; then
    complain "Docker has no buildx: install the package docker-buildx-plugin (docker-buildx in Debian)."
  fi
}

find_account() {
  if [[ -z $region ]]; then
    if "$dry_run"; then
      region=REGION
    elif ! region=$(aws configure get region) || [[ -z $region ]]; then
      fail "No AWS region is set: give --region, set AWS_REGION, or run 'aws configure set region REGION'."
    fi
  fi
  if ! answer=$(aws_cli sts get-caller-identity --query Account --output text 2>"$errors"); then
    complain "AWS accepts no credentials: log in ('aws sso login' or 'aws configure') or set AWS_PROFILE."
  fi
  log "Account ${answer:-unknown}, region $region."
}

# The host comes from ECR, so this works in every partition.
find_repository() {
  ecr RepositoryNotFoundException describe-repositories --repository-names "$repository" \
    --query 'repositories[0].repositoryUri' --output text
  local uri=$answer
  if [[ -z $uri ]]; then
    log "Creating the repository $repository."
    ecr "" create-repository --repository-name "$repository" --image-tag-mutability IMMUTABLE \
      --image-scanning-configuration scanOnPush=true --query repository.repositoryUri --output text
    uri=${answer:-REGISTRY/$repository}
    ecr "" put-lifecycle-policy --repository-name "$repository" --lifecycle-policy-text "$lifecycle_policy"
  fi
  image=$uri:$tag
}

# answer: the media type of the tag's manifest in ECR, empty if the tag is not there; a type that SageMaker refuses ends
# the script.
find_image() {
  ecr ImageNotFoundException describe-images --repository-name "$repository" --image-ids "imageTag=$tag" \
    --query 'imageDetails[0].imageManifestMediaType' --output text
  if [[ -n $answer && $answer != "$docker_manifest" ]]; then
    fail "$image was pushed as $answer, which SageMaker refuses: delete it (aws ecr batch-delete-image --region $region" \
      "--repository-name $repository --image-ids imageTag=$tag) and run this again with a builder of Docker's own" \
      "(docker buildx use default)."
  fi
}

# Before the build, so that a missing permission shows at once. The password is passed through a pipe, never as an argument.
log_in() {
  local registry=${image%%/*}
  local docker_login=(docker login --username AWS --password-stdin "$registry")
  if "$dry_run"; then
    printf '%s | %s\n' "$(quoted aws ecr get-login-password --region "$region")" "$(quoted "${docker_login[@]}")" >&3
    return
  fi
  ecr "" get-login-password
  if ! printf '%s' "$answer" | "${docker_login[@]}"; then
    fail "Docker cannot log in to $registry: its last lines above show why."
  fi
}

# Attestations (provenance, SBOM) would turn the manifest into an OCI index whatever --output requests.
build() {
  local options=(--platform linux/amd64 --provenance=false --sbom=false --output "type=docker,oci-mediatypes=false")
  options+=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision")
  options+=(--build-arg "SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --format=%ct)")
  if [[ -n $base_image ]]; then
    options+=(--build-arg "BASE_IMAGE=$base_image")
  fi
  if ! run docker buildx build "${options[@]}" --tag "$image" "$root"; then
    fail "The build failed: its last lines above show where."
  fi
}

push() {
  if ! run docker push "$image"; then
    fail "The push failed: run this again, layers that have arrived are not sent twice."
  fi
  find_image
  if [[ -z $answer ]] && ! "$dry_run"; then
    fail "ECR does not know $image although it was pushed: run this again."
  fi
}

# ecr ABSENT OPERATION...: `answer` is ECR's answer, empty if that is the error ABSENT; any other error ends the script.
ecr() {
  local absent=$1
  shift
  if answer=$(aws_cli ecr "$@" 2>"$errors"); then
    return
  fi
  answer=
  if [[ -z $absent ]] || ! grep -q "($absent)" "$errors"; then
    complain "ECR refuses 'aws ecr $1' for $repository in $region: check the name and that your role may do this."
  fi
}

aws_cli() {
  run aws "$@" --region "$region"
}

# The command, or with --dry-run its text.
run() {
  if "$dry_run"; then
    quoted "$@" >&3
  else
    AWS_PAGER='' "$@"
  fi
}

quoted() {
  local word line='' quote="'" escaped="'\\''"
  for word; do
    if [[ ! $word =~ ^[[:alnum:]_./:=,@%+-]+$ ]]; then
      word=$quote${word//$quote/"$escaped"}$quote
    fi
    line+="$word "
  done
  printf '%s\n' "${line% }"
}

need() {
  if ! command -v "$1" >/dev/null; then
    fail "$1 is not installed: $2."
  fi
}

# The failed program's output, then our sentence.
complain() {
  cat "$errors" >&2
  fail "$@"
}

fail() {
  log "$@"
  exit 1
}

misuse() {
  log "$1; --help names them all."
  exit 2
}

log() {
  printf '%s\n' "build_and_push.sh: $*" >&2
}

main "$@"
