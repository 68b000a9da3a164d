#!/bin/sh
# Copyright The packer-plugin-encrypted-ami Authors
# SPDX-License-Identifier: MPL-2.0

# compile-to-webdocs.sh RENDERED WEBDOCS: makes of what `packer-sdc renderdocs` has rendered what HashiCorp's site takes, a README for each
# component, without front matter and title, which the site has from metadata.hcl.
set -eu
rm -rf "$2/components"
cp "$1/README.md" "$2/README.md"
for kind in builders:builder provisioners:provisioner post-processors:post-processor datasources:data-source; do
	for page in "$1/${kind%:*}"/*.mdx; do
		[ -e "$page" ] || continue
		folder="$2/components/${kind#*:}/$(basename "$page" .mdx)"
		mkdir -p "$folder"
		awk 'lines < 2 { lines += /^---$/; next } !titled { titled = /^# /; next } !begun && /^$/ { next } { begun = 1 } /^<!-- (Code generated|End of code)/ { next } /^$/ { blank = 1; next } blank { print ""; blank = 0 } { print }' "$page" >"$folder/README.md"
	done
done
