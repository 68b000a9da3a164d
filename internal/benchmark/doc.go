// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package bench measures whole runs of the post-processor against the simulated AWS, in virtual time. Its tests hold the figures for
// small worlds; `make bench` prints all of them and writes docs/benchmarks.md.
package benchmark
