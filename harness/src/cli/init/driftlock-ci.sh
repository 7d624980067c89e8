#!/bin/sh
# driftlock in any CI: runs the profile ci of driftlock.toml. The exit code is 0 where all came out as expected.
# DRIFTLOCK_CHANGED may name the branch or commit since which migrations count as new, such as origin/main.
# What is left in driftlock-report: report.md for people, junit.xml for the CI, report.json for programs.
set -eu
cd "$(dirname "$0")"
exec driftlock run --profile ci ${DRIFTLOCK_CHANGED:+"--changed=$DRIFTLOCK_CHANGED"} --output driftlock-report
