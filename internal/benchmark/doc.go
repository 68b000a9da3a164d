// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package benchmark measures whole runs of the post-processor against the simulated AWS, in virtual time.
// Its tests hold the figures of small runs. `make bench` prints all figures and writes docs/benchmarks.md.
package benchmark
