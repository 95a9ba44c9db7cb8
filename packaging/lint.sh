#!/usr/bin/env bash
# lintian and rpmlint over packages; what they may say is in their override files, each with its reason.
# usage: lint.sh PACKAGE...
set -euo pipefail
cd "$(dirname "$0")/.."
for package in "$@"; do
    case $package in
    *.deb) lintian --fail-on error,warning --display-info "$package" ;;
    *.rpm) rpmlint --strict --config packaging/rpm/rpmlint.toml "$package" ;;
    esac
done
