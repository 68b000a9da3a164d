// Copyright The packer-plugin-encrypted-ami Authors
// SPDX-License-Identifier: MPL-2.0

// Package awssim is a simulated AWS for tests, the demo and benchmarks: EC2 and EBS, KMS, STS, IAM, SSM and
// Organizations, as far as handing encrypted images from account to account needs them, with the rules of AWS enforced
// and cited by number.
//
// A World is an http.Handler, and in process an SDK HTTPClient and a RoundTripper. Nothing in it ticks: what is seen is
// a function of the clock, so the same code runs in virtual time, scaled and real. It refuses operations, parameters,
// condition keys and enumeration values that it does not know.
package awssim
